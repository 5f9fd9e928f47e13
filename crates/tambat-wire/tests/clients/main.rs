//! How real clients begin: each is started against a socket of ours, led by the machines of this crate as far as a router
//! leads it, and judged. What they once sent is kept in `fuzz/seeds`, and has to be judged as they are today.

#[cfg(test)]
mod cancel;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod lead;
#[cfg(test)]
mod record;
#[cfg(test)]
mod table;

#[cfg(test)]
mod clients {
    use std::path::{Path, PathBuf};

    use crate::lead::{Led, replay};
    use crate::record::record;
    use crate::table::{CLIENTS, Client, SILENT};

    /// With this in the environment, what clients send becomes the seeds.
    const RECORD: &str = "TAMBAT_RECORD_SEEDS";

    fn seed(client: &Client) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(client.seeds).join(client.name)
    }

    /// What is told of it in the end; one that is silent waits.
    fn told(client: &Client) -> Led {
        if client.told == SILENT { Led::Waiting } else { Led::Over(client.told.to_owned()) }
    }

    /// The same is told however what was sent is cut, and nothing by less than all of it.
    fn check(client: &Client, turns: &[Vec<u8>]) {
        let longest = turns.iter().map(Vec::len).max().unwrap_or_default();
        for at_a_time in 1..=longest.max(1) {
            assert_eq!(replay(turns, at_a_time), told(client), "{}: {at_a_time}", client.name);
        }
        let Some((last, before)) = turns.split_last() else { return };
        let parts = (0..=last.len()).map(|end| replay(&[before, &[last[..end].to_vec()]].concat(), end.max(1)));
        let whole = told(client);
        assert!(parts.into_iter().all(|told| told == whole || told == Led::Waiting), "{}", client.name);
    }

    fn fresh(name: &str) {
        let client = CLIENTS.iter().find(|client| client.name == name).unwrap();
        let (turns, output) = record(client);
        assert!(output.contains(client.says), "{name} says:\n{output}");
        check(client, &turns);
        if std::env::var_os(RECORD).is_some() {
            std::fs::write(seed(client), turns.concat()).unwrap();
        }
    }

    macro_rules! fresh {
        ($($test:ident: $name:literal,)*) => {
            const FRESH: &[&str] = &[$($name),*];
            $(#[test] fn $test() { fresh($name); })*
        };
    }

    fresh! {
        openssl: "openssl",
        openssl_without_a_name: "openssl-noservername",
        openssl_1_2: "openssl-tls1_2",
        openssl_postgres: "openssl-postgres",
        openssl_xmpp: "openssl-xmpp",
        openssl_xmpp_server: "openssl-xmpp-server",
        curl_https: "curl-https",
        curl_http: "curl-http",
        curl_http2: "curl-http2",
        curl_smtp_waits: "curl-smtp",
        python_ssl: "python-ssl",
        go: "go",
        psql: "psql",
        psql_in_clear: "psql-clear",
        psycopg: "psycopg",
        psycopg_direct: "psycopg-direct",
        asyncpg: "asyncpg",
        slixmpp: "slixmpp",
        ejabberd_to_another_server: "ejabberd",
        openssh: "ssh",
        mosquitto_tls: "mosquitto-tls",
        mosquitto_in_clear: "mosquitto-clear",
        redis_cli_tls: "redis-tls",
        redis_cli_in_clear: "redis-clear",
    }

    #[test]
    fn every_client_of_the_table_is_started() {
        let table: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
        assert_eq!(table, FRESH);
    }

    #[test]
    fn what_they_once_sent_is_judged_as_what_they_send_today() {
        for client in CLIENTS {
            let sent = std::fs::read(seed(client)).unwrap_or_else(|error| panic!("{}: {error}", client.name));
            assert_eq!(replay(&[sent], 1), told(client), "{}", client.name);
        }
    }
}
