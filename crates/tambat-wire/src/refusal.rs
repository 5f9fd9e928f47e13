//! What a client is told when its connection cannot be served.

use tambat_model::Protocol;

use crate::postgres::{PostgresOpening, postgres_opening};
use crate::{dns, http, mqtt, mysql, postgres, redis, smtp, ssh, tls, xmpp};

/// What to do before a client can be told anything: what it has sent so far decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It can be told now.
    Enough,
    /// More of what it says has to be heard.
    More,
    /// It has to be answered this first. What it sends then is heard anew.
    Answer(&'static [u8]),
}

/// How far a client that has sent this (since it was answered last) has to be heard before it is told anything. Servers of
/// some protocols speak first; clients of the others would take an answer to a question that they have not asked for
/// nonsense, and a `PostgreSQL` client that wishes for encryption reads an error only after that was declined.
pub fn hearing(protocol: Protocol, heard: &[u8]) -> Hearing {
    let is_told = match protocol {
        // Servers speak first, or there is nothing to tell.
        Protocol::Mysql | Protocol::Smtp | Protocol::Ssh | Protocol::Tcp | Protocol::Udp | Protocol::None => true,
        Protocol::Dns => dns::is_told(heard),
        Protocol::Mqtt => mqtt::is_told(heard),
        Protocol::Postgres => match postgres_opening(heard) {
            PostgresOpening::Encryption => return Hearing::Answer(b"N"),
            PostgresOpening::Incomplete => false,
            PostgresOpening::Startup => true,
        },
        _ => !heard.is_empty(),
    };
    if is_told { Hearing::Enough } else { Hearing::More }
}

/// What a client is told, in its own protocol, when its connection cannot be served because of `cause`: one complete
/// message, after which the connection is closed. `heard`: what it has sent, as far as [`hearing`] asks for it. None where
/// the protocol has no words for it: the connection is reset. The cause is put on one line and cut after 2 KiB, or where
/// the protocol ends a line; clients of TLS, DNS and MQTT 3.1.1 get a code alone.
pub fn refusal(protocol: Protocol, cause: &str, heard: &[u8]) -> Option<Vec<u8>> {
    match protocol {
        Protocol::Http | Protocol::H2c => Some(http::refusal(cause)),
        Protocol::Redis => Some(redis::refusal(cause)),
        Protocol::Postgres => Some(postgres::refusal(cause)),
        Protocol::Xmpp => Some(xmpp::refusal(cause)),
        Protocol::Mysql => Some(mysql::refusal(cause)),
        Protocol::Mqtt => Some(mqtt::refusal(cause, heard)),
        Protocol::Smtp => Some(smtp::refusal(cause)),
        Protocol::Ssh => Some(ssh::refusal(cause)),
        Protocol::Tls => Some(tls::REFUSAL.to_vec()),
        Protocol::Dns => dns::refusal(heard),
        Protocol::Tcp | Protocol::Udp | Protocol::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe;

    const CAUSE: &str = "web.1 exited with code 1";

    #[test]
    fn each_protocol_with_words_says_the_cause() {
        for protocol in Protocol::ALL {
            let five = b"\x10\x0d\0\x04MQTT\x05\x02\0\x0a\0\0\0";
            let told = refusal(protocol, CAUSE, if protocol == Protocol::Dns { dns::QUERY } else { five });
            let has_none = [Protocol::Tcp, Protocol::Udp, Protocol::None].contains(&protocol);
            assert_eq!(told.is_none(), has_none, "{protocol}");
            let says = |told: Vec<u8>| told.windows(CAUSE.len()).any(|part| part == CAUSE.as_bytes());
            assert!(
                told.is_none_or(|told| says(told) != [Protocol::Tls, Protocol::Dns].contains(&protocol)),
                "{protocol}"
            );
        }
    }

    #[test]
    fn a_client_is_heard_where_it_speaks_first_and_told_at_once_where_it_does_not() {
        let server_first = [Protocol::Mysql, Protocol::Smtp, Protocol::Ssh];
        for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::H2c) {
            let silent = hearing(protocol, b"");
            let at_once = server_first.contains(&protocol) || refusal(protocol, CAUSE, dns::QUERY).is_none();
            assert_eq!(silent == Hearing::Enough, at_once, "{protocol}");
            let question = Probe::for_protocol(protocol, None, "h").map(|probe| probe.request()).unwrap_or_default();
            if !question.is_empty() {
                assert_eq!(hearing(protocol, &question), Hearing::Enough, "{protocol}");
            }
        }
        assert_eq!(hearing(Protocol::Postgres, &[0, 0, 0, 8, 4, 210, 22, 47]), Hearing::Answer(b"N"));
    }
}
