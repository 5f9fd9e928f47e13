//! Something that runs already, at a URL: what can be seen of it from outside.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use tambat_model::{ClauseId, Protocol, Recognised, ResourceUrl, Restart};
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use super::address::Address;
use super::staged::ToldPort;
use super::talk::{Request, find_out};
use super::{Goal, forwarded, load, rude};
use crate::observed::{Asked, Boot, Bound, Facts, Families, Observed, Owner, RAN_ALREADY, Start, Talk, Unseen};

/// A name is resolved within this.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Something that runs already answers within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where it is, and what its scheme says of its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    url: ResourceUrl,
    port: u16,
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let full = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
        let url: ResourceUrl = full.parse().map_err(|error| UrlError(format!("cannot use this URL: {error}")))?;
        let port = url.port().ok_or_else(|| UrlError("cannot use this URL: it names no port".to_owned()))?;
        Ok(Self { url, port })
    }
}

impl Url {
    /// What its scheme says; none: anything.
    fn protocol(&self) -> Option<Protocol> {
        self.url.protocol().filter(|protocol| *protocol != Protocol::Tcp)
    }
}

/// Looks at what runs there. It is not started and not stopped here, so most clauses are not judged.
///
/// # Errors
///
/// When its name leads nowhere, or nobody takes a connection; a sentence.
pub async fn check_url(url: &Url, goal: &Goal, tell: &dyn Fn(&str)) -> Result<Observed, String> {
    let addr = resolve(url).await?;
    tell("asking what it speaks");
    let began = Instant::now();
    let told = ToldPort {
        var: "the URL".to_owned(),
        number: addr.port(),
        protocol: url.protocol(),
        path: None,
        proxy_protocol: None,
    };
    let at = Address::plain(addr);
    let (talk, request) = find_out(&told, at, began, began + ANSWER_LIMIT, &|| false).await;
    let mut observed = Observed::nothing(asked(url, goal));
    nothing_of_a_start(&mut observed);
    observed.facts = facts(&talk, addr);
    observed.first = Ok(start(addr, talk.clone(), began.elapsed()));
    observed.spent.insert(ClauseId::PROTOCOL, began.elapsed());
    if matches!(talk, Talk::Wrong(_) | Talk::Silent(_)) {
        return Ok(observed);
    }
    ask_more(&mut observed, goal, tell, &request, at).await;
    Ok(observed)
}

async fn ask_more(observed: &mut Observed, goal: &Goal, tell: &dyn Fn(&str), request: &Request, at: Address) {
    if goal.selection.has_any(&[16]) && (request.is_http() || request.is_http2()) {
        tell("PB-16: asking by a public name");
        let began = Instant::now();
        let paths: Vec<&str> = ["/"].into_iter().chain(goal.path.as_deref()).collect();
        observed.forwarded = forwarded::ask(at, &paths, request.is_http2()).await;
        observed.spent.insert(ClauseId::PRIVATE_PORT, began.elapsed());
    }
    if goal.selection.has_any(&[7]) {
        tell("PB-07: asking beside 50 silent connections");
        let began = Instant::now();
        observed.idle = load::idle(request, at).await;
        observed.spent.insert(ClauseId::MANY_AT_ONCE, began.elapsed());
    }
    if goal.selection.has_any(&[8]) {
        tell("PB-08: sending rude clients");
        let began = Instant::now();
        observed.rude = Ok(rude::harass(None, request, at).await);
        observed.spent.insert(ClauseId::RUDE_CLIENTS, began.elapsed());
    }
}

async fn resolve(url: &Url) -> Result<SocketAddr, String> {
    let host = url.url.host().to_owned();
    let found = timeout(LOOKUP_LIMIT, lookup_host((host.as_str(), url.port))).await;
    let addrs: Vec<SocketAddr> = match found {
        Ok(Ok(addrs)) => addrs.collect(),
        Ok(Err(error)) => return Err(format!("cannot find {host}: {error}")),
        Err(_) => return Err(format!("cannot find {host}: no answer within {LOOKUP_LIMIT:?}")),
    };
    let mut last = format!("cannot reach {host}: it has no address");
    for addr in addrs {
        match timeout(LOOKUP_LIMIT, tokio::net::TcpStream::connect(addr)).await {
            Ok(Ok(_)) => return Ok(addr),
            Ok(Err(error)) => last = format!("cannot connect to {addr}: {error}"),
            Err(_) => last = format!("cannot connect to {addr}: no answer within {LOOKUP_LIMIT:?}"),
        }
    }
    Err(last)
}

fn asked(url: &Url, goal: &Goal) -> Asked {
    Asked {
        app: url.url.host().to_owned(),
        process: None,
        command: url.url.to_string(),
        recognised: Recognised::default(),
        protocol: url.protocol(),
        stateful: false,
        any_owner: true,
        restart: Restart::Never,
        boot: goal.limits.boot,
        grace: goal.limits.grace,
        signal: "TERM".to_owned(),
        is_running: true,
    }
}

/// What only a start shows.
fn nothing_of_a_start(observed: &mut Observed) {
    fn unseen<T>() -> Result<T, Unseen> {
        Err(Unseen::because(RAN_ALREADY))
    }
    observed.second = unseen();
    observed.open = unseen();
    observed.beside = unseen();
    observed.stop = unseen();
    observed.in_flight = unseen();
    observed.again = unseen();
    observed.taken = unseen();
    observed.services = unseen();
    observed.user = unseen();
    observed.away = unseen();
    observed.declared = unseen();
    observed.forwarded = Err(Unseen::because("it does not speak HTTP"));
    observed.idle = Err(Unseen::because("nobody asked for it"));
    observed.rude = Err(Unseen::because("nobody asked for it"));
}

fn start(addr: SocketAddr, talk: Talk, after: Duration) -> Start {
    let port = addr.port();
    let bound = Bound {
        owner: Owner::Any,
        addrs: vec![addr.ip()],
        families: Families { v4: addr.is_ipv4(), v6: addr.is_ipv6() },
        after,
        missing: Vec::new(),
        outsiders: Vec::new(),
        talks: vec![("its port".to_owned(), talk)],
    };
    Start {
        port,
        told: vec![port],
        boot: Boot::Bound(bound),
        listeners: Vec::new(),
        hidden: Vec::new(),
        last_lines: Vec::new(),
    }
}

fn facts(talk: &Talk, addr: SocketAddr) -> Facts {
    let protocol = match talk {
        Talk::Speaks { protocol, .. } => Some(protocol.clone()),
        _ => None,
    };
    Facts { protocol, addresses: vec![addr], ..Facts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_or_a_host_and_port_and_nothing_else() {
        for (text, port, protocol) in [
            ("http://localhost:5000/x", 5000, Some(Protocol::Http)),
            ("localhost:6379", 6379, None),
            ("redis://127.0.0.1", 6379, Some(Protocol::Redis)),
            ("tcp://[::1]:7", 7, None),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.port, url.protocol()), (port, protocol), "{text}");
        }
        for wrong in ["", "localhost", "http:///x", "localhost:0", "tcp://h:99999"] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong:?}");
        }
    }
}
