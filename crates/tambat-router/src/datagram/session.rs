//! What a session of datagrams is.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Between whom datagrams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    /// Who has sent.
    pub(super) client: SocketAddr,
    /// The address of ours that it has dialled, where the socket has all of them.
    pub(super) dialled: Option<IpAddr>,
}

/// What holds for the sessions of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// How long nothing may move in either direction.
    pub(super) idle: Duration,
    /// Is each datagram a question that has one answer? Then a session is over when all have been answered.
    pub(super) settles: bool,
}

/// A session: never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionId {
    pub(super) serial: u64,
    pub(super) slot: usize,
}

/// What a session has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Carried {
    /// Datagrams from the client.
    pub(super) datagrams_in: u64,
    /// Datagrams from its targets.
    pub(super) datagrams_out: u64,
    /// Bytes from the client.
    pub(super) bytes_in: u64,
    /// Bytes from its targets.
    pub(super) bytes_out: u64,
}

/// What a datagram of a client is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// One for the target of this session.
    Send(SessionId),
    /// One of a session that waits for a target: it is kept, or thrown away.
    Waits(SessionId),
    /// The first one of a session.
    New,
}

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing moved for too long.
    Idle,
    /// Each of its questions was answered.
    Answered,
    /// Its target was to have no more, or all were to end, and it was silent.
    Drained,
    /// Others needed its place.
    Displaced,
    /// There was nobody to carry it to.
    Refused,
}

/// A session that has ended.
#[derive(Debug)]
pub(super) struct Ended<T> {
    /// Whose it was.
    pub(super) flow: Flow,
    /// Why it has ended.
    pub(super) why: Why,
    /// What it has carried.
    pub(super) carried: Carried,
    /// How long it was there.
    pub(super) took: Duration,
    /// What it kept for a target.
    pub(super) kept: Vec<Box<[u8]>>,
    /// What the driver had of it.
    pub(super) own: T,
}

/// What became of a first datagram.
#[derive(Debug)]
pub(super) enum Begun<T> {
    /// It has begun a session. One that had to make room for it has ended.
    At(SessionId, Option<Ended<T>>),
    /// There is no room, and nobody who would have to make some: what the session would have had.
    Full(T),
}

/// How far a session has come. In each of these, those that have been silent for longest are first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// All that it asked has been answered.
    Settled,
    /// It ends as soon as it is silent.
    Leaving,
    /// Its client may be anybody.
    Fresh,
    /// Its client has spoken after an answer.
    Certain,
}

impl Stage {
    /// Whose sessions make room, in this order.
    pub(super) const DISPENSABLE: [Self; 3] = [Self::Settled, Self::Leaving, Self::Fresh];
    pub(super) const ALL: [Self; 4] = [Self::Settled, Self::Leaving, Self::Fresh, Self::Certain];
}

/// A session, as the table has it.
#[derive(Debug)]
pub(super) struct Session<T> {
    pub(super) id: SessionId,
    pub(super) flow: Flow,
    pub(super) stage: Stage,
    pub(super) begun: Instant,
    /// When something moved last.
    pub(super) moved: Instant,
    pub(super) before: Option<usize>,
    pub(super) after: Option<usize>,
    pub(super) carried: Carried,
    pub(super) has_target: bool,
    pub(super) is_leaving: bool,
    /// Has its client spoken after an answer?
    pub(super) is_certain: bool,
    /// Questions without an answer yet.
    pub(super) unanswered: u64,
    pub(super) kept: VecDeque<(Instant, Box<[u8]>)>,
    pub(super) own: T,
}
