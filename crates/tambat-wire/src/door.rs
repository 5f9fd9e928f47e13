//! Front doors: what is said to a client before its bytes can go to anybody, as machines without I/O.

pub mod postgres;
pub mod xmpp;
