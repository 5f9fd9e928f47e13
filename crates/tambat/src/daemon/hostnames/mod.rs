//! The names of this user's apps, at two ports that all their tambats share: one for http, one for https.
//!
//! One of them *holds* the ports: it has the lock, which is known by the port of http, accepts, and routes each name to
//! its own instances or to the service port of the app that claims it. The others have *joined*: they are connected to
//! the holder's socket, say which names they claim, and keep duplicates of the listening sockets. When the holder ends, in
//! whatever way, its lock is free and the connections end; whoever gets the lock accepts from its duplicates. The
//! listeners never close meanwhile: who connects waits in the kernel's queue.
//!
//! Where another program has one of the two ports, names are served at the other one, and the missing one is tried for as
//! long as the app runs; who gets it hands duplicates to all. TLS ends at the holder, whoever it is: the local CA is the
//! user's, not the app's.
//!
//! ```text
//! registry   who has which names; pure
//! message    what is said between them; pure
//! ports      the two ports, each held or missing for a reason
//! names      from registry to route table; pure but for its two channels
//! lines      lines over the socket        door   lock and socket
//! holder     while it is held             joined while another holds it, and the succession
//! ```

mod door;
mod holder;
mod joined;
mod lines;
mod message;
mod names;
mod notes;
mod pair;
mod ports;
mod registry;

use std::sync::Arc;
use std::time::Duration;

use tambat_model::{Plan, Scheme};
use tambat_os::ports::DEFAULT_HOSTS;
use tambat_os::{Holder, Pid};
use tambat_router::TlsSettings;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{App, StateDir};
use crate::failure::Failure;
use crate::sockets::Sockets;

use door::Place;
use holder::Holding;
use joined::{Joined, NotJoined, join};
use names::{Names, Published};
use notes::TakenNames;
use ports::{Missing, Port, is_served_now};
use registry::Member;

pub(crate) use names::NamesInTables;
pub(crate) use pair::Pair;
pub(crate) use ports::{Asked, HTTP_PORT_DEFAULT};
pub(crate) use registry::HopToken;

/// A holder that is just starting or ending has done so by then; a port that somebody else has stays taken.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

/// The same where a port is taken and nobody has the lock: the last holder has just died, or it is a stranger's.
const STRANGER_LIMIT: Duration = Duration::from_millis(500);

/// How often it is looked at meanwhile.
const CLAIM_PAUSE: Duration = Duration::from_millis(10);

/// How often a port is tried for when the app runs without it already.
const LATE_PAUSE: Duration = Duration::from_secs(1);

/// What a full house takes of the limit on open files, with door and lock.
const FILES_SHARED: usize = registry::MEMBERS_MAX + 2;

/// How our names come to be served.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The ports at which they are; none: not over this scheme.
    pub(crate) ports: Pair<Option<u16>>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
    /// What other routers of this user are believed by.
    pub(crate) token: HopToken,
    me: Member,
    place: Place,
    asked: Asked,
    role: Option<Role>,
    /// There is no role, and there may be one later.
    is_tried_again: bool,
}

/// Who accepts.
#[derive(Debug)]
enum Role {
    /// We do.
    Holding(Holding),
    /// Another tambat does.
    Joined(Joined),
}

/// What whoever serves names has at hand.
struct Post {
    app: Arc<App>,
    place: Place,
    asked: Asked,
    /// What the router needs for https; none: there is no local CA.
    tls: Option<Arc<TlsSettings>>,
    me: Arc<Member>,
    names: watch::Sender<Names>,
    published: watch::Receiver<Published>,
}

/// What happens at the ports, running.
pub(crate) struct Serving {
    task: tokio::task::JoinHandle<()>,
    names: watch::Sender<Names>,
}

