//! Asks an instance whether it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use tambat_model::ProxyProtocol;
use tambat_probe::NoAnswer;
use tambat_wire::{Judgement, Probe};

/// One question to an app may take so long: a first page may have to be compiled.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A datagram that is lost is never answered: it is asked again.
const DATAGRAM_LIMIT: Duration = Duration::from_secs(2);

/// Asks one port once. Whatever keeps it from answering is "not yet": it may be about to end, or to begin. Cancel safe:
/// dropping the future closes the connection.
pub(crate) async fn ask(addr: SocketAddr, proxy_protocol: Option<ProxyProtocol>, probe: &Probe) -> Judgement {
    match tambat_probe::ask(addr, proxy_protocol, probe, ANSWER_LIMIT).await {
        Ok(judgement) => judgement,
        Err(NoAnswer::Failed(error)) => Judgement::NotYet(format!("asking it failed: {error}")),
        Err(NoAnswer::Late) => Judgement::NotYet(format!("it gave no answer within {ANSWER_LIMIT:?}")),
    }
}

/// The same by a datagram. A server that has bound its port and is asked nothing is ready.
pub(crate) async fn ask_by_datagram(
    addr: SocketAddr,
    proxy_protocol: Option<ProxyProtocol>,
    probe: &Probe,
) -> Judgement {
    match tambat_probe::ask_by_datagram(addr, proxy_protocol, probe, DATAGRAM_LIMIT).await {
        Ok(judgement) => judgement,
        Err(NoAnswer::Failed(error)) => Judgement::NotYet(format!("asking it by a datagram failed: {error}")),
        Err(NoAnswer::Late) => Judgement::NotYet(format!("it answered no datagram within {DATAGRAM_LIMIT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use tambat_model::Protocol;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gives_no_answer_is_not_ready_yet() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let probe = Probe::for_protocol(Protocol::Http, None, "localhost:1").unwrap();
        assert_eq!(ask(addr, None, &probe).await, Judgement::NotYet("it gave no answer within 30s".to_owned()));
        drop(listener);
        let Judgement::NotYet(text) = ask(addr, None, &probe).await else { panic!("nobody listens") };
        assert!(text.starts_with("asking it failed: Connection refused"), "{text}");
    }
}
