//! Asks who decides about names.

use std::time::Duration;

use http::StatusCode;

use super::client::Web;
use super::settings::AskUrl;

/// A handshake waits for this, and the handshake has 10 s in all.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// 200: the name gets a certificate.
    Yes,
    /// Any other answer: it does not.
    No,
    /// There was none, or one that says that who decides is out of order (5xx).
    Unknown,
}

/// Who decides.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    url: AskUrl,
    web: Web,
}

impl Asker {
    pub(crate) fn new(url: AskUrl, web: Web) -> Self {
        Self { url, web }
    }

    /// Asks about this hostname. Redirects are not followed: they are no yes.
    pub(crate) async fn ask(&self, name: &str) -> Decision {
        decision(self.web.status(&self.url.about(name), ASK_WITHIN).await)
    }
}

fn decision(status: Option<StatusCode>) -> Decision {
    match status {
        Some(StatusCode::OK) => Decision::Yes,
        Some(status) if !status.is_server_error() => Decision::No,
        _ => Decision::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::Decision::{No, Unknown, Yes};
    use super::*;

    #[tokio::test]
    async fn only_200_is_a_yes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ask?key=1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            for status in ["200 OK", "204 No Content", "404 Not Found", "302 Found", "503 Busy"] {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let read = client.read(&mut head).await.unwrap();
                let line = String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned();
                asked.push(line);
                let answer =
                    format!("HTTP/1.1 {status}\r\nLocation: /yes\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                client.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        let asker = Asker::new(url.parse().unwrap(), Web::any().unwrap());
        let mut decisions = Vec::new();
        for number in 0..5 {
            decisions.push(asker.ask(&format!("n{number}.example")).await);
        }
        assert_eq!(decisions, [Yes, No, No, No, Unknown]);
        assert_eq!(server.await.unwrap()[1], "GET /ask?key=1&domain=n1.example HTTP/1.1");
        assert_eq!(asker.ask("nobody.example").await, Unknown, "nobody listens any more");
    }
}
