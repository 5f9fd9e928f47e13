//! What to write so that a clause is kept: every line of code that a report shows comes from here.

use crate::observed::Asked;

/// How its program is made to bind the number in `PORT`.
pub(crate) fn bind_port(asked: &Asked) -> String {
    tambat_model::how_to_bind(&asked.command)
}

/// How its program is made to listen where others reach it.
pub(crate) fn bind_host(asked: &Asked) -> String {
    format!(
        "listen on the address in HOST, and on :: where HOST is not set (a socket of both families); {}",
        "a fixed 127.0.0.1 is reached from this machine only"
    ) + match asked.protocol {
        Some(tambat_model::Protocol::Http) | None => "",
        Some(_) => "; keep a password or another guard in front of it then",
    }
}
