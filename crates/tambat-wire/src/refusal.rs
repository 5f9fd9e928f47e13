//! What a client is told when its connection cannot be served.

use tambat_model::Protocol;

use crate::{http, postgres, redis, xmpp};

/// What a client is told, in its own protocol, when its connection cannot be served because of `cause`: one complete
/// message, after which the connection is closed. None where the protocol has no words for it: the connection is
/// reset. The cause is put on one line and cut after 2 KiB.
///
/// A PostgreSQL client that has asked for encryption reads it only after that was declined: see
/// [`postgres_opening`](crate::postgres_opening).
pub fn refusal(protocol: Protocol, cause: &str) -> Option<Vec<u8>> {
    match protocol {
        Protocol::Http | Protocol::H2c => Some(http::refusal(cause)),
        Protocol::Redis => Some(redis::refusal(cause)),
        Protocol::Postgres => Some(postgres::refusal(cause)),
        Protocol::Xmpp => Some(xmpp::refusal(cause)),
        Protocol::Mysql
        | Protocol::Mqtt
        | Protocol::Smtp
        | Protocol::Ssh
        | Protocol::Dns
        | Protocol::Tls
        | Protocol::Tcp
        | Protocol::Udp
        | Protocol::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_with_words_says_the_cause() {
        for protocol in Protocol::ALL {
            let told = refusal(protocol, "web.1 exited with code 1");
            let words = [Protocol::Http, Protocol::H2c, Protocol::Redis, Protocol::Postgres, Protocol::Xmpp];
            let has_words = words.contains(&protocol);
            assert_eq!(told.is_some(), has_words, "{protocol}");
            assert!(told.is_none_or(|t| t.windows(24).any(|w| w == b"web.1 exited with code 1")), "{protocol}");
        }
    }
}
