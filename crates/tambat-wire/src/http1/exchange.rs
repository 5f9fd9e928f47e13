//! One request and its response on their way through: a pure machine.
//!
//! It owns no buffer and no socket. Its driver brings the bytes that follow the request's head, and those that come from
//! the target, and sends on what it is told, first what was appended to `out`, then the bytes of the input that go as
//! they are. Bytes that were not used are brought again with more behind them. Each event is one function; the two halves
//! of the exchange are two enums; a [`Fault`] ends both.
//!
//! What the driver must not do is complete a message that the machine has not: after a fault on the way to the target,
//! the target's connection is closed; after one on the way to the client, the client's is answered with an error where
//! [`Exchange::response_begun`] says no, and reset where it says yes.

mod from_client;
mod from_target;
mod outcome;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use tambat_model::ErrorCode;

use super::body::{ChunkDecoder, Length, write_last_chunk};
use super::facts::{Framing, RequestFacts};
use super::response::ResponseRules;

pub use outcome::{After, BodyRules, Fault, Over, Side, Taken, Waiting};

/// One proxied exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    facts: RequestFacts,
    request: RequestHalf,
    response: ResponseHalf,
    /// How many bytes of a request's body may still come.
    body_bytes_left: u64,
    /// Of the final response; 0: it has not begun.
    status: u16,
    /// May another request come on the client's connection, as far as is known?
    client_stays: bool,
    /// May another request be sent on the target's?
    target_stays: bool,
    /// The client waits for a 100, and nobody has sent it yet.
    continue_due: bool,
    /// Some of the request's body was taken.
    body_begun: bool,
    /// The target has sent something.
    target_spoke: bool,
}

/// What is still to come from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RequestHalf {
    Length(Length),
    Chunked(ChunkDecoder),
    /// The request is whole.
    Done,
    /// It never will be: the rest is not read.
    Abandoned,
}

/// What is still to come from the target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ResponseHalf {
    /// A head. So many interim ones came before it, and so many bytes of it were looked at without finding its end.
    Head {
        interims: u8,
        seen: usize,
    },
    Body(ResponseBody),
    Done,
    Tunnel {
        is_websocket: bool,
    },
    Broken(Fault),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ResponseBody {
    Length(Length),
    Chunked(ChunkDecoder, Written),
    UntilClose(Written),
}

/// How a body without a length is written to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Chunked,
    /// As it is, to an HTTP/1.0 client; its end is the end of the connection.
    Bare,
}

impl Exchange {
    /// For a request whose head was read, and is about to be sent.
    pub fn new(facts: RequestFacts, rules: BodyRules) -> Self {
        let request = match facts.framing {
            Framing::None | Framing::Length(0) => RequestHalf::Done,
            Framing::Length(length) => RequestHalf::Length(Length::new(length)),
            Framing::Chunked => RequestHalf::Chunked(ChunkDecoder::default()),
        };
        Self {
            facts,
            request,
            response: ResponseHalf::Head { interims: 0, seen: 0 },
            body_bytes_left: rules.request_bytes_max.unwrap_or(u64::MAX),
            status: 0,
            client_stays: facts.keep_alive,
            target_stays: true,
            continue_due: facts.expects_continue,
            body_begun: false,
            target_spoke: false,
        }
    }

