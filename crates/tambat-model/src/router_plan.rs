//! `[router]`: what holds for every app that one router serves.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use crate::{ListenPlan, Trusted};

/// What was said about the router; none: its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterPlan {
    /// How many threads carry requests.
    pub workers: Option<NonZeroU16>,
    /// The peers whose forwarding fields are believed.
    pub trusted: Trusted,
    /// The peers whose connections begin with a PROXY header.
    pub proxy_peers: Trusted,
    /// How many connections one client address may have open.
    pub connections_max: Option<NonZeroU32>,
    /// Where requests are written down, seen from the app's directory; `-`: to standard output.
    pub access_log: Option<String>,
    /// How they are written down.
    pub access_log_format: AccessLogFormat,
    /// The limits that hold before a route is known.
    pub timeouts: RouterTimeouts,
    /// Certificates from files, and who has to have one.
    pub tls: TlsPlan,
    /// Listeners whose clients begin in several ways; each address once.
    pub listen: Vec<ListenPlan>,
}

/// `[router.tls]`. Files are seen from where those of the access log are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsPlan {
    /// The certificates that are read from files.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients have certificates of their own; none: nobody is asked.
    pub client_auth: Option<ClientAuthPlan>,
}

/// A certificate's files, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those of who signed it.
    pub chain: String,
    /// Its key.
    pub key: String,
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthPlan {
    /// The file, PEM, with the certificates that sign theirs.
    pub ca: String,
    /// Is nobody let in without?
    pub required: bool,
}

/// The limits that hold before a route is known; none: the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterTimeouts {
    /// How long a request's head may take.
    pub head: Option<Duration>,
    /// How long a body may stand still.
    pub body_idle: Option<Duration>,
    /// How long a client's connection is kept between two requests.
    pub keep_alive: Option<Duration>,
    /// How long connecting to a target may take.
    pub connect: Option<Duration>,
}

/// How requests are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// One JSON object a line, for programs.
    #[default]
    Json,
    /// One terse line, for people.
    Text,
}
