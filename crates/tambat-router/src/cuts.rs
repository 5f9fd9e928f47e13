//! Streams that have had their time: those to a target that is to stop, and, when the router itself is, all of them.
//!
//! A [`Load`] cannot wake anybody. So each worker knows to which targets it has streams, and looks at those that take
//! nothing new any more, as long as there are some.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::Load;
use tokio::sync::Notify;

use crate::listener::ListenerKind;
use crate::stream::change;
use crate::worker::{Scope, Worker};

/// How often targets that drain are looked at, while streams go there: that may be for hours, and whoever cuts one waits a
/// few times as long.
const LOOK_EVERY_MS: u64 = 100;

/// What a worker knows of streams that are to end.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// The targets that streams go to, by the address of their load, and how many do.
    targets: RefCell<HashMap<usize, (Arc<Load>, usize)>>,
    /// All streams at these listeners are to end.
    all: Cell<Option<Scope>>,
    /// A stream goes to a target that drains already: it was long on its way.
    late: Notify,
}

impl Cuts {
    /// A stream goes to this target until the guard is dropped.
    pub(crate) fn watch<'a>(&'a self, load: &Arc<Load>) -> Watched<'a> {
        let key = Arc::as_ptr(load) as usize;
        self.targets.borrow_mut().entry(key).or_insert_with(|| (Arc::clone(load), 0)).1 += 1;
        if load.is_closed() {
            self.late.notify_one();
        }
        Watched { cuts: self, key }
    }

    /// Are all streams at this listener to end?
    pub(crate) fn has(&self, kind: ListenerKind) -> bool {
        self.all.get().is_some_and(|scope| scope.has(kind))
    }

    /// From now on they are. Who carries one has to be woken.
    pub(crate) fn cut(&self, scope: Scope) {
        let is_all = self.all.get() == Some(Scope::All);
        self.all.set(Some(if is_all { Scope::All } else { scope }));
    }

    /// How many of the targets drain, and how many of these are cut.
    fn draining(&self) -> (usize, usize) {
        let targets = self.targets.borrow();
        let draining = targets.values().filter(|(load, _)| load.is_closed());
        draining.fold((0, 0), |(draining, cut), (load, _)| (draining + 1, cut + usize::from(load.is_cut())))
    }
}

/// A stream, counted at its target.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    cuts: &'a Cuts,
    key: usize,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let mut targets = self.cuts.targets.borrow_mut();
        if let Some((_, streams)) = targets.get_mut(&self.key) {
            *streams -= 1;
            if *streams == 0 {
                targets.remove(&self.key);
            }
        }
    }
}

/// Wakes the streams of targets that are cut. Never ends.
pub(crate) async fn look_after(worker: Rc<Worker>) {
    let mut tables = worker.tables.subscribe();
    loop {
        // A target drains because a newer table is without it.
        tokio::select! {
            () = change(&mut tables) => {}
            () = worker.cuts.late.notified() => {}
        }
        loop {
            let (draining, cut) = worker.cuts.draining();
            if cut > 0 {
                worker.deadlines.wake_all();
            }
            if draining == cut {
                break;
            }
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_as_long_as_streams_go_there() {
        let cuts = Cuts::default();
        let [well, leaving] = [Arc::<Load>::default(), Arc::default()];
        let (one, two, other) = (cuts.watch(&well), cuts.watch(&leaving), cuts.watch(&leaving));
        assert_eq!(cuts.draining(), (0, 0));
        leaving.close();
        assert_eq!(cuts.draining(), (1, 0));
        leaving.cut();
        assert_eq!(cuts.draining(), (1, 1));
        drop(two);
        assert_eq!(cuts.draining(), (1, 1));
        drop((one, other));
        assert!(cuts.targets.borrow().is_empty());
    }

    #[test]
    fn all_streams_stay_cut_when_those_of_some_listeners_are() {
        let service = ListenerKind::Service(5_000_u16.try_into().unwrap());
        let cuts = Cuts::default();
        assert!(!cuts.has(ListenerKind::Shared));
        cuts.cut(Scope::Shared);
        assert!(cuts.has(ListenerKind::Shared) && !cuts.has(service));
        cuts.cut(Scope::All);
        cuts.cut(Scope::Shared);
        assert!(cuts.has(service));
    }
}