    /// Bytes from the client that follow what was used before. Those of its next request are not used. On a fault
    /// nothing was appended.
    pub fn from_client(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Taken, Fault> {
        let start = out.len();
        let taken = match (&self.response, &self.request) {
            (ResponseHalf::Broken(fault), _) => Err(*fault),
            (_, RequestHalf::Length(length)) => self.length_from_client(*length, input),
            (_, RequestHalf::Chunked(decoder)) => self.chunks_from_client(*decoder, input, out),
            (_, RequestHalf::Done | RequestHalf::Abandoned) => Ok(Taken::default()),
        };
        taken.map_err(|fault| {
            out.truncate(start);
            self.broken(fault)
        })
    }

    /// Bytes from the target that follow what was used before. On a fault nothing was appended, so that an answer which
    /// is wrong from the start is never begun.
    pub fn from_target(&mut self, input: &[u8], rules: &ResponseRules<'_>, out: &mut Vec<u8>) -> Result<Taken, Fault> {
        let (start, status) = (out.len(), self.status);
        self.target_spoke |= !input.is_empty();
        self.target_bytes(input, rules, out).map_err(|fault| {
            out.truncate(start);
            self.status = status;
            self.broken(fault)
        })
    }

    /// The client sends no more (RFC 9112 §8, §9.6). When its request is whole, it may still read the answer.
    pub fn client_closed(&mut self) -> Result<(), Fault> {
        match (&self.response, &self.request) {
            (ResponseHalf::Broken(fault), _) => Err(*fault),
            (_, RequestHalf::Length(_) | RequestHalf::Chunked(_)) => {
                Err(self.client_gone("the client closed the connection in the middle of its request"))
            }
            (_, RequestHalf::Done | RequestHalf::Abandoned) => {
                self.client_stays = false;
                Ok(())
            }
        }
    }

    /// The client's connection was reset, or takes nothing any more.
    pub fn client_failed(&mut self) -> Result<(), Fault> {
        self.client_stays = false;
        match self.response {
            ResponseHalf::Broken(fault) => Err(fault),
            ResponseHalf::Done | ResponseHalf::Tunnel { .. } => Ok(()),
            ResponseHalf::Head { .. } | ResponseHalf::Body(_) => {
                Err(self.client_gone("the client closed the connection before its answer was complete"))
            }
        }
    }

    /// The target sends no more. A body that lasts until then is whole (RFC 9112 §6.3): its end may be appended.
    pub fn target_closed(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if let ResponseHalf::Body(ResponseBody::UntilClose(written)) = self.response {
            if written == Written::Chunked {
                write_last_chunk(&[], out);
            }
            self.finish();
        }
        self.target_failed()
    }

    /// The target's connection was reset: a body that lasts until the end of the connection is not whole.
    pub fn target_failed(&mut self) -> Result<(), Fault> {
        self.target_stays = false;
        let fault = match &self.response {
            ResponseHalf::Broken(fault) => return Err(*fault),
            ResponseHalf::Done | ResponseHalf::Tunnel { .. } => return Ok(()),
            ResponseHalf::Body(_) => {
                Fault::by_target(ErrorCode::TargetBroke, "the target broke off in the middle of its answer")
            }
            ResponseHalf::Head { seen: 1.., .. } => {
                Fault::by_target(ErrorCode::TargetClosed, "the target closed the connection in the head of its answer")
            }
            ResponseHalf::Head { .. } if self.target_spoke => {
                Fault::by_target(ErrorCode::TargetClosed, "the target closed the connection after an interim answer")
            }
            ResponseHalf::Head { .. } => {
                Fault::by_target(ErrorCode::TargetClosed, "the target closed the connection without an answer")
            }
        };
        Err(self.broken(fault))
    }

    /// The target takes no more of the request; what it answers is still read, and often says why.
    pub fn target_stopped_reading(&mut self) {
        self.target_stays = false;
        self.abandon_request();
    }

    /// The router itself has told the client to go on (RFC 9110 §10.1.1): a 100 of the target is not passed on.
    pub fn continue_sent(&mut self) {
        self.continue_due = false;
    }

    /// Is something of the request still to be read? If not, what comes from the client belongs to its next request, or
    /// to a tunnel, or to nobody.
    #[inline]
    pub fn wants_client(&self) -> bool {
        matches!(self.request, RequestHalf::Length(_) | RequestHalf::Chunked(_))
    }

    /// Is something of the answer still to be read?
    #[inline]
    pub fn wants_target(&self) -> bool {
        matches!(self.response, ResponseHalf::Head { .. } | ResponseHalf::Body(_))
    }

    /// So many bytes of the request may go by without being looked at.
    pub fn passable_from_client(&self) -> u64 {
        match &self.request {
            RequestHalf::Length(length) if length.left() <= self.body_bytes_left => length.left(),
            _ => 0,
        }
    }

    /// So many bytes of the request went by.
    pub fn passed_from_client(&mut self, bytes: u64) {
        if let RequestHalf::Length(length) = &mut self.request {
            length.pass(bytes);
            self.body_begun = true;
            if length.left() == 0 {
                self.request = RequestHalf::Done;
            }
        }
    }

    /// So many bytes of the answer may go by without being looked at.
    pub fn passable_from_target(&self) -> u64 {
        match &self.response {
            ResponseHalf::Body(ResponseBody::Length(length)) => length.left(),
            ResponseHalf::Body(ResponseBody::UntilClose(Written::Bare)) => u64::MAX,
            _ => 0,
        }
    }

    /// So many bytes of the answer went by.
    pub fn passed_from_target(&mut self, bytes: u64) {
        if let ResponseHalf::Body(ResponseBody::Length(length)) = &mut self.response {
            length.pass(bytes);
            if length.left() == 0 {
                self.finish();
            }
        }
    }

    /// Was the head of the final answer appended? From then on no other can be given.
    #[inline]
    pub fn response_begun(&self) -> bool {
        self.status != 0
    }

    /// The status of the final answer.
    pub fn final_status(&self) -> Option<u16> {
        (self.status != 0).then_some(self.status)
    }

    /// Has the request been read to its end?
    pub fn request_is_whole(&self) -> bool {
        self.request == RequestHalf::Done
    }

    /// May the request be sent again, on another connection? It does no harm twice, its head alone was sent, and nothing
    /// came back (RFC 9110 §9.2.2).
    pub fn may_retry(&self) -> bool {
        self.facts.is_idempotent && !self.body_begun && self.nothing_came()
    }

    /// Has the target not said a word, and nothing but its end kept it from that?
    pub fn nothing_came(&self) -> bool {
        match &self.response {
            ResponseHalf::Head { .. } => !self.target_spoke,
            ResponseHalf::Broken(fault) => fault.code == ErrorCode::TargetClosed && !self.target_spoke,
            ResponseHalf::Body(_) | ResponseHalf::Done | ResponseHalf::Tunnel { .. } => false,
        }
    }

    /// What it waits for.
    pub fn waiting(&self) -> Waiting {
        match &self.response {
            ResponseHalf::Done | ResponseHalf::Broken(_) => Waiting::Nothing,
            ResponseHalf::Tunnel { .. } => Waiting::Tunnel,
            ResponseHalf::Body(_) | ResponseHalf::Head { seen: 1.., .. } => Waiting::Response,
            ResponseHalf::Head { .. } if self.wants_client() && !self.client_waits_for_continue() => {
                Waiting::RequestBody
            }
            ResponseHalf::Head { .. } => Waiting::FirstByte,
        }
    }

    /// What becomes of the connections; none: it is not over, or a fault has ended it.
    pub fn over(&self) -> Option<Over> {
        let after = |stays: bool| if stays && self.request_is_whole() { After::Keep } else { After::Close };
        match self.response {
            ResponseHalf::Done => Some(Over { client: after(self.client_stays), target: after(self.target_stays) }),
            ResponseHalf::Tunnel { .. } => Some(Over { client: After::Tunnel, target: After::Tunnel }),
            ResponseHalf::Head { .. } | ResponseHalf::Body(_) | ResponseHalf::Broken(_) => None,
        }
    }

    /// Has it become a WebSocket (RFC 6455 §4.2.2)?
    pub fn is_websocket(&self) -> bool {
        matches!(self.response, ResponseHalf::Tunnel { is_websocket: true })
    }

    /// What ended it before its time.
    pub fn fault(&self) -> Option<Fault> {
        match self.response {
            ResponseHalf::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    fn client_waits_for_continue(&self) -> bool {
        self.continue_due && !self.body_begun
    }

    fn abandon_request(&mut self) {
        if self.wants_client() {
            self.request = RequestHalf::Abandoned;
        }
    }

    /// The answer is whole; the rest of the request, if there is any, is of no use to anybody.
    fn finish(&mut self) {
        self.response = ResponseHalf::Done;
        self.abandon_request();
    }

    fn client_gone(&mut self, cause: &'static str) -> Fault {
        self.broken(Fault::by_client(ErrorCode::ClientClosed, cause))
    }

    fn broken(&mut self, fault: Fault) -> Fault {
        self.response = ResponseHalf::Broken(fault);
        self.abandon_request();
        fault
    }
}
