//! `tambat route` reads its file again at SIGHUP: what changed holds from then on, what did not is left alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Backend, Routed, until};

fn to(backend: &Backend) -> String {
    format!("[routes.shop]\ntargets = \"{}\"\n", backend.addr)
}

/// One more request on a connection that is kept.
fn ask(client: &TcpStream, path: &str) -> String {
    let mut writer = client;
    // In one segment: pieces would wait for each other's acknowledgements.
    writer.write_all(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "closed: {head}");
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn what_changed_holds_from_then_on_and_no_connection_is_closed() {
    let [one, two] = ["one", "two"].map(Backend::start);
    let routed = Routed::start(&to(&one));
    let client = routed.connect();
    assert_eq!(ask(&client, "/a"), "one /a");
    let said = routed.reload(&to(&two));
    assert!(said.ends_with("routes.toml read again: 1 route, 1 target"), "{said}");
    assert_eq!(ask(&client, "/b"), "two /b");
    assert_eq!(routed.get("shop.example", "/c").body, "two /c");
}

#[test]
fn a_file_that_changes_nothing_closes_nothing() {
    let shop = Backend::start("shop");
    let routed = Routed::start(&to(&shop));
    let client = routed.connect();
    assert_eq!(ask(&client, "/a"), "shop /a");
    shop.takes(Duration::from_millis(300));
    let mut slow = routed.connect();
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    until("the request to arrive", || shop.paths().contains(&"/slow".to_owned()).then_some(()));
    let said = routed.reload(&format!("# a remark\n{}", to(&shop)));
    assert!(said.ends_with("routes.toml has the same routes as before"), "{said}");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("shop /slow"), "{answer}");
    shop.takes(Duration::ZERO);
    assert_eq!(ask(&client, "/b"), "shop /b");
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let shop = Backend::start("shop");
    let routed = Routed::start(&to(&shop));
    let said = routed.reload("[routes.shop]\ntargets = \"db:1\"\n");
    assert!(said.ends_with("routes.toml is wrong: the old routes stay"), "{said}");
    routed.err_line("error: `db:1` is not an address of a target");
    assert_eq!(routed.get("shop.example", "/").body, "shop /");
    std::fs::remove_file(routed.dir().path().join("routes.toml")).unwrap();
    routed.signal(Signal::SIGHUP);
    routed.err_line("there is no such file: the old routes stay");
    assert_eq!(routed.get("shop.example", "/").body, "shop /");
    // And then one that is right again.
    let blog = Backend::start("blog");
    routed.reload(&to(&blog));
    assert_eq!(routed.get("shop.example", "/").body, "blog /");
}

#[test]
fn what_is_read_at_the_start_only_is_said() {
    let shop = Backend::start("shop");
    let routed = Routed::start(&to(&shop));
    let said = routed.reload(&format!("[router]\nworkers = 3\n{}", to(&shop)));
    assert!(
        said.contains("`[router]`, and `listen` and `listen_tls` of all routes, are read at the start only"),
        "{said}"
    );
    assert_eq!(routed.get("shop.example", "/").body, "shop /");
}

#[test]
fn reloads_under_load_lose_no_request() {
    let [one, two] = ["one", "two"].map(Backend::start);
    let routed = Routed::start(&to(&one));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let client = routed.connect();
            (0..500).map(|nth| ask(&client, &format!("/{nth}"))).collect::<Vec<_>>()
        });
        for nth in 0..20 {
            routed.reload(&to(if nth % 2 == 0 { &two } else { &one }));
        }
        for (nth, body) in asking.join().unwrap().iter().enumerate() {
            assert!(body == &format!("one /{nth}") || body == &format!("two /{nth}"), "{body}");
        }
    });
    assert_eq!(one.paths().len() + two.paths().len(), 500);
}