/// Gets the ports, or joins who has them. Where neither can be, the app runs without names, unless ports are strict.
/// What decides who has them is in the state folder, if there is one: that of sockets is another one in every kind of session.
pub(crate) async fn claim(
    plan: &Plan,
    (sockets, state): (&Sockets, Option<&StateDir>),
    asked: Asked,
) -> Result<Claimed, Failure> {
    let token = HopToken::new().map_err(|error| Failure::new(error.to_string()))?;
    let (app, dir) = (plan.name().to_string(), plan.dir().display().to_string());
    let me = Member { app, dir, token: token.clone(), claims: Vec::new() };
    let http = asked.port(Scheme::Http);
    let lock = state.map_or_else(|| sockets.http_lock(http), |state| state.http_lock(http));
    let place = Place { lock, socket: sockets.http_socket(http), sockets: sockets.clone() };
    let speaks_http = plan.processes().iter().flat_map(|p| &p.ports).any(|port| port.protocol.is_http());
    let none = Pair { http: None, https: None };
    let mut claimed =
        Claimed { ports: none, notes: Vec::new(), token, me, place, asked, role: None, is_tried_again: false };
    if !speaks_http {
        return Ok(claimed);
    }
    match role(&claimed.place, &claimed.asked, &claimed.me).await {
        Ok(role) => {
            let ports = role.ports();
            if claimed.asked.is_strict() {
                nothing_missing(ports, &claimed.asked)?;
            }
            claimed.notes.extend(ports::note(ports).or_else(|| claimed.asked.elsewhere(ports)));
            claimed.ports = Pair::of(|scheme| ports.get(scheme).number());
            claimed.role = Some(role);
            Ok(claimed)
        }
        Err(NoRole { why, .. }) if claimed.asked.is_strict() => Err(Failure::new(format!(
            "cannot serve names: {why}; choose another with --http-port, or leave out --strict-port"
        ))),
        Err(NoRole { why, again }) => {
            claimed.is_tried_again = again;
            let so_far = if again { " for now" } else { "" };
            claimed.notes.push(format!(
                "names are not served{so_far}: {why}; service ports are; `--http-port` chooses another port for names"
            ));
            Ok(claimed)
        }
    }
}

/// A port that is not to be had is an error for who is strict about it.
fn nothing_missing(ports: &Pair<Port>, asked: &Asked) -> Result<(), Failure> {
    for (scheme, port) in ports.iter() {
        if let Some(missing) = port.missing().filter(|missing| missing.is_of_port()) {
            return Err(Failure::new(format!(
                "cannot serve names over {scheme}: {missing}; choose another with --{scheme}-port, or leave out \
                 --strict-port"
            )));
        }
    }
    match asked.elsewhere(ports) {
        Some(why) => Err(Failure::new(format!(
            "cannot serve names as asked: {why}; leave out one of --https-port and --strict-port"
        ))),
        None => Ok(()),
    }
}

/// Why names are not served.
struct NoRole {
    why: String,
    /// They may be later.
    again: bool,
}

