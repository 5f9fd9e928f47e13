//! The nouns of tambat and the pure rules between them.
//!
//! Nothing here opens a socket, reads a file or looks at a clock: a value goes in, a value comes out. From a
//! [`Draft`] (what was written) comes a [`Plan`] (what is meant); a plan and a base number give the
//! [`ServicePorts`]; a plan, its [`Wiring`] and the [`World`] (what runs) give the [`RouteTable`].

mod apps;
mod assign;
mod check;
mod check_http;
mod clause;
mod dependency_file;
mod draft;
mod entrance;
mod environment;
mod error_code;
mod field;
mod formation;
mod framework;
mod handle;
mod health;
mod host;
mod https;
mod launch;
mod listed;
mod listen;
mod manner;
mod mend;
mod name;
mod network;
mod plan;
mod port;
mod problem;
mod protocol;
mod proxy_protocol;
mod recognised;
mod route;
mod router_plan;
#[cfg(test)]
mod sample;
mod scheme;
mod shell;
mod site;
mod text;
mod traffic;
mod url;
mod uses;
mod world;

pub use apps::{beside, clashes, held, joined, of_app, unnamed};
pub use assign::{BASE_DEFAULT, BASE_STEP, Base, PortKey, ServicePorts, Wanted, next_base};
pub use clause::{ClauseId, UnknownClause};
pub use dependency_file::DependencyFile;
pub use draft::{Draft, HttpDraft, PortDraft, ProcessDraft, ReadyDraft, SiteDraft, StopDraft, UseDraft};
pub use entrance::{
    About, ByServerName, Claim, Entrance, EntrancePlan, Finding, ListenAddr, ListenAddrError, ListenPlan, Opening,
    PEEK_WITHIN_DEFAULT, TlsHandling,
};
pub use environment::{Environment, Layer, Setting, Source};
pub use error_code::{ErrorCode, error_codes_as_markdown};
pub use field::{CookieName, FieldError, FieldName, FieldValue};
pub use formation::{Formation, FormationError, INSTANCES_MAX};
pub use framework::Framework;
pub use handle::{ForeignUrl, Handle, HandleState, Provider, Wiring};
pub use health::{HEALTH_DOWN_DEFAULT, HEALTH_EVERY_DEFAULT, HEALTH_UP_DEFAULT, HEALTH_WITHIN_DEFAULT, HealthRules};
pub use host::{HOSTNAME_BYTES_MAX, HostError, HostPattern, HostTable, PathPrefix, Site, Stripped};
pub use https::{Hsts, HstsError, HttpsRedirect};
pub use launch::{InstancePorts, instance_environment, public_url, url_at};
pub use listed::{ListedApp, ListedPort};
pub use manner::{FIRST_BYTE_SERVED, Manner, RESPONSE_IDLE_SERVED, STREAM_IDLE_SERVED, WAIT_SERVED};
pub use name::{AppName, InstanceName, NameError, PortName, ProcessName, VarName};
pub use network::{Network, NetworkError, Trusted};
pub use plan::{Plan, PortPlan, ProcessPlan, Readiness, ResourcePlan, Restart, Role, Stop, Use};
pub use port::{INSTANCE_PORT_FIRST, INSTANCE_PORT_LAST, InstancePort, PortError, ServicePort};
pub use problem::{Place, Problem, Severity, closest};
pub use protocol::{Protocol, Transport, UnknownProtocol};
pub use proxy_protocol::ProxyProtocol;
pub use recognised::{Declared, Recognised};
pub use route::{
    Admission, Balance, DATAGRAM_IDLE_DEFAULT, ForeignService, HttpRules, Ledger, Route, RouteTable, Sticky, Target,
    foreign_route, route_table,
};
pub use router_plan::{AccessLogFormat, CertificateFiles, ClientAuthPlan, RouterPlan, RouterTimeouts, TlsPlan};
pub use scheme::Scheme;
pub use shell::shell_command;
pub use site::{PortSite, local_label};
pub use text::{colours_only, plain};
pub use traffic::{LATENCY_BOUNDS_US, Shard, Traffic, TrafficSnapshot};
pub use url::{ResourceUrl, TemplateError, UrlError, UrlTemplate, redact, redact_all};
pub use world::{
    Admitted, Cause, Denied, Elsewhere, Endpoint, Gate, InstanceView, LAST_LINE, Load, Phase, ProcessView, World,
    discreet,
};
