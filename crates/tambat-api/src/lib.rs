//! The control API of a running tambat: JSON over HTTP/1.1 on a unix socket that only its user can open.
//!
//! This is the one compatibility promise: fields are added, never renamed or removed. Every path of an app begins with
//! `/apps/{app}`, except `/apps` itself, which says which app answers here.
//!
//! | request | answer |
//! |---|---|
//! | `GET /apps?reveal=true` | [`AppStatus`]; `reveal`: with the passwords that its handles are written with |
//! | `GET /apps/{app}/watch` | lines of [`AppStatus`], one now and one after every change |
//! | `GET /apps/{app}/routes` | [`RoutesReport`] |
//! | `GET /apps/{app}/metrics` | metrics as text, in the form that Prometheus reads |
//! | `GET /apps/{app}/logs?process=P&lines=N&follow=true` | lines of [`LogRecord`] |
//! | `GET /apps/{app}/processes/{process}/env?reveal=true` | [`EnvironmentReport`] |
//! | `POST /apps/{app}/processes/{process}/restart`, `/stop`, `/pause`, `/resume` | [`Done`] |
//! | `POST /apps/{app}/processes/{process}/scale` with [`Scale`] | [`Done`] |
//! | `POST /apps/{app}/attachments` with [`Attach`] | [`Done`] |
//! | `DELETE /apps/{app}/attachments?name=NAME` | [`Done`] |
//! | `POST /apps/{app}/stop` | [`Done`], before the app has stopped |
//!
//! `tambat serve` has a socket like this for each of its apps, and one of its own, for their directory:
//!
//! | request | answer |
//! |---|---|
//! | `GET /serve` | [`ServeStatus`] |
//! | `GET /metrics` | the metrics of all apps |
//!
//! What goes wrong is answered with a status of 4xx or 5xx and an [`ErrorBody`].

mod client;
mod routes;
mod serve;
mod types;

pub use client::{Client, ClientError, Lines};
pub use routes::{RouteStatus, RoutesReport, TargetStatus};
pub use serve::{CertificateStatus, ServeStatus, ServedApp};
pub use types::{
    AppStatus, Attach, Done, EnvironmentReport, ErrorBody, HandleStatus, InstanceStatus, ListenStatus, LogRecord,
    PortStatus, ProcessStatus, ResourceStatus, Scale, VariableReport,
};
