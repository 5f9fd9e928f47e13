//! The tambat that holds the shared ports: it accepts for all, and keeps the register of who has which names.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::Scheme;
use tambat_router::{Listener, ListenerKind};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::door::Door;
use super::lines::{Lines, in_time};
use super::message::{Hello, Now, VERSION, Welcome, line, read_claims};
use super::names::{Names, Published, next_table};
use super::notes::TakenNames;
use super::ports::{Missing, Port, is_served_now};
use super::registry::{MEMBERS_MAX, Registry, Seat};
use super::{LATE_PAUSE, Pair, Post};

/// Who takes over waits this long for the others to come back before it accepts: their names would be unknown
/// otherwise. They take milliseconds, unless one has died with the last holder.
const RETURN_LIMIT: Duration = Duration::from_millis(500);

/// More knock at once only where something is wrong: those that have not said who they are count, too.
const GUESTS_MAX: usize = MEMBERS_MAX + 16;

/// Out of descriptors: those there are must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Ports that are held.
#[derive(Debug)]
pub(super) struct Holding {
    /// Which: one of them at least.
    pub(super) ports: Pair<Port>,
    /// Where the others come in; none: it is for nobody else.
    pub(super) door: Option<Door>,
    /// The seat that our app had with the last holder.
    pub(super) seat: Option<Seat>,
    /// Who was there besides the last holder and us.
    pub(super) awaited: BTreeSet<Seat>,
}

/// Holds the ports until it is cancelled.
pub(super) async fn hold(holding: Holding, post: &Post, taken: &mut TakenNames) {
    let Holding { ports, door, seat, awaited } = holding;
    let took_over = seat.is_some();
    let ports = post.asked.servable(ports);
    post.are_at(&ports);
    let mut registry = Registry::new(awaited.iter().copied().chain(seat));
    let mut me = (*post.me).clone();
    me.claims = post.published.borrow().claims.to_vec();
    // The first to enter: there is room.
    let own = registry.join(me, seat).unwrap_or(Seat::FIRST);
    post.names.send_modify(|names| names.open(registry, own));
    let (ports, held) = watch::channel(ports);
    let reception = Reception { names: post.names.clone(), ports: held, own };
    let mut late = tokio::time::interval_at(Instant::now() + LATE_PAUSE, LATE_PAUSE);
    late.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shop = Shop { post, door, ports, accepts: false, late, reception, guests: JoinSet::new(), taken };
    let is_back = |names: &Names| {
        let seats: BTreeSet<Seat> = names.registry().map(Registry::seats).unwrap_or_default().into_iter().collect();
        awaited.is_subset(&seats)
    };
    shop.until(|names, _| is_back(names), Some(Instant::now() + RETURN_LIMIT)).await;
    let mut revision = 0;
    post.names.send_modify(|names| revision = names.settle());
    shop.until(|_, published| published.revision >= revision, None).await;
    shop.accept_all(took_over);
    shop.until(|_, _| false, None).await;
}

/// What goes on while the ports are held.
struct Shop<'a> {
    post: &'a Post,
    door: Option<Door>,
    ports: watch::Sender<Pair<Port>>,
    /// The router has what is held.
    accepts: bool,
    /// When what is missing is tried for.
    late: Interval,
    reception: Reception,
    guests: JoinSet<()>,
    taken: &'a mut TakenNames,
}

