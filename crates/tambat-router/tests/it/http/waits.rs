//! Requests that come while there is nobody to serve them.

use std::time::{Duration, Instant};

use tambat_model::{Admission, ErrorCode, HttpRules};
use tambat_router::{RouterReport, RouterSettings};

use crate::http::words::{Server, all_is_over, asks, errors, exchange, get, message, ok, plain, router, send};
use crate::rig::{Backend, eventually, hold, reset, serve};

fn refuse() -> Admission {
    Admission::Refuse { cause: "web.1 exited with code 1".into(), mend: Some("`tambat logs web` shows why".into()) }
}

#[test]
fn a_request_waits_for_a_target_on_a_connection_that_had_one() {
    let server = Server::new("web.1");
    let mut rig = plain(&[&server.backend]);
    let client = rig.client();
    assert_eq!(asks(&client, "/1"), "web.1 /1");
    rig.publish(hold(None));
    send(&client, get("/2"));
    assert_eq!(rig.report(), RouterReport::Waiting { port: Some(rig.port), route: "web".into() });
    assert_eq!(rig.counters().waiting, 1);
    // A table that still has nobody changes nothing.
    rig.publish(hold(Some(Duration::from_mins(1))));
    rig.publish(serve(&[&server.backend]));
    assert_eq!(message(&client).text(), "web.1 /2");
    eventually("nobody waits", || rig.counters().waiting == 0);
    all_is_over(&rig);
}

#[test]
fn who_waits_is_told_the_cause_and_the_mend_when_there_will_be_nobody() {
    let server = Server::new("web.1");
    let mut rig = plain(&[&server.backend]);
    let client = rig.client();
    asks(&client, "/");
    rig.publish(hold(None));
    send(&client, get("/"));
    rig.until_one_waits();
    rig.publish(refuse());
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (503, Some("no-target")));
    assert!(
        answer.text().contains(r#""cause":"web cannot be reached: web.1 exited with code 1""#),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains(r#""mend":"`tambat logs web` shows why""#), "{}", answer.text());
    // The connection is as good as before.
    rig.publish(serve(&[&server.backend]));
    assert_eq!(asks(&client, "/"), "web.1 /");
    assert_eq!(errors(&rig, ErrorCode::NoTarget), 1);
}

#[test]
fn a_browser_gets_a_page() {
    let rig = plain(&[]);
    rig.publish(refuse());
    let client = rig.client();
    send(&client, "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
    let answer = message(&client);
    assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.text().contains("web.1 exited with code 1"), "{}", answer.text());
    assert!(answer.field("date").unwrap().ends_with(" GMT"));
    send(&client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = crate::http::words::head(&client);
    assert!(answer.status() == 503 && answer.field("content-length") != Some("0"));
    send(&client, get("/"));
    assert_eq!(message(&client).status(), 503);
}

#[test]
fn the_rules_say_how_long_a_request_waits() {
    let server = Server::new("web.1");
    let limit = Duration::from_millis(200);
    let rules = HttpRules { wait: Some(limit), ..HttpRules::default() };
    let rig = router(&[&server.backend], rules, RouterSettings::default());
    let client = rig.client();
    asks(&client, "/");
    rig.publish(hold(None));
    for early in [Some(client), None] {
        let start = Instant::now();
        let client = early.unwrap_or_else(|| rig.client());
        send(&client, get("/"));
        let answer = message(&client);
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("1")));
        assert!(answer.text().contains("web.1 is binding (after a wait of 0.2 s)"), "{}", answer.text());
        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    }
}

#[test]
fn a_client_that_breaks_off_waits_no_more() {
    let server = Server::new("web.1");
    let mut rig = plain(&[&server.backend]);
    let client = rig.client();
    asks(&client, "/");
    rig.publish(hold(None));
    send(&client, get("/"));
    rig.until_one_waits();
    reset(client);
    eventually("nobody waits", || rig.counters().waiting == 0 && rig.counters().open == 0);
    all_is_over(&rig);
    assert_eq!(errors(&rig, ErrorCode::ClientClosed), 1);
}

#[test]
fn no_more_requests_wait_than_may() {
    let server = Server::new("web.1");
    let settings = RouterSettings { waiting_max: 1, ..RouterSettings::default() };
    let mut rig = router(&[&server.backend], HttpRules::default(), settings);
    let (first, second) = (rig.client(), rig.client());
    asks(&first, "/");
    asks(&second, "/");
    rig.publish(hold(None));
    send(&first, get("/"));
    rig.until_one_waits();
    send(&second, get("/"));
    let answer = message(&second);
    assert_eq!((answer.status(), answer.field("tambat-error")), (503, Some("queue-full")));
}

#[test]
fn a_request_with_a_body_waits_with_it() {
    let backend = Backend::new("web.1");
    let mut rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    send(&target, ok(""));
    message(&client);
    rig.publish(hold(None));
    send(&client, "POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    rig.until_one_waits();
    send(&client, "56789");
    rig.publish(serve(&[&backend]));
    let request = message(&target);
    assert_eq!((request.first_line(), request.text()), ("POST /late HTTP/1.1", "0123456789"));
    send(&target, ok("thanks"));
    assert_eq!(message(&client).text(), "thanks");
}
