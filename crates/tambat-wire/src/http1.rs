//! HTTP/1.1 between a client and a target: heads, bodies and one exchange of both, without a socket or a clock.

mod answer;
mod authority;
mod client;
mod facts;
mod fields;
mod forward;
mod limits;
mod request;
mod request_id;
mod scan;
mod target;
mod trust;

pub use answer::{Answer, Catalogue, CatalogueApp, CatalogueEntry, Form, write_options};
pub use facts::{Framing, Head, MethodKind, Refusal, RequestFacts, Version};
pub use forward::Forward;
pub use limits::{FIELDS_MAX, FieldSlots, Limits, head_may_be_whole};
pub use request::{Disposition, RequestHead, request_head};
pub use request_id::RequestId;
pub use trust::{Hop, Network, NetworkError, Scheme, Trusted};
