//! The ports at which names are served: that of http and that of https, each held, or missing for a reason.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tambat_model::{Scheme, ServicePort};

use super::super::service;
use super::Pair;
use crate::failure::Failure;

/// Where names are served unless `--http-port` says otherwise.
pub(crate) const HTTP_PORT_DEFAULT: u16 = 7080;

/// So far above the port of http is that of https unless `--https-port` says otherwise, as 443 is above 80: 7443 above
/// 7080, 8443 above 8080.
const HTTPS_ABOVE_HTTP: u16 = 363;

/// At which ports names are to be served.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    ports: Pair<u16>,
    /// Somebody has said that of https.
    https_is_said: bool,
    /// A port that is not to be had is an error.
    strict: bool,
    /// Nothing can be served over https from here: why.
    no_https: Option<String>,
}

impl Asked {
    /// As they were typed; 0: the kernel chooses.
    ///
    /// # Errors
    ///
    /// One port for both.
    pub(crate) fn new(http: u16, https: Option<u16>, strict: bool) -> Result<Self, Failure> {
        if http != 0 && https == Some(http) {
            return Err(Failure::usage(format!(
                "cannot serve names at port {http} over http and https both: --http-port and --https-port are to differ"
            )));
        }
        // Where http is at the kernel's choice, for one app alone, so is https.
        let above = http.checked_add(HTTPS_ABOVE_HTTP).filter(|_| http != 0).unwrap_or(0);
        let ports = Pair { http, https: https.unwrap_or(above) };
        Ok(Self { ports, https_is_said: https.is_some(), strict, no_https: None })
    }

    /// Nothing can be served over https from here, for this reason.
    pub(crate) fn without_https(self, why: String) -> Self {
        Self { no_https: Some(why), ..self }
    }

    /// The port of a scheme; 0: the kernel chooses.
    pub(super) fn port(&self, scheme: Scheme) -> u16 {
        *self.ports.get(scheme)
    }

    /// Is whatever is missing an error?
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Takes the port of a scheme, if it is to be had.
    pub(super) fn bind(&self, scheme: Scheme) -> Port {
        if let (Scheme::Https, Some(why)) = (scheme, &self.no_https) {
            return Port::Missing(Missing::NoCa(why.clone()));
        }
        let number = self.port(scheme);
        match tambat_os::ports::bind_localhost(number) {
            Ok(sockets) => Port::Held(sockets.into()),
            Err(error) => Port::Missing(Missing::of(number, &error)),
        }
    }

    /// What of these ports can be served from here: others may have got more than we could.
    pub(super) fn servable(&self, ports: Pair<Port>) -> Pair<Port> {
        match &self.no_https {
            Some(why) => Pair { https: Port::Missing(Missing::NoCa(why.clone())), ..ports },
            None => ports,
        }
    }

    /// What is to be said where https is served at another port than was asked for; none: it is not.
    pub(super) fn elsewhere(&self, ports: &Pair<Port>) -> Option<String> {
        let asked = self.ports.https;
        let held = ports.https.number().filter(|held| self.https_is_said && asked != 0 && *held != asked)?;
        Some(format!("https is at port {held}, where the tambat that serves names has it, and not at {asked}"))
    }
}

/// A port of a scheme.
#[derive(Debug, Clone)]
pub(super) enum Port {
    /// Its listeners, or duplicates of them: one for each family, one at least.
    Held(Arc<[TcpListener]>),
    /// It is not had.
    Missing(Missing),
}

/// Why a port is not had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// Somebody has it, who may let it go.
    Taken(u16),
    /// It never will be.
    Never(String),
    /// Nothing can be served over https from here.
    NoCa(String),
    /// So says the tambat that serves names.
    There(String),
}

impl Missing {
    fn of(port: u16, error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => Self::Taken(port),
            ErrorKind::PermissionDenied => Self::Never(format!("port {port} is below 1024 and needs a privilege")),
            _ => Self::Never(format!("port {port} cannot be had: {error}")),
        }
    }

    /// May it be otherwise in a while?
    pub(super) fn may_come(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::There(_))
    }

    /// Is it about the port? Then whoever is strict about ports does not start.
    pub(super) fn is_of_port(&self) -> bool {
        !matches!(self, Self::NoCa(_))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(port) => match ServicePort::try_from(*port) {
                Ok(port) => write!(f, "port {port} is taken by {}", service::holder(port)),
                Err(_) => f.write_str("the kernel has no port left"),
            },
            Self::NoCa(why) => write!(f, "there is no local CA where names are served: {why}"),
            Self::Never(why) | Self::There(why) => f.write_str(why),
        }
    }
}

