//! In search of a target: one is dialled, another is tried, or one is waited for.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{Admission, ErrorCode, Protocol, Route, RouteTable, Target};
use tokio::sync::watch;
use tokio::time::sleep;

use super::active::{Active, Upstream};
use super::connection::{Chosen, Connection, Phase};
use super::reply::Reply;
use crate::access::EndedBy;
use crate::arrival::Arrival;
use crate::balance::{self, choose};
use crate::choice::{FULL_LIMIT_S, Patience, Tried, UNTAKEN_LIMIT_S, What};
use crate::listener::{ListenerKind, ListenerState, Waits};
use crate::pool::Own;
use crate::queue::{Counted, Ticket};
use crate::report::RouterReport;
use crate::stream::{RETRY_EVERY_MS, change, dial, until};
use crate::transport::{Transport, broken};
use crate::wanted;
use crate::worker::{Worker, is_of_this_side};

/// What a search came to.
enum Sought {
    Target(Upstream),
    Nobody(Reply),
    ClientGone,
}

impl Connection {
    /// Finds a target for the request that is being served, `chosen` first. When there is none, the client is told, and
    /// the request is over. Is there one? Cancelling it loses the request.
    pub(super) async fn seek(&mut self, chosen: Option<Chosen>) -> bool {
        self.deadline.set(Instant::now(), None);
        let Some(active) = self.active.as_deref_mut() else {
            return false;
        };
        let seeker = Seeker {
            client: &self.client,
            arrival: &self.arrival,
            own: self.own.as_ref(),
            kind: self.open.listener().kind,
            listener: self.open.listener(),
            worker: &self.worker,
            active,
            tried: Tried::default(),
            timed_out: false,
        };
        let sought = seeker.seek(chosen).await;
        active.moved = Instant::now();
        match sought {
            Sought::Target(upstream) => {
                active.goes_to(upstream);
                return true;
            }
            Sought::Nobody(reply) => self.reply(&reply),
            Sought::ClientGone => {
                self.phase = Phase::Closed;
                let code = ErrorCode::ClientClosed;
                self.end(None, code.status(), Some(code), EndedBy::Client);
            }
        }
        false
    }
}

struct Seeker<'a> {
    client: &'a Rc<Transport>,
    arrival: &'a Arrival,
    own: Option<&'a Own>,
    kind: ListenerKind,
    listener: &'a Arc<ListenerState>,
    worker: &'a Worker,
    active: &'a mut Active,
    tried: Tried,
    /// Did the last target that was tried not answer in time?
    timed_out: bool,
}

/// What a look at the table says.
enum Look {
    Serve(Chosen),
    Wait(Hold),
    Nobody(Reply),
}

/// How a request waits.
struct Hold {
    /// How long at most; none: for ever.
    limit: Option<Duration>,
    /// For what, and what its client is told when the limit has passed.
    what: What,
    cause: String,
    mend: Option<String>,
}

/// What a request holds while it waits.
struct Wait {
    tables: watch::Receiver<Arc<RouteTable>>,
    patience: Patience,
    _counted: Waits,
    ticket: Option<Ticket>,
}

/// What ends one round of waiting.
enum News {
    /// All may be tried anew.
    TryAgain,
    /// One of those that were full has room.
    Freed,
    ClientGone,
    TooLate,
}

