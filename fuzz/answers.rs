//! What is promised of any answer of an instance: a judgement that never panics, is printable and bounded, is final at
//! the end of the connection, and stays what it is when more bytes follow. Called by the fuzz targets, and by the
//! ordinary tests of `tambat-wire` with every seed.

use tambat_model::Protocol;
use tambat_wire::{Judgement, Probe, Recognised, hearing, postgres_opening, recognise, refusal};

/// An answer to the probes over HTTP.
pub(crate) fn http_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Http, None, "localhost:5000"), data);
    judge(Probe::for_protocol(Protocol::Http, Some("/healthz"), "localhost:5000"), data);
}

/// An answer to Redis' `PING`.
pub(crate) fn redis_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Redis, None, ""), data);
}

/// An answer to a startup, and a client's first bytes.
pub(crate) fn postgres_answer(data: &[u8]) {
    let _ = postgres_opening(data);
    judge(Probe::for_protocol(Protocol::Postgres, None, ""), data);
}

/// An answer to an XMPP stream header.
pub(crate) fn xmpp_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Xmpp, None, ""), data);
}

/// A first packet of `MySQL`'s protocol.
pub(crate) fn mysql_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Mysql, None, ""), data);
}

/// An answer to a `CONNECT`, and a `CONNECT` that cannot be served.
pub(crate) fn mqtt_answer(data: &[u8]) {
    let _ = hearing(Protocol::Mqtt, data);
    let told = refusal(Protocol::Mqtt, "web.1 ended", data).expect("it has words");
    assert!(matches!(Probe::Mqtt.judge(&told, false), Judgement::NotYet(_)));
    judge(Probe::for_protocol(Protocol::Mqtt, None, ""), data);
}

/// An SMTP server's greeting.
pub(crate) fn smtp_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Smtp, None, ""), data);
}

/// An SSH server's lines.
pub(crate) fn ssh_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Ssh, None, ""), data);
}

/// An answer to a query over TCP.
pub(crate) fn dns_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Dns, None, ""), data);
}

/// An answer to a `ClientHello`.
pub(crate) fn tls_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::Tls, None, ""), data);
}

/// An answer to the probes over HTTP/2, of a path and of the health of a server of gRPC.
pub(crate) fn h2c_answer(data: &[u8]) {
    judge(Probe::for_protocol(Protocol::H2c, None, "localhost:5000"), data);
    judge(Probe::for_protocol(Protocol::H2c, Some("/healthz"), "localhost:5000"), data);
}

/// The first bytes of a server of which nothing is known: what is recognised stays so when more follows.
pub(crate) fn recognised(data: &[u8]) {
    let mut found = None;
    for end in 0..=data.len().min(512) {
        match (recognise(&data[..end]), &found) {
            (Recognised::Found(spoken), None) => {
                let shown = spoken.to_string();
                assert!(shown.len() < 1_024 && !shown.contains(char::is_control), "{shown:?}");
                found = Some(spoken);
            }
            (now, Some(before)) => assert_eq!(now, Recognised::Found(before.clone()), "{end} bytes on"),
            (_, None) => {}
        }
    }
    assert_ne!(recognise(&[data, &[b'-'; 8_192]].concat()), Recognised::Incomplete);
}

fn judge(probe: Option<Probe>, data: &[u8]) {
    let probe = probe.expect("each of these protocols has a probe");
    let whole = probe.judge(data, true);
    assert_ne!(whole, Judgement::Incomplete);
    if let Judgement::NotYet(said) | Judgement::Wrong(said) = &whole {
        assert!(said.len() < 4_096 && !said.contains(char::is_control), "{said:?}");
    }
    let mut ready = false;
    for end in 0..=data.len().min(512) {
        match probe.judge(&data[..end], false) {
            Judgement::Ready => ready = true,
            other => assert!(!ready, "ready, and {other:?} {end} bytes on"),
        }
    }
}