impl Shop<'_> {
    /// Lets others in, keeps our own claims, and tries for what is missing, until this is so or the time has come.
    async fn until(&mut self, is_so: impl Fn(&Names, &Published) -> bool, end: Option<Instant>) {
        let mut names = self.post.names.subscribe();
        let mut published = self.post.published.clone();
        loop {
            let claims = Arc::clone(&published.borrow_and_update().claims);
            let own = self.reception.own;
            self.post.names.send_if_modified(|names| names.change(|registry| registry.claim(own, claims.to_vec())));
            if let Some(now) = names.borrow_and_update().now(own) {
                self.taken.say(now.taken, self.post);
            }
            if is_so(&names.borrow(), &published.borrow()) {
                return;
            }
            let may_come = self.ports.borrow().iter().any(|(_, port)| port.missing().is_some_and(Missing::may_come));
            tokio::select! {
                guest = next_guest(self.door.as_mut()) => self.welcome(guest),
                Some(_) = self.guests.join_next() => {}
                changed = names.changed() => if changed.is_err() { return },
                () = next_table(&mut published) => {}
                _ = self.late.tick(), if may_come => self.try_for_missing(),
                () = at(end) => return,
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        if self.guests.len() < GUESTS_MAX {
            self.guests.spawn(self.reception.clone().receive(stream));
        }
    }

    /// From now on the router accepts from whatever is held.
    fn accept_all(&mut self, took_over: bool) {
        self.accepts = true;
        let ports = self.ports.borrow().clone();
        let accepted = ports.iter().filter(|(scheme, port)| self.accept(*scheme, port)).count();
        if took_over && accepted > 0 {
            let (_, port) = self.post.front();
            self.post.app.sayer.say(format!("names at port {port} are served from here now"));
        }
    }

    fn accept(&self, scheme: Scheme, port: &Port) -> bool {
        let Some(number) = port.number() else { return false };
        match accept(self.post, scheme, port.listeners()) {
            Ok(()) => true,
            Err(error) => {
                self.post.app.sayer.say(format!("cannot serve names at port {number}: {error}"));
                false
            }
        }
    }

    /// Who has a port may let it go.
    fn try_for_missing(&mut self) {
        for scheme in Scheme::ALL {
            if !self.ports.borrow().get(scheme).missing().is_some_and(Missing::may_come) {
                continue;
            }
            let port = self.post.asked.bind(scheme);
            let Some(number) = port.number() else { continue };
            if !self.accepts || self.accept(scheme, &port) {
                self.ports.send_modify(|ports| *ports.get_mut(scheme) = port);
                self.post.app.names_are_at(scheme, Some(number));
                self.post.app.sayer.say(is_served_now(scheme, number));
            }
        }
    }
}

fn accept(post: &Post, scheme: Scheme, sockets: &[TcpListener]) -> std::io::Result<()> {
    let sockets = sockets.iter().map(TcpListener::try_clone).collect::<std::io::Result<_>>()?;
    let tls = match scheme {
        Scheme::Http => None,
        // Without settings there is no port for https, see `Asked::servable`.
        Scheme::Https => Some(post.tls.clone().ok_or(std::io::ErrorKind::Unsupported)?),
    };
    post.app.router.add(Listener { kind: ListenerKind::Shared, sockets, tls })
}

async fn next_guest(door: Option<&mut Door>) -> UnixStream {
    let Some(door) = door else { return std::future::pending().await };
    loop {
        match door.accept().await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// What it takes to receive a guest.
#[derive(Clone)]
struct Reception {
    names: watch::Sender<Names>,
    ports: watch::Receiver<Pair<Port>>,
    own: Seat,
}

/// A member's seat, free again when this is dropped.
struct Seated<'a> {
    names: &'a watch::Sender<Names>,
    seat: Seat,
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let leave = |registry: &mut Registry| {
            registry.leave(self.seat);
            true
        };
        self.names.send_if_modified(|names| names.change(leave));
    }
}

impl Reception {
    /// From the first line to the end of the connection, from whichever side: then its names are free.
    async fn receive(self, stream: UnixStream) {
        // Whoever it was, it has ended, or is told before it is left: nobody else needs to know.
        let Ok(mut lines) = Lines::with_own_user(stream) else { return };
        let Ok(Some(hello)) = in_time(lines.next()).await else { return };
        let refused = Welcome { version: VERSION, refused: None, seat: None, holder: None, ports: None };
        let seated = match self.seat(&hello) {
            Ok(seated) => seated,
            Err(why) => {
                let _ = lines.send(&line(&Welcome { refused: Some(why), ..refused }), &[]).await;
                return;
            }
        };
        let ports = self.ports.borrow().clone();
        let states = Pair::of(|scheme| ports.get(scheme).state());
        let welcome = Welcome { seat: Some(seated.seat), holder: Some(self.own), ports: Some(states), ..refused };
        let listeners: Vec<&TcpListener> = ports.iter().flat_map(|(_, port)| port.listeners()).collect();
        if lines.send(&line(&welcome), &listeners).await.is_ok() {
            let _ = self.serve(&mut lines, seated.seat, &ports).await;
        }
    }

    fn seat(&self, hello: &[u8]) -> Result<Seated<'_>, String> {
        let version = Hello::version_of(hello).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!(
                "the tambat that holds it speaks version {VERSION} of what they share it by, not {version}"
            ));
        }
        let hello = Hello::read(hello).map_err(|error| error.to_string())?;
        let had = hello.seat;
        let member = hello.member().map_err(|error| error.to_string())?;
        let mut seat = None;
        let join = |registry: &mut Registry| {
            seat = registry.join(member, had).ok();
            seat.is_some()
        };
        self.names.send_if_modified(|names| names.change(join));
        let seat = seat.ok_or_else(|| format!("{MEMBERS_MAX} apps share it already"))?;
        Ok(Seated { names: &self.names, seat })
    }

    /// Until it ends, says nonsense, or does not take what it is told in time. `ports`: those that it knows.
    async fn serve(&self, lines: &mut Lines, seat: Seat, ports: &Pair<Port>) -> std::io::Result<()> {
        let mut names = self.names.subscribe();
        let mut held = self.ports.clone();
        let mut known = ports.clone().map(|_, port| port.number());
        let mut told = None;
        loop {
            let ports = held.borrow_and_update().clone();
            let has_come = |(scheme, port): &(Scheme, &Port)| port.number() != *known.get(*scheme);
            let new: Vec<&TcpListener> = ports.iter().filter(has_come).flat_map(|(_, port)| port.listeners()).collect();
            let now = names.borrow_and_update().now(seat);
            if let Some(news) = now.filter(|now| told.as_ref() != Some(now) || !new.is_empty()) {
                let states = (!new.is_empty()).then(|| Pair::of(|scheme| ports.get(scheme).state()));
                lines.send(&line(&Now { ports: states, ..news.clone() }), &new).await?;
                known = Pair::of(|scheme| ports.get(scheme).number());
                told = Some(news);
            }
            tokio::select! {
                said = lines.next() => {
                    let Some(said) = said? else { return Ok(()) };
                    let Ok(claims) = read_claims(&said) else { return Ok(()) };
                    self.names.send_if_modified(|names| names.change(|registry| registry.claim(seat, claims)));
                }
                changed = names.changed() => if changed.is_err() { return Ok(()) },
                changed = held.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }
}
