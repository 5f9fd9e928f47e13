//! HTTP/1.1 between a client and a target: heads, bodies and one exchange of both, without a socket or a clock.

mod answer;
mod authority;
mod body;
mod client;
mod client_certificate;
mod exchange;
mod facts;
mod fields;
mod forward;
mod grpc;
mod limits;
mod request;
mod request_id;
mod response;
mod scan;
mod target;
mod trust;

pub(crate) use authority::same_authority;
pub(crate) use fields::number;

pub use answer::{
    Answer, Catalogue, CatalogueApp, CatalogueEntry, Form, Media, write_challenge, write_options, write_redirect,
};
pub use body::{ChunkDecoder, ChunkError, Decoded, Piece, TRAILERS_BYTES_MAX, write_chunk, write_last_chunk};
pub use client_certificate::ClientCertificate;
pub use exchange::{After, BodyRules, Exchange, Fault, Over, Side, Taken, Waiting};
pub use facts::{Framing, Head, MethodKind, Refusal, RequestFacts, Version};
pub use forward::Forward;
pub use limits::{FIELDS_MAX, FieldSlots, Limits, head_may_be_whole};
pub use request::{Disposition, RequestHead, request_head};
pub use request_id::RequestId;
pub use response::{ResponseFraming, ResponseHead, ResponseRules, response_head};
pub use tambat_model::{Network, Trusted};
pub use trust::{ClientFraming, Hop, Scheme};
