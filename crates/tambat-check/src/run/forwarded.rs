//! Requests by a public name: does the answer carry the private port?

use std::time::Duration;

use http::Method;
use tokio::time::timeout;

use super::address::Address;
use super::http::{Answer, Connection, get};
use super::http2::Stream;
use crate::observed::{Forwarded, Look, Page, Unseen};

/// A name that nobody has (RFC 2606 §3).
const HOST: &str = "app.example.com";

/// A page is asked for once, and may be slow.
const PAGE_LIMIT: Duration = Duration::from_secs(10);

/// More leaks of one page say nothing more.
const LEAKS_MAX: usize = 3;

/// So much of a link is shown.
const LINK_CHARS_MAX: usize = 120;

/// Asks for these pages as a router would, on behalf of `https://app.example.com`.
pub(super) async fn ask(addr: Address, paths: &[&str], is_http2: bool) -> Look<Forwarded> {
    let mut pages = Vec::new();
    for path in paths {
        let said = |error: std::io::Error| error.to_string();
        let asked = async {
            if is_http2 {
                let stream = Stream::open(addr, (Method::GET, HOST, path), &fields(), true).await.map_err(said)?;
                return stream.answer().await.map_err(|error| error.to_string());
            }
            let lines =
                fields().iter().fold(String::new(), |lines, (name, value)| lines + name + ": " + value + "\r\n");
            let mut connection = Connection::open(addr).await.map_err(said)?;
            let request = get(path, HOST, &format!("{lines}Connection: close\r\n"));
            connection.send(&request).await.map_err(said)?;
            connection.answer().await.map_err(|error| error.to_string())
        };
        let answer = match timeout(PAGE_LIMIT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(what)) => return Err(Unseen::because(format!("asked for {HOST}{path}: {what}"))),
            Err(_) => return Err(Unseen::because(format!("asked for {HOST}{path} it gave no answer"))),
        };
        let leaks = leaks(&answer, addr.port());
        pages.push(Page { path: (*path).to_owned(), status: answer.status, leaks });
    }
    Ok(Forwarded { host: HOST.to_owned(), pages })
}

/// What a router says of a client that came by the public name.
fn fields() -> [(&'static str, String); 5] {
    [
        ("x-forwarded-for", "192.0.2.1".to_owned()),
        ("x-forwarded-host", HOST.to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-forwarded-port", "443".to_owned()),
        ("forwarded", format!("for=192.0.2.1;host={HOST};proto=https")),
    ]
}

/// Where an answer carries the app's own host and port.
fn leaks(answer: &Answer, port: u16) -> Vec<String> {
    let mut leaks: Vec<String> = answer
        .fields
        .iter()
        .filter(|(name, value)| is_leak_in_field(name, value, port))
        .map(|(name, value)| format!("{name}: {}", shorten(value)))
        .collect();
    let body = String::from_utf8_lossy(&answer.body);
    leaks.extend(links(&body).filter(|link| is_private(link, port)).map(|link| format!("the link {}", shorten(link))));
    leaks.dedup();
    leaks.truncate(LEAKS_MAX);
    leaks
}

fn is_leak_in_field(name: &str, value: &str, port: u16) -> bool {
    const URLS: [&str; 4] = ["location", "content-location", "link", "refresh"];
    let name = name.to_ascii_lowercase();
    if URLS.contains(&name.as_str()) {
        return value.split([' ', '<', '>', ';', ',', '=']).any(|word| is_private(word, port));
    }
    // A cookie for `localhost` never comes back from a browser that knows another name (RFC 6265 §5.3).
    let domain = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("domain").then(|| value.trim().trim_start_matches('.').to_ascii_lowercase())
    };
    name == "set-cookie" && value.split(';').filter_map(domain).any(|domain| is_own_host(&domain))
}

/// What stands in quotes in a body and begins as an absolute URL does.
fn links(body: &str) -> impl Iterator<Item = &str> {
    body.split(['"', '\'']).filter(|text| {
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
        ["http://", "https://", "//", "ws://", "wss://"].iter().any(|scheme| begins(scheme))
    })
}

/// A URL whose host is this machine and whose port is the app's, or whose port is the app's under the public name.
fn is_private(url: &str, port: u16) -> bool {
    let Some((_, rest)) = url.split_once("//") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((host, number)) = authority.rsplit_once(':') else { return false };
    number == port.to_string() && (is_own_host(&host.to_ascii_lowercase()) || host.eq_ignore_ascii_case(HOST))
}

fn is_own_host(host: &str) -> bool {
    matches!(host, "localhost" | "0.0.0.0" | "[::1]" | "[::]" | "::1") || host.starts_with("127.")
}

fn shorten(text: &str) -> String {
    text.chars().take(LINK_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[(&str, &str)], body: &str) -> Answer {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status: 200, fields, body: body.as_bytes().to_vec(), is_whole: true, bytes: 0 }
    }

    /// PB-16
    #[test]
    fn the_private_port_is_found_where_a_browser_would_follow_it() {
        for (fields, body, count) in [
            (vec![("Location", "http://localhost:20100/login")], "", 1),
            (vec![("location", "https://app.example.com:20100/login")], "", 1),
            (vec![("Location", "/login")], "", 0),
            (vec![("Location", "https://app.example.com/login")], "", 0),
            (vec![("Link", "<http://127.0.0.1:20100/a>; rel=next")], "", 1),
            (vec![("Set-Cookie", "a=b; Path=/; Domain=localhost")], "", 1),
            (vec![("Set-Cookie", "a=b; Path=/; Domain=example.com")], "", 0),
            (vec![], "<a href=\"http://localhost:20100/x\">", 1),
            (vec![], "{\"url\": \"http://0.0.0.0:20100\"}", 1),
            (vec![], "<p>I listen on http://localhost:20100/</p>", 0),
            (vec![], "<a href='http://localhost:5000/'>", 0),
            (vec![], "<script src='//localhost:20100/x.js'>", 1),
        ] {
            let found = leaks(&answer(&fields, body), 20_100);
            assert_eq!(found.len(), count, "{fields:?} {body}: {found:?}");
        }
    }

    #[test]
    fn few_leaks_say_as_much_as_many() {
        let body: Vec<String> = (0..10).map(|n| format!("<a href='http://localhost:20100/{n}'>")).collect();
        assert_eq!(leaks(&answer(&[], &body.concat()), 20_100).len(), LEAKS_MAX);
    }
}
