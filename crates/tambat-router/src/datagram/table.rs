//! The sessions of one socket: who has spoken, who has been answered, who waits, who has been silent for too long. Pure:
//! the time is an argument, and what a session has beside (a socket, a target) is the driver's.
//!
//! A datagram may come from anybody and say it comes from somebody else, so that a session costs nobody anything to
//! begin. What keeps those who really talk: a client that has spoken again after an answer has had that answer, so it is
//! where it says. When the table is full, the one that has been silent for longest among all others makes room; and where
//! there are only such as are certain, nobody new comes in.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::session::{Begun, Carried, Ended, Flow, Heard, Rules, Session, SessionId, Stage, Why};

/// How many datagrams of one session wait for a target; the newest ones. A client that asks again says the same again.
const KEPT_DATAGRAMS_MAX: usize = 4;

/// How many bytes wait for targets at one socket.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// So long a datagram waits: a client of DNS asks somebody else after 5 s, and what is older than that is of no use to
/// hardly any.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(5);

/// How long a session goes on once each of its questions has been answered: a client may have another one.
const SETTLED_FOR: Duration = Duration::from_secs(1);

/// How long it may be silent once its target is to have no more of them, or all are to end.
const LEAVING_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    first: Option<usize>,
    last: Option<usize>,
}

/// The sessions of one socket.
#[derive(Debug)]
pub(super) struct Table<T> {
    rules: Rules,
    max: usize,
    slots: Vec<Option<Session<T>>>,
    free: Vec<usize>,
    by_flow: HashMap<Flow, usize>,
    lines: [Line; Stage::ALL.len()],
    /// Those without a target, the oldest first, and when the first datagram that they keep is too old.
    waiting: BTreeSet<SessionId>,
    kept_bytes: usize,
    next_serial: u64,
}

impl<T> Table<T> {
    /// An empty one, with room for so many.
    pub(super) fn new(max: usize, rules: Rules) -> Self {
        Self {
            rules,
            max,
            slots: Vec::new(),
            free: Vec::new(),
            by_flow: HashMap::new(),
            lines: [Line::default(); Stage::ALL.len()],
            waiting: BTreeSet::new(),
            kept_bytes: 0,
            next_serial: 0,
        }
    }