impl Seeker<'_> {
    async fn seek(mut self, mut chosen: Option<Chosen>) -> Sought {
        let mut wait: Option<Wait> = None;
        let client = self.client;
        // One that sends no more waits for its answer.
        let mut gone = pin!(broken(Rc::clone(client)));
        loop {
            if let Some(chosen) = chosen.take()
                && let Some(upstream) = self.connect(chosen).await
            {
                if let Some(ticket) = wait.and_then(|wait| wait.ticket) {
                    ticket.served();
                }
                return Sought::Target(upstream);
            }
            if let Some(wait) = &mut wait {
                wait.tables.mark_unchanged();
            }
            // A target that did not take it may be gone from the newest table. Where refusing is an answer, it was one.
            let waits_when_refused = self.active.route.as_ref().is_some_and(|route| route.http.waits_when_refused);
            if wait.is_some() || (waits_when_refused && self.tried.len() > 0) {
                self.find_route_again();
            }
            let hold = match self.look(wait.as_ref().is_some_and(|wait| wait.ticket.is_some())) {
                Look::Serve(target) => {
                    chosen = Some(target);
                    continue;
                }
                Look::Nobody(reply) => return Sought::Nobody(reply),
                Look::Wait(hold) => hold,
            };
            let waiting = match wait.take().map_or_else(|| self.begin_to_wait(&hold), Ok) {
                Ok(waiting) => wait.insert(waiting),
                Err(reply) => return Sought::Nobody(reply),
            };
            if hold.what == What::Room && waiting.ticket.is_none() {
                let ticket = match self.enter_queue() {
                    Ok(ticket) => waiting.ticket.insert(ticket),
                    Err(reply) => return Sought::Nobody(reply),
                };
                // Something may have been freed while nobody was in the queue.
                if ticket.is_first() {
                    continue;
                }
            }
            match waiting.until_news(&hold, gone.as_mut()).await {
                News::TryAgain => self.tried.clear(),
                News::Freed => {}
                News::ClientGone => return Sought::ClientGone,
                News::TooLate => return Sought::Nobody(too_late(&hold)),
            }
        }
    }

    /// A connection to this target; none: it was not to be had, and that is noted.
    async fn connect(&mut self, (target, counted): Chosen) -> Option<Upstream> {
        let mut dialled = self.dial(&target).await;
        // Descriptors and ports that idle connections have are better used by this one.
        if dialled.as_ref().is_err_and(is_of_this_side) && (self.worker.pool.clear() | self.worker.links.clear()) {
            dialled = self.dial(&target).await;
        }
        match dialled {
            Ok((stream, is_reused)) => Some(Upstream { stream, target, counted, is_reused }),
            Err(error) => {
                self.timed_out = error.kind() == io::ErrorKind::TimedOut;
                self.tried.push(target.addr, self.worker.unreached(&target, &error));
                counted.for_nothing();
                None
            }
        }
    }

    /// What carries the request there; has it carried another one before? One that has may have ended, and there is no
    /// second retry.
    async fn dial(&self, target: &Target) -> io::Result<(Transport, bool)> {
        let (worker, is_first) = (self.worker, self.active.retries == 0);
        let connect = self.active.route.as_ref().and_then(|route| route.connect);
        let limit = connect.unwrap_or(worker.shared.settings.connect_timeout);
        if self.active.route.as_ref().is_some_and(|route| route.protocol == Protocol::H2c) {
            let (stream, is_reused) = worker.links.stream(target, limit, !is_first).await?;
            return Ok((Transport::H2c(Box::new(stream)), is_reused && is_first));
        }
        let proxy_protocol = self.active.route.as_ref().and_then(|route| route.proxy_protocol);
        if is_first && let Some(stream) = worker.kept(target, proxy_protocol, self.own) {
            return Ok((Transport::Tcp(stream), true));
        }
        let header = proxy_protocol.map(|version| self.arrival.header(version, self.client, &self.active.id));
        let stream = dial(target.addr, header.as_deref(), limit).await?;
        Ok((Transport::Tcp(stream), false))
    }

    /// Who serves it now. Who stands in the queue comes before who has just come.
    fn look(&self, stands_in_queue: bool) -> Look {
        let Some(route) = &self.active.route else {
            return Look::Nobody(Reply::new(ErrorCode::NoRoute, "its route is gone"));
        };
        let name = &route.name;
        let must_queue = !stands_in_queue && self.active.queue.as_ref().is_some_and(|queue| queue.is_waited_in());
        let choice = if must_queue {
            balance::Choice::Full
        } else {
            choose(route, &self.tried, self.active.mark, self.active.notes.client)
        };
        let wait = |limit_s, what, cause: String| {
            let limit = Some(route.http.wait.unwrap_or(Duration::from_secs(limit_s)));
            Look::Wait(Hold { limit, what, cause, mend: None })
        };
        match choice {
            balance::Choice::Serve(target, admitted) => {
                Look::Serve((target, Counted::new(admitted, self.active.queue.as_ref())))
            }
            balance::Choice::Full => {
                wait(FULL_LIMIT_S, What::Room, format!("all instances of {name} have as many requests as they may"))
            }
            balance::Choice::Replaced => {
                wait(UNTAKEN_LIMIT_S, What::TableOrTarget, format!("the instances of {name} are being replaced"))
            }
            balance::Choice::Exhausted if route.http.waits_when_refused => {
                wait(UNTAKEN_LIMIT_S, What::TableOrTarget, self.unreached(name))
            }
            balance::Choice::Exhausted => {
                let code = if self.timed_out { ErrorCode::ConnectTimeout } else { ErrorCode::TargetUnreachable };
                Look::Nobody(Reply::new(code, self.unreached(name)))
            }
            balance::Choice::None(admission) => as_the_table_says(route, admission),
        }
    }

    fn unreached(&self, name: &str) -> String {
        let last = if self.tried.len() == 0 { "it has no instance" } else { self.tried.last() };
        format!("{name} cannot be reached: {last}")
    }

    fn begin_to_wait(&self, hold: &Hold) -> Result<Wait, Reply> {
        let max = self.worker.shared.settings.waiting_max;
        let waits = match &self.active.route {
            Some(route) => self.listener.waits_for(&route.traffic, max),
            None => self.listener.waits(max),
        };
        let counted = waits.ok_or_else(|| {
            Reply::new(ErrorCode::QueueFull, format!("{} (and {max} requests wait already)", hold.cause))
        })?;
        if hold.what != What::Room {
            let route = self.active.route.as_ref().map(|route| route.name.clone()).unwrap_or_default();
            self.worker.shared.reports.send(RouterReport::Waiting { port: self.kind.service_port(), route });
        }
        let tables = self.worker.tables.subscribe();
        Ok(Wait { tables, patience: Patience::default(), _counted: counted, ticket: None })
    }

    fn enter_queue(&self) -> Result<Ticket, Reply> {
        let (Some(queue), Some(route)) = (&self.active.queue, &self.active.route) else {
            return Err(Reply::new(ErrorCode::NoRoute, "its route is gone"));
        };
        queue.enter(route).ok_or_else(|| {
            let cause = format!("as many requests wait for {} as may", route.name);
            Reply::new(ErrorCode::QueueFull, cause)
        })
    }

    /// The route of the newest table. The request is counted where it began.
    fn find_route_again(&mut self) {
        let table = self.worker.tables.newest();
        let found = match self.kind {
            ListenerKind::Service(port) => table.get(port),
            kind => {
                let noted = self.active.notes.read();
                let is_secured = self.client.secured().is_some();
                wanted::of_request(&table, kind, is_secured, noted.host, noted.path).map(|(route, _)| route)
            }
        };
        let route = match (found, &self.active.route) {
            (Some(found), Some(before)) if !Arc::ptr_eq(&found.traffic, &before.traffic) => {
                Some(Arc::new(Route { traffic: Arc::clone(&before.traffic), ..Route::clone(found) }))
            }
            (found, _) => found.map(Arc::clone),
        };
        drop(table);
        // Without one, its last one says why nobody serves it.
        if let Some(route) = route {
            self.active.queue = self.worker.queues.of(&route, &self.worker.shared.queues);
            self.active.route = Some(route);
        }
    }
}

