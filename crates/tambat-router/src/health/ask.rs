//! Asks a target how it is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tambat_model::{Cause, ProxyProtocol};
use tambat_probe::NoAnswer;
use tambat_wire::{Judgement, Probe};

use super::Sign;

/// Asks once, within this time. Cancel safe: dropping the future closes the connection.
pub(super) async fn ask(
    addr: SocketAddr,
    proxy_protocol: Option<ProxyProtocol>,
    probe: &Probe,
    within: Duration,
) -> Sign {
    match tambat_probe::ask(addr, proxy_protocol, probe, within).await {
        Ok(Judgement::Ready) => Sign::Well,
        // The judge's sentences begin with "it", ours with the target's name.
        Ok(Judgement::NotYet(said) | Judgement::Wrong(said)) => {
            Sign::Ill(said.strip_prefix("it ").unwrap_or(&said).into())
        }
        Ok(Judgement::Incomplete) => Sign::Ill("ended in the middle of an answer".into()),
        Err(NoAnswer::Failed(error)) => Sign::Ill(sentence(&error)),
        Err(NoAnswer::Late) => Sign::Ill(format!("gave no answer within {within:?}").into()),
    }
}

/// What an error of a connection says of a target: the end of a sentence that begins with its name.
pub(super) fn sentence(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refuses connections".into(),
        io::ErrorKind::ConnectionReset => "broke the connection off".into(),
        _ => format!("cannot be reached: {error}").into(),
    }
}
