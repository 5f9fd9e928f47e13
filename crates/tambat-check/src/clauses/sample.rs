//! What a good app shows, for the tests of the judges: each changes one thing of it.

use std::time::Duration;

use tambat_model::{Protocol, Recognised, Restart};

use crate::observed::*;

pub(super) const FIRST: u16 = 20_100;
pub(super) const SECOND: u16 = 20_200;

pub(super) fn asked() -> Asked {
    Asked {
        app: "shop".to_owned(),
        process: Some("web".to_owned()),
        command: "python3 app.py".to_owned(),
        recognised: Recognised::of("python3 app.py", &[]),
        protocol: Some(Protocol::Http),
        stateful: false,
        any_owner: false,
        restart: Restart::OnFailure,
        boot: Duration::from_secs(60),
        grace: Duration::from_secs(30),
        signal: "TERM".to_owned(),
        is_running: false,
    }
}

pub(super) fn program() -> Program {
    Program { name: "python3".to_owned(), pid: 4711 }
}

pub(super) fn listener(addr: &str) -> Listener {
    Listener { transport: Transport::Tcp, addr: addr.parse().unwrap(), program: program() }
}

pub(super) fn bound(addrs: &[&str]) -> Bound {
    let protocol = "HTTP/1.1".to_owned();
    Bound {
        owner: Owner::Ours(program()),
        addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        families: Families { v4: true, v6: true },
        after: Duration::from_millis(300),
        missing: Vec::new(),
        outsiders: Vec::new(),
        talks: vec![("PORT".to_owned(), Talk::Speaks { protocol, after: Duration::from_millis(310), but: None })],
    }
}

/// On the first port.
pub(super) fn start(boot: Boot) -> Start {
    start_at(FIRST, boot)
}

pub(super) fn start_at(port: u16, boot: Boot) -> Start {
    let is_bound = matches!(boot, Boot::Bound(_));
    let listeners = if is_bound { vec![listener(&format!("127.0.0.1:{port}"))] } else { Vec::new() };
    Start { port, told: vec![port], boot, listeners, hidden: Vec::new(), last_lines: Vec::new() }
}

pub(super) fn ended(code: u8) -> Boot {
    Boot::Ended { end: End::Code(code), after: Duration::from_millis(200), left: Vec::new() }
}

pub(super) fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

pub(super) fn good() -> Observed {
    let first = start(Boot::Bound(bound(&["127.0.0.1"])));
    let second = start_at(SECOND, Boot::Bound(bound(&["::", "0.0.0.0"])));
    let quick = Duration::from_millis(3);
    Observed {
        first: Ok(first.clone()),
        second: Ok(second.clone()),
        open: Ok(second.clone()),
        beside: Ok(Beside { second, first_answers: Ok(quick), alone: None }),
        idle: Ok(Ok(quick)),
        rude: Ok(vec![Rude { what: "sends garbage", outcome: RudeOutcome::Fine }]),
        stop: Ok(Stop {
            took: Duration::from_millis(80),
            killed: false,
            end: End::Code(0),
            left: Vec::new(),
            server_left: false,
        }),
        in_flight: Ok(InFlight::Whole(200)),
        again: Ok(Again { bind: Ok(()), start: first }),
        taken: Ok(Taken::Ended {
            end: End::Code(1),
            after: Duration::from_millis(200),
            last_lines: lines(&["OSError: [Errno 98] Address already in use"]),
        }),
        services: Ok(vec![Service {
            var: "CACHE_URL".to_owned(),
            provider: "cache".to_owned(),
            dials: 2,
            elsewhere: Vec::new(),
        }]),
        forwarded: Ok(Forwarded {
            host: "app.example.com".to_owned(),
            pages: vec![Page { path: "/".to_owned(), status: 200, leaks: Vec::new() }],
        }),
        user: Ok(UserStart {
            uid: 65_534,
            closed: Vec::new(),
            start: Some(start_at(20_300, Boot::Bound(bound(&["127.0.0.1"])))),
            as_root: None,
        }),
        away: Ok(Away {
            vars: vec!["CACHE_URL".to_owned()],
            away: Duration::from_secs(5),
            ends: Vec::new(),
            answers: Ok(quick),
            last_lines: Vec::new(),
        }),
        declared: Ok(Declared { file: "requirements.txt".to_owned(), library: Some("tornado".to_owned()) }),
        ..Observed::nothing(asked())
    }
}
