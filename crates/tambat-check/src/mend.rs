//! What to write so that a clause is kept: every line of code that a report shows comes from here, and those of frameworks
//! from the model.

use crate::observed::{Asked, Start};

/// Where nothing was recognised.
const ANYWHERE: &str = "listen on the address in HOST, and on :: where HOST is not set (a socket of both families)";

/// How its program is made to bind the number in `PORT`. What listened elsewhere at this start tells its language where
/// nothing else does.
pub(crate) fn bind_port(asked: &Asked, start: &Start) -> String {
    let program = start.elsewhere().next().map(|listener| listener.program.name.as_str());
    asked.recognised.bind_port(program)
}

/// How its program is made to listen where others reach it.
pub(crate) fn bind_host(asked: &Asked) -> String {
    let recognised = &asked.recognised;
    let line = recognised.framework().map_or_else(|| ANYWHERE.to_owned(), |_| recognised.bind_all(None));
    guarded(asked, format!("{line}; a fixed 127.0.0.1 is reached from this machine only"))
}

/// How its program is made to listen over IPv4 and IPv6.
pub(crate) fn bind_both(asked: &Asked) -> String {
    guarded(asked, ANYWHERE.to_owned())
}

/// Whom nobody asks for a password is not to be reached from everywhere.
fn guarded(asked: &Asked, line: String) -> String {
    match asked.protocol {
        None => line,
        Some(protocol) if protocol.is_http() => line,
        Some(_) => line + "; keep a password or another guard in front of it then",
    }
}
