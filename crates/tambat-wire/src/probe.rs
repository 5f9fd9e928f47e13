//! A readiness probe: what to send, and a judge of what comes back.

use tambat_model::Protocol;

use crate::{dns, h2c, http, mqtt, mysql, postgres, redis, smtp, ssh, tls, xmpp};

/// How many bytes of an answer are looked at: whoever has sent so much without an answer that is understood speaks
/// something else.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A readiness probe: what to send on a fresh connection, and a judge of what comes back. Pure.
///
/// Whoever drives it connects, sends [`Probe::request`] once, and passes everything received so far to
/// [`Probe::judge`] each time more arrives. It holds the deadline, too. Once that has judged, it sends
/// [`Probe::farewell`], and reads on for a short time where [`Probe::has_rest`]: servers log connections that break.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Probe {
    /// `GET` of a path over HTTP/1.1 (RFC 9112).
    Http {
        /// The path, beginning with `/`, and its query if there is one.
        path: String,
        /// The value of the `Host` field: `localhost:5000`.
        host: String,
        /// Which statuses mean that it is ready.
        expect: Expect,
    },
    /// `GET` of a path over HTTP/2 without TLS (RFC 9113), or the health of a server of gRPC.
    H2c {
        /// The path, where one was configured: it answers 2xx. Else `grpc.health.v1.Health/Check` is asked: a server that
        /// knows it is ready when it says `SERVING`, any other when it answers and has no error of its own.
        path: Option<String>,
        /// The value of `:authority`: `localhost:5000`.
        host: String,
    },
    /// Redis' `PING`.
    Redis,
    /// A startup message of the PostgreSQL protocol 3.0.
    Postgres,
    /// A client's header of an XMPP stream, answered by the server's and its features (RFC 6120 §4.3).
    Xmpp,
    /// The greeting of a server of `MySQL` or `MariaDB`. Nothing is sent.
    Mysql,
    /// A `CONNECT` of MQTT 3.1.1, answered by a `CONNACK`.
    Mqtt,
    /// The greeting of an SMTP server (RFC 5321 §3.1).
    Smtp,
    /// The version of an SSH server (RFC 4253 §4.2).
    Ssh,
    /// A query over TCP (RFC 1035 §4.2.2) for what a server knows by itself.
    Dns,
    /// A `ClientHello`, answered by a `ServerHello` or an alert (RFC 8446 §4.1). Whose certificate it is is not looked at.
    Tls {
        /// The name that is asked for (RFC 6066 §3); none: no name.
        server_name: Option<String>,
    },
    /// Nothing is sent: that the connection was accepted is the answer.
    Accept,
}

/// Which HTTP statuses mean that an app is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Any below 500: the app answers by itself, if only with a redirect or a login page.
    Below500,
    /// 200 to 299: the path was configured to say so.
    Success,
}

/// What an answer says so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing yet: more bytes are needed.
    Incomplete,
    /// It is ready.
    Ready,
    /// It speaks the right protocol and says "not yet": what it said, printable, for the end of a sentence that begins
    /// with the instance: `web.1`: `it answers 503 Service Unavailable`.
    NotYet(String),
    /// It speaks something else or ended the connection: what was seen, printable and bounded:
    /// `it answered "SSH-2.0-OpenSSH_9.2"`.
    Wrong(String),
}

