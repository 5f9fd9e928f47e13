//! The tambat that holds a shared port: it accepts for all, and keeps the register of who has which names.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tambat_router::{Listener, ListenerKind};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Post;
use super::door::Door;
use super::lines::{Lines, in_time};
use super::message::{Hello, VERSION, Welcome, line, read_claims};
use super::names::{Names, Published, next_table};
use super::notes::TakenNames;
use super::registry::{MEMBERS_MAX, Registry, Seat};

/// Who takes over waits this long for the others to come back before it accepts: their names would be unknown
/// otherwise. They take milliseconds, unless one has died with the last holder.
const RETURN_LIMIT: Duration = Duration::from_millis(500);

/// More knock at once only where something is wrong: those that have not said who they are count, too.
const GUESTS_MAX: usize = MEMBERS_MAX + 16;

/// Out of descriptors: those there are must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is held.
#[derive(Debug)]
pub(super) struct Holding {
    /// Its listeners.
    pub(super) sockets: Vec<TcpListener>,
    /// Where the others come in; none: it is for nobody else.
    pub(super) door: Option<Door>,
    /// The seat that our app had with the last holder.
    pub(super) seat: Option<Seat>,
    /// Who was there besides the last holder and us.
    pub(super) awaited: BTreeSet<Seat>,
}

/// Holds the port until it is cancelled.
pub(super) async fn hold(holding: Holding, post: &Post, taken: &mut TakenNames) {
    let Holding { sockets, door, seat, awaited } = holding;
    let took_over = seat.is_some();
    let mut registry = Registry::new(awaited.iter().copied().chain(seat));
    let mut me = (*post.me).clone();
    me.claims = post.published.borrow().claims.to_vec();
    // The first to enter: there is room.
    let own = registry.join(me, seat).unwrap_or(Seat::FIRST);
    post.names.send_modify(|names| names.open(registry, own));
    let sockets: Arc<[TcpListener]> = sockets.into();
    let reception = Reception { names: post.names.clone(), sockets: Arc::clone(&sockets), own };
    let mut shop = Shop { post, door, reception, guests: JoinSet::new(), taken };
    let is_back = |names: &Names| {
        let seats: BTreeSet<Seat> = names.registry().map(Registry::seats).unwrap_or_default().into_iter().collect();
        awaited.is_subset(&seats)
    };
    shop.until(|names, _| is_back(names), Some(Instant::now() + RETURN_LIMIT)).await;
    let mut revision = 0;
    post.names.send_modify(|names| revision = names.settle());
    shop.until(|_, published| published.revision >= revision, None).await;
    match accept(post, &sockets) {
        Ok(()) if took_over => post.app.sayer.say(format!("names at port {} are served from here now", post.port)),
        Ok(()) => {}
        Err(error) => post.app.sayer.say(format!("cannot serve names at port {}: {error}", post.port)),
    }
    shop.until(|_, _| false, None).await;
}

fn accept(post: &Post, sockets: &[TcpListener]) -> std::io::Result<()> {
    let sockets = sockets.iter().map(TcpListener::try_clone).collect::<std::io::Result<_>>()?;
    post.app.router.add(Listener { kind: ListenerKind::Shared, sockets, tls: None })
}

/// What goes on while the port is held.
struct Shop<'a> {
    post: &'a Post,
    door: Option<Door>,
    reception: Reception,
    guests: JoinSet<()>,
    taken: &'a mut TakenNames,
}

impl Shop<'_> {
    /// Lets others in, and keeps our own claims, until this is so or the time has come.
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
            tokio::select! {
                guest = next_guest(self.door.as_ref()) => self.welcome(guest),
                Some(_) = self.guests.join_next() => {}
                changed = names.changed() => if changed.is_err() { return },
                () = next_table(&mut published) => {}
                () = at(end) => return,
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        if self.guests.len() < GUESTS_MAX {
            self.guests.spawn(self.reception.clone().receive(stream));
        }
    }
}

async fn next_guest(door: Option<&Door>) -> UnixStream {
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
    sockets: Arc<[TcpListener]>,
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
        let seated = match self.seat(&hello) {
            Ok(seated) => seated,
            Err(refused) => {
                let welcome = Welcome { version: VERSION, refused: Some(refused), seat: None, holder: None };
                let _ = lines.send(&line(&welcome), &[]).await;
                return;
            }
        };
        let welcome = Welcome { version: VERSION, refused: None, seat: Some(seated.seat), holder: Some(self.own) };
        if lines.send(&line(&welcome), &self.sockets).await.is_ok() {
            let _ = self.serve(&mut lines, seated.seat).await;
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

    /// Until it ends, says nonsense, or does not take what it is told in time.
    async fn serve(&self, lines: &mut Lines, seat: Seat) -> std::io::Result<()> {
        let mut names = self.names.subscribe();
        let mut told = None;
        loop {
            let now = names.borrow_and_update().now(seat);
            if let Some(news) = now.filter(|now| told.as_ref() != Some(now)) {
                lines.send(&line(&news), &[]).await?;
                told = Some(news);
            }
            tokio::select! {
                said = lines.next() => {
                    let Some(said) = said? else { return Ok(()) };
                    let Ok(claims) = read_claims(&said) else { return Ok(()) };
                    self.names.send_if_modified(|names| names.change(|registry| registry.claim(seat, claims)));
                }
                changed = names.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }
}
