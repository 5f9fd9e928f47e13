//! What a connection knows of the request that it is serving. In a box of its own, which the worker's connections pass
//! around: one that is idle has none.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tambat_model::{Route, Target};
use tambat_wire::http1::{
    BodyRules, Exchange, FieldSlots, Framing, Head, Limits, Media, MethodKind, RequestFacts, RequestId, Version,
    request_head,
};

use super::flow::Flow;
use crate::balance::Mark;
use crate::queue::{Counted, Queue};
use crate::transport::{Transport, broken};

/// So many boxes wait for their next request at most: as many as one worker has requests on their way at a time.
const SPARE_MAX: usize = 1_024;

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Active {
    pub(super) exchange: Exchange,
    pub(super) facts: RequestFacts,
    pub(super) id: RequestId,
    pub(super) started: Instant,
    /// When it was last heard or seen to move.
    pub(super) moved: Instant,
    pub(super) route: Option<Arc<Route>>,
    /// Where its route's requests wait, if they may have to.
    pub(super) queue: Option<Arc<Queue>>,
    pub(super) upstream: Option<Upstream>,
    /// The target that the client's cookie names, and the cookie that it gets.
    pub(super) mark: Option<Mark>,
    pub(super) cookie: Vec<u8>,
    /// To the target. It begins with the request's head, which stays until something else has to be kept, for the retry.
    pub(super) up: Flow,
    /// To the client.
    pub(super) down: Flow,
    /// Bytes of the target that make no sense yet.
    pub(super) held: Vec<u8>,
    pub(super) notes: Notes,
    pub(super) first_byte: Option<Duration>,
    pub(super) retries: u8,
    /// Which limit is in force.
    pub(super) limit: Option<Limit>,
    /// How much was on its way to a client that is waited for.
    pub(super) on_its_way: Option<usize>,
    /// Ends when a client that sends no more has gone altogether. Few come to this.
    pub(super) broken: Option<Broken>,
}

/// The end of a connection, as something to wait for.
pub(super) struct Broken(Pin<Box<dyn Future<Output = ()>>>);

impl Broken {
    /// Of this connection.
    pub(super) fn new(stream: Rc<Transport>) -> Self {
        Self(Box::pin(broken(stream)))
    }

    /// Ready when it has broken off.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broken(..)")
    }
}

/// The connection to a target that serves a request.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) stream: Transport,
    pub(super) target: Arc<Target>,
    /// It is counted there.
    pub(super) counted: Counted,
    /// Has it served another request before?
    pub(super) is_reused: bool,
}

/// What a request is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The client: that it takes its answer.
    ClientTakes,
    /// The client: more of its body.
    RequestBody,
    /// The target: that it takes the request, and begins its answer.
    FirstByte,
    /// The target: more of its answer.
    Response,
}

impl Active {
    fn new(facts: RequestFacts, id: RequestId, now: Instant) -> Self {
        Self {
            exchange: Exchange::new(facts, BodyRules::default()),
            facts,
            id,
            started: now,
            moved: now,
            route: None,
            queue: None,
            upstream: None,
            mark: None,
            cookie: Vec::new(),
            up: Flow::default(),
            down: Flow::default(),
            held: Vec::new(),
            notes: Notes::default(),
            first_byte: None,
            retries: 0,
            limit: None,
            on_its_way: None,
            broken: None,
        }
    }

    fn begin(&mut self, facts: RequestFacts, id: RequestId, now: Instant) {
        (self.facts, self.id, self.started, self.moved) = (facts, id, now, now);
        (self.first_byte, self.retries, self.limit, self.mark) = (None, 0, None, None);
        self.exchange = Exchange::new(facts, BodyRules::default());
        self.cookie.clear();
        self.notes.clear();
    }

    /// The target takes the request: nothing of it was sent there yet.
    pub(super) fn goes_to(&mut self, upstream: Upstream) {
        self.cookie.clear();
        if let Some(sticky) = self.route.as_ref().and_then(|route| route.http.sticky.as_ref()) {
            let mark = Mark::of(&upstream.target);
            if self.mark != Some(mark) {
                mark.write_cookie(&sticky.cookie, &mut self.cookie);
            }
        }
        self.up.unsent.rewind();
        self.upstream = Some(upstream);
    }