impl Probe {
    /// The probe of a protocol; none for the protocol that binds no port. `path`, where readiness was configured by a
    /// path, makes it an HTTP probe of that path whose 2xx is asked for, whatever the
    /// protocol: over HTTP/2 where that is it, else over HTTP/1.1. `host` is the value of
    /// the `Host` field.
    pub fn for_protocol(protocol: Protocol, path: Option<&str>, host: &str) -> Option<Self> {
        match (protocol, path) {
            (Protocol::None, _) => None,
            (Protocol::H2c, path) => Some(Self::H2c { path: path.map(str::to_owned), host: host.to_owned() }),
            (_, Some(path)) => {
                Some(Self::Http { path: path.to_owned(), host: host.to_owned(), expect: Expect::Success })
            }
            (Protocol::Http, None) => {
                Some(Self::Http { path: "/".to_owned(), host: host.to_owned(), expect: Expect::Below500 })
            }
            (Protocol::Redis, None) => Some(Self::Redis),
            (Protocol::Postgres, None) => Some(Self::Postgres),
            (Protocol::Xmpp, None) => Some(Self::Xmpp),
            (Protocol::Mysql, None) => Some(Self::Mysql),
            (Protocol::Mqtt, None) => Some(Self::Mqtt),
            (Protocol::Smtp, None) => Some(Self::Smtp),
            (Protocol::Ssh, None) => Some(Self::Ssh),
            (Protocol::Dns, None) => Some(Self::Dns),
            (Protocol::Tls, None) => Some(Self::Tls { server_name: None }),
            (Protocol::Tcp | Protocol::Udp, None) => Some(Self::Accept),
        }
    }

    /// Is it asked over HTTP, of whatever version?
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::H2c { .. })
    }

    /// What to send once an answer was judged: the end of the conversation, in the words of its protocol. Empty where a
    /// server takes the end of the connection for that.
    pub fn farewell(&self) -> Vec<u8> {
        match self {
            Self::Xmpp => xmpp::FOOTER.to_vec(),
            Self::Mqtt => mqtt::DISCONNECT.to_vec(),
            Self::Smtp => smtp::QUIT.to_vec(),
            Self::Ssh => ssh::farewell(),
            Self::Tls { .. } => tls::FAREWELL.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Does more come after what is judged, and after the farewell? Then it should be taken for a short time, up to the end
    /// of the connection: one that is closed with bytes unread is reset.
    pub fn has_rest(&self) -> bool {
        self.is_http() || matches!(self, Self::Xmpp | Self::Mqtt | Self::Smtp | Self::Ssh | Self::Tls { .. })
    }

    /// What to send once the connection stands; empty where the server speaks first, and for [`Probe::Accept`].
    pub fn request(&self) -> Vec<u8> {
        match self {
            Self::Http { path, host, .. } => http::probe_request(path, host),
            Self::H2c { path, host } => h2c::request(&asked(path.as_deref()), host),
            Self::Redis => redis::PING.to_vec(),
            Self::Postgres => postgres::probe_startup(),
            Self::Xmpp => xmpp::HEADER.to_vec(),
            Self::Mqtt => mqtt::CONNECT.to_vec(),
            Self::Dns => dns::QUERY.to_vec(),
            Self::Tls { server_name } => tls::client_hello(server_name.as_deref()),
            Self::Mysql | Self::Smtp | Self::Ssh | Self::Accept => Vec::new(),
        }
    }

    /// What this answer says: everything received since the connection stood, and whether its end was seen.
    /// [`Judgement::Incomplete`] is never returned once `eof` is true or more than 16 KiB were received.
    pub fn judge(&self, answer: &[u8], eof: bool) -> Judgement {
        let cut = answer.len() > ANSWER_BYTES_MAX;
        let seen = &answer[..answer.len().min(ANSWER_BYTES_MAX)];
        let judgement = match self {
            Self::Http { path, expect, .. } => http::judge(seen, path, *expect),
            Self::H2c { path, .. } => h2c::judge(seen, &asked(path.as_deref())),
            Self::Redis => redis::judge(seen),
            Self::Postgres => postgres::judge(seen),
            Self::Xmpp => xmpp::judge(seen),
            Self::Mysql => mysql::judge(seen),
            Self::Mqtt => mqtt::judge(seen),
            Self::Smtp => smtp::judge(seen),
            Self::Ssh => ssh::judge(seen),
            Self::Dns => dns::judge(seen),
            Self::Tls { .. } => tls::judge(seen),
            Self::Accept => Judgement::Ready,
        };
        match judgement {
            Judgement::Incomplete if cut => Judgement::answered(seen),
            Judgement::Incomplete if eof && seen.is_empty() => {
                Judgement::Wrong("it closed the connection without an answer".to_owned())
            }
            Judgement::Incomplete if eof => Judgement::Wrong(format!(
                "it closed the connection in the middle of an answer: {}",
                crate::printable::quoted(seen)
            )),
            judgement => judgement,
        }
    }
}

fn asked(path: Option<&str>) -> h2c::Asked<'_> {
    path.map_or(h2c::Asked::Health, |path| h2c::Asked::Path(path, Expect::Success))
}

