//! What a new user reads, word for word, at 80 columns. Numbers that differ from run to run are taken out; runs of
//! blanks count as two, since columns are as wide as what is in them.

use std::net::TcpListener;

use crate::support::{AppDir, Base, Output, Running};

const SHOP: &str = r#"name = "shop"

[processes.web]
command = "exec tambat-fixture serve"
uses = ["api", "cache", "billing/api", "mail"]
env = { LOG_LEVEL = "info" }

[processes.api]
command = "exec tambat-fixture serve"
protocol = "http"
uses = ["web"]

[processes.cache]
command = "exec tambat-fixture echo"
protocol = "tcp"

[processes.worker]
command = "exec tambat-fixture park"

[resources.mail]
url = "smtp://shop:geheim@mail.example.com:587"
"#;

/// Takes out what differs: the home, times, pids, ports the kernel chose. Shown at the length they have on most machines.
fn told(app: &AppDir, text: &str) -> String {
    let text = text.replace(app.home_path().to_str().unwrap(), "/home/me").replace(&own_name(), "test");
    text.lines().map(|line| blanks(&numbers(line)) + "\n").collect()
}

/// Words as [`told`] has them, of a verb: standard output, then standard error.
fn both(app: &AppDir, output: &Output) -> String {
    format!("exit code {}\n{}{}", output.code, told(app, &output.stdout), told(app, &output.stderr))
}

/// What tambat said of itself so far.
fn said(app: &AppDir, running: &Running) -> String {
    told(app, &running.stderr().join("\n"))
}

/// `12:34:56` is a time, what has three digits or more a pid or port, `0.12 s` a duration.
fn numbers(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(tail.len());
        let (word, after) = tail.split_at(end);
        out.push_str(before);
        let word_only = word.trim_end_matches([':', '.']);
        let is_time = word_only.len() == 8 && word_only.matches(':').count() == 2;
        if is_time {
            out.push_str("12:34:56");
        } else if after.starts_with(" s") && word_only.contains('.') {
            out.push_str("0.1");
        } else {
            let parts: Vec<&str> = word_only.split_inclusive(['.', ':']).collect();
            parts.iter().for_each(|part| out.push_str(&number(part)));
        }
        out.push_str(&word[word_only.len()..]);
        rest = after;
    }
    out + rest
}

/// An address of this machine begins with 127, and so does what a shell says of a command that it does not find.
fn number(part: &str) -> String {
    let digits = part.trim_end_matches(['.', ':']);
    if digits.len() >= 3 && digits != "127" { format!("NNNN{}", &part[digits.len()..]) } else { part.to_owned() }
}

/// The indentation stays.
fn blanks(line: &str) -> String {
    let text = line.trim_start();
    let words: Vec<&str> = text.split("  ").map(str::trim).filter(|part| !part.is_empty()).collect();
    format!("{}{}", &line[..line.len() - text.len()], words.join("  "))
}

/// As the process list has it: the holder of a port that a test has taken.
fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    name.trim().chars().take(15).collect()
}