impl Port {
    /// Its number, where it is held.
    pub(super) fn number(&self) -> Option<u16> {
        let Self::Held(sockets) = self else { return None };
        sockets.first().and_then(|socket| socket.local_addr().ok()).map(|addr| addr.port())
    }

    /// Its listeners; none where it is missing.
    pub(super) fn listeners(&self) -> &[TcpListener] {
        if let Self::Held(sockets) = self { sockets } else { &[] }
    }

    /// Why it is missing.
    pub(super) fn missing(&self) -> Option<&Missing> {
        if let Self::Missing(missing) = self { Some(missing) } else { None }
    }

    /// Why it is not held, in words.
    pub(super) fn why(&self) -> String {
        self.missing().map_or_else(|| "its listeners are lost".to_owned(), ToString::to_string)
    }

    /// As others are told of it.
    pub(super) fn state(&self) -> PortState {
        self.number().map_or_else(|| PortState::Closed(self.why()), PortState::Open)
    }
}

/// What a tambat says of a port that it serves names at, or does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PortState {
    /// At this number.
    Open(u16),
    /// Not at all: why.
    Closed(String),
}

/// Which of the listeners that came along belong to which port. None, if they are not those of the ports that are open.
pub(super) fn sorted(states: Pair<PortState>, mut listeners: Vec<TcpListener>) -> Option<Pair<Port>> {
    let ports = states.map(|_, state| received(state, &mut listeners));
    let is_whole = listeners.is_empty() && ports.iter().all(|(_, port)| port.missing().is_some() || is_held(port));
    (is_whole && ports.iter().any(|(_, port)| is_held(port))).then_some(ports)
}

/// The port that is in this state now: with what came along for it.
pub(super) fn received(state: PortState, listeners: &mut Vec<TcpListener>) -> Port {
    match state {
        PortState::Closed(why) => Port::Missing(Missing::There(tambat_model::plain(&why))),
        PortState::Open(number) => {
            let is_of_port = |socket: &TcpListener| socket.local_addr().is_ok_and(|addr| addr.port() == number);
            let (its, rest): (Vec<_>, Vec<_>) = listeners.drain(..).partition(is_of_port);
            *listeners = rest;
            Port::Held(its.into())
        }
    }
}

fn is_held(port: &Port) -> bool {
    !port.listeners().is_empty()
}

/// What the user is told at the start where a port is missing; nothing where none is. That there is no local CA has been
/// said already.
pub(super) fn note(ports: &Pair<Port>) -> Option<String> {
    let of = |over: &str, missing: &Missing, flag: &str| {
        let so_far = if missing.may_come() { " for now" } else { "" };
        Some(format!("names are served over {over} alone{so_far}: {missing}; `{flag}` chooses another port"))
    };
    match (&ports.http, &ports.https) {
        (Port::Held(_), Port::Missing(missing)) if missing.is_of_port() => of("http", missing, "--https-port"),
        (Port::Missing(missing), Port::Held(_)) => of("https", missing, "--http-port"),
        _ => None,
    }
}

