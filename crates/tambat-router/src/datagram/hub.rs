//! One socket for datagrams, and its sessions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::RandomState;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tambat_model::{Admission, Admitted, DATAGRAM_IDLE_DEFAULT, ProxyProtocol, Route, RouteTable, Target};
use tambat_os::datagrams::{DATAGRAM_BYTES_MAX, Receiver, send_from};
use tambat_wire::proxy_protocol::datagram_header;
use tambat_wire::servfail;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::allowance::Allowance;
use super::link::{Link, Sent};
use super::place::{Place, place, settles, takes_datagrams};
use super::session::{Begun, Ended, Flow, Heard, Rules, SessionId, Why};
use super::table::Table;
use crate::accept::count;
use crate::access::{EndedBy, How, StreamRecord};
use crate::listener::{ListenerKind, ListenerState, Open, Waits};
use crate::report::RouterReport;
use crate::stream::change;
use crate::worker::{Seldom, Worker};

/// How many sessions there may be at one socket: each has a file descriptor and a port of this machine, of which there are
/// 28,232 for all its clients together.
const SESSIONS_MAX: usize = 16_384;

/// How many datagrams are read in one go, so that a flood of them leaves others of this thread their turn.
const BATCH: usize = 64;

/// How often is looked at those that are silent or wait, while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A target that has refused is not chosen for so long, unless the table changes.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// How long sessions at a listener that was removed may go on: somebody may want its address again.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// How long reading rests after an error of which nothing is known.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is reported that there is nothing to make sessions of.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// What the driver has of a session.
#[derive(Debug)]
struct Own {
    link: Option<Link>,
    waits: Option<Waits>,
    /// The last one that it had.
    target: Option<Arc<Target>>,
    /// Where it is counted; none: there was no route when it began.
    route: Option<Arc<Route>>,
    _open: Open,
}

/// One socket for datagrams, and its sessions.
#[derive(Debug)]
pub(crate) struct Hub {
    worker: Rc<Worker>,
    state: Arc<ListenerState>,
    socket: tokio::net::UdpSocket,
    addr: SocketAddr,
    table: RefCell<Table<Own>>,
    /// Who has refused a moment ago.
    refused: RefCell<HashMap<SocketAddr, Instant>>,
    /// With a key of its own.
    hasher: RandomState,
    allowance: Allowance,
    is_draining: Cell<bool>,
    closes_at: Cell<Option<Instant>>,
    news: Notify,
    exhausted: Seldom,
}

/// A hub at work, as its worker has it. Dropping it changes nothing.
#[derive(Debug)]
pub(crate) struct Reception {
    hub: Rc<Hub>,
    task: JoinHandle<()>,
}

impl Reception {
    pub(crate) fn kind(&self) -> ListenerKind {
        self.hub.state.kind
    }

    /// Begins no more sessions there; those that are silent end.
    pub(crate) fn drain(&self) {
        self.hub.is_draining.set(true);
        self.hub.retarget();
        self.hub.news.notify_one();
    }

    /// The same where the listener is to be no more: its address is free before long, whoever still talks.
    pub(crate) fn close(&self) {
        self.hub.closes_at.set(Some(Instant::now() + CLOSED_WITHIN));
        self.drain();
    }

    /// The same at once; comes back when its socket is closed.
    pub(crate) async fn end(self) {
        let Self { hub, task } = self;
        hub.closes_at.set(Some(Instant::now()));
        hub.is_draining.set(true);
        hub.news.notify_one();
        let _ = task.await;
        // Those who read answers have been told to end, and have it until they have.
        let there = Rc::downgrade(&hub);
        drop(hub);
        while there.strong_count() > 0 {
            yield_now().await;
        }
    }

    /// Drains those of such listeners.
    pub(crate) fn drain_all(all: &[Self], is_one: impl Fn(ListenerKind) -> bool) {
        all.iter().filter(|reception| is_one(reception.kind())).for_each(Self::drain);
    }

