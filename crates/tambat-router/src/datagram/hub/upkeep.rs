//! What a hub does of its own accord: sessions that are silent end, and those that wait are looked after.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tambat_model::{Admission, Target};

use super::{Hub, Own, REFUSED_FOR};
use crate::datagram::link::Link;
use crate::datagram::session::{SessionId, Why};
use crate::stream::change;

/// How often is looked at those that are silent or wait, while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Hub {
    /// Ends those that are silent, and finds targets for those that wait. Ends when all have gone from a drained hub.
    pub(super) async fn look_after(self: Rc<Self>) {
        let mut tables = self.worker.tables.subscribe();
        loop {
            let is_empty = self.table.borrow().len() == 0;
            if is_empty && self.is_draining.get() {
                return;
            }
            if self.closes_at.get().is_some_and(|at| at <= Instant::now()) {
                return self.end_all(Instant::now());
            }
            tokio::select! {
                () = change(&mut tables) => {
                    self.refused.borrow_mut().clear();
                    self.retarget();
                    self.seek_all(Instant::now());
                }
                () = self.news.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY), if !is_empty => self.look(Instant::now()),
            }
        }
    }

    /// Ends sessions whose target has had its time: what their clients send from now on goes to another one.
    fn leave_cut(&self, now: Instant) {
        let is_cut = |own: &Own| own.link.as_ref().is_some_and(|link| link.target.load.is_cut());
        let cut: Vec<SessionId> = self.table.borrow().all().filter(|(_, own)| is_cut(own)).map(|(id, _)| id).collect();
        for id in cut {
            let ended = self.table.borrow_mut().end(id, Why::Drained, now);
            ended.into_iter().for_each(|ended| self.ended(&ended));
        }
    }

    fn end_all(&self, now: Instant) {
        let all: Vec<SessionId> = self.table.borrow().all().map(|(id, _)| id).collect();
        for id in all {
            let ended = self.table.borrow_mut().end(id, Why::Drained, now);
            ended.into_iter().for_each(|ended| self.ended(&ended));
        }
    }

    fn look(self: &Rc<Self>, now: Instant) {
        self.leave_cut(now);
        let over = self.table.borrow_mut().expire(now);
        over.into_iter().for_each(|ended| self.ended(&ended));
        let given_up = self.table.borrow_mut().give_up(now);
        given_up.into_iter().for_each(|(flow, datagram)| self.refuse(flow, &datagram, now));
        self.refused.borrow_mut().retain(|_, at| now.saturating_duration_since(*at) < REFUSED_FOR);
        self.seek_all(now);
    }

    fn seek_all(self: &Rc<Self>, now: Instant) {
        let waiting = self.table.borrow().waiting();
        waiting.into_iter().for_each(|id| self.seek(id, now));
    }

    /// Sessions whose target the table has no more end as soon as they are silent.
    pub(super) fn retarget(&self) {
        let tables = self.worker.tables.newest();
        let targets = match self.route(&tables).map(|route| &route.admission) {
            Some(Admission::Serve(targets)) => &targets[..],
            _ => &[],
        };
        let mut table = self.table.borrow_mut();
        let stays = |own: &Own| {
            let is_it = |link: &Link, t: &Target| (t.addr, t.generation) == (link.target.addr, link.target.generation);
            own.link.as_ref().is_none_or(|link| targets.iter().any(|target| is_it(link, target)))
        };
        let leaving: Vec<(SessionId, bool)> =
            table.all().map(|(id, own)| (id, self.is_draining.get() || !stays(own))).collect();
        leaving.into_iter().for_each(|(id, is_leaving)| table.leave(id, is_leaving));
    }
}
