//! Where the sessions of `PostgreSQL` are whose queries may be cancelled: by the key that each got from its server, which
//! passed by here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tambat_model::ProxyProtocol;
use tambat_wire::door::postgres::{CancelKey, StartupWatch, Watch};

/// So many sessions are known at a time: some 10 MiB. Those beyond cannot be cancelled.
const SESSIONS_MAX: usize = 65_536;

/// Where a session is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) target: SocketAddr,
    /// How that is told where a connection comes from: each, and so that of a cancel.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// The sessions of a router, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Cancels(Mutex<HashMap<CancelKey, Place>>);

impl Cancels {
    /// Where the session with this key is served.
    pub(crate) fn find(&self, key: &CancelKey) -> Option<Place> {
        self.lock().get(key).copied()
    }

    /// A session with this key is there until the guard is dropped. Where two have the same it is that of the older one.
    fn insert(self: &Arc<Self>, key: CancelKey, place: Place) -> Option<Known> {
        let mut all = self.lock();
        if all.len() >= SESSIONS_MAX || all.contains_key(&key) {
            return None;
        }
        all.insert(key.clone(), place);
        Some(Known { key, cancels: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CancelKey, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session whose key is known.
#[derive(Debug)]
struct Known {
    key: CancelKey,
    cancels: Arc<Cancels>,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.cancels.lock().remove(&self.key);
    }
}

/// A session that begins: what its server says is looked at until its key has passed by.
#[derive(Debug)]
pub(crate) struct Session {
    place: Place,
    cancels: Arc<Cancels>,
    watch: RefCell<StartupWatch>,
    is_watching: Cell<bool>,
    known: RefCell<Option<Known>>,
}

impl Session {
    pub(crate) fn new(place: Place, cancels: &Arc<Cancels>) -> Self {
        Self {
            place,
            cancels: Arc::clone(cancels),
            watch: RefCell::default(),
            is_watching: Cell::new(true),
            known: RefCell::default(),
        }
    }

    /// Is it to be shown what the server says?
    pub(crate) fn is_watching(&self) -> bool {
        self.is_watching.get()
    }

    /// The server says this.
    pub(crate) fn show(&self, chunk: &[u8]) {
        if !self.is_watching() {
            return;
        }
        match self.watch.borrow_mut().on(chunk) {
            Watch::Going => return,
            Watch::Key(key) => drop(self.known.replace(self.cancels.insert(key, self.place))),
            Watch::Over => {}
        }
        self.is_watching.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `AuthenticationOk` and `BackendKeyData`.
    fn startup(pid: u32, secret: [u8; 4]) -> Vec<u8> {
        let mut said = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c".to_vec();
        said.extend(pid.to_be_bytes().into_iter().chain(secret));
        said
    }

    fn key(pid: u32, secret: [u8; 4]) -> CancelKey {
        CancelKey { pid, secret: secret.into() }
    }

    fn place(port: u16) -> Place {
        Place { target: ([127, 0, 0, 1], port).into(), proxy_protocol: None }
    }

    #[test]
    fn a_session_is_known_by_its_key_from_when_it_passes_by_until_its_end() {
        let cancels = Arc::<Cancels>::default();
        let [one, other] = [5_432, 5_433].map(place);
        let first = Session::new(one, &cancels);
        let said = startup(7, [1, 2, 3, 4]);
        let (last, before) = said.split_last().unwrap();
        first.show(before);
        assert!(first.is_watching() && cancels.find(&key(7, [1, 2, 3, 4])).is_none());
        first.show(&[*last]);
        assert!(!first.is_watching());
        assert_eq!(cancels.find(&key(7, [1, 2, 3, 4])), Some(one));
        assert_eq!(cancels.find(&key(7, [1, 2, 3, 5])), None);
        // The same key of another server, which is as unlikely as it is harmless.
        let second = Session::new(other, &cancels);
        second.show(&said);
        drop(second);
        assert_eq!(cancels.find(&key(7, [1, 2, 3, 4])), Some(one));
        drop(first);
        assert!(cancels.lock().is_empty());
    }

    #[test]
    fn no_more_are_known_than_may_be() {
        let cancels = Arc::<Cancels>::default();
        let known: Vec<_> = (0..u32::try_from(SESSIONS_MAX).unwrap())
            .map(|pid| cancels.insert(key(pid, [0; 4]), place(5_432)))
            .collect();
        assert!(known.iter().all(Option::is_some));
        assert!(cancels.insert(key(u32::MAX, [0; 4]), place(5_432)).is_none());
        drop(known);
        assert!(cancels.insert(key(u32::MAX, [0; 4]), place(5_432)).is_some());
    }
}