/// What the user is told when a port is there at last.
pub(super) fn is_served_now(scheme: Scheme, port: u16) -> String {
    match scheme {
        Scheme::Http => format!("names are served at port {port} now"),
        Scheme::Https => format!("names are served over https at port {port} now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(http: u16, https: Option<u16>) -> Asked {
        Asked::new(http, https, false).unwrap()
    }

    #[test]
    fn https_is_as_far_above_http_as_443_above_80() {
        let ports = |asked: Asked| (asked.port(Scheme::Http), asked.port(Scheme::Https));
        for (http, https) in [(7080, 7443), (80, 443), (8080, 8443), (0, 0), (65_500, 0)] {
            assert_eq!(ports(asked(http, None)), (http, https));
        }
        assert_eq!(ports(asked(7080, Some(9000))), (7080, 9000));
        assert_eq!(ports(asked(0, Some(0))), (0, 0));
        assert!(Asked::new(7080, Some(7080), false).is_err());
    }

    #[test]
    fn a_port_is_held_or_missing_for_a_reason() {
        let asked = asked(0, None);
        let held = asked.bind(Scheme::Https);
        let number = held.number().unwrap();
        assert_eq!((held.state(), held.missing()), (PortState::Open(number), None));
        let taken = Asked::new(number, Some(0), false).unwrap().bind(Scheme::Http);
        assert_eq!(taken.missing(), Some(&Missing::Taken(number)));
        let PortState::Closed(why) = taken.state() else { panic!("{taken:?}") };
        assert!(why.starts_with(&format!("port {number} is taken by ")), "{why}");
        let without = asked.without_https("there is no CA".to_owned());
        assert_eq!(without.bind(Scheme::Https).missing(), Some(&Missing::NoCa("there is no CA".to_owned())));
        assert!(without.bind(Scheme::Http).number().is_some());
    }

    #[test]
    fn listeners_that_come_along_are_those_of_the_open_ports() {
        let bound = || match asked(0, None).bind(Scheme::Http) {
            Port::Held(sockets) => sockets.iter().map(|s| s.try_clone().unwrap()).collect::<Vec<_>>(),
            Port::Missing(missing) => panic!("{missing}"),
        };
        let number = |listeners: &[TcpListener]| listeners[0].local_addr().unwrap().port();
        let (one, other) = (bound(), bound());
        let count = one.len();
        let states = Pair { http: PortState::Open(number(&one)), https: PortState::Open(number(&other)) };
        let closed = || PortState::Closed("taken\u{7}".to_owned());
        let half = || Pair { http: states.http.clone(), https: closed() };
        let clones = |all: &[&[TcpListener]]| all.concat_clones();
        let both = sorted(states.clone(), clones(&[&other, &one])).unwrap();
        assert_eq!(both.clone().map(|_, port| port.state()), states);
        assert_eq!(both.http.listeners().len(), count);
        let first = sorted(half(), clones(&[&one])).unwrap();
        assert_eq!(first.https.missing(), Some(&Missing::There("taken".to_owned())), "told in plain text");
        for (states, listeners) in [
            (states.clone(), clones(&[&one])),
            (half(), clones(&[&one, &other])),
            (half(), Vec::new()),
            (Pair { http: closed(), https: closed() }, Vec::new()),
        ] {
            assert!(sorted(states.clone(), listeners).is_none(), "{states:?}");
        }
    }

    trait ConcatClones {
        fn concat_clones(&self) -> Vec<TcpListener>;
    }

    impl ConcatClones for [&[TcpListener]] {
        fn concat_clones(&self) -> Vec<TcpListener> {
            self.iter().flat_map(|some| some.iter()).map(|socket| socket.try_clone().unwrap()).collect()
        }
    }

    #[test]
    fn what_is_missing_is_said_and_what_to_do() {
        let held = || asked(0, None).bind(Scheme::Http);
        let missing = |why: Missing| Port::Missing(why);
        let said = |http, https| note(&Pair { http, https });
        assert_eq!(said(held(), held()), None);
        assert_eq!(
            said(held(), missing(Missing::Never("port 443 is below 1024 and needs a privilege".to_owned()))).unwrap(),
            "names are served over http alone: port 443 is below 1024 and needs a privilege; `--https-port` chooses \
             another port"
        );
        assert_eq!(
            said(missing(Missing::There("port 7080 is taken by nginx (pid 3)".to_owned())), held()).unwrap(),
            "names are served over https alone for now: port 7080 is taken by nginx (pid 3); `--http-port` chooses \
             another port"
        );
        assert_eq!(said(held(), missing(Missing::NoCa("no CA".to_owned()))), None);
    }

    #[test]
    fn https_at_another_port_than_asked_for_is_said() {
        let ports = Pair::of(|_| asked(0, None).bind(Scheme::Http));
        let number = ports.https.number().unwrap();
        assert!(asked(7080, Some(1)).elsewhere(&ports).unwrap().contains(&format!("port {number}")));
        for fine in [asked(7080, None), asked(7080, Some(0)), asked(7080, Some(number))] {
            assert_eq!(fine.elsewhere(&ports), None);
        }
    }
}
