//! What stands in the access log about what was no request.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tambat_model::HttpRules;
use tambat_router::{AccessFormat, AccessLog, RouterSettings};

use crate::http::words::{Server, asks, client_at, message, router, send};
use crate::rig::{eventually, rest};

#[derive(Debug, Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// The line in which this stands; there is to be one.
    pub(crate) fn line_with(&self, words: &str) -> String {
        let mut found = None;
        eventually(words, || {
            let written = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            found = written.lines().find(|line| line.contains(words)).map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_refused_is_noted_with_its_own_client_and_first_line() {
    let (server, sink) = (Server::new("web.1"), Sink::default());
    let settings = RouterSettings {
        workers: NonZeroUsize::MIN,
        head_timeout: Duration::from_millis(200),
        access: Some(AccessLog::start(AccessFormat::Json, sink.clone(), |_| {}).unwrap()),
        ..RouterSettings::default()
    };
    let rig = router(&[&server.backend], HttpRules::default(), settings);
    let good = client_at(&rig, [127, 0, 0, 2]);
    assert_eq!(asks(&good, "/good"), "web.1 /good");
    let bad = client_at(&rig, [127, 0, 0, 3]);
    send(&bad, "BAD\r\nHost: secret.example\r\n\r\n");
    assert_eq!(message(&bad).status(), 400);
    let late = client_at(&rig, [127, 0, 0, 4]);
    send(&late, "LATE / HTTP/1.1\r\nHost:");
    assert!(rest(&late).starts_with(b"HTTP/1.1 408 "));
    for (status, address, asked) in [(200, 2, "/good"), (400, 3, "BAD"), (408, 4, "LATE / HTTP/1.1")] {
        let line = sink.line_with(&format!(r#""status":{status},"#));
        assert!(line.contains(&format!(r#""client":"127.0.0.{address}""#)), "{line}");
        assert!(line.contains(&format!(r#""path":"{asked}""#)), "{line}");
        // Of what is no request nothing else is known.
        assert_eq!(line.contains(r#""host":"a.example""#), status == 200, "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
}
