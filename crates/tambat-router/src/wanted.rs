//! Whom a connection wants, as far as it has told: the key by which each route table is asked.

use std::sync::Arc;

use tambat_model::{ByServerName, Entrance, ListenAddr, PathPrefix, Route, RouteTable, Site};

use crate::listener::ListenerKind;

/// Whom a stream wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whoever has the address at which it arrived, or is reached there by those who tell nothing.
    Whoever,
    /// Who is reached there by those who begin with a version of SSH.
    Ssh,
    /// Who has this name in a handshake that ends here (in lower case, without a last dot; empty: none was said).
    Terminated(Box<str>),
    /// Who has this name, and the handshake itself.
    Passed(Box<str>),
    /// The same of `PostgreSQL`, whose client has wished for the handshake first: so must we.
    PassedOnRequest(Box<str>),
    /// Who has this domain of XMPP (empty: none was said).
    Domain(Box<str>),
}

/// What a table says of whom a stream wants.
#[derive(Debug)]
pub(crate) enum Found<'t> {
    /// This is the route.
    Route(&'t Arc<Route>),
    /// There is nothing at this address yet: the listener is there before the first table is.
    NothingYet,
    /// Nobody is reached so.
    Nobody,
}

impl Wanted {
    /// The route at such a listener.
    pub(crate) fn find<'t>(&self, table: &'t RouteTable, at: ListenerKind) -> Found<'t> {
        match at {
            ListenerKind::Service(port) => table.get(port).map_or(Found::NothingYet, Found::Route),
            // Each of its requests finds its own.
            ListenerKind::Shared => Found::Nobody,
            ListenerKind::Named(at) => {
                let Some(entrance) = table.entrance(at) else {
                    return Found::NothingYet;
                };
                self.at(entrance).map_or(Found::Nobody, Found::Route)
            }
        }
    }

    /// The same, where there is one.
    pub(crate) fn route<'t>(&self, table: &'t RouteTable, at: ListenerKind) -> Option<&'t Arc<Route>> {
        match self.find(table, at) {
            Found::Route(route) => Some(route),
            Found::NothingYet | Found::Nobody => None,
        }
    }

    /// The name that its client has said.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Whoever | Self::Ssh => None,
            Self::Terminated(name) | Self::Passed(name) | Self::PassedOnRequest(name) | Self::Domain(name) => {
                Some(&**name).filter(|name| !name.is_empty())
            }
        }
    }

    /// Is its client in a handshake with whom it wants? Then nothing else can be said to it.
    pub(crate) fn is_passed(&self) -> bool {
        matches!(self, Self::Passed(_) | Self::PassedOnRequest(_))
    }

    fn at<'t>(&self, entrance: &'t Entrance) -> Option<&'t Arc<Route>> {
        let route = |site: Option<&'t Site>| site.map(|site| &site.route);
        match self {
            Self::Whoever => entrance.other.as_ref(),
            Self::Ssh => entrance.ssh.as_ref(),
            Self::Terminated(name) => match entrance.by_server_name(name) {
                Some(ByServerName::Terminated(site)) => Some(&site.route),
                Some(ByServerName::Passed(_)) | None => None,
            },
            Self::Passed(name) | Self::PassedOnRequest(name) => match entrance.by_server_name(name) {
                Some(ByServerName::Passed(site)) => Some(&site.route),
                Some(ByServerName::Terminated(_)) | None => None,
            },
            Self::Domain(name) => route(entrance.xmpp.first(name)),
        }
    }
}

/// The route of a request for this host (in lower case, without port and last dot) and path, and the prefix that is
/// removed from it.
pub(crate) fn of_request<'t>(
    table: &'t RouteTable,
    at: ListenerKind,
    is_secured: bool,
    host: &str,
    path: &str,
) -> Option<(&'t Arc<Route>, Option<&'t PathPrefix>)> {
    let (sites, other) = match at {
        ListenerKind::Service(port) => return table.get(port).map(|route| (route, None)),
        ListenerKind::Shared => (table.hosts(), None),
        ListenerKind::Named(at) => {
            let entrance = table.entrance(at)?;
            if is_secured { (&entrance.terminated, None) } else { (&entrance.http, entrance.other.as_ref()) }
        }
    };
    // Who has another name of the same certificate may speak something else.
    let site = sites.find(host, path).filter(|site| site.route.protocol.is_http());
    let found = site.map(|site| (&site.route, site.strip.then_some(&site.path)));
    found.or_else(|| other.filter(|route| route.protocol.is_http()).map(|route| (route, None)))
}

/// Is HTTP all that is spoken at this listener of the manifest, and nothing told apart before?
pub(crate) fn is_plain_http(table: &RouteTable, at: ListenAddr) -> bool {
    table.entrance(at).is_some_and(|entrance| entrance.openings.is_empty() && !entrance.http.is_empty())
}