impl Judgement {
    /// Something else than expected was answered: this.
    pub(crate) fn answered(bytes: &[u8]) -> Self {
        if bytes.starts_with(&[0x15, 3]) {
            // RFC 8446 §5.1: a record of the type alert.
            return Self::Wrong("it answered a TLS alert: it speaks TLS on this port".to_owned());
        }
        Self::Wrong(format!("it answered {}", crate::printable::quoted(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probes() -> Vec<Probe> {
        Protocol::ALL
            .into_iter()
            .flat_map(|p| [Probe::for_protocol(p, None, "localhost:5000"), Probe::for_protocol(p, Some("/h"), "h")])
            .flatten()
            .collect()
    }

    #[test]
    fn a_configured_path_is_asked_over_http_whatever_the_protocol() {
        for protocol in [Protocol::Http, Protocol::Tcp, Protocol::Redis] {
            let probe = Probe::for_protocol(protocol, Some("/healthz"), "h");
            assert!(matches!(probe, Some(Probe::Http { expect: Expect::Success, .. })), "{probe:?}");
        }
        assert_eq!(Probe::for_protocol(Protocol::None, Some("/"), "h"), None);
    }

    #[test]
    fn the_end_of_the_connection_is_always_an_answer() {
        for probe in probes() {
            assert_ne!(probe.judge(b"", true), Judgement::Incomplete, "{probe:?}");
            assert_ne!(probe.judge(&vec![b'-'; ANSWER_BYTES_MAX + 1], false), Judgement::Incomplete, "{probe:?}");
        }
        assert_eq!(
            Probe::Redis.judge(b"", true),
            Judgement::Wrong("it closed the connection without an answer".to_owned())
        );
        assert_eq!(
            Probe::Redis.judge(b"+PO", true),
            Judgement::Wrong("it closed the connection in the middle of an answer: \"+PO\"".to_owned())
        );
    }

    #[test]
    fn what_only_accepts_is_ready_when_it_has_accepted() {
        assert_eq!((Probe::Accept.request(), Probe::Accept.farewell()), (Vec::new(), Vec::new()));
        assert_eq!(Probe::Accept.judge(b"", false), Judgement::Ready);
        assert_eq!(Probe::Accept.judge(b"SSH-2.0-x", true), Judgement::Ready);
    }

    #[test]
    fn who_gets_a_farewell_is_heard_to_the_end() {
        for probe in probes().iter().filter(|probe| !probe.farewell().is_empty()) {
            assert!(probe.has_rest(), "{probe:?}");
        }
        assert_eq!(Probe::Smtp.farewell(), b"QUIT\r\n");
    }

    #[test]
    fn no_question_is_its_own_answer() {
        for probe in probes().iter().filter(|probe| !probe.request().is_empty()) {
            assert_ne!(probe.judge(&probe.request(), true), Judgement::Ready, "{probe:?}");
        }
    }

    #[test]
    fn a_tls_alert_is_named() {
        let Judgement::Wrong(seen) = probes()[0].judge(&[0x15, 3, 3, 0, 2, 2, 70], false) else {
            panic!("an alert is no answer");
        };
        assert!(seen.contains("TLS"), "{seen}");
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_none_is_judged_without_bound(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), eof in any::<bool>(),
        ) {
            for probe in probes() {
                match probe.judge(&bytes, eof) {
                    Judgement::Incomplete => prop_assert!(!eof),
                    Judgement::Ready => {}
                    Judgement::NotYet(said) | Judgement::Wrong(said) => {
                        prop_assert!(said.len() < 4_096 && !said.chars().any(char::is_control), "{said:?}");
                    }
                }
            }
        }
    }
}