async fn role(place: &Place, asked: &Asked, me: &Member) -> Result<Role, NoRole> {
    if asked.port(Scheme::Http) == 0 {
        let ports = Pair::of(|scheme| asked.bind(scheme));
        return match ports.http.missing() {
            Some(missing) => Err(NoRole { why: missing.to_string(), again: false }),
            None => Ok(Role::Holding(Holding { ports, door: None, seat: None, awaited: [].into() })),
        };
    }
    let began = Instant::now();
    loop {
        let may_wait = began.elapsed() <= STRANGER_LIMIT;
        let why = match attempt(place, asked, me, may_wait).await {
            Ok(role) => return Ok(role),
            Err(Missed::Final(why)) => return Err(NoRole { why, again: false }),
            Err(Missed::Strangers(why)) => return Err(NoRole { why, again: true }),
            Err(Missed::Tambats) => None,
            Err(Missed::NotNow(why)) => Some(why),
        };
        if let Some(why) = why
            && began.elapsed() > CLAIM_LIMIT
        {
            return Err(NoRole { why, again: true });
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
    }
}

/// A holder that was stopped may go on, and who has the ports may let them go: it is tried for as long as the app runs.
async fn late_role(post: &Post) -> Option<Role> {
    loop {
        tokio::time::sleep(LATE_PAUSE).await;
        match attempt(&post.place, &post.asked, &post.me, false).await {
            Ok(role) => {
                post.are_at(role.ports());
                return Some(role);
            }
            Err(Missed::Final(why)) => {
                post.app.sayer.say(format!("names are not served: {why}"));
                return None;
            }
            Err(Missed::Strangers(_) | Missed::Tambats | Missed::NotNow(_)) => {}
        }
    }
}

/// Who has the port may be a tambat that has not got the lock yet, or one whose folder is another.
fn may_be_tambat(port: u16) -> bool {
    let name = |pid| tambat_os::process_info(pid).map(|info| info.name);
    match tambat_os::holder_of(port) {
        Some(Holder::Known(info)) => name(Pid::own()).is_none_or(|own| own == info.name),
        Some(Holder::Unreadable { .. }) | None => true,
    }
}

/// Why an attempt came to nothing.
enum Missed {
    /// It would not be otherwise the next time.
    Final(String),
    /// It may be, in a moment.
    NotNow(String),
    /// A port is perhaps another tambat's, the lock nobody's.
    Tambats,
    /// Both ports are others', the lock nobody's.
    Strangers(String),
}

/// `may_wait`: a port that may be another tambat's is not given up yet.
async fn attempt(place: &Place, asked: &Asked, me: &Member, may_wait: bool) -> Result<Role, Missed> {
    let cannot =
        |error: std::io::Error| Missed::Final(format!("port {} cannot be shared: {error}", asked.port(Scheme::Http)));
    let Some(key) = place.try_lock().map_err(cannot)? else {
        let port = asked.port(Scheme::Http);
        return join(place, port, me, None).await.map(Role::Joined).map_err(|missed| match missed {
            NotJoined::Refused(why) => Missed::Final(format!("port {port} cannot be shared: {why}")),
            NotJoined::NotNow(error) => {
                Missed::NotNow(format!("port {port} is held by another tambat that does not answer: {error}"))
            }
        });
    };
    let ports = Pair::of(|scheme| asked.bind(scheme));
    let is_tambats = |port: &Port| match port.missing() {
        Some(Missing::Taken(number)) => may_be_tambat(*number),
        _ => false,
    };
    // The last holder has died perhaps, and none of those who have duplicates has got the lock: it is let go here.
    if may_wait && ports.iter().any(|(_, port)| is_tambats(port)) {
        return Err(Missed::Tambats);
    }
    match (ports.http.missing(), ports.https.missing()) {
        (Some(http), Some(https)) => {
            let why = format!("{http}, {https}");
            Err(if http.may_come() || https.may_come() { Missed::Strangers(why) } else { Missed::Final(why) })
        }
        _ => {
            let door = key.open().map_err(cannot)?;
            Ok(Role::Holding(Holding { ports, door: Some(door), seat: None, awaited: [].into() }))
        }
    }
}

impl Role {
    fn ports(&self) -> &Pair<Port> {
        match self {
            Self::Holding(holding) => &holding.ports,
            Self::Joined(joined) => &joined.ports,
        }
    }
}

impl Post {
    /// Where people visit names first.
    fn front(&self) -> (Scheme, u16) {
        let ports = self.app.name_ports();
        let open = ports.iter().find_map(|(scheme, port)| Some((scheme, (*port)?)));
        open.unwrap_or((Scheme::Http, self.asked.port(Scheme::Http)))
    }

    /// Names are at these ports from now on. What has come is said, and what has gone.
    fn are_at(&self, ports: &Pair<Port>) {
        for (scheme, port) in ports.iter() {
            if !self.app.names_are_at(scheme, port.number()) {
                continue;
            }
            self.app.sayer.say(match port.number() {
                Some(number) => is_served_now(scheme, number),
                None => format!("names are not served over {scheme} for now: {}", port.why()),
            });
        }
    }
}

impl Claimed {
    /// What it may take of the limit on open files.
    pub(crate) fn files(&self) -> usize {
        // Ours, and the router's duplicates, of both ports.
        let listeners = 2 * 2 * DEFAULT_HOSTS.len();
        match &self.role {
            None if !self.is_tried_again => 0,
            Some(Role::Holding(Holding { door: None, .. })) => listeners,
            _ => listeners + FILES_SHARED,
        }
    }

    /// Serves names from now on: here or elsewhere, as it comes. `tls`: what the router needs for https.
    pub(crate) fn serve(self, app: &Arc<App>, tls: Option<Arc<TlsSettings>>) -> (NamesInTables, Serving) {
        let (in_tables, names, published) = names::channel();
        let Self { me, place, asked, role, is_tried_again, .. } = self;
        let post = Post { app: Arc::clone(app), place, asked, tls, me: me.into(), names, published };
        let names = post.names.clone();
        let task = tokio::spawn(async move {
            let role = if role.is_none() && is_tried_again { late_role(&post).await } else { role };
            let Some(mut role) = role else { return };
            let mut taken = TakenNames::default();
            loop {
                role = match role {
                    Role::Holding(holding) => return holder::hold(holding, &post, &mut taken).await,
                    Role::Joined(joined) => joined::stay(joined, &post, &mut taken).await,
                };
            }
        });
        (in_tables, Serving { task, names })
    }
}

impl Serving {
    /// Lets go of the port: another one takes over at once. True if there is one, which may have requests under way here.
    pub(crate) async fn end(self) -> bool {
        let mut served_others = false;
        self.names.send_if_modified(|names| {
            served_others = names.registry().is_some_and(|registry| registry.seats().len() > 1);
            names.freeze();
            false
        });
        self.task.abort();
        // Cancelled: what it held is dropped.
        let _ = self.task.await;
        served_others
    }
}
