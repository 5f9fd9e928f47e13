//! Every seed of the fuzz targets keeps the promises that the fuzzer looks for breaches of.

#[cfg(test)]
#[path = "../../../fuzz/answers.rs"]
mod answers;

#[cfg(test)]
#[path = "../../../fuzz/dns_query.rs"]
mod dns_query;

#[cfg(test)]
#[path = "../../../fuzz/openings.rs"]
mod openings;

#[cfg(test)]
#[path = "../../../fuzz/proxy_protocol.rs"]
mod proxy_protocol;

#[cfg(test)]
#[path = "../../../fuzz/websocket.rs"]
mod websocket;

#[cfg(test)]
mod seeds {
    use std::path::Path;

    use crate::{answers, dns_query, openings, proxy_protocol, websocket};

    fn replay(target: &str, entry: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut seeds = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            entry(&std::fs::read(file.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds >= 4, "{}: {seeds} seeds", folder.display());
    }

    #[test]
    fn frames_of_websockets() {
        replay("websocket_frames", websocket::websocket_frames);
    }

    #[test]
    fn answers_over_http() {
        replay("http_answer", answers::http_answer);
    }

    #[test]
    fn answers_of_redis() {
        replay("redis_answer", answers::redis_answer);
    }

    #[test]
    fn first_bytes_of_a_server() {
        replay("recognise", answers::recognised);
    }

    #[test]
    fn answers_of_postgres() {
        replay("postgres_answer", answers::postgres_answer);
    }

    #[test]
    fn answers_of_http2() {
        replay("h2c_answer", answers::h2c_answer);
    }

    #[test]
    fn answers_of_xmpp() {
        replay("xmpp_answer", answers::xmpp_answer);
    }

    #[test]
    fn first_bytes_of_tls() {
        replay("client_hello", openings::hello);
    }

    #[test]
    fn first_bytes_of_xmpp() {
        replay("xmpp_stream", openings::xmpp_stream);
    }

    #[test]
    fn first_bytes_of_postgres() {
        replay("postgres_opening", openings::postgres_opening);
    }

    #[test]
    fn first_bytes_of_http_and_all_others() {
        replay("http_opening", openings::http_opening);
    }

    #[test]
    fn answers_of_mysql() {
        replay("mysql_answer", answers::mysql_answer);
    }

    #[test]
    fn answers_of_mqtt() {
        replay("mqtt_answer", answers::mqtt_answer);
    }

    #[test]
    fn answers_of_smtp() {
        replay("smtp_answer", answers::smtp_answer);
    }

    #[test]
    fn answers_of_ssh() {
        replay("ssh_answer", answers::ssh_answer);
    }

    #[test]
    fn answers_of_dns() {
        replay("dns_answer", answers::dns_answer);
    }

    #[test]
    fn queries_of_dns() {
        replay("dns_query", dns_query::dns_query);
    }

    #[test]
    fn answers_of_tls() {
        replay("tls_answer", answers::tls_answer);
    }

    #[test]
    fn proxy_headers() {
        replay("proxy_protocol", proxy_protocol::proxy_header);
    }
}
