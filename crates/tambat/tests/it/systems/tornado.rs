//! Tornado, in Python: drains as `draining.py` has it, which the framework's default does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::{example, form, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, LIMIT, get, programs};

fn pier() -> AppDir {
    programs::tornado();
    example("tornado")
}

fn say(text: &str) -> String {
    let body = format!("{{\"text\": \"{text}\"}}");
    format!(
        "POST /lines HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A browser that is on the page.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn at(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"GET /lines HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// Whether a line with this comes before the end of the stream.
    fn hears(&mut self, text: &str) -> bool {
        self.0.by_ref().lines().map(Result::unwrap).any(|line| line.contains(text))
    }
}

#[test]
fn tornado_serves_from_its_first_moment_and_drains_on_term() {
    let app = pier();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let page = get(port, "/");
    assert!(page.status == 200 && page.body.contains("<h1>The pier</h1>"), "{page:?}");
    let posted =
        app.curl(&["--json", "{\"text\": \"Ahoj\"}", "-w", "%{http_code}", &format!("localhost:{port}/lines")]);
    assert_eq!(posted.must_be(0).stdout, "204");
    let mut listener = Listener::at(port);
    assert!(listener.hears("{\"text\": \"Ahoj\"}"), "what was said before");

    // A line that is on its way is taken; the stream, which would go on for ever, ends in order.
    let answer = stop_in_the_middle_of(&say("one more"), &app, "web", &mut running);
    assert!(answer.status == 204 && answer.head.contains("Connection: close"), "{answer:?}");
    assert!(!listener.hears("nothing"), "it ends");
    running.line("exited with code 0");
}

#[test]
fn a_request_to_a_page_that_nobody_has_is_finished_too() {
    let app = pier();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let answer = stop_in_the_middle_of(&form("/nowhere", "a=b"), &app, "web", &mut running);
    assert_eq!(answer.status, 404, "{answer:?}");
}

#[test]
fn a_line_is_heard_at_once_by_who_listens_and_nobody_else_needs_a_privilege() {
    run_by_nobody(pier(), |app, _, _| {
        let port = app.port("web");
        let mut listener = Listener::at(port);
        assert!(listener.hears("text/event-stream"));
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(say("here").as_bytes()).unwrap();
        assert!(listener.hears("{\"text\": \"here\"}"));
    });
}
