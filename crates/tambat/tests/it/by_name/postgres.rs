//! Two PostgreSQL servers behind one address: psql, psycopg (whose libpq is newer than psql's) and asyncpg.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{NAMES, Stage};
use crate::support::{LIMIT, Output, Stopwatch, programs, until};

/// `SSLRequest` and `GSSENCRequest` (PostgreSQL's documents, "Message Formats").
const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSSENC_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// A `CancelRequest` of a session that nobody has.
const CANCEL_REQUEST: &[u8] = &[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 0, 0, 0, 2];

/// A query that lasts longer than any test.
const SLEEP: &str = "select pg_sleep(300)";

/// How many wait in such a query.
const SLEEPERS: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";

/// Two servers, each with its name as `cluster_name`, with TLS handled like this.
fn stage(tls: &str) -> Stage {
    let bin = programs::postgres();
    // PostgreSQL refuses to run as root.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let user = if is_root { "setpriv --reuid=postgres --regid=postgres --clear-groups " } else { "" };
    let ssl = if tls == "passthrough" { "on" } else { "off" };
    let stage = Stage::new(|name| {
        format!(
            "[processes.db]\n\
             command = \"{user}{}/postgres -D data -p $PORT -h 127.0.0.1 -k '' -F -c cluster_name={name} -c ssl={ssl}\"\n\
             protocol = \"postgres\"\nlisten = \"127.0.0.1:0\"\nhosts = \"{name}.example\"\ntls = \"{tls}\"\n\
             stop = {{ signal = \"INT\", grace = \"20s\" }}\n",
            bin.display()
        )
    });
    // That user must get through to its data.
    std::fs::set_permissions(stage.apps.dir.home_path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    for (name, member) in NAMES.iter().zip(&stage.members) {
        let data: PathBuf = member.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let own = |what: &str| {
            if is_root {
                member.program("chown", &["-R", "postgres:postgres", what]).must_be(0);
            }
        };
        own("data");
        let initdb = "initdb -D data -A trust -U app -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions";
        member.program("/bin/sh", &["-c", &format!("exec {user}{}/{initdb}", bin.display())]).must_be(0);
        let pair = stage.ca.signs(&[&format!("{name}.example")]);
        std::fs::write(data.join("server.crt"), pair.chain).unwrap();
        std::fs::write(data.join("server.key"), pair.key).unwrap();
        std::fs::set_permissions(data.join("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        own("data");
    }
    stage
}

fn connection(at: SocketAddr, how: &str) -> String {
    format!("port={} user=app dbname=postgres sslrootcert=ca.pem {how}", at.port())
}

/// What psql says to this.
fn psql(stage: &Stage, at: SocketAddr, how: &str, query: &str) -> Output {
    stage.run("psql", &["-XAtwq", "-v", "ON_ERROR_STOP=1", "-c", query, &connection(at, how)])
}

fn sleepers(stage: &Stage, at: SocketAddr, name: &str) -> String {
    psql(stage, at, &format!("host={name}.example sslmode=verify-full"), SLEEPERS).must_be(0).stdout.trim().to_owned()
}

/// A psql that waits for this query.
struct Asking(Child);

impl Asking {
    fn start(stage: &Stage, at: SocketAddr, name: &str, query: &str) -> Self {
        let how = connection(at, &format!("host={name}.example sslmode=verify-full"));
        let mut command = stage.client("psql", &["-XAtwq", "-c", query, &how]);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Types Ctrl-C; its exit code, and what it said on both streams.
    fn interrupted(mut self) -> (Option<i32>, String) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGINT).unwrap();
        let status = until("the end of psql", || self.0.try_wait().unwrap());
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What comes back for these bytes, until so many are there or the end.
fn answer(stream: &mut TcpStream, bytes: &[u8], count: u64) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    let mut back = Vec::new();
    stream.take(count).read_to_end(&mut back).unwrap();
    back
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

#[test]
fn psql_reaches_the_one_that_it_names_and_is_told_what_to_do_otherwise() {
    let stage = stage("terminate");
    let (mut running, at) = stage.serve("db");
    for name in NAMES {
        for how in ["sslmode=require", "sslmode=verify-full", "sslmode=prefer", "sslmode=allow", "gssencmode=prefer"] {
            let said = psql(&stage, at, &format!("host={name}.example {how}"), "show cluster_name");
            assert_eq!(said.must_be(0).stdout, format!("{name}\n"), "{how}");
        }
    }
    let no_tls = "FATAL:  tambat: servers are told apart by the name in TLS here, and this connection has no TLS\n\
                  HINT:  Connect with sslmode=require, and to the host by its name.";
    let no_name = "FATAL:  tambat: servers are told apart by the name in TLS here, and this connection names none\n\
                   HINT:  Connect to the host by its name, not by its address";
    let nobody = "FATAL:  tambat: no server here answers to the name \"nope.example\"\n\
                  HINT:  Look at the host of the connection, and at `hosts` of the server.";
    for (how, says) in [
        ("host=one.example sslmode=disable", no_tls),
        ("host=127.0.0.1 sslmode=require", no_name),
        ("host=one.example sslmode=require sslsni=0", no_name),
        ("host=nope.example sslmode=require", nobody),
        ("host=one.example sslmode=require channel_binding=require", "channel binding required"),
        ("host=one.example gssencmode=require", "GSSAPI encryption required but was impossible"),
    ] {
        let told = psql(&stage, at, how, "show cluster_name").must_be(2);
        assert!(told.stderr.contains(says), "{how}: {told:?}");
    }
    // psql asks for GSSAPI only with credentials; whoever does is told no, and goes on with TLS.
    let mut stream = connect(at);
    assert_eq!(answer(&mut stream, GSSENC_REQUEST, 1), b"N");
    assert_eq!(answer(&mut stream, SSL_REQUEST, 1), b"S");
    // It does not go on, and has ten seconds for that, of which the end waits for one.
    let begun = Stopwatch::begin();
    assert_eq!(running.stop(), 0);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn ctrl_c_in_psql_ends_the_query_of_its_own_session() {
    let stage = stage("terminate");
    let (mut running, at) = stage.serve("db");
    let [one, other, two] = ["one", "one", "two"].map(|name| Asking::start(&stage, at, name, SLEEP));
    let are = |name: &str, count: &str| {
        until(&format!("{count} queries of {name}"), || (sleepers(&stage, at, name) == count).then_some(()));
    };
    are("one", "2");
    are("two", "1");
    for (asking, left) in [(one, ["1", "1"]), (two, ["1", "0"]), (other, ["0", "0"])] {
        let (code, said) = asking.interrupted();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("ERROR:  canceling statement due to user request"), "{said}");
        assert_eq!(NAMES.map(|name| sleepers(&stage, at, name)), left);
    }
    // A key that no session has: closed without a word, as PostgreSQL does it.
    assert_eq!(answer(&mut connect(at), CANCEL_REQUEST, 1), b"");
    assert_eq!(running.stop(), 0);
}

/// The clients of Python, with what this part of the script does.
fn python(stage: &Stage, at: SocketAddr, part: &str) -> Vec<String> {
    let python = programs::postgres_py();
    let script = programs::repository().join("crates/tambat/tests/it/by_name/databases.py");
    let args = [script.to_str().unwrap(), &at.port().to_string(), part];
    stage.run(python.to_str().unwrap(), &args).must_be(0).stdout.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn psycopg_reaches_and_cancels_with_an_sslrequest_and_with_direct_tls() {
    let stage = stage("terminate");
    let (mut running, at) = stage.serve("db");
    let each = ["one", "cancelled in TLS", "cancelled in plain", "two", "cancelled in TLS", "cancelled in plain"];
    let expected = [&each[..], &each, &["no server here answers to the name \"nope.example\""]].concat();
    assert_eq!(python(&stage, at, "psycopg"), expected);
    assert_eq!(running.stop(), 0);
}

#[test]
fn asyncpg_reaches_and_cancels_with_an_sslrequest_and_with_direct_tls() {
    let stage = stage("terminate");
    let (mut running, at) = stage.serve("db");
    let each = ["one", "timed out", "nothing runs", "two", "timed out", "nothing runs"];
    let refused = ["this connection has no TLS", "this connection names none", "no application protocol"];
    assert_eq!(python(&stage, at, "asyncpg"), [&each[..], &each, &refused].concat());
    assert_eq!(running.stop(), 0);
}

#[test]
fn tls_of_the_servers_passes_through_and_so_do_cancels_inside_of_it() {
    let stage = stage("passthrough");
    let (mut running, at) = stage.serve("db");
    for name in NAMES {
        // The server's own certificate, which is for this name only.
        let said = psql(&stage, at, &format!("host={name}.example sslmode=verify-full"), "show cluster_name");
        assert_eq!(said.must_be(0).stdout, format!("{name}\n"));
    }
    for (how, says) in [
        ("host=one.example sslmode=disable", "this connection has no TLS\nHINT:  Connect with sslmode=require"),
        ("host=nope.example sslmode=require", "unrecognized name"),
        ("host=127.0.0.1 sslmode=require", "unrecognized name"),
    ] {
        let told = psql(&stage, at, how, "show cluster_name").must_be(2);
        assert!(told.stderr.contains(says), "{how}: {told:?}");
    }
    // psql 15 sends its cancel in plain, and nobody can say whose it is.
    let mut tables = (0..).map(|nth| format!("went_on_{nth}"));
    let (asking, table) = until("a query that is seen before it is over", || {
        let table = tables.next()?;
        let mut asking = Asking::start(&stage, at, "one", &format!("select pg_sleep(4); create table {table} ()"));
        while asking.0.try_wait().unwrap().is_none() {
            if sleepers(&stage, at, "one") == "1" {
                return Some((asking, table));
            }
        }
        None
    });
    let (code, said) = asking.interrupted();
    // It shows no result after a Ctrl-C, whatever became of the query.
    assert_eq!((code, said.as_str()), (Some(1), "Cancel request sent\n"));
    let look = format!("select to_regclass('{table}')");
    let went_on = psql(&stage, at, "host=one.example sslmode=verify-full", &look);
    assert_eq!(went_on.must_be(0).stdout, format!("{table}\n"));
    assert_eq!(answer(&mut connect(at), CANCEL_REQUEST, 1), b"");
    // libpq 17 and later send it within TLS, to the same name.
    let expected = ["one", "cancelled in TLS", "two", "cancelled in TLS"];
    assert_eq!(python(&stage, at, "passthrough"), expected);
    assert_eq!(running.stop(), 0);
}
