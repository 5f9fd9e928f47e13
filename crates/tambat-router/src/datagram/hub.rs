//! One socket for datagrams, and its sessions.

mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::RandomState;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tambat_model::{Admission, Admitted, DATAGRAM_IDLE_DEFAULT, ErrorCode, ProxyProtocol, Route, RouteTable, Target};
use tambat_os::datagrams::{DATAGRAM_BYTES_MAX, Receiver, send_from};
use tambat_wire::proxy_protocol::datagram_header;
use tambat_wire::servfail;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use super::allowance::Allowance;
use super::link::{Link, Sent};
use super::place::{Place, place, settles, takes_datagrams};
use super::reception::Reception;
use super::session::{Begun, Ended, Flow, Heard, Rules, SessionId, Why};
use super::table::Table;
use crate::accept::count;
use crate::access::{EndedBy, How, StreamRecord};
use crate::in_traffic::InTraffic;
use crate::listener::{ListenerKind, ListenerState, Open, Waits};
use crate::report::RouterReport;
use crate::worker::{Seldom, Worker};

/// How many sessions there may be at one socket: each has a file descriptor and a port of this machine, of which there are
/// 28,232 for all its clients together.
const SESSIONS_MAX: usize = 16_384;

/// How many datagrams are read in one go, so that a flood of them leaves others of this thread their turn.
const BATCH: usize = 64;

/// A target that has refused is not chosen for so long, unless the table changes.
const REFUSED_FOR: Duration = Duration::from_secs(1);

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
    /// Whose it is, by whom it is counted; none: there was no route when it began.
    of: Option<(Arc<Route>, InTraffic)>,
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

    pub(super) fn kind(&self) -> ListenerKind {
        self.state.kind
    }

    /// Begins no more sessions; those that are silent end, and then all of them, if that is said.
    pub(super) fn drain(&self, closes_at: Option<Instant>) {
        self.closes_at.set(closes_at.or(self.closes_at.get()));
        self.is_draining.set(true);
        self.retarget();
        self.news.notify_one();
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
        let (of, is_one_too_many) = match self.route(&self.worker.tables.newest()) {
            Some(route) => {
                let (in_traffic, is_one_too_many) = InTraffic::begin(route, self.worker.number);
                (Some((Arc::clone(route), in_traffic)), is_one_too_many)
            }
            None => (None, false),
        };
        let own = Own { link: None, waits: None, target: None, of, _open: open };
        let begun = self.table.borrow_mut().begin(flow, datagram, own, is_one_too_many, now);
        match begun {
            Begun::At(id, displaced) => {
                if let Some(displaced) = displaced {
                    self.ended(&displaced);
                }
                self.seek(id, now);
                self.news.notify_one();
            }
            Begun::Full(own) => {
                if let (Some((route, _)), true) = (&own.of, is_one_too_many) {
                    route.traffic.shard(self.worker.number).error(ErrorCode::TooManyConnections);
                }
                self.refuse(flow, datagram, now);
            }
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

    /// By the newest table, with the route that it has.
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

    /// A session is over: that is noted.
    fn ended(&self, ended: &Ended<Own>) {
        let own = &ended.own;
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
            port: self.addr.port(),
            name: None,
            route: own.of.as_ref().map(|(route, _)| &*route.name),
            target: own.target.as_ref().map(|target| target.name.as_str()),
            bytes_in: ended.carried.bytes_in,
            bytes_out: ended.carried.bytes_out,
            datagrams: Some((ended.carried.datagrams_in, ended.carried.datagrams_out)),
            took: ended.took,
            ended_by,
            how,
            code: None,
            tls: None,
        });
    }
}