    /// What the client reads of an answer of our own. Would it show a page? The head on its way to the target still says
    /// so, unless it was needed no more.
    pub(super) fn media(&self, limits: &Limits) -> Media {
        if self.facts.is_grpc {
            return Media::Grpc;
        }
        match request_head(self.up.unsent.bytes(), &mut FieldSlots::new(), limits) {
            Head::Found(head) if head.prefers_html() => Media::Html,
            Head::Found(_) | Head::Incomplete | Head::Refused(_) => Media::Json,
        }
    }
}

/// What outlives the bytes of a head: for another look into the route table, and for the access log.
#[derive(Debug)]
pub(super) struct Notes {
    text: Vec<u8>,
    ends: [usize; Self::PARTS],
    pub(super) client: IpAddr,
    has_traceparent: bool,
}

impl Default for Notes {
    fn default() -> Self {
        Self { text: Vec::new(), ends: [0; Self::PARTS], client: [0, 0, 0, 0].into(), has_traceparent: false }
    }
}

/// The parts of [`Notes`], in their order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) asked: &'a [u8],
    pub(super) traceparent: Option<&'a [u8]>,
}

impl Notes {
    const PARTS: usize = 5;

    /// Longer ones are seldom, and their memory is not kept for the next request.
    const KEPT_BYTES_MAX: usize = 4 * 1024;

    fn recycle(&mut self) {
        self.clear();
        if self.text.capacity() > Self::KEPT_BYTES_MAX {
            self.text = Vec::new();
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends = [0; Self::PARTS];
        self.has_traceparent = false;
    }

    pub(super) fn write(&mut self, noted: Noted<'_>) {
        self.clear();
        self.has_traceparent = noted.traceparent.is_some();
        let parts: [&[u8]; Self::PARTS] = [
            noted.host.as_bytes(),
            noted.path.as_bytes(),
            noted.method.as_bytes(),
            noted.asked,
            noted.traceparent.unwrap_or_default(),
        ];
        for (end, part) in self.ends.iter_mut().zip(parts) {
            self.text.extend_from_slice(part);
            *end = self.text.len();
        }
    }

    pub(super) fn read(&self) -> Noted<'_> {
        let part = |nth: usize| {
            let start = if nth == 0 { 0 } else { self.ends[nth - 1] };
            &self.text[start..self.ends[nth]]
        };
        // What was written as text is read as text.
        let text = |nth| std::str::from_utf8(part(nth)).unwrap_or_default();
        let traceparent = self.has_traceparent.then(|| part(4));
        Noted { host: text(0), path: text(1), method: text(2), asked: part(3), traceparent }
    }
}

/// The boxes of one worker that wait for their next request.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is passed around")]
pub(crate) struct Spare(RefCell<Vec<Box<Active>>>);

impl Spare {
    /// One for a request that came at `now`.
    pub(super) fn take(&self, facts: RequestFacts, id: RequestId, now: Instant) -> Box<Active> {
        match self.0.borrow_mut().pop() {
            Some(mut active) => {
                active.begin(facts, id, now);
                active
            }
            None => Box::new(Active::new(facts, id, now)),
        }
    }

    /// Takes one back, and lets go of what it holds of others.
    pub(super) fn give_back(&self, mut active: Box<Active>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() >= SPARE_MAX {
            return;
        }
        (active.route, active.queue, active.upstream, active.broken) = (None, None, None, None);
        active.up.recycle();
        active.down.recycle();
        active.held = Vec::new();
        active.notes.recycle();
        spare.push(active);
    }
}

/// What is taken for the facts of a request whose head cannot be read.
pub(super) const UNREAD: RequestFacts = RequestFacts {
    method: MethodKind::Other,
    is_idempotent: false,
    version: Version::Http11,
    framing: Framing::None,
    keep_alive: false,
    upgrade: false,
    expects_continue: false,
    is_grpc: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let mut notes = Notes::default();
        let noted = Noted { host: "a.example", path: "/x?y", method: "GET", asked: b"/./x?y", traceparent: None };
        notes.write(noted);
        let read = notes.read();
        assert_eq!((read.host, read.path, read.method), ("a.example", "/x?y", "GET"));
        assert_eq!((read.asked, read.traceparent), (&b"/./x?y"[..], None));
        notes.write(Noted { traceparent: Some(b"00-1"), host: "", ..noted });
        assert_eq!((notes.read().host, notes.read().traceparent), ("", Some(&b"00-1"[..])));
    }
}
