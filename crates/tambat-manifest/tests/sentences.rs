//! Every sentence that a reader of these files may meet, as it is shown.
#![expect(clippy::too_many_lines, reason = "a table of sentences is as long as it has sentences")]

use std::path::Path;

use insta::assert_snapshot;
use tambat_manifest::{Diagnostic, Files, Text};

/// What is said of a manifest.
fn manifest(text: &str) -> String {
    both(Some(text), None)
}

/// What is said of a Procfile.
fn procfile(text: &str) -> String {
    both(None, Some(text))
}

/// What is said of both together.
fn both(manifest: Option<&str>, procfile: Option<&str>) -> String {
    let files = Files {
        manifest: manifest.map(|text| Text::new("tambat.toml", text)),
        procfile: procfile.map(|text| Text::new("Procfile", text)),
    };
    match files.plan(Path::new("/srv/shop")) {
        Ok(loaded) => shown(&loaded.warnings),
        Err(diagnostics) => shown(&diagnostics),
    }
}

/// What is said of a `.env` file when the shell has only `HOME`.
fn dotenv(text: &str) -> String {
    let shell = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    match tambat_manifest::dotenv::parse(&Text::new(".env", text), &shell) {
        Ok(file) => shown(&file.warnings),
        Err(diagnostics) => shown(&diagnostics),
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    let all = diagnostics.iter().map(|d| d.render(false)).collect::<Vec<_>>().join("\n\n");
    for line in all.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    all
}

#[test]
fn unknown_keys() {
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\nprotcol = \"http\"\n"), @r#"
    error: unknown key `protcol` in `[processes.web]`
     --> tambat.toml:3:1
      |
    3 | protcol = "http"
      | ^^^^^^^
      |
      = help: did you mean `protocol`?
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\nbuild = \"make\"\n"), @r#"
    error: unknown key `build` in `[processes.web]`
     --> tambat.toml:3:1
      |
    3 | build = "make"
      | ^^^^^
      |
      = help: `build` stands at the top
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\n[routers]\nworkers = 2\n"), @r#"
    error: unknown key `routers` at the top
     --> tambat.toml:3:2
      |
    3 | [routers]
      |  ^^^^^^^
      |
      = help: did you mean `router`?
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\nready = { timeout = \"5s\" }\n"), @r#"
    error: unknown key `timeout` in `ready`
     --> tambat.toml:3:11
      |
    3 | ready = { timeout = "5s" }
      |           ^^^^^^^
      |
      = help: known here: path, within
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\nports = { a = { protcol = \"tcp\" } }\n"), @r#"
    error: unknown key `protcol` in the port `a`
     --> tambat.toml:3:17
      |
    3 | ports = { a = { protcol = "tcp" } }
      |                 ^^^^^^^
      |
      = help: did you mean `protocol`?
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\n[resources.db]\nuri = \"redis://h\"\n"), @r#"
    error: unknown key `uri` in `[resources.db]`
     --> tambat.toml:4:1
      |
    4 | uri = "redis://h"
      | ^^^
      |
      = help: did you mean `url`?
    "#);
}