    /// Has it come to its end?
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Hub {
    /// Receives from this socket, in a task of its own, until it is drained or lost.
    pub(crate) fn begin(socket: UdpSocket, state: Arc<ListenerState>, worker: &Rc<Worker>) -> Option<Reception> {
        // Of a socket without an address, which is none of ours, every datagram fails.
        let addr = socket.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        let socket = match tokio::net::UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                worker.shared.reports.send(RouterReport::ListenerLost { addr, cause: error.to_string() });
                return None;
            }
        };
        // Those that are not known to be anybody leave room for others.
        let max = SESSIONS_MAX.min(worker.shared.settings.connections_max / 2).max(1);
        let rules = Rules { idle: DATAGRAM_IDLE_DEFAULT, settles: false };
        let hub = Rc::new(Self {
            worker: Rc::clone(worker),
            state,
            socket,
            addr,
            table: RefCell::new(Table::new(max, rules)),
            refused: RefCell::default(),
            hasher: RandomState::new(),
            allowance: Allowance::default(),
            is_draining: Cell::new(false),
            closes_at: Cell::default(),
            news: Notify::new(),
            exhausted: Seldom::default(),
        });
        let running = Rc::clone(&hub);
        let task = spawn_local(async move {
            tokio::select! {
                () = Rc::clone(&running).read() => {}
                () = Rc::clone(&running).look_after() => {}
            }
        });
        Some(Reception { hub, task })
    }

    async fn read(self: Rc<Self>) {
        let mut receiver = Receiver::new(self.addr.ip());
        loop {
            if self.socket.readable().await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            for _ in 0..BATCH {
                match self.receive(&mut receiver) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What an earlier datagram of ours has met with is told here, too. Whatever else it is, it cannot make
                    // the loop spin.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
            yield_now().await;
        }
    }

    fn receive(self: &Rc<Self>, receiver: &mut Receiver) -> io::Result<()> {
        let mut tools = self.worker.tools.borrow_mut();
        let buffer = &mut tools.ready().buffer[..DATAGRAM_BYTES_MAX];
        let received = self.socket.try_io(Interest::READABLE, || receiver.receive(&self.socket, buffer))?;
        let flow = Flow { client: received.from, dialled: received.to };
        self.hear(flow, &buffer[..received.bytes], Instant::now());
        Ok(())
    }

    fn hear(self: &Rc<Self>, flow: Flow, datagram: &[u8], now: Instant) {
        self.state.bytes_in.fetch_add(datagram.len() as u64, Ordering::Relaxed);
        let heard = self.table.borrow_mut().hear(flow, datagram, now);
        match heard {
            Heard::Send(id) => self.send(id, datagram, now),
            Heard::Waits(id) => self.seek(id, now),
            Heard::New => self.begin_session(flow, datagram, now),
        }
    }

    fn begin_session(self: &Rc<Self>, flow: Flow, datagram: &[u8], now: Instant) {
        let max = self.worker.shared.settings.connections_max;
        if self.is_draining.get() || self.state.all_open() >= max || !self.has_somebody() {
            return self.refuse(flow, datagram, now);
        }
        let Ok(count) = count(&self.worker.shared, flow.client.ip()) else {
            return self.refuse(flow, datagram, now);
        };
        let open = self.state.opened(self.addr.port(), count);
        let route = self.route(&self.worker.tables.newest()).cloned();
        if let Some(route) = &route {
            route.traffic.shard(self.worker.number).stream();
        }
        let own = Own { link: None, waits: None, target: None, route, _open: open };
        let begun = self.table.borrow_mut().begin(flow, datagram, own, now);
        match begun {
            Begun::At(id, displaced) => {
                if let Some(displaced) = displaced {
                    self.ended(&displaced);
                }
                self.seek(id, now);
                self.news.notify_one();
            }
            Begun::Full(own) => {
                self.uncount(&own);
                self.refuse(flow, datagram, now);
            }
        }
    }

    fn uncount(&self, own: &Own) {
        if let Some(route) = &own.route {
            route.traffic.shard(self.worker.number).stream_ended();
        }
    }

    /// Is there somebody, or will there be?
    fn has_somebody(&self) -> bool {
        let table = self.worker.tables.newest();
        !self.route(&table).is_some_and(|route| match route.admission {
            Admission::Hold { .. } => false,
            Admission::Serve(_) => !takes_datagrams(route),
            Admission::Refuse { .. } => true,
        })
    }

    fn route<'t>(&self, table: &'t RouteTable) -> Option<&'t Arc<Route>> {
        match self.state.kind {
            ListenerKind::Service(port) => table.get(port),
            ListenerKind::Named(at) => table.entrance(at)?.datagrams.as_ref(),
            ListenerKind::Shared => None,
        }
    }

    /// Finds a target for a session that has none, or lets it wait, or ends it.
    fn seek(self: &Rc<Self>, id: SessionId, now: Instant) {
        let Some(flow) = self.table.borrow().flow(id) else { return };
        match self.place(flow, now) {
            Some((route, Place::At(target, admitted))) => self.link(id, flow, &route, (target, admitted), now),
            Some((_, Place::Nobody)) => self.give_up_on(id, now),
            None | Some((_, Place::Wait)) => self.wait(id, now),
        }
    }

    /// Of a table that was borrowed while the session was counted at its target.
    fn place(&self, flow: Flow, now: Instant) -> Option<(Arc<Route>, Place)> {
        let table = self.worker.tables.newest();
        let route = self.route(&table)?;
        self.table.borrow_mut().set_rules(Rules { idle: route.datagram_idle, settles: settles(route) });
        let refused = self.refused.borrow();
        let has_refused = |target: &Target| {
            refused.get(&target.addr).is_some_and(|at| now.saturating_duration_since(*at) < REFUSED_FOR)
        };
        let place = match &route.admission {
            Admission::Serve(_) if !takes_datagrams(route) => Place::Nobody,
            _ => place(route, flow.client, &self.hasher, has_refused),
        };
        Some((Arc::clone(route), place))
    }

    fn link(
        self: &Rc<Self>,
        id: SessionId,
        flow: Flow,
        route: &Route,
        (target, admitted): (Arc<Target>, Admitted),
        now: Instant,
    ) {
        // Version 1 is a line before a stream: the plan has none of it here.
        let is_told = route.proxy_protocol == Some(ProxyProtocol::V2);
        let dialled = flow.dialled.unwrap_or_else(|| self.addr.ip());
        let header = is_told
            .then(|| datagram_header(flow.client, SocketAddr::new(dialled, self.addr.port())).into_boxed_slice());
        let mut link = match Link::open(Arc::clone(&target), admitted, Arc::clone(&route.traffic), header) {
            Ok(link) => link,
            Err(error) => {
                self.exhausted(&error, now);
                return self.give_up_on(id, now);
            }
        };
        let reader = spawn_local(Rc::clone(self).read_answers(id, Rc::clone(&link.socket)));
        link.read_by(reader.abort_handle());
        let mut table = self.table.borrow_mut();
        if let Some(own) = table.own(id) {
            (own.link, own.waits, own.target) = (Some(link), None, Some(target));
        }
        let kept = table.place(id, now);
        table.leave(id, self.is_draining.get());
        drop(table);
        for datagram in kept {
            self.send(id, &datagram, now);
        }
    }

    /// There is nothing to make sessions of.
    fn exhausted(&self, error: &io::Error, now: Instant) {
        self.state.accept_pauses.fetch_add(1, Ordering::Relaxed);
        if self.exhausted.is_due(now, REPORT_EVERY) {
            let report = RouterReport::AcceptPaused { addr: self.addr, cause: error.to_string() };
            self.worker.shared.reports.send(report);
        }
    }

    fn wait(&self, id: SessionId, now: Instant) {
        let mut table = self.table.borrow_mut();
        let keeps = table.keeps(id);
        let Some(own) = table.own(id) else { return };
        if own.waits.is_some() && keeps {
            return;
        }
        own.waits = self.state.waits(self.worker.shared.settings.waiting_max);
        if own.waits.is_none() || !keeps {
            drop(table);
            return self.give_up_on(id, now);
        }
        drop(table);
        let tables = self.worker.tables.newest();
        let route = self.route(&tables).map(|route| route.name.clone()).unwrap_or_default();
        self.worker.shared.reports.send(RouterReport::Waiting { port: self.state.kind.service_port(), route });
    }

    /// Sends a datagram of a session that has a target. Where that refuses it, another one gets it.
    fn send(self: &Rc<Self>, id: SessionId, datagram: &[u8], now: Instant) {
        let sent = {
            let mut table = self.table.borrow_mut();
            let Some(link) = table.own(id).and_then(|own| own.link.as_ref()) else {
                // It was kept while another one was sent in vain: so is this.
                return table.unplace(id, Some(datagram), now);
            };
            link.traffic.shard(self.worker.number).bytes(datagram.len() as u64, 0);
            link.send(datagram)
        };
        if sent == Sent::Refused {
            self.was_refused(id, Some(datagram), now);
        }
    }

    /// The target of this session takes nothing any more.
    fn was_refused(self: &Rc<Self>, id: SessionId, datagram: Option<&[u8]>, now: Instant) {
        let link = self.table.borrow_mut().own(id).and_then(|own| own.link.take());
        let Some(link) = link else { return };
        self.worker.unreached(&link.target, &io::ErrorKind::ConnectionRefused.into());
        self.refused.borrow_mut().insert(link.target.addr, now);
        drop(link);
        self.table.borrow_mut().unplace(id, datagram, now);
        self.seek(id, now);
    }

    async fn read_answers(self: Rc<Self>, id: SessionId, socket: Rc<tokio::net::UdpSocket>) {
        while socket.readable().await.is_ok() {
            for _ in 0..BATCH {
                match self.relay(id, &socket) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        return self.was_refused(id, None, Instant::now());
                    }
                    // An unreachable network, or what else a datagram may meet with on its way.
                    Err(_) => break,
                }
            }
            yield_now().await;
        }
    }

    fn relay(&self, id: SessionId, socket: &tokio::net::UdpSocket) -> io::Result<()> {
        let mut tools = self.worker.tools.borrow_mut();
        let buffer = &mut tools.ready().buffer[..DATAGRAM_BYTES_MAX];
        let bytes = socket.try_recv(buffer)?;
        let mut table = self.table.borrow_mut();
        let Some(flow) = table.flow(id) else { return Ok(()) };
        table.answer(id, bytes, Instant::now());
        if let Some(link) = table.own(id).and_then(|own| own.link.as_ref()) {
            link.traffic.shard(self.worker.number).bytes(0, bytes as u64);
        }
        self.state.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        // One that does not get away is lost, as datagrams may be.
        let _ = send_from(&self.socket, &buffer[..bytes], flow.dialled, flow.client);
        Ok(())
    }

    /// Ends those that are silent, and finds targets for those that wait. Ends when all have gone from a drained hub.
    async fn look_after(self: Rc<Self>) {
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
    fn retarget(&self) {
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

    /// Ends a session for which there is nobody.
    fn give_up_on(&self, id: SessionId, now: Instant) {
        let ended = self.table.borrow_mut().end(id, Why::Refused, now);
        let Some(mut ended) = ended else { return };
        std::mem::take(&mut ended.kept).into_iter().for_each(|datagram| self.refuse(ended.flow, &datagram, now));
        self.ended(&ended);
    }

    /// There is nobody for this datagram. A client of DNS is told, so that it asks elsewhere at once.
    fn refuse(&self, flow: Flow, datagram: &[u8], now: Instant) {
        self.state.refused.fetch_add(1, Ordering::Relaxed);
        let tables = self.worker.tables.newest();
        if !self.route(&tables).is_some_and(|route| settles(route)) {
            return;
        }
        if let Some(answer) = servfail(datagram)
            && self.allowance.take(now)
        {
            let _ = send_from(&self.socket, &answer, flow.dialled, flow.client);
        }
    }

    /// A session is over: it is counted and noted.
    fn ended(&self, ended: &Ended<Own>) {
        let own = &ended.own;
        self.uncount(own);
        let Some(access) = &self.worker.access else { return };
        let (how, ended_by) = match ended.why {
            Why::Idle => (How::Idle, EndedBy::Router),
            Why::Answered => (How::Fin, EndedBy::Target),
            Why::Drained => (How::Drained, EndedBy::Router),
            Why::Displaced => (How::Displaced, EndedBy::Router),
            Why::Refused => (How::Refused, EndedBy::Router),
        };
        access.record_stream(&StreamRecord {
            client: ended.flow.client.ip().to_canonical(),
            listener: self.state.kind,
            name: None,
            route: own.route.as_ref().map(|route| route.name.as_str()),
            target: own.target.as_ref().map(|target| target.name.as_str()),
            bytes_in: ended.carried.bytes_in,
            bytes_out: ended.carried.bytes_out,
            took: ended.took,
            ended_by,
            how,
            code: None,
            tls: None,
        });
    }
}
