//! Leads a client as a router does, as far as its bytes decide.

use tambat_model::Opening;
use tambat_wire::door::postgres::{Door, Step};
use tambat_wire::door::xmpp::{StartTls, StartTlsStep};
use tambat_wire::peek::xmpp::{StreamHeader, StreamKind};
use tambat_wire::peek::{ClientHello, Peek, Peeker, ServerName, Told, client_hello};

/// Where a connection is.
pub(crate) enum Lead {
    Begun(Peeker),
    Postgres(Door),
    Xmpp(String, usize, StartTls),
    /// TLS was agreed on; before it, this was told.
    Agreed(String),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Led {
    /// Read more.
    Waiting,
    /// Send this; what was received stays.
    Send(Vec<u8>),
    /// Send this, and forget what was received.
    Reply(Vec<u8>),
    /// Send this, and close: what was told.
    Refused(Vec<u8>, String),
    /// This was told.
    Over(String),
}

impl Lead {
    pub(crate) fn new() -> Self {
        Self::Begun(Peeker::new(&Opening::ALL))
    }

    /// By everything received since the last reply.
    pub(crate) fn on(&mut self, received: &[u8]) -> Led {
        match self {
            Self::Begun(peeker) => match peeker.on(received) {
                Peek::Incomplete => Led::Waiting,
                Peek::No => Led::Over("none".to_owned()),
                Peek::Found(told) => self.told(told, received),
            },
            Self::Postgres(door) => match door.on(received) {
                Step::Incomplete => Led::Waiting,
                Step::Reply(reply) => Led::Reply(reply.to_vec()),
                Step::Hello(hello) => Led::Over(format!("postgres, {}", shown(&hello))),
                Step::Cancel(_) => Led::Over("postgres, cancel".to_owned()),
                Step::Refuse(refusal) => Led::Refused(refusal.message(), format!("postgres, {refusal:?}")),
                Step::Close => Led::Over("postgres, closed".to_owned()),
            },
            Self::Xmpp(told, len, door) => match door.on(&received[*len..]) {
                StartTlsStep::Incomplete => Led::Waiting,
                StartTlsStep::Close(said) => Led::Refused(said, format!("{told}, closed")),
                StartTlsStep::Handshake(proceed) => {
                    *self = Self::Agreed(std::mem::take(told));
                    Led::Reply(proceed.to_vec())
                }
            },
            Self::Agreed(told) => match client_hello(received) {
                Peek::Incomplete => Led::Waiting,
                Peek::No => Led::Over(format!("{told}, no TLS")),
                Peek::Found(hello) => Led::Over(format!("{told}, {}", shown(&hello))),
            },
        }
    }

    fn told(&mut self, told: Told, received: &[u8]) -> Led {
        match told {
            Told::Tls(hello) => Led::Over(shown(&hello)),
            Told::Http => Led::Over("http".to_owned()),
            Told::Ssh => Led::Over("ssh".to_owned()),
            Told::Postgres => {
                *self = Self::Postgres(Door::new());
                self.on(received)
            }
            Told::Xmpp(Ok(header)) => {
                let (door, offer) = StartTls::begin(&header, "1").unwrap();
                *self = Self::Xmpp(stream(&header), header.len, door);
                Led::Send(offer)
            }
            Told::Xmpp(Err(error)) => Led::Refused(error.answer(None, "1"), format!("xmpp, {error:?}")),
        }
    }
}

/// What is told in the end by these turns, of each so many bytes at a time.
pub(crate) fn replay(turns: &[Vec<u8>], at_a_time: usize) -> Led {
    let mut lead = Lead::new();
    let mut begins = 0;
    let mut end = 0;
    let all = turns.concat();
    let ends: Vec<usize> = turns
        .iter()
        .scan(0, |end, turn| {
            *end += turn.len();
            Some(*end)
        })
        .collect();
    loop {
        let turn_ends = ends.iter().copied().find(|turn_ends| *turn_ends > end).unwrap_or(end);
        let was = end;
        end = turn_ends.min(end + at_a_time);
        match lead.on(&all[begins..end]) {
            Led::Waiting if end == was => return Led::Waiting,
            Led::Waiting | Led::Send(_) => {}
            Led::Reply(_) => begins = end,
            Led::Refused(_, told) | Led::Over(told) => return Led::Over(told),
        }
    }
}

fn stream(header: &StreamHeader) -> String {
    let kind = match header.kind {
        StreamKind::Client => "client",
        StreamKind::Server => "server",
    };
    format!("xmpp {kind} {}", header.asked())
}

/// `tls NAME [PROTOCOLS]`
pub(crate) fn shown(hello: &ClientHello) -> String {
    let name = match &hello.server_name {
        ServerName::Name(name) => name.as_ref(),
        ServerName::Absent => "(absent)",
        ServerName::Address => "(address)",
        ServerName::Invalid => "(invalid)",
    };
    let alpn: Vec<_> = hello.alpn.iter().map(|protocol| protocol.escape_ascii().to_string()).collect();
    format!("tls {name} [{}]", alpn.join(" "))
}