fn too_late(hold: &Hold) -> Reply {
    let waited = hold.limit.unwrap_or_default().as_secs_f32();
    let code = match hold.what {
        What::Room => ErrorCode::QueueFull,
        What::Table | What::TableOrTarget => ErrorCode::NoTarget,
    };
    Reply::new(code, format!("{} (after a wait of {waited} s)", hold.cause)).with_mend(hold.mend.as_deref())
}

fn as_the_table_says(route: &Route, admission: &Admission) -> Look {
    let said = |cause: &str| format!("{} cannot be reached: {cause}", route.name);
    match admission {
        Admission::Hold { limit, cause, mend } => Look::Wait(Hold {
            limit: route.http.wait.or(*limit),
            what: What::Table,
            cause: said(cause),
            mend: mend.as_deref().map(str::to_owned),
        }),
        Admission::Refuse { cause, mend } => {
            Look::Nobody(Reply::new(ErrorCode::NoTarget, said(cause)).with_mend(mend.as_deref()))
        }
        Admission::Serve(_) => Look::Nobody(Reply::new(ErrorCode::NoTarget, said("it has no instance"))),
    }
}

impl Wait {
    async fn until_news(&mut self, hold: &Hold, gone: impl Future<Output = ()>) -> News {
        let deadline = self.patience.deadline(hold.limit, Instant::now());
        let (tables, ticket) = (&mut self.tables, &mut self.ticket);
        let freed = async {
            match ticket {
                Some(ticket) => ticket.freed().await,
                None => pending().await,
            }
        };
        // The deadline comes before what could go on for ever.
        tokio::select! {
            biased;
            () = gone => News::ClientGone,
            () = until(deadline) => News::TooLate,
            () = change(tables) => News::TryAgain,
            () = freed => News::Freed,
            // Of streams that end at a full target nobody is told, either.
            () = sleep(Duration::from_millis(RETRY_EVERY_MS)), if hold.what != What::Table => News::TryAgain,
        }
    }
}