#[test]
fn wrong_types() {
    assert_snapshot!(manifest("processes = 1\n"), @r#"
    error: expected a table, found a number
     --> tambat.toml:1:13
      |
    1 | processes = 1
      |             ^
    "#);
    assert_snapshot!(manifest("[[processes]]\nname = \"web\"\n"), @r#"
    error: expected a table, found a list of tables
     --> tambat.toml:1:1
      |
    1 | [[processes]]
      | ^^^^^^^^^^^^^
    "#);
    assert_snapshot!(manifest("processes.web = \"python app.py\"\n"), @r#"
    error: expected a table, found a string
     --> tambat.toml:1:17
      |
    1 | processes.web = "python app.py"
      |                 ^^^^^^^^^^^^^^^
    "#);
    let wrong = |line: &str| manifest(&format!("[processes.web]\ncommand = \"x\"\n{line}\n"));
    assert_snapshot!(manifest("[processes.web]\ncommand = 3\n"), @r#"
    error: expected a string, found a number
     --> tambat.toml:2:11
      |
    2 | command = 3
      |           ^
      |
      = help: with quotes: command = "3"
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = [\"a\", \"b\"]\n"), @r#"
    error: expected a string, found a list
     --> tambat.toml:2:11
      |
    2 | command = ["a", "b"]
      |           ^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("port = \"5000\""), @r#"
    error: expected a number from 1 to 65535, found a string
     --> tambat.toml:3:8
      |
    3 | port = "5000"
      |        ^^^^^^
      |
      = help: without quotes: port = 5000
    "#);
    assert_snapshot!(wrong("port = 50.5"), @r#"
    error: expected a number from 1 to 65535, found a number with a fraction
     --> tambat.toml:3:8
      |
    3 | port = 50.5
      |        ^^^^
    "#);
    assert_snapshot!(wrong("instances = -1"), @r#"
    error: expected a number from 0 to 1000, found -1
     --> tambat.toml:3:13
      |
    3 | instances = -1
      |             ^^
    "#);
    assert_snapshot!(wrong("stateful = \"true\""), @r#"
    error: expected true or false, found a string
     --> tambat.toml:3:12
      |
    3 | stateful = "true"
      |            ^^^^^^
      |
      = help: without quotes: stateful = true
    "#);
    assert_snapshot!(wrong("expose = 1979-05-27"), @r#"
    error: expected true or false, found a date
     --> tambat.toml:3:10
      |
    3 | expose = 1979-05-27
      |          ^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("uses = \"api\""), @r#"
    error: expected a list of strings or a table, found a string
     --> tambat.toml:3:8
      |
    3 | uses = "api"
      |        ^^^^^
      |
      = help: as a list: uses = ["api"]
    "#);
    assert_snapshot!(wrong("uses = [1]"), @r#"
    error: expected a string, found a number
     --> tambat.toml:3:9
      |
    3 | uses = [1]
      |         ^
      |
      = help: with quotes: "1"
    "#);
    assert_snapshot!(wrong("uses = true"), @r#"
    error: expected a list of strings or a table, found a boolean
     --> tambat.toml:3:8
      |
    3 | uses = true
      |        ^^^^
    "#);
    assert_snapshot!(wrong("env = { PORT_COUNT = 3 }"), @r#"
    error: expected a string, found a number
     --> tambat.toml:3:22
      |
    3 | env = { PORT_COUNT = 3 }
      |                      ^
      |
      = help: with quotes: PORT_COUNT = "3"
    "#);
    assert_snapshot!(wrong("env = [\"A=1\"]"), @r#"
    error: expected a table, found a list
     --> tambat.toml:3:7
      |
    3 | env = ["A=1"]
      |       ^^^^^^^
    "#);
    assert_snapshot!(wrong("ports = { admin = 9000 }"), @r#"
    error: expected a protocol such as "http", or a table, found a number
     --> tambat.toml:3:19
      |
    3 | ports = { admin = 9000 }
      |                   ^^^^
    "#);
    assert_snapshot!(wrong("ready = \"60s\""), @r#"
    error: expected a table, found a string
     --> tambat.toml:3:9
      |
    3 | ready = "60s"
      |         ^^^^^
    "#);
}

#[test]
fn names_and_paths_that_cannot_be_used() {
    let wrong = |line: &str| manifest(&format!("[processes.web]\ncommand = \"x\"\n{line}\n"));
    assert_snapshot!(wrong("hosts = [\"shop.example.com\", \"http://shop.example.com:8080/\"]"), @r#"
    error: `http://shop.example.com:8080/` is not a hostname: write it without
           scheme, port and path: shop.example.com
     --> tambat.toml:3:30
      |
    3 | hosts = ["shop.example.com", "http://shop.example.com:8080/"]
      |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: did you mean "shop.example.com"?
    "#);
    assert_snapshot!(wrong("hosts = \"b\u{fc}cher.example\""), @r#"
    error: `bücher.example` is not a hostname: write it in its ASCII form, which
           begins with xn--
     --> tambat.toml:3:9
      |
    3 | hosts = "bücher.example"
      |         ^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("hosts = [\"shop.*.com\"]"), @r#"
    error: `shop.*.com` is not a hostname: a `*` may only stand first, before a dot,
           or alone
     --> tambat.toml:3:10
      |
    3 | hosts = ["shop.*.com"]
      |          ^^^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("hosts = [\"shop.example\", \"Shop.example.\"]"), @r#"
    error: shop.example is there twice
     --> tambat.toml:3:26
      |
    3 | hosts = ["shop.example", "Shop.example."]
      |                          ^^^^^^^^^^^^^^^
      |
      = help: keep one of the two
    "#);
    assert_snapshot!(wrong("hosts = 1"), @r#"
    error: expected a string or a list of strings, found a number
     --> tambat.toml:3:9
      |
    3 | hosts = 1
      |         ^
    "#);
    assert_snapshot!(wrong("hosts = [1]"), @r#"
    error: expected a string, found a number
     --> tambat.toml:3:10
      |
    3 | hosts = [1]
      |          ^
      |
      = help: with quotes: "1"
    "#);
    assert_snapshot!(wrong("path = \"api\""), @r#"
    error: `api` is not a path prefix: it begins with `/`
     --> tambat.toml:3:8
      |
    3 | path = "api"
      |        ^^^^^
      |
      = help: path = "/api"
    "#);
    assert_snapshot!(wrong("path = \"/a/../b\""), @r#"
    error: `/a/../b` is not a path prefix: it has no `.`, `..` or empty segments
     --> tambat.toml:3:8
      |
    3 | path = "/a/../b"
      |        ^^^^^^^^^
    "#);
    assert_snapshot!(wrong("path = \"/caf%65\""), @r#"
    error: `/caf%65` is not a path prefix: `%` stands before two hexadecimal digits,
           and only for what has to be written so
     --> tambat.toml:3:8
      |
    3 | path = "/caf%65"
      |        ^^^^^^^^^
    "#);
    assert_snapshot!(wrong("strip_path = \"true\"\npath = \"/x\""), @r#"
    error: expected true or false, found a string
     --> tambat.toml:3:14
      |
    3 | strip_path = "true"
      |              ^^^^^^
      |
      = help: without quotes: strip_path = true
    "#);
    assert_snapshot!(wrong("strip_path = true"), @r#"
    error: `web` has no `path`, so `strip_path` has nothing to remove
     --> tambat.toml:3:1
      |
    3 | strip_path = true
      | ^^^^^^^^^^^^^^^^^
      |
      = help: path = "/api", or leave out `strip_path`
    "#);
    assert_snapshot!(wrong("ports = { a = { protocol = \"http\", host = \"x.example\" } }"), @r#"
    error: unknown key `host` in the port `a`
     --> tambat.toml:3:36
      |
    3 | ports = { a = { protocol = "http", host = "x.example" } }
      |                                    ^^^^
      |
      = help: did you mean `hosts`?
    "#);
    assert_snapshot!(wrong("ports = { a = { protocol = \"tcp\", hosts = \"x.example\" } }"), @r#"
    error: the port `a` of `web` speaks tcp and has no `listen`, so `hosts` says
           nothing
     --> tambat.toml:3:11
      |
    3 | ports = { a = { protocol = "tcp", hosts = "x.example" } }
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: listen = "0.0.0.0:…"; only names for http and h2c have listeners that
              all share
    "#);
}

#[test]
fn names_that_two_claim() {
    let api = |lines: &str| {
        manifest(&format!(
            "[processes.web]\ncommand = \"x\"\nhosts = [\"a.example\", \"b.example\"]\n\n[processes.api]\ncommand = \"y\"\n{lines}\n"
        ))
    };
    assert_snapshot!(api("protocol = \"http\"\nhosts = [\"c.example\", \"b.example\"]"), @r#"
    error: `web` and `api` both answer at b.example
     --> tambat.toml:8:23
      |
    3 | hosts = ["a.example", "b.example"]
      |                       -----------
    ...
    8 | hosts = ["c.example", "b.example"]
      |                       ^^^^^^^^^^^
      |
      = help: give one of them another host, or a `path` of its own
    "#);
    assert_snapshot!(api("protocol = \"http\"\nhosts = \"web.shop.localhost\""), @r#"
    error: web.shop.localhost is the name that `web` has on this machine
     --> tambat.toml:8:9
      |
    1 | [processes.web]
      |            ---
    ...
    8 | hosts = "web.shop.localhost"
      |         ^^^^^^^^^^^^^^^^^^^^
      |
      = help: remove it, or choose another
    "#);
    assert_snapshot!(api("ports = { main = \"http\", admin = { protocol = \"http\", hosts = \"b.example\" } }"), @r#"
    error: `web` and `api:admin` both answer at b.example
     --> tambat.toml:7:63
      |
    3 | ...xample", "b.example"]
      |             -----------
    ...
    7 | ...n = "http", admin = { protocol = "http", hosts = "b.example" } }
      |                                                     ^^^^^^^^^^^
      |
      = help: give one of them another host, or a `path` of its own
    "#);
    assert_snapshot!(api("protocol = \"redis\"\nhosts = \"c.example\""), @r#"
    error: `api` speaks redis and has no `listen`, so `hosts` says nothing
     --> tambat.toml:8:1
      |
    8 | hosts = "c.example"
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: listen = "0.0.0.0:…"; only names for http and h2c have listeners that
              all share
    "#);
    let paths = "[processes.api]\ncommand = \"x\"\nprotocol = \"http\"\npath = \"/api\"\n\n[processes.v2]\ncommand = \"y\"\nprotocol = \"http\"\npath = \"/api\"\n";
    assert_snapshot!(manifest(paths), @r#"
    error: `api` and `v2` both answer at shop.localhost/api
     --> tambat.toml:9:1
      |
    4 | path = "/api"
      | -------------
    ...
    9 | path = "/api"
      | ^^^^^^^^^^^^^
      |
      = help: give one of them another `path`, or `hosts` of its own
    "#);
    let twins = "[processes.my_api]\ncommand = \"x\"\nprotocol = \"http\"\n[processes.my-api]\ncommand = \"y\"\nprotocol = \"http\"\n";
    assert_snapshot!(manifest(twins), @r#"
    error: `my_api` and `my-api` would both be my-api.shop.localhost
     --> tambat.toml:4:12
      |
    1 | [processes.my_api]
      |            ------
    ...
    4 | [processes.my-api]
      |            ^^^^^^
      |
      = help: give one of them another name

    warning: `my_api` cannot stand in a hostname, which takes letters, digits and
             inner `-`
     --> tambat.toml:1:12
      |
    1 | [processes.my_api]
      |            ^^^^^^
      |
      = help: there it is `my-api`; call it so, and it has one name everywhere
    "#);
}

#[test]
fn rules_for_requests_that_cannot_be_used() {
    let wrong = |line: &str| manifest(&format!("[processes.web]\ncommand = \"x\"\n{line}\n"));
    assert_snapshot!(wrong("timeouts = { first_bite = \"1s\" }"), @r#"
    error: unknown key `first_bite` in `timeouts`
     --> tambat.toml:3:14
      |
    3 | timeouts = { first_bite = "1s" }
      |              ^^^^^^^^^^
      |
      = help: did you mean `first_byte`?
    "#);
    assert_snapshot!(wrong("timeouts = { wait = 30 }"), @r#"
    error: expected a duration such as "30s", found a number
     --> tambat.toml:3:21
      |
    3 | timeouts = { wait = 30 }
      |                     ^^
      |
      = help: with its unit: wait = "30s"
    "#);
    assert_snapshot!(wrong("max_body = \"10M\""), @r#"
    error: `M` is not a unit of size known here: it is B, KiB, MiB, GiB, kB, MB or
           GB
     --> tambat.toml:3:12
      |
    3 | max_body = "10M"
      |            ^^^^^
    "#);
    assert_snapshot!(wrong("max_body = -1"), @r#"
    error: expected a size such as "10MiB", found -1
     --> tambat.toml:3:12
      |
    3 | max_body = -1
      |            ^^
    "#);
    assert_snapshot!(wrong("max_body = true"), @r#"
    error: expected a size such as "10MiB", found a boolean
     --> tambat.toml:3:12
      |
    3 | max_body = true
      |            ^^^^
    "#);
    assert_snapshot!(wrong("headers = [\"X-A: b\"]"), @r#"
    error: expected a table, found a list
     --> tambat.toml:3:11
      |
    3 | headers = ["X-A: b"]
      |           ^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("headers = { \"X A\" = \"b\" }"), @r#"
    error: `X A` is not the name of a field: it takes letters, digits and
           !#$%&'*+-.^_`|~, 128 at most
     --> tambat.toml:3:13
      |
    3 | headers = { "X A" = "b" }
      |             ^^^^^
    "#);
    assert_snapshot!(wrong("headers = { Content-Length = \"0\" }"), @r#"
    error: `Content-Length` cannot be set: it says where a message ends or what
           becomes of its connection
     --> tambat.toml:3:13
      |
    3 | headers = { Content-Length = "0" }
      |             ^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("headers = { Via = \"me\" }"), @r#"
    error: `Via` cannot be set: tambat writes it itself
     --> tambat.toml:3:13
      |
    3 | headers = { Via = "me" }
      |             ^^^
    "#);
    assert_snapshot!(wrong("headers = { X-A = \"a\\r\\nSet-Cookie: b\" }"), @r#"
    error: the value of a field takes printable ASCII, blanks only inside, 4096 at
           most: nothing that would end it
     --> tambat.toml:3:19
      |
    3 | headers = { X-A = "a\r\nSet-Cookie: b" }
      |                   ^^^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("headers = { X-A = 1 }"), @r#"
    error: expected a string, found a number
     --> tambat.toml:3:19
      |
    3 | headers = { X-A = 1 }
      |                   ^
      |
      = help: with quotes: X-A = "1"
    "#);
    assert_snapshot!(wrong("headers = { X-A = \"1\", x-a = \"2\" }"), @r#"
    error: the field `x-a` is there twice: names of fields do not tell case
     --> tambat.toml:3:24
      |
    3 | headers = { X-A = "1", x-a = "2" }
      |                        ^^^
      |
      = help: keep one of the two
    "#);
    assert_snapshot!(wrong("sticky = \"a=b\""), @r#"
    error: `a=b` is not the name of a cookie: it takes letters, digits and
           !#$%&'*+-.^_`|~, 128 at most
     --> tambat.toml:3:10
      |
    3 | sticky = "a=b"
      |          ^^^^^
    "#);
    assert_snapshot!(wrong("sticky = 1"), @r#"
    error: expected true, false or a string, found a number
     --> tambat.toml:3:10
      |
    3 | sticky = 1
      |          ^
    "#);
    assert_snapshot!(wrong("balance = \"least\""), @r#"
    error: `balance` takes one of "round-robin", "least-in-flight", "source-hash",
           not "least"
     --> tambat.toml:3:11
      |
    3 | balance = "least"
      |           ^^^^^^^
    "#);
    assert_snapshot!(wrong("max_in_flight = 0"), @r#"
    error: expected a number from 1 up, found 0
     --> tambat.toml:3:17
      |
    3 | max_in_flight = 0
      |                 ^
    "#);
    assert_snapshot!(wrong("queue = \"50\""), @r#"
    error: expected a number from 1 up, found a string
     --> tambat.toml:3:9
      |
    3 | queue = "50"
      |         ^^^^
      |
      = help: without quotes: queue = 50
    "#);
    assert_snapshot!(wrong("health = \"/healthz\""), @r#"
    error: expected a table, found a string
     --> tambat.toml:3:10
      |
    3 | health = "/healthz"
      |          ^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("health = { path = \"healthz\", every = \"1ms\", up = 0 }"), @r#"
    error: a path begins with `/`
     --> tambat.toml:3:19
      |
    3 | health = { path = "healthz", every = "1ms", up = 0 }
      |                   ^^^^^^^^^
      |
      = help: path = "/healthz"

    error: `every` is at least 50 ms
     --> tambat.toml:3:38
      |
    3 | health = { path = "healthz", every = "1ms", up = 0 }
      |                                      ^^^^^

    error: expected a number from 1 to 100, found 0
     --> tambat.toml:3:50
      |
    3 | health = { path = "healthz", every = "1ms", up = 0 }
      |                                                  ^
    "#);
    assert_snapshot!(wrong("protocol = \"tcp\"\nsticky = true\nhealth = { path = \"/x\" }"), @r#"
    error: `web` does not speak http, so `sticky` says nothing
     --> tambat.toml:4:1
      |
    4 | sticky = true
      | ^^^^^^^^^^^^^
      |
      = help: leave it out, or say protocol = "http" if that is what it speaks

    error: `web` does not speak http on its PORT, so `health` has no path to ask
     --> tambat.toml:5:1
      |
    5 | health = { path = "/x" }
      | ^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: leave it out, or say protocol = "http" if that is what it speaks
    "#);
}

#[test]
fn rules_for_the_router_that_cannot_be_used() {
    let wrong = |lines: &str| manifest(&format!("[processes.web]\ncommand = \"x\"\n[router]\n{lines}\n"));
    assert_snapshot!(wrong("worker = 2"), @r#"
    error: unknown key `worker` in `[router]`
     --> tambat.toml:4:1
      |
    4 | worker = 2
      | ^^^^^^
      |
      = help: did you mean `workers`?
    "#);
    assert_snapshot!(wrong("workers = 0"), @r#"
    error: expected a number from 1 to 256, found 0
     --> tambat.toml:4:11
      |
    4 | workers = 0
      |           ^
    "#);
    assert_snapshot!(wrong("trusted = [\"10.0.0.1/8\", \"lan\"]"), @r#"
    error: `10.0.0.1/8` is no network: bits of the address are set behind the
           length: 10.0.0.0/8, not 10.0.0.1/8
     --> tambat.toml:4:12
      |
    4 | trusted = ["10.0.0.1/8", "lan"]
      |            ^^^^^^^^^^^^

    error: `lan` is no network: write an address, or an address and a length:
           10.0.0.0/8, ::1
     --> tambat.toml:4:26
      |
    4 | trusted = ["10.0.0.1/8", "lan"]
      |                          ^^^^^
    "#);
    assert_snapshot!(wrong("proxy_protocol = \"v2\""), @r#"
    error: `v2` is no network: write an address, or an address and a length:
           10.0.0.0/8, ::1
     --> tambat.toml:4:18
      |
    4 | proxy_protocol = "v2"
      |                  ^^^^
    "#);
    assert_snapshot!(wrong("max_connections = -1"), @r#"
    error: expected a number from 1 up, found -1
     --> tambat.toml:4:19
      |
    4 | max_connections = -1
      |                   ^^
    "#);
    assert_snapshot!(wrong("access_log_format = \"json\""), @r#"
    error: nothing says where requests are written down, so their format says
           nothing
     --> tambat.toml:4:1
      |
    4 | access_log_format = "json"
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: access_log = "access.log"
    "#);
    assert_snapshot!(wrong("access_log = \"-\"\naccess_log_format = \"xml\""), @r#"
    error: `access_log_format` takes one of "json", "text", not "xml"
     --> tambat.toml:5:21
      |
    5 | access_log_format = "xml"
      |                     ^^^^^
    "#);
    assert_snapshot!(wrong("timeouts = { header = \"1s\", connect = \"0s\" }"), @r#"
    error: unknown key `header` in `timeouts` of `[router]`
     --> tambat.toml:4:14
      |
    4 | timeouts = { header = "1s", connect = "0s" }
      |              ^^^^^^
      |
      = help: did you mean `head`?

    error: `connect` must be longer than nothing
     --> tambat.toml:4:39
      |
    4 | timeouts = { header = "1s", connect = "0s" }
      |                                       ^^^^
    "#);
    assert_snapshot!(manifest("router = 2\n[processes.web]\ncommand = \"x\"\n"), @r#"
    error: expected a table, found a number
     --> tambat.toml:1:10
      |
    1 | router = 2
      |          ^
    "#);
}

#[test]
fn values_that_cannot_be_used() {
    let wrong = |line: &str| manifest(&format!("[processes.web]\ncommand = \"x\"\n{line}\n"));
    assert_snapshot!(wrong("port = 0"), @r#"
    error: expected a number from 1 to 65535, found 0
     --> tambat.toml:3:8
      |
    3 | port = 0
      |        ^
      |
      = help: without `port` it gets one by its position
    "#);
    assert_snapshot!(wrong("port = 70000"), @r#"
    error: expected a number from 1 to 65535, found 70000
     --> tambat.toml:3:8
      |
    3 | port = 70000
      |        ^^^^^
    "#);
    assert_snapshot!(wrong("instances = 1001"), @r#"
    error: expected a number from 0 to 1000, found 1001
     --> tambat.toml:3:13
      |
    3 | instances = 1001
      |             ^^^^
    "#);
    assert_snapshot!(wrong("protocol = \"htpp\""), @r#"
    error: `htpp` is not a protocol known here: it is http, h2c, redis, postgres,
           mysql, xmpp, mqtt, smtp, ssh, dns, tls, tcp (any other stream), udp (any
           other datagrams) or none
     --> tambat.toml:3:12
      |
    3 | protocol = "htpp"
      |            ^^^^^^
      |
      = help: did you mean "http"?
    "#);
    assert_snapshot!(wrong("restart = \"on_failure\""), @r#"
    error: `restart` takes one of "on-failure", "always", "never", not "on_failure"
     --> tambat.toml:3:11
      |
    3 | restart = "on_failure"
      |           ^^^^^^^^^^^^
      |
      = help: did you mean "on-failure"?
    "#);
    assert_snapshot!(wrong("owner = \"everybody\""), @r#"
    error: `owner` takes one of "tree", "any", not "everybody"
     --> tambat.toml:3:9
      |
    3 | owner = "everybody"
      |         ^^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("stop = { signal = \"SIGTREM\", grace = \"30\" }"), @r#"
    error: `signal` takes one of TERM, INT, QUIT, HUP, USR1, USR2, WINCH, KILL, not
           "SIGTREM"
     --> tambat.toml:3:19
      |
    3 | stop = { signal = "SIGTREM", grace = "30" }
      |                   ^^^^^^^^^
      |
      = help: did you mean "TERM"?

    error: a duration has a unit: "30ms", "30s", "30m" or "30h"
     --> tambat.toml:3:38
      |
    3 | stop = { signal = "SIGTREM", grace = "30" }
      |                                      ^^^^
    "#);
    assert_snapshot!(wrong("ready = { path = \"healthz\", within = 60 }"), @r#"
    error: a path begins with `/`
     --> tambat.toml:3:18
      |
    3 | ready = { path = "healthz", within = 60 }
      |                  ^^^^^^^^^
      |
      = help: path = "/healthz"

    error: expected a duration such as "60s", found a number
     --> tambat.toml:3:38
      |
    3 | ready = { path = "healthz", within = 60 }
      |                                      ^^
      |
      = help: with its unit: within = "60s"
    "#);
    assert_snapshot!(wrong("ready = { path = \"/a b\", within = \"0s\" }"), @r#"
    error: a path takes no spaces and only ASCII; others are written as %20
     --> tambat.toml:3:18
      |
    3 | ready = { path = "/a b", within = "0s" }
      |                  ^^^^^^

    error: `within` must be longer than nothing
     --> tambat.toml:3:35
      |
    3 | ready = { path = "/a b", within = "0s" }
      |                                   ^^^^
    "#);
    assert_snapshot!(wrong("timeouts = { idle = \"2 days\" }"), @r#"
    error: `days` is not a unit of time known here: it is ms, s, m or h
     --> tambat.toml:3:21
      |
    3 | timeouts = { idle = "2 days" }
      |                     ^^^^^^^^
    "#);
    assert_snapshot!(wrong("url = \"http://{hots}:{port}\""), @r#"
    error: `url` cannot be used: `{hots}` is unknown in a URL template: it knows
           {host} and {port}
     --> tambat.toml:3:7
      |
    3 | url = "http://{hots}:{port}"
      |       ^^^^^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(wrong("env = { MY-VAR = \"x\" }"), @r#"
    error: `MY-VAR` is not the name of an environment variable: it takes letters,
           digits and `_`, and does not begin with a digit
     --> tambat.toml:3:9
      |
    3 | env = { MY-VAR = "x" }
      |         ^^^^^^
    "#);
    assert_snapshot!(wrong("command = \"y\""), @r#"
    error: duplicate key
     --> tambat.toml:3:1
      |
    3 | command = "y"
      | ^^^^^^^
      |
      = help: keep one of the two
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"a\\u0000b\"\n"), @r#"
    error: neither a command line nor a variable can have a zero byte in it
     --> tambat.toml:2:11
      |
    2 | command = "a\u0000b"
      |           ^^^^^^^^^^
    "#);
    assert_snapshot!(manifest("name = \"My Shop\"\n[processes.web]\ncommand = \"x\"\n"), @r#"
    error: `My Shop` is not the name of an app: it becomes a hostname label, so it
           takes a-z, 0-9 and inner `-`, at most 63 of them
     --> tambat.toml:1:8
      |
    1 | name = "My Shop"
      |        ^^^^^^^^^
      |
      = help: name = "my-shop"
    "#);
    assert_snapshot!(manifest("build = \" \"\n[processes.\"a b\"]\ncommand = \"x\"\n"), @r#"
    error: there is nothing in these quotes
     --> tambat.toml:1:9
      |
    1 | build = " "
      |         ^^^

    error: `a b` is not the name of a process: it takes letters, digits, `_` and
           `-`, at most 63 of them
     --> tambat.toml:2:12
      |
    2 | [processes."a b"]
      |            ^^^^^
    "#);
    assert_snapshot!(wrong("ports = { a = { port = 1 } }"), @r#"
    error: nothing says what the port `a` speaks
     --> tambat.toml:3:11
      |
    3 | ports = { a = { port = 1 } }
      |           ^^^^^^^^^^^^^^^^
      |
      = help: a = { protocol = "http" }
    "#);
}

#[test]
fn what_the_plan_refuses_is_underlined_where_it_was_written() {
    assert_snapshot!(manifest(""), @r#"
    error: this app has no process
    --> tambat.toml
     = help: [processes.web]
             command = "…"
    "#);
    assert_snapshot!(manifest("[processes.web]\nport = 5000\n"), @r#"
    error: `web` has no command, here or in the Procfile
     --> tambat.toml:1:12
      |
    1 | [processes.web]
      |            ^^^
      |
      = help: command = "…"
    "#);
    let two = "[processes.web]\ncommand = \"a\"\nport = 5000\n\n[processes.api]\ncommand = \"b\"\nport = 5000\n";
    assert_snapshot!(manifest(two), @r#"
    error: `web` and `api` both ask for port 5000
     --> tambat.toml:7:1
      |
    3 | port = 5000
      | -----------
    ...
    7 | port = 5000
      | ^^^^^^^^^^^
      |
      = help: give each a port of its own
    "#);
    let uses = "[processes.web]\nuses = [\"aip\", \"cache\", \"chat:admni\"]\n[processes.chat]\ncommand = \"x\"\nports = { admin = \"http\" }\n";
    assert_snapshot!(both(Some(uses), Some("web: python app.py\napi: python api.py\ncache: redis-server\n")), @r#"
    error: there is no process or resource `aip` in this app; it has web, api,
           cache, chat
     --> tambat.toml:2:9
      |
    2 | uses = ["aip", "cache", "chat:admni"]
      |         ^^^^^
      |
      = help: did you mean `api`?

    error: `cache` is used, but nothing says what it speaks
     --> tambat.toml:2:16
      |
    2 | uses = ["aip", "cache", "chat:admni"]
      |                ^^^^^^^
      |
     ::: Procfile:3:1
      |
    3 | cache: redis-server
      | -----
      |
      = help: [processes.cache]
              protocol = "http"    # or h2c, redis, postgres, xmpp, tcp

    error: `chat` has no port `admni`; it has admin
     --> tambat.toml:2:25
      |
    2 | uses = ["aip", "cache", "chat:admni"]
      |                         ^^^^^^^^^^^^
    3 | [processes.chat]
      |            ----
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\nuses = { DB_URL = \"postgres://me:hunter2@db/shop\" }\n"), @r#"
    error: `uses` takes names, and this is a URL
     --> tambat.toml:3:19
      |
    3 | uses = { DB_URL = "postgres://me:*******@db/shop" }
      |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: [resources.NAME]
              url = "…"
              and then: uses = ["NAME"]
    "#);
    let twins = "[processes.web]\ncommand = \"x\"\nuses = [\"my-db\", \"my_db\"]\n\
        [processes.my-db]\ncommand = \"x\"\nprotocol = \"tcp\"\n[processes.my_db]\ncommand = \"x\"\nprotocol = \"tcp\"\n";
    assert_snapshot!(manifest(twins), @r#"
    error: the handles to `my-db` and `my_db` would both be MY_DB_URL
     --> tambat.toml:3:18
      |
    3 | uses = ["my-db", "my_db"]
      |         -------  ^^^^^^^
      |
      = help: uses = { MY_DB_URL = "my-db", OTHER_URL = "my_db" }

    warning: `my_db` cannot stand in a hostname, which takes letters, digits and
             inner `-`
     --> tambat.toml:7:12
      |
    7 | [processes.my_db]
      |            ^^^^^
      |
      = help: there it is `my-db`; call it so, and it has one name everywhere
    "#);
    let env = "[processes.web]\ncommand = \"x\"\nenv = { PORT = \"80\" }\n";
    assert_snapshot!(manifest(env), @r#"
    warning: `PORT` in `env` is never seen: tambat sets it itself
     --> tambat.toml:3:1
      |
    3 | env = { PORT = "80" }
      | ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: remove it
    "#);
    let redis = "[processes.cache]\ncommand = \"x\"\nprotocol = \"redis\"\ninstances = 2\n";
    assert_snapshot!(manifest(redis), @r#"
    error: `cache` is stateful: two instances on its data would destroy it
     --> tambat.toml:4:1
      |
    4 | instances = 2
      | ^^^^^^^^^^^^^
      |
      = help: instances = 1, or stateful = false if its instances share nothing
    "#);
}

#[test]
fn what_is_not_toml() {
    assert_snapshot!(both(Some("[processes.web]\ncommand = \"a\nport = 1\n"), Some("what is this\n")), @r#"
    error: this line is neither `name: command` nor a comment
     --> Procfile:1:1
      |
    1 | what is this
      | ^^^^^^^^^^^^
      |
      = help: write `name: command`, or `#` before what is only for people

    error: invalid basic string, expected `"`
     --> tambat.toml:2:13
      |
    2 | command = "a
      |             ^
    "#);
    assert_snapshot!(manifest("[processes.web]\ncommand = \"a\"\ncommand = \"b\"\n"), @r#"
    error: duplicate key
     --> tambat.toml:3:1
      |
    3 | command = "b"
      | ^^^^^^^
      |
      = help: keep one of the two
    "#);
    assert_snapshot!(manifest("[processes.web\n"), @r#"
    error: unclosed table, expected `]`
     --> tambat.toml:1:15
      |
    1 | [processes.web
      |               ^
    "#);
    assert_snapshot!(manifest("name = shop\n"), @r#"
    error: string values must be quoted, expected literal string
     --> tambat.toml:1:8
      |
    1 | name = shop
      |        ^^^^
    "#);
    assert_snapshot!(manifest("web: python app.py\n"), @r#"
    error: key with no value, expected `=`
     --> tambat.toml:1:6
      |
    1 | web: python app.py
      |      ^
    "#);
}

#[test]
fn everything_is_said_at_once() {
    let text = "nmae = \"shop\"\n[processes.web]\ncommand = 1\nuses = [\"apy\"]\n[processes.api]\nport = 0\ncommand = \"x\"\n\
        [resources.db]\nurl = \"redis://:hunter2@h:x\"\n";
    assert_snapshot!(both(Some(text), Some("worker: a\nworker: b\n???\n")), @r#"
    error: there are two processes called `worker`
     --> Procfile:2:1
      |
    1 | worker: a
      | ------ the first is here
    2 | worker: b
      | ^^^^^^
      |
      = help: give each a name of its own, or remove one of the lines

    error: this line is neither `name: command` nor a comment
     --> Procfile:3:1
      |
    3 | ???
      | ^^^
      |
      = help: write `name: command`, or `#` before what is only for people

    error: unknown key `nmae` at the top
     --> tambat.toml:1:1
      |
    1 | nmae = "shop"
      | ^^^^
      |
      = help: did you mean `name`?

    error: expected a string, found a number
     --> tambat.toml:3:11
      |
    3 | command = 1
      |           ^
      |
      = help: with quotes: command = "1"

    error: there is no process or resource `apy` in this app; it has worker, web,
           api, db
     --> tambat.toml:4:9
      |
    4 | uses = ["apy"]
      |         ^^^^^
      |
      = help: did you mean `api`?

    error: expected a number from 1 to 65535, found 0
     --> tambat.toml:6:8
      |
    6 | port = 0
      |        ^
      |
      = help: without `port` it gets one by its position

    error: `url` cannot be used: it is not a URL: unexpected character at index 19;
           a handle looks like redis://user:password@host:6379/0, with `%40` for a
           `@` in a password
     --> tambat.toml:9:7
      |
    9 | url = "redis://:*******@h:x"
      |       ^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_procfile_line_that_is_none() {
    assert_snapshot!(procfile("<<<<<<< HEAD\nweb: a\n=======\nweb: b\n>>>>>>> topic\n"), @r#"
    error: a merge left its conflict in this file
     --> Procfile:1:1
      |
    1 | <<<<<<< HEAD
      | ^^^^^^^^^^^^
    2 | web: a
    3 | =======
      | -------
    4 | web: b
    5 | >>>>>>> topic
      | -------------
      |
      = help: keep the lines of one side, and remove the lines with markers
    "#);
    assert_snapshot!(procfile("web: a\r\napi: b\r\nweb: c\r\n"), @r#"
    error: there are two processes called `web`
     --> Procfile:3:1
      |
    1 | web: a
      | --- the first is here
    2 | api: b
    3 | web: c
      | ^^^
      |
      = help: give each a name of its own, or remove one of the lines
    "#);
    assert_snapshot!(procfile("web:\n"), @r#"
    error: `web` has no command
     --> Procfile:1:1
      |
    1 | web:
      | ^^^^
      |
      = help: web: npm start
    "#);
    assert_snapshot!(procfile("web: a\n  api: b\nno colon\nbad name: c\nb\u{e9}ta: d\n: e\n"), @r#"
    error: a process begins at the start of its line
     --> Procfile:2:1
      |
    2 |   api: b
      | ^^
      |
      = help: remove the space before it; one command is one line

    error: this line is neither `name: command` nor a comment
     --> Procfile:3:1
      |
    3 | no colon
      | ^^^^^^^^
      |
      = help: write `name: command`, or `#` before what is only for people

    error: this line is neither `name: command` nor a comment
     --> Procfile:4:1
      |
    4 | bad name: c
      | ^^^^^^^^^^^
      |
      = help: write `name: command`, or `#` before what is only for people

    error: `béta` is not the name of a process: it takes letters, digits, `_` and
           `-`, at most 63 of them
     --> Procfile:5:1
      |
    5 | béta: d
      | ^^^^
      |
      = help: write `name: command`

    error: this line is neither `name: command` nor a comment
     --> Procfile:6:1
      |
    6 | : e
      | ^^^
      |
      = help: write `name: command`, or `#` before what is only for people
    "#);
    assert_snapshot!(procfile("web: a\0b\n"), @r#"
    error: a command cannot have a zero byte in it
     --> Procfile:1:7
      |
    1 | web: a␀b
      |       ^
      |
      = help: remove it
    "#);
    assert_snapshot!(procfile("# nothing yet\n\n"), @r#"
    error: this app has no process
    --> Procfile
     = help: write a line such as `web: npm start`
    "#);
    assert_snapshot!(procfile("web: a\nrelease: rake 'db:migrate'\nmy_worker: b\n"), @r#"
    warning: `release` is run once for each release, so it is not started here
     --> Procfile:2:1
      |
    2 | release: rake 'db:migrate'
      | ^^^^^^^
      |
      = help: when it is due: tambat run 'rake '\''db:migrate'\'''

    warning: `my_worker` cannot stand in a hostname, which takes letters, digits and
             inner `-`
     --> Procfile:3:1
      |
    3 | my_worker: b
      | ^^^^^^^^^
      |
      = help: there it is `my-worker`; call it so, and it has one name everywhere
    "#);
}

#[test]
fn a_dotenv_line_that_cannot_be_used_shows_no_value() {
    assert_snapshot!(dotenv("A=1\nmy-key=hunter2\n1A=hunter2\n"), @r#"
    error: `my-key` is not the name of an environment variable
     --> .env:2:1
      |
    2 | my-key=*******
      | ^^^^^^
      |
      = help: a name takes letters, digits and `_`, and does not begin with a digit

    error: `1A` is not the name of an environment variable
     --> .env:3:1
      |
    3 | 1A=*******
      | ^^
      |
      = help: a name takes letters, digits and `_`, and does not begin with a digit
    "#);
    assert_snapshot!(dotenv("hunter2\nexport hunter2\nhunter 2=hunter2\nMII/hunter2==\n"), @r#"
    error: this line is neither NAME=value nor a comment
     --> .env:1:1
      |
    1 | *******
      | ^^^^^^^
      |
      = help: write NAME=value; a value of several lines stands in quotes

    error: this line is neither NAME=value nor a comment
     --> .env:2:8
      |
    2 | export *******
      |        ^^^^^^^
      |
      = help: write NAME=value; a value of several lines stands in quotes

    error: what stands before this `=` is not the name of a variable
     --> .env:3:9
      |
    3 | ****************
      |         ^
      |
      = help: a name takes letters, digits and `_`, and does not begin with a digit

    error: what stands before this `=` is not the name of a variable
     --> .env:4:12
      |
    4 | *************
      |            ^
      |
      = help: a name takes letters, digits and `_`, and does not begin with a digit
    "#);
    assert_snapshot!(dotenv("A=\"hunter2\nB=1\n"), @r#"
    error: the quote that opens the value of `A` is never closed
     --> .env:1:3
      |
    1 | A="*******
      |   ^
      |
      = help: close it; a value that has one quote of a kind stands in quotes of the
              other kind
    "#);
    assert_snapshot!(dotenv("A='hunter2' hunter2\nB=\"hunter2\"#hunter2\n"), @r#"
    error: there is something after the quotes of `A`
     --> .env:1:13
      |
    1 | A='****************
      |             ^^^^^^^
      |
      = help: put all of the value in one pair of quotes; a comment needs a space
              before its `#`

    error: there is something after the quotes of `B`
     --> .env:2:12
      |
    2 | B="****************
      |            ^^^^^^^^
      |
      = help: put all of the value in one pair of quotes; a comment needs a space
              before its `#`
    "#);
    assert_snapshot!(dotenv("A=hunter2${B\nC=\"hunter2 ${D:+x}\"\nE=${}\n"), @r#"
    error: the `${` in `A` is never closed
     --> .env:1:10
      |
    1 | A=**********
      |          ^^
      |
      = help: write ${NAME}, or single quotes around the value

    error: this `${…}` in `C` is not understood
     --> .env:2:14
      |
    2 | C="****************
      |              ^^^^
      |
      = help: it is one of ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:?why}
              and ${NAME?why}

    error: this `${…}` in `E` is not understood
     --> .env:3:5
      |
    3 | E=***
      |     ^
      |
      = help: it is one of ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:?why}
              and ${NAME?why}
    "#);
    assert_snapshot!(dotenv("A=${B:?ask the team for it}\nC=${D?}\nE=\"hunter2\nhunter2 ${F?}\"\n"), @r#"
    error: `A` needs `B`, which is not set: ask the team for it
     --> .env:1:5
      |
    1 | A=*************************
      |     ^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: set `B` on a line before this one, or in the shell

    error: `C` needs `D`, which is not set
     --> .env:2:5
      |
    2 | C=*****
      |     ^^
      |
      = help: set `D` on a line before this one, or in the shell

    error: `E` needs `F`, which is not set
     --> .env:4:11
      |
    4 | **************
      |           ^^
      |
      = help: set `F` on a line before this one, or in the shell
    "#);
    assert_snapshot!(dotenv("A=hunter\0two\nB='hunter\0two'\n"), @r#"
    error: a variable cannot have a zero byte in it
     --> .env:1:9
      |
    1 | ************
      |         ^
      |
      = help: remove it

    error: a variable cannot have a zero byte in it
     --> .env:2:10
      |
    2 | **************
      |          ^
      |
      = help: remove it
    "#);
    assert_snapshot!(dotenv("A=${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-x}}}}}}}}}}\n"), @r#"
    error: the defaults in `A` are nested too deeply
     --> .env:1:45
      |
    1 | A=*************************************************************
      |                                             ^^^^^^^^^^
      |
      = help: give one of them a line and a name of its own
    "#);
}

#[test]
fn a_dotenv_line_that_others_read_otherwise_is_warned_about() {
    assert_snapshot!(dotenv("A=hunter2 # not foreman's\nB=hunter$two\nC=${NOBODY}/hunter2\n"), @r#"
    warning: the value of `A` ends before this `#`; foreman takes it all
     --> .env:1:11
      |
    1 | A=***********************
      |           ^
      |
      = help: quote the value if it has a `#`, or give the comment a line of its own

    warning: this `$` in `B` stands for itself; compose looks for a variable
     --> .env:2:9
      |
    2 | B=**********
      |         ^
      |
      = help: write ${NAME} for a variable, or single quotes around the value

    warning: `C` uses `NOBODY`, which is not set: it is taken as empty
     --> .env:3:5
      |
    3 | C=*****************
      |     ^^^^^^
      |
      = help: ${NOBODY:-default} gives it a default
    "#);
    assert_snapshot!(dotenv("A='b # c' # d\nB=\"$x\"\nC=a#b\nD=$5\nE=${HOME}\n"), @"");
}

#[test]
fn a_long_line_is_cut_to_what_a_terminal_shows() {
    let long = "x".repeat(200);
    assert_snapshot!(manifest(&format!("[processes.web]\ncommand = \"{long}\"\nenv = {{ A = \"{long}\", B = 2, C = \"{long}\" }}\n")), @r#"
    error: expected a string, found a number
     --> tambat.toml:3:221
      |
    3 | ...xxxxxxxxxxxxxxxxxxxxxxxxxxx", B = 2, C = "xxxxxxxxxxxxxxxxxxxxxxxxxxxx...
      |                                      ^
      |
      = help: with quotes: B = "2"
    "#);
}

#[test]
fn colour_is_there_when_asked_for_and_only_then() {
    let files = Files { manifest: None, procfile: Some(Text::new("Procfile", "???\n")) };
    let Err(found) = files.plan(Path::new("/srv/shop")) else { panic!("it is wrong") };
    assert!(!found[0].render(false).contains('\u{1b}'));
    assert!(found[0].render(true).contains("\u{1b}["));
}

#[test]
fn whom_a_process_is_told_of() {
    assert_snapshot!(manifest("[processes.web]\ncommand = \"x\"\nproxy_protocol = \"2\"\n"), @r#"
    error: `proxy_protocol` takes one of "v1", "v2", not "2"
     --> tambat.toml:3:18
      |
    3 | proxy_protocol = "2"
      |                  ^^^
      |
      = help: did you mean "v2"?
    "#);
    assert_snapshot!(manifest("[processes.w]\ncommand = \"x\"\nprotocol = \"none\"\nproxy_protocol = \"v1\"\n"), @r#"
    error: `w` speaks nothing (protocol = "none"), so nobody connects to it
     --> tambat.toml:4:1
      |
    4 | proxy_protocol = "v1"
      | ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: leave out `proxy_protocol`
    "#);
    assert_snapshot!(manifest("[processes.w]\ncommand = \"x\"\nproxy_protocol = \"v1\"\nports = { a = { protocol = \"tcp\", proxy_protocol = \"v2\" } }\n"), @r#"
    error: `proxy_protocol` of the first port of `w` is given twice, here and in
           `ports`
     --> tambat.toml:3:1
      |
    3 | proxy_protocol = "v1"
      | ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

/// What is said of two processes, the second of which has a listener at 127.0.0.1:7000.
fn at_7000(first: &str, second: &str) -> String {
    manifest(&format!(
        "[processes.one]\ncommand = \"x\"\n{first}\n[processes.two]\ncommand = \"y\"\nlisten = \"127.0.0.1:7000\"\n{second}\n"
    ))
}

#[test]
fn listeners_that_cannot_be() {
    let one = |lines: &str| manifest(&format!("[processes.web]\ncommand = \"x\"\n{lines}\n"));
    assert_snapshot!(one("listen = \"6379\""), @r#"
    error: `6379` is not an address to listen at
     --> tambat.toml:3:10
      |
    3 | listen = "6379"
      |          ^^^^^^
      |
      = help: with its host: "127.0.0.1:6379"
    "#);
    assert_snapshot!(one("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]"), @r#"
    error: 127.0.0.1:1 is there twice
     --> tambat.toml:3:26
      |
    3 | listen = ["127.0.0.1:1", "127.0.0.1:1"]
      |                          ^^^^^^^^^^^^^
      |
      = help: keep one of the two
    "#);
    assert_snapshot!(one("listen = 80"), @r#"
    error: expected a string or a list of strings, found a number
     --> tambat.toml:3:10
      |
    3 | listen = 80
      |          ^^
    "#);
    assert_snapshot!(one("listen = \"127.0.0.1:1\"\ntls = \"terminated\""), @r#"
    error: `tls` takes one of "terminate", "passthrough", "off", not "terminated"
     --> tambat.toml:4:7
      |
    4 | tls = "terminated"
      |       ^^^^^^^^^^^^
      |
      = help: did you mean "terminate"?
    "#);
    assert_snapshot!(one("tls = \"terminate\""), @r#"
    error: `web` has no `listen`, so `tls` says nothing
     --> tambat.toml:3:1
      |
    3 | tls = "terminate"
      | ^^^^^^^^^^^^^^^^^
      |
      = help: at the listeners that all names share, TLS ends here
    "#);
    assert_snapshot!(one("listen = \"127.0.0.1:1\"\ntls = \"passthrough\""), @r#"
    error: `web` speaks http without TLS, so no handshake can pass through to it
     --> tambat.toml:4:1
      |
    4 | tls = "passthrough"
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: tls = "terminate"; or protocol = "tls", if it has certificates of its
              own
    "#);
    assert_snapshot!(one("protocol = \"tls\"\nlisten = \"127.0.0.1:1\"\ntls = \"terminate\""), @r#"
    error: `web` speaks TLS itself (protocol = "tls"): if the handshake ended here,
           it would wait for another one
     --> tambat.toml:5:1
      |
    5 | tls = "terminate"
      | ^^^^^^^^^^^^^^^^^
      |
      = help: tls = "passthrough"; or, if it can do without TLS, the `protocol` that
              it speaks then
    "#);
    assert_snapshot!(one("protocol = \"mysql\"\nlisten = \"127.0.0.1:1\"\ntls = \"terminate\""), @r#"
    error: `web` speaks mysql, whose clients wait for its greeting before they begin
           with TLS: none would be heard at 127.0.0.1:1
     --> tambat.toml:5:1
      |
    5 | tls = "terminate"
      | ^^^^^^^^^^^^^^^^^
      |
      = help: leave out `tls`, and give it an address of its own; its clients and it
              agree on TLS by themselves there
    "#);
    assert_snapshot!(one("protocol = \"smtp\"\nlisten = \"127.0.0.1:587\"\ntls = \"terminate\""), @r#"
    error: clients of `web` wait for its greeting at port 587 before they begin with
           TLS: none would be heard
     --> tambat.toml:5:1
      |
    5 | tls = "terminate"
      | ^^^^^^^^^^^^^^^^^
      |
      = help: leave out `tls`: it and its clients agree on TLS by themselves
              (STARTTLS); those that begin with TLS come to port 465
    "#);
    assert_snapshot!(one("protocol = \"ssh\"\nlisten = \"127.0.0.1:1\"\ntls = \"passthrough\""), @r#"
    error: `web` speaks ssh, and greets its clients before any TLS: no handshake can
           pass through to it
     --> tambat.toml:5:1
      |
    5 | tls = "passthrough"
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: leave out `tls`; or protocol = "tls", if it begins with TLS
    "#);
    assert_snapshot!(one("protocol = \"redis\"\nlisten = \"127.0.0.1:1\"\nhosts = \"c.example\""), @r#"
    error: `web` speaks redis, which names no host in plain text, so `hosts` says
           nothing
     --> tambat.toml:5:1
      |
    5 | hosts = "c.example"
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: give it an address of its own, without `hosts`; or let its clients
              come with TLS: tls = "terminate"
    "#);
    assert_snapshot!(one("protocol = \"redis\"\nlisten = \"0.0.0.0:1\""), @r#"
    error: at 0.0.0.0:1 `web` is reached from other machines, and cannot see from
           which: Redis' protected mode would take every client for a local one
     --> tambat.toml:4:10
      |
    4 | listen = "0.0.0.0:1"
      |          ^^^^^^^^^^^
      |
      = help: expose = true, if it guards itself (a password, certificates); or
              `proxy_protocol`, if it reads that
    "#);
    assert_snapshot!(one("protocol = \"redis\"\nport = 6379\nlisten = \"0.0.0.0:6379\"\nexpose = true"), @r#"
    error: 0.0.0.0:6379 and the service port 6379 of `web` are one
     --> tambat.toml:4:1
      |
    4 | port = 6379
      | ^^^^^^^^^^^
    5 | listen = "0.0.0.0:6379"
      |          --------------
      |
      = help: without `port` it gets a service port by its position
    "#);
    assert_snapshot!(one("ports = { a = { protocol = \"udp\", listen = \"127.0.0.1:1\", tls = \"terminate\" } }"), @r#"
    error: `web:a` speaks udp, and datagrams have no TLS here
     --> tambat.toml:3:11
      |
    3 | ... { a = { protocol = "udp", listen = "127.0.0.1:1", tls = "terminate" } }
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: leave out `tls`
    "#);
    assert_snapshot!(one("max_connections = 5"), @r#"
    error: `web` has no port for streams, so `max_connections` says nothing
     --> tambat.toml:3:1
      |
    3 | max_connections = 5
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: max_in_flight = …: how many requests an instance has at a time
    "#);
}

#[test]
fn listeners_that_several_ask_for() {
    let there = "listen = \"127.0.0.1:7000\"\n";
    assert_snapshot!(at_7000(&format!("protocol = \"redis\"\n{there}"), "protocol = \"mysql\""), @r#"
    error: a client at 127.0.0.1:7000 could want `one` or `two`, and nothing that it
           begins with tells
     --> tambat.toml:8:10
      |
    4 | listen = "127.0.0.1:7000"
      |          ----------------
    ...
    8 | listen = "127.0.0.1:7000"
      |          ^^^^^^^^^^^^^^^^
      |
      = help: give each an address of its own
    "#);
    assert_snapshot!(at_7000(&format!("protocol = \"http\"\n{there}"), "protocol = \"mqtt\"\ntls = \"terminate\"\nhosts = \"mq.example\""), @r#"
    error: clients of `one` and of `two` begin in different ways, and nothing says
           that 127.0.0.1:7000 is for both
     --> tambat.toml:8:10
      |
    4 | listen = "127.0.0.1:7000"
      |          ----------------
    ...
    8 | listen = "127.0.0.1:7000"
      |          ^^^^^^^^^^^^^^^^
      |
      = help: give each an address of its own; or, in tambat.toml:
              [[router.listen]]
              address = "127.0.0.1:7000"
              peek = ["tls", "http"]
    "#);
    let redis = format!("protocol = \"redis\"\ntls = \"terminate\"\nhosts = \"a.example\"\n{there}");
    assert_snapshot!(at_7000(&redis, "protocol = \"mqtt\"\ntls = \"terminate\""), @r#"
    error: `one` and `two` are told apart at 127.0.0.1:7000 by their names, and
           `two` says none
      --> tambat.toml:10:10
       |
     6 | listen = "127.0.0.1:7000"
       |          ----------------
    ...
    10 | listen = "127.0.0.1:7000"
       |          ^^^^^^^^^^^^^^^^
       |
       = help: hosts = "…"; "*" is for all names that nobody else has
    "#);
    assert_snapshot!(at_7000(&redis, "protocol = \"mqtt\"\ntls = \"passthrough\"\nhosts = [\"b.example\", \"a.example\"]"), @r#"
    error: `one` and `two` both answer at a.example at 127.0.0.1:7000
      --> tambat.toml:13:23
       |
     5 | hosts = "a.example"
       |         -----------
    ...
    13 | hosts = ["b.example", "a.example"]
       |                       ^^^^^^^^^^^
       |
       = help: a handshake ends here or passes through: give one of them another
               host, or an address of its own
    "#);
    assert_snapshot!(at_7000("protocol = \"http\"\nlisten = \"0.0.0.0:7000\"", "protocol = \"http\""), @r#"
    error: 0.0.0.0:7000 and 127.0.0.1:7000 cannot both be listened at: one has the
           other in it
     --> tambat.toml:7:10
      |
    4 | listen = "0.0.0.0:7000"
      |          --------------
    ...
    7 | listen = "127.0.0.1:7000"
      |          ^^^^^^^^^^^^^^^^
      |
      = help: write the same address at both, or another port
    "#);
    let peeked = |lines: &str| at_7000("protocol = \"redis\"", &format!("protocol = \"http\"\n[router]\n{lines}"));
    assert_snapshot!(peeked("listen = \"127.0.0.1:7000\""), @r#"
    error: expected a list of tables, found a string
     --> tambat.toml:9:10
      |
    9 | listen = "127.0.0.1:7000"
      |          ^^^^^^^^^^^^^^^^
      |
      = help: listen = [{ address = "0.0.0.0:443", peek = ["tls", "http"] }]
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7000\" }]"), @r#"
    error: this listener has no `peek`
     --> tambat.toml:9:11
      |
    9 | listen = [{ address = "127.0.0.1:7000" }]
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: peek = ["tls", "http"]
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7000\", peek = [\"http\", \"htp\"], within = \"5m\" }]"), @r#"
    error: `peek` takes one of "tls", "http", "ssh", "xmpp", "postgres", not "htp"
     --> tambat.toml:9:57
      |
    9 | listen = [{ address = "127.0.0.1:7000", peek = ["http", "htp"], within = ...
      |                                                         ^^^^^
      |
      = help: did you mean "http"?

    error: `within` is at most 60 s
     --> tambat.toml:9:74
      |
    9 | ...peek = ["http", "htp"], within = "5m" }]
      |                                     ^^^^
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7000\", peek = [] }]"), @r#"
    error: nothing is looked for, so nobody can be told from anybody
     --> tambat.toml:9:48
      |
    9 | listen = [{ address = "127.0.0.1:7000", peek = [] }]
      |                                                ^^
      |
      = help: peek = ["tls", "http", "ssh", "xmpp", "postgres"]: any of these
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7000\", peek = \"tls\", fallback = \"one\" }]"), @r#"
    error: clients of `two` begin with a request ("http"), which is not looked for
           at 127.0.0.1:7000
     --> tambat.toml:6:10
      |
    6 | listen = "127.0.0.1:7000"
      |          ^^^^^^^^^^^^^^^^
      |
      = help: peek = ["tls", "http"]
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7000\", peek = \"http\", fallback = \"three\" }]"), @r#"
    error: there is no process port `three` to fall back to
     --> tambat.toml:9:67
      |
    9 | listen = [{ address = "127.0.0.1:7000", peek = "http", fallback = "three" }]
      |                                                                   ^^^^^^^
      |
      = help: fallback = "PROCESS" or "PROCESS:PORT"
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7001\", peek = \"http\" }]"), @r#"
    error: no process listens at 127.0.0.1:7001, so nobody is reached there
     --> tambat.toml:9:23
      |
    9 | listen = [{ address = "127.0.0.1:7001", peek = "http" }]
      |                       ^^^^^^^^^^^^^^^^
      |
      = help: in a process: listen = "127.0.0.1:7001"
    "#);
    let twice = "[[router.listen]]\naddress = \"127.0.0.1:7000\"\npeek = \"http\"\n".repeat(2);
    assert_snapshot!(at_7000("", &format!("protocol = \"http\"\n{twice}")), @r#"
    error: 127.0.0.1:7000 is there twice
      --> tambat.toml:12:11
       |
    12 | address = "127.0.0.1:7000"
       |           ^^^^^^^^^^^^^^^^
       |
       = help: keep one of the two
    "#);
    assert_snapshot!(peeked("listen = [{ address = \"127.0.0.1:7000\", peek = \"http\", fallback = \"one\" }]"), @"");
}
