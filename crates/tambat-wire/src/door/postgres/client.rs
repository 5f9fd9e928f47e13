//! A client that has begun with a message of the `PostgreSQL` protocol, up to its `ClientHello`.

use super::{CancelRequest, Refusal};
use crate::peek::postgres::{Opening, opening};
use crate::peek::{ClientHello, HelloScan, Peek};

/// Yes to `SSLRequest`, and no to `GSSENCRequest`.
const YES: &[u8] = b"S";
const NO: &[u8] = b"N";

/// The client's side of a connection on which TLS tells whom it wants.
#[derive(Debug, Default)]
pub struct Door {
    state: State,
    was_refused_gss: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing was agreed.
    #[default]
    Clear,
    /// `S` was said.
    Agreed(HelloScan),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Incomplete,
    /// This is to be sent, everything received to be forgotten, and more to be read.
    Reply(&'static [u8]),
    /// The handshake has begun, with the bytes received: it is to be ended here, or passed on.
    Hello(ClientHello),
    /// A cancel is to be passed on to whom it concerns, and the connection to be closed without an answer.
    Cancel(CancelRequest),
    /// [`Refusal::message`] is to be sent, and the connection to be closed.
    Refuse(Refusal),
    /// This is no client of `PostgreSQL`: the connection is to be closed.
    Close,
}

impl Door {
    /// For a connection of which nothing was read.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be done by everything received since the beginning, or since the last [`Step::Reply`]: the same bytes as
    /// the last time, and more.
    ///
    /// Each wish is granted or declined once. What stands behind one was sent before it was answered: no client does so,
    /// and it must not be taken for what is said inside of TLS (CVE-2021-23214).
    pub fn on(&mut self, received: &[u8]) -> Step {
        match &mut self.state {
            State::Clear => self.in_clear(received),
            State::Agreed(scan) => match scan.on(received) {
                Peek::Incomplete => Step::Incomplete,
                Peek::Found(hello) => Step::Hello(hello),
                Peek::No if received.first() == Some(&0) => Step::Refuse(Refusal::ClearAfterSsl),
                Peek::No => Step::Close,
            },
        }
    }

    fn in_clear(&mut self, received: &[u8]) -> Step {
        const REQUEST_BYTES: usize = 8;
        let told = match opening(received) {
            Peek::Incomplete => return Step::Incomplete,
            Peek::No => return Step::Close,
            Peek::Found(told) => told,
        };
        match told {
            Opening::SslRequest | Opening::GssEncRequest if received.len() > REQUEST_BYTES => {
                Step::Refuse(Refusal::Injected)
            }
            Opening::SslRequest => {
                self.state = State::Agreed(HelloScan::default());
                Step::Reply(YES)
            }
            Opening::GssEncRequest if self.was_refused_gss => Step::Refuse(Refusal::Again),
            Opening::GssEncRequest => {
                self.was_refused_gss = true;
                Step::Reply(NO)
            }
            Opening::Cancel(request) => Step::Cancel(request),
            // The message is taken whole: a connection that is closed on unread bytes loses the answer.
            Opening::Startup { len } if received.len() < len => Step::Incomplete,
            Opening::Startup { .. } => Step::Refuse(Refusal::Clear),
        }
    }
}