    /// Other rules hold from now on.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_flow.len()
    }

    /// A client has sent this.
    pub(super) fn hear(&mut self, flow: Flow, datagram: &[u8], now: Instant) -> Heard {
        let Some(&slot) = self.by_flow.get(&flow) else { return Heard::New };
        let Some(session) = self.slots[slot].as_mut() else { return Heard::New };
        session.carried.datagrams_in += 1;
        session.carried.bytes_in += datagram.len() as u64;
        session.unanswered += 1;
        session.is_certain |= session.carried.datagrams_out > 0;
        let (id, has_target) = (session.id, session.has_target);
        self.moves(slot, now);
        if has_target {
            return Heard::Send(id);
        }
        self.keep(slot, datagram, now);
        Heard::Waits(id)
    }

    /// Begins a session with its first datagram, for which it has no target yet. `is_one_too_many`: one of these sessions
    /// has to make room for it, however much there is in the table.
    pub(super) fn begin(
        &mut self,
        flow: Flow,
        datagram: &[u8],
        own: T,
        is_one_too_many: bool,
        now: Instant,
    ) -> Begun<T> {
        let needs_room = is_one_too_many || self.len() >= self.max;
        let displaced = if needs_room { self.displace(now) } else { None };
        if needs_room && displaced.is_none() {
            return Begun::Full(own);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = SessionId { serial: self.next_serial, slot };
        self.next_serial += 1;
        self.slots[slot] = Some(Session {
            id,
            flow,
            stage: Stage::Fresh,
            begun: now,
            moved: now,
            before: None,
            after: None,
            carried: Carried { datagrams_in: 1, bytes_in: datagram.len() as u64, ..Carried::default() },
            has_target: false,
            is_leaving: false,
            is_certain: false,
            unanswered: 1,
            kept: VecDeque::new(),
            own,
        });
        self.by_flow.insert(flow, slot);
        self.waiting.insert(id);
        self.append(slot);
        self.keep(slot, datagram, now);
        Begun::At(id, displaced)
    }

    /// It has a target now; what it kept for that, the oldest first.
    pub(super) fn place(&mut self, id: SessionId, now: Instant) -> Vec<Box<[u8]>> {
        let Some(session) = self.session_mut(id) else { return Vec::new() };
        session.has_target = true;
        session.is_leaving = false;
        let kept = std::mem::take(&mut session.kept);
        self.kept_bytes -= kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        self.waiting.remove(&id);
        self.restage(id.slot);
        kept.into_iter().filter(|(since, _)| now.saturating_duration_since(*since) < KEPT_FOR).map(|(_, b)| b).collect()
    }

    /// It has no target any more, and this did not reach it.
    pub(super) fn unplace(&mut self, id: SessionId, datagram: Option<&[u8]>, now: Instant) {
        let Some(session) = self.session_mut(id) else { return };
        session.has_target = false;
        session.is_leaving = false;
        self.waiting.insert(id);
        self.restage(id.slot);
        if let Some(datagram) = datagram {
            self.keep(id.slot, datagram, now);
        }
    }

    /// Its target has sent so much.
    pub(super) fn answer(&mut self, id: SessionId, bytes: usize, now: Instant) {
        let Some(session) = self.session_mut(id) else { return };
        session.carried.datagrams_out += 1;
        session.carried.bytes_out += bytes as u64;
        session.unanswered = session.unanswered.saturating_sub(1);
        self.moves(id.slot, now);
    }

    /// It ends as soon as it is silent; or it does not any more.
    pub(super) fn leave(&mut self, id: SessionId, is_leaving: bool) {
        let Some(session) = self.session_mut(id) else { return };
        if session.is_leaving != is_leaving {
            session.is_leaving = is_leaving;
            self.restage(id.slot);
        }
    }

    /// Ends it.
    pub(super) fn end(&mut self, id: SessionId, why: Why, now: Instant) -> Option<Ended<T>> {
        self.session_mut(id)?;
        self.remove(id.slot, why, now)
    }

    /// Ends those that have been silent for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Ended<T>> {
        let mut ended = Vec::new();
        for stage in Stage::ALL {
            while let Some(slot) = self.lines[stage as usize].first.filter(|slot| self.is_over(*slot, now)) {
                let why = match stage {
                    Stage::Settled => Why::Answered,
                    Stage::Leaving => Why::Drained,
                    Stage::Fresh | Stage::Certain => Why::Idle,
                };
                ended.extend(self.remove(slot, why, now));
            }
        }
        ended
    }

    /// Those that wait for a target, the oldest first.
    pub(super) fn waiting(&self) -> Vec<SessionId> {
        self.waiting.iter().copied().collect()
    }

    /// Throws away what has been kept for too long. Whose it was, and what.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<(Flow, Box<[u8]>)> {
        let mut given_up = Vec::new();
        for id in self.waiting() {
            let Some(session) = self.session_mut(id) else { continue };
            let flow = session.flow;
            let is_old = |(since, _): &(Instant, Box<[u8]>)| now.saturating_duration_since(*since) >= KEPT_FOR;
            while let Some((_, bytes)) = session.kept.pop_front_if(|kept| is_old(kept)) {
                given_up.push((flow, bytes));
            }
        }
        self.kept_bytes -= given_up.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        given_up
    }

    /// All sessions.
    pub(super) fn all(&self) -> impl Iterator<Item = (SessionId, &T)> {
        self.slots.iter().flatten().map(|session| (session.id, &session.own))
    }

    /// Does it keep something for a target?
    pub(super) fn keeps(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| !session.kept.is_empty())
    }

    /// Whose it is.
    pub(super) fn flow(&self, id: SessionId) -> Option<Flow> {
        self.session(id).map(|session| session.flow)
    }

    /// What the driver has of it.
    pub(super) fn own(&mut self, id: SessionId) -> Option<&mut T> {
        self.session_mut(id).map(|session| &mut session.own)
    }

    fn session(&self, id: SessionId) -> Option<&Session<T>> {
        self.slots.get(id.slot)?.as_ref().filter(|session| session.id == id)
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session<T>> {
        self.slots.get_mut(id.slot)?.as_mut().filter(|session| session.id == id)
    }

    fn over_at(&self, session: &Session<T>) -> Instant {
        let silence = match session.stage {
            Stage::Settled => SETTLED_FOR.min(self.rules.idle),
            Stage::Leaving => LEAVING_FOR.min(self.rules.idle),
            Stage::Fresh | Stage::Certain => self.rules.idle,
        };
        session.moved + silence
    }

    fn is_over(&self, slot: usize, now: Instant) -> bool {
        self.slots[slot].as_ref().is_some_and(|session| self.over_at(session) <= now)
    }

    /// The one that has been silent for longest among those that may be dispensed with.
    fn displace(&mut self, now: Instant) -> Option<Ended<T>> {
        let slot = Stage::DISPENSABLE.into_iter().find_map(|stage| self.lines[stage as usize].first)?;
        self.remove(slot, Why::Displaced, now)
    }

    fn keep(&mut self, slot: usize, datagram: &[u8], now: Instant) {
        let Some(session) = self.slots[slot].as_mut() else { return };
        while session.kept.len() >= KEPT_DATAGRAMS_MAX {
            self.kept_bytes -= session.kept.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
        if self.kept_bytes + datagram.len() <= KEPT_BYTES_MAX {
            self.kept_bytes += datagram.len();
            session.kept.push_back((now, datagram.into()));
        }
    }

    /// Something has moved: it is the last of its line, which may be another one now.
    fn moves(&mut self, slot: usize, now: Instant) {
        if let Some(session) = self.slots[slot].as_mut() {
            session.moved = now;
        }
        self.unlink(slot);
        self.append(slot);
    }

    /// It may stand in another line now: as the last one there, though it has not moved, so that each line stays in order
    /// but for a moment's silence more.
    fn restage(&mut self, slot: usize) {
        let is_other = self.slots[slot].as_ref().is_some_and(|session| self.stage_of(session) != session.stage);
        if is_other {
            self.unlink(slot);
            self.append(slot);
        }
    }

    fn stage_of(&self, session: &Session<T>) -> Stage {
        if self.rules.settles && session.has_target && session.unanswered == 0 {
            Stage::Settled
        } else if session.is_leaving {
            Stage::Leaving
        } else if session.is_certain {
            Stage::Certain
        } else {
            Stage::Fresh
        }
    }

    fn append(&mut self, slot: usize) {
        let Some(stage) = self.slots[slot].as_ref().map(|session| self.stage_of(session)) else { return };
        let last = self.lines[stage as usize].last.replace(slot);
        if let Some(session) = self.slots[slot].as_mut() {
            (session.stage, session.before, session.after) = (stage, last, None);
        }
        match last.and_then(|last| self.slots[last].as_mut()) {
            Some(last) => last.after = Some(slot),
            None => self.lines[stage as usize].first = Some(slot),
        }
    }

    fn unlink(&mut self, slot: usize) {
        let Some(session) = self.slots[slot].as_mut() else { return };
        let (stage, before, after) = (session.stage, session.before.take(), session.after.take());
        match before.and_then(|before| self.slots[before].as_mut()) {
            Some(before) => before.after = after,
            None => self.lines[stage as usize].first = after,
        }
        match after.and_then(|after| self.slots[after].as_mut()) {
            Some(after) => after.before = before,
            None => self.lines[stage as usize].last = before,
        }
    }

    fn remove(&mut self, slot: usize, why: Why, now: Instant) -> Option<Ended<T>> {
        self.unlink(slot);
        let session = self.slots[slot].take()?;
        self.free.push(slot);
        self.by_flow.remove(&session.flow);
        self.waiting.remove(&session.id);
        self.kept_bytes -= session.kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let Session { flow, carried, begun, kept, own, .. } = session;
        let (took, kept) = (now.saturating_duration_since(begun), kept.into_iter().map(|(_, bytes)| bytes).collect());
        Some(Ended { flow, why, carried, took, kept, own })
    }
}

#[cfg(test)]
impl<T> Table<T> {
    /// What must hold at every moment: each session is in the one line of its stage, and what is counted is there.
    pub(super) fn verify(&self) {
        let mut seen = 0;
        for stage in Stage::ALL {
            let (mut before, mut next) = (None, self.lines[stage as usize].first);
            while let Some(slot) = next {
                let session = self.slots[slot].as_ref().unwrap();
                assert_eq!((session.stage, session.before), (stage, before));
                assert_eq!(self.by_flow[&session.flow], slot);
                assert_eq!(self.waiting.contains(&session.id), !session.has_target);
                (before, next) = (Some(slot), session.after);
                seen += 1;
            }
            assert_eq!(self.lines[stage as usize].last, before);
        }
        let kept: usize = self.slots.iter().flatten().flat_map(|s| &s.kept).map(|(_, bytes)| bytes.len()).sum();
        assert_eq!((seen, self.kept_bytes), (self.by_flow.len(), kept));
        assert!(seen <= self.max && kept <= KEPT_BYTES_MAX && self.slots.len() <= self.max);
        assert_eq!(self.slots.iter().flatten().count(), seen);
    }

    /// The datagrams that are kept.
    pub(super) fn kept(&self) -> usize {
        self.slots.iter().flatten().map(|session| session.kept.len()).sum()
    }
}
