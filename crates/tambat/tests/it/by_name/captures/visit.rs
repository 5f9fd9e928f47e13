//! Clients that say a talk in part, or in two parts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use nix::sys::socket::{setsockopt, sockopt};

use super::kernel::Kernel;
use super::talk::Talk;
use crate::by_name::sockets::{connect, loopback};
use crate::support::until;

/// So many connections are made at once: on a busy machine, too, none of them comes near to a deadline of the router's.
const AT_ONCE: usize = 32;

/// Who breaks off leaves nothing either, wherever that is: tried at every so many bytes.
const BREAKS_EVERY: usize = 7;

/// A client that says the beginning of a talk.
pub(super) struct Visit<'a> {
    pub(super) talk: &'a Talk,
    /// So many bytes, and then perhaps the others.
    pub(super) cut: usize,
    stream: TcpStream,
}

impl Visit<'_> {
    /// Says what is before the cut of this turn, which begins at this byte.
    fn before(&mut self, turn: usize, begins: usize) {
        let (words, _) = &self.talk.turns[turn];
        self.stream.write_all(&words[..self.cut.saturating_sub(begins).min(words.len())]).unwrap();
    }

    /// And what is behind it.
    fn behind(&mut self, turn: usize, begins: usize) {
        let (words, _) = &self.talk.turns[turn];
        self.stream.write_all(&words[self.cut.saturating_sub(begins).min(words.len())..]).unwrap();
    }

    /// What is heard after this turn.
    fn hears(&mut self, turn: usize) {
        let (_, expected) = self.talk.turns[turn];
        let mut heard = Vec::new();
        while !heard.ends_with(expected.as_bytes()) {
            let mut byte = [0];
            let read = self.stream.read(&mut byte).unwrap();
            assert_eq!(read, 1, "{self} heard only {}", heard.escape_ascii());
            heard.push(byte[0]);
        }
    }

    /// Waits until these bytes are heard.
    pub(super) fn hears_of(&mut self, part: &[u8]) {
        let (mut heard, mut chunk) = (Vec::new(), [0; 4096]);
        while !heard.windows(part.len()).any(|bytes| bytes == part) {
            let read = self.stream.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "{self} heard only {}", heard.escape_ascii());
            heard.extend_from_slice(&chunk[..read]);
        }
    }

    /// All that comes when no more is said.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        self.stream.read_to_end(&mut heard).unwrap_or_else(|error| panic!("{self}: {error}"));
        heard
    }
}

impl std::fmt::Display for Visit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cut at {}", self.talk.client, self.cut)
    }
}

/// Makes visits to this port with every cut, some at once.
fn visits(port: u16, talk: &Talk, cuts: impl Iterator<Item = usize>, mut all: impl FnMut(&mut [Visit<'_>])) {
    let cuts: Vec<usize> = cuts.collect();
    for cuts in cuts.chunks(AT_ONCE) {
        let visit = |cut: &usize| {
            let stream = connect(loopback(port));
            stream.set_nodelay(true).unwrap();
            Visit { talk, cut: *cut, stream }
        };
        all(&mut cuts.iter().map(visit).collect::<Vec<_>>());
    }
}

/// Each beginning of the talk, after which the client says no more and hears the rest; it may break off in place of that.
pub(super) fn cut_short(port: u16, talk: &Talk, judge: impl Fn(usize, &[u8])) {
    let says = |all: &mut [Visit<'_>]| {
        let mut begins = 0;
        for (turn, (words, _)) in talk.turns.iter().enumerate() {
            all.iter_mut().for_each(|visit| visit.before(turn, begins));
            begins += words.len();
            let is_last = turn + 1 == talk.turns.len();
            all.iter_mut().filter(|visit| !is_last && visit.cut >= begins).for_each(|visit| visit.hears(turn));
        }
    };
    visits(port, talk, 1..=talk.len(), |all| {
        says(all);
        for visit in all {
            let heard = visit.rest();
            judge(visit.cut, &heard);
        }
    });
    visits(port, talk, (1..talk.len()).step_by(BREAKS_EVERY), |all| {
        says(all);
        for visit in all {
            let cut = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&visit.stream, sockopt::Linger, &cut).unwrap();
        }
    });
}

/// The whole talk, in two pieces that are read one by one, for every cut.
pub(super) fn cut_in_two(port: u16, talk: &Talk, judge: impl Fn(&mut Visit<'_>)) {
    let kernel = Kernel::new();
    visits(port, talk, 1..talk.len(), |all| {
        let mut begins = 0;
        for (turn, (words, _)) in talk.turns.iter().enumerate() {
            all.iter_mut().for_each(|visit| visit.before(turn, begins));
            let is_read = |visit: &Visit<'_>| kernel.has_read(loopback(port), visit.stream.local_addr().unwrap());
            all.iter().for_each(|visit| until("all of this to be read", || is_read(visit).then_some(())));
            all.iter_mut().for_each(|visit| visit.behind(turn, begins));
            begins += words.len();
            if turn + 1 < talk.turns.len() {
                all.iter_mut().for_each(|visit| visit.hears(turn));
            }
        }
        all.iter_mut().for_each(&judge);
    });
}