#[test]
fn a_good_start() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    running.err_line("ready after");
    assert_eq!(running.stop(), 0);
    insta::assert_snapshot!(said(&app, &running), @r"
    12:34:56 tambat | shop, in /home/me/shop
    12:34:56 tambat | web  http://localhost:NNNN  http://shop.localhost:NNNN
    12:34:56 tambat | https, too: https://shop.localhost:NNNN (see `tambat trust`)
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | ready after 0.1 s at http://localhost:NNNN
    12:34:56 tambat | SIGINT: stopping (once more kills)
    12:34:56 web.1  | was ended by SIGTERM
    ");
    insta::assert_snapshot!(told(&app, &running.stdout().join("\n")), @r"
    12:34:56 web.1  | listening on 127.0.0.1:NNNN
    ");
}

#[test]
fn an_app_at_the_wrong_port() {
    let app = AppDir::procfile("web: exec tambat-fixture serve --other-port\n");
    let mut running = app.start(&[]);
    let line = running.err_line("not on its PORT");
    insta::assert_snapshot!(told(&app, &line), @r"
    12:34:56 web.1  | listens on NNNN (tambat-fixture, pid NNNN), not on its PORT: it ignores PORT (PB-03); make it listen on the number in the variable PORT, or put $PORT in its command
    ");
    insta::assert_snapshot!(told(&app, &app.tambat(&["ps"]).must_be(0).stdout), @r"
    shop in /home/me/shop, pid NNNN

    PROCESS  STATE  PID  LISTENS  OPEN  RESTARTS  URL
    web.1  binding  NNNN  not yet  0  0  http://localhost:NNNN

    OF  NAME
    web  http://shop.localhost:NNNN
    web  http://web.shop.localhost:NNNN

    https, too: https://shop.localhost:NNNN
    ");
    running.stop();
}

#[test]
fn a_command_that_is_not_found() {
    let app = AppDir::manifest("[processes.web]\ncommand = \"npm-but-wrong start\"\nrestart = \"never\"\n");
    let mut running = app.start(&[]);
    running.ended();
    insta::assert_snapshot!(said(&app, &running), @r"
    12:34:56 tambat | shop, in /home/me/shop
    12:34:56 tambat | web  http://localhost:NNNN  http://shop.localhost:NNNN
    12:34:56 tambat | https, too: https://shop.localhost:NNNN (see `tambat trust`)
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | exited with code 127 before it was ready; 127 is the shell's code for a command that was not found: is it installed, is it on PATH?; its last line: /bin/sh: 1: exec: npm-but-wrong: not found
    12:34:56 tambat | every process has ended; the first code that is not 0: 127
    ");
}

#[test]
fn a_crash_loop() {
    let app = AppDir::procfile("web: echo cannot connect to the database; exit 1\nworker: exec tambat-fixture park\n");
    let mut running = app.start(&[]);
    running.err_line("is not started again");
    let lines: Vec<String> = running.stderr().into_iter().filter(|line| !line.contains("worker.1")).collect();
    insta::assert_snapshot!(told(&app, &lines.join("\n")), @r"
    12:34:56 tambat  | shop, in /home/me/shop
    12:34:56 tambat  | web  http://localhost:NNNN  http://shop.localhost:NNNN
    12:34:56 tambat  | https, too: https://shop.localhost:NNNN (see `tambat trust`)
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | exited with code 1 before it was ready; its last line: cannot connect to the database; started again in 0.1 s
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | exited with code 1 before it was ready; its last line: cannot connect to the database; started again in 0.1 s
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | exited with code 1 before it was ready; its last line: cannot connect to the database; started again in 0.1 s
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | exited with code 1 before it was ready; its last line: cannot connect to the database; started again in 0.1 s
    12:34:56 web.1  | started with pid NNNN, PORT NNNN
    12:34:56 web.1  | exited with code 1 before it was ready; its last line: cannot connect to the database; it failed 5 times within a minute and is not started again: `tambat restart` tries anew
    ");
    insta::assert_snapshot!(told(&app, &app.tambat(&["ps"]).must_be(0).stdout), @r"
    shop in /home/me/shop, pid NNNN

    PROCESS  STATE  PID  LISTENS  OPEN  RESTARTS  URL
    web.1  failed  -  -  0  4  http://localhost:NNNN
    worker.1  running  NNNN  -  0  0  tcp://localhost:NNNN

    OF  NAME
    web  http://shop.localhost:NNNN
    web  http://web.shop.localhost:NNNN

    https, too: https://shop.localhost:NNNN

    web.1: exited with code 1 before it was ready; its last line: cannot connect to the database
    ");
    running.stop();
}

#[test]
fn a_port_that_is_taken() {
    let base = Base::find();
    let _taken = TcpListener::bind(("127.0.0.1", base.0)).unwrap();
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let said_first = app.tambat(&["start", "-p", &base.text(), "--strict-port"]);
    insta::assert_snapshot!(both(&app, &said_first), @r"
    exit code 1
    tambat: cannot serve web at port NNNN: it is taken by test (pid NNNN); end that, or leave out --strict-port
    ");
    let mut running = app.start_at(&["-p", &base.text()]);
    running.ready(&["web"]);
    let lines = running.stderr().join("\n");
    let lines: Vec<&str> = lines.lines().filter(|line| line.contains(" tambat | ")).collect();
    insta::assert_snapshot!(told(&app, &lines.join("\n")), @r"
    12:34:56 tambat | port NNNN for web is taken by test (pid NNNN)
    12:34:56 tambat | service ports begin at NNNN in place of NNNN
    12:34:56 tambat | shop, in /home/me/shop
    12:34:56 tambat | web  http://localhost:NNNN  http://shop.localhost:NNNN
    12:34:56 tambat | https, too: https://shop.localhost:NNNN (see `tambat trust`)
    ");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_second_start() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    insta::assert_snapshot!(both(&app, &app.tambat(&["start", "-p", "0"])), @r"
    exit code 1
    tambat: shop already runs as pid NNNN, at http://localhost:NNNN: `tambat ps` shows it, `tambat stop` stops it, `tambat restart` restarts a process
    ");
    assert_eq!(running.stop(), 0);
}

#[test]
fn nothing_runs() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    insta::assert_snapshot!(both(&app, &app.tambat(&["ps"])), @r"
    exit code 1
    tambat: no app runs in /home/me/shop or above it: `tambat start` runs it, -d names another directory
    ");
    insta::assert_snapshot!(both(&app.neighbour("empty"), &app.neighbour("bare").tambat(&["start"])), @r"
    exit code 2
    tambat: cannot find an app in /home/me/bare: there is no `tambat.toml` and no `Procfile`
    write a `Procfile` with a line such as `web: npm start`, or run a command as it is: tambat start -- npm start
    ");
    insta::assert_snapshot!(both(&app, &app.tambat(&["start", "npm", "start"])), @r"
    exit code 2
    tambat: there is no process `npm` in this app; it has web; a command stands behind `--`: tambat start -- npm start
    ");
}

#[test]
fn an_attach_that_is_refused() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let refused = |args: &[&str]| both(&app, &app.tambat(&[&["attach"], args].concat()));
    insta::assert_snapshot!(refused(&["cache", "redis://127.0.0.1:1"]), @r"
    exit code 1
    tambat: cannot attach redis://127.0.0.1:1 in place of cache: nobody listens at 127.0.0.1:1; nothing was changed
    ");
    insta::assert_snapshot!(refused(&["cache", "redis://me:geheim@127.0.0.1:1"]), @r"
    exit code 2
    tambat: cannot take a password from the command line, where every user of this machine could read it: `tambat attach cache -` reads the URL from standard input, --url-file from a file
    ");
    insta::assert_snapshot!(refused(&["cahce", "redis://127.0.0.1:1"]), @r"
    exit code 2
    tambat: no process uses `cahce`: used are api, billing/api, cache, mail, web; did you mean `cache`?
    ");
    insta::assert_snapshot!(refused(&["cache", "localhost"]), @r"
    exit code 2
    tambat: cannot attach a URL to cache: it is not a URL: unexpected character at index 9; a handle looks like redis://user:password@host:NNNN/0, with `%40` for a `@` in a password
    ");
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_plan_shows() {
    let app = AppDir::manifest(SHOP).file(".env", "API_URL=http://staging.example.com\n");
    let planned = app.tambat(&["plan"]).must_be(0);
    // The notes about busy ports depend on the machine.
    let (plan, _) = planned.stdout.split_once("\nnote: port ").unwrap_or((&planned.stdout, ""));
    let plan = plan.replace(app.home_path().to_str().unwrap(), "/home/me");
    insta::assert_snapshot!(format!("{}\n\n{}", plan.trim_end(), planned.stderr), @r"
    shop in /home/me/shop

    web: exec tambat-fixture serve
        serves  http at localhost:5000
                http://shop.localhost:7080
                http://web.shop.localhost:7080
        ready   when http answers, within 60s
        gets    API_URL=http://127.0.0.1:5100, from api
        gets    CACHE_URL=tcp://127.0.0.1:5200, from cache
        gets    BILLING_API_URL=(chosen at the start), from billing/api
        gets    MAIL_URL=smtp://shop:***@mail.example.com:587, from mail

    api: exec tambat-fixture serve
        serves  http at localhost:5100
                http://api.shop.localhost:7080
        ready   when http answers, within 60s
        gets    WEB_URL=http://127.0.0.1:5000, from web

    cache: exec tambat-fixture echo
        serves  tcp at localhost:5200
        ready   when it accepts, within 60s

    worker: exec tambat-fixture park
        worker  nothing says that it exports a port; localhost:5300 is held for it

    note: these use each other, which is fine (whoever is early waits):
          web → api → web

    warning: web does not get this `API_URL`: its handle to `api` has that name
     --> .env:1
      |
      = help: `tambat attach api URL` points the handle elsewhere; or take the line out
    ");
}

#[test]
fn what_ps_shows() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&["web", "api", "cache"]);
    insta::assert_snapshot!(both(&app, &app.tambat(&["ps"])), @r"
    exit code 0
    shop in /home/me/shop, pid NNNN

    PROCESS  STATE  PID  LISTENS  OPEN  RESTARTS  URL
    web.1  ready  NNNN  :NNNN  0  0  http://localhost:NNNN
    api.1  ready  NNNN  :NNNN  0  0  http://localhost:NNNN
    cache.1  ready  NNNN  :NNNN  0  0  tcp://localhost:NNNN
    worker.1  running  NNNN  -  0  0  tcp://localhost:NNNN

    OF  NAME
    web  http://shop.localhost:NNNN
    web  http://web.shop.localhost:NNNN
    api  http://api.shop.localhost:NNNN

    https, too: https://shop.localhost:NNNN

    HANDLE  OF  PROVIDER  URL
    API_URL  web  api  http://127.0.0.1:NNNN
    CACHE_URL  web  cache  tcp://127.0.0.1:NNNN
    BILLING_API_URL  web  billing/api  http://127.0.0.1:NNNN
    MAIL_URL  web  mail  smtp://shop:***@mail.example.com:NNNN
    WEB_URL  api  web  http://127.0.0.1:NNNN
    ");
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_env_explains() {
    let app = AppDir::manifest(SHOP).file(".env", "API_URL=http://staging.example.com\nDEBUG=1\n");
    let app = app.env("LOG_LEVEL", "debug").env("EDITOR", "vi");
    let mut running = app.start(&["-E", "TOKEN=abc"]);
    running.ready(&["web"]);
    let shown = both(&app, &app.tambat(&["env", "--explain"]));
    // The rest is whatever this shell has.
    let of_the_shell = |line: &&str| line.split("  ").nth(1) == Some("shell") && !line.starts_with("EDITOR");
    let lines: Vec<&str> = shown.lines().filter(|line| !of_the_shell(line)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    exit code 0
    VARIABLE  SOURCE  WON OVER  VALUE
    API_URL  handle to api  .env:1  http://127.0.0.1:NNNN
    BILLING_API_URL  handle to billing/api  http://127.0.0.1:NNNN
    CACHE_URL  handle to cache  tcp://127.0.0.1:NNNN
    DEBUG  .env:2  1
    HOST  default  127.0.0.1
    LOG_LEVEL  tambat.toml  shell  info
    MAIL_URL  handle to mail  smtp://shop:***@mail.example.com:NNNN
    NODE_EXTRA_CA_CERTS  local CA  /home/me/state/tambat-roots/root.pem
    PORT  tambat  NNNN
    PS  tambat  web.1
    SSL_CERT_FILE  local CA  /home/me/state/tambat-roots/bundle.pem
    TAMBAT_URL  tambat  http://localhost:NNNN
    TOKEN  -E  abc
    EDITOR  shell  vi
    ");
    assert_eq!(running.stop(), 0);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a page of help is as long as it has verbs")]
fn the_help() {
    let app = AppDir::new().env("COLUMNS", "80");
    insta::assert_snapshot!(app.tambat(&["--help"]).must_be(0).stdout, @r"
    Runs apps by the port they bind

    Usage: tambat [OPTIONS] <COMMAND>

    Commands:
      start        Run the app here: every process, at its own port [alias: up]
      run          Run a one-off command in the app's environment
      check        Judge an app by the port-binding contract, clause by clause
      ps           Show processes, instances, ports and providers [alias: status]
      routes       Show the route table, and why each target is in or out
      route        Run the router alone, its routes from a file
      serve        Serve every app of a directory, at its public names
      logs         Show what the processes wrote
      url          Print the URL to visit or dial
      open         Open that URL in the browser
      env          Print the environment a process gets
      plan         Show what would run, where, and its handles; start nothing
      attach       Put a remote URL in the place of a provider
      detach       Take the provider back
      restart      Start a process anew
      stop         Stop a process, or all of them
      scale        Set the number of instances
      pause        Hold a process's connections
      resume       Let them through again
      wait         Wait until processes are ready
      trust        Have browsers and the system believe the local CA
      doctor       Say what on this machine would get in the way, and the fix
      completions  Print a completion script for a shell
      man          Print the manual page
      help         Print this message or the help of the given subcommand(s)

    Options:
      -d, --dir <DIR>  Work as if in this directory
      -h, --help       Print help
      -V, --version    Print version
    ");
    insta::assert_snapshot!(app.tambat(&["start", "--help"]).must_be(0).stdout, @r"
    Run the app here: every process, at its own port

    Usage: tambat start [OPTIONS] [PROCESS[=N]]... [-- <CMD>...]

    Arguments:
      [PROCESS[=N]]...  Only these, with what they use; with =N: so many instances
      [CMD]...          Run this command as `web`, with no file at all

    Options:
      -d, --dir <DIR>
              Work as if in this directory
      -f, --procfile <FILE>
              Read this file instead of `Procfile`
      -e, --env-file <FILE>
              Read these files instead of `.env`; a later one wins
      -E, --env <NAME[=VALUE]>
              Set a variable; without a value: take it from the shell
      -p, --port <PORT>
              Where service ports begin; 0: the kernel chooses each [default: 5000]
          --http-port <PORT>
              Where names are served, shared by this user's apps; 0: the kernel
              chooses [default: 7080]
          --https-port <PORT>
              The same over https [default: as far above --http-port as 443 is above
              80: 7443]
          --strict-port
              A busy port is an error, not a reason to move up by 100
      -m, --formation <PROCESS=N,…>
              How many instances of each, as foreman has it: all=1,worker=2
          --no-deps
              Leave out what the named processes use
          --host <ADDRESS>
              Serve on this address too, not only on loopback (0.0.0.0: on all)
          --workers <N>
              How many threads carry requests [default: one for each core]
          --access-log <FILE>
              Note each request in this file; -: on standard output
          --access-log-format <FORMAT>
              How requests are noted: json or text
          --metrics <ADDRESS>
              Answer GET /metrics here, for Prometheus
          --detach
              Leave the terminal once everything is ready
          --exit-on-end
              End with the first process that ends, with its code
          --log-format <FORMAT>
              How lines are written: text or json [default: text]
          --no-timestamp
              Leave out the time of day
          --timeout <DURATION>
              Wait at most so long with --detach [default: 10m]
      -h, --help
              Print help
    ");
}
