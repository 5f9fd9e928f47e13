//! The names of this user's apps, at one port that all their tambats share.
//!
//! One of them *holds* the port: it has the port's lock, accepts, and routes each name to its own instances or to the
//! service port of the app that claims it. The others have *joined*: they are connected to the holder's socket, say
//! which names they claim, and keep duplicates of the listening sockets. When the holder ends, in whatever way, its
//! lock is free and the connections end; whoever gets the lock accepts from its duplicates. The listeners never close
//! meanwhile: who connects waits in the kernel's queue.
//!
//! ```text
//! registry   who has which names; pure
//! message    what is said between them; pure
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
mod registry;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{Plan, ServicePort};
use tambat_os::ports::DEFAULT_HOSTS;
use tambat_os::{Holder, Pid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{App, service};
use crate::failure::Failure;
use crate::sockets::Sockets;

use door::Place;
use holder::Holding;
use joined::{Joined, NotJoined, join};
use names::{Names, Published};
use notes::TakenNames;
use registry::Member;

pub(crate) use names::NamesInTables;
pub(crate) use registry::HopToken;

/// Where names are served unless `--http-port` says otherwise.
pub(crate) const HTTP_PORT_DEFAULT: u16 = 7080;

/// A holder that is just starting or ending has done so by then; a port that somebody else has stays taken.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

/// The same where the port is taken and nobody has the lock: the last holder has just died, or it is a stranger's.
const STRANGER_LIMIT: Duration = Duration::from_millis(500);

/// How often it is looked at meanwhile.
const CLAIM_PAUSE: Duration = Duration::from_millis(10);

/// How often the port is tried for when the app runs without it already.
const LATE_PAUSE: Duration = Duration::from_secs(1);

/// What a full house takes of the limit on open files, with door and lock.
const FILES_SHARED: usize = registry::MEMBERS_MAX + 2;

/// How our names come to be served.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The port at which they are; none: nowhere.
    pub(crate) port: Option<u16>,
    /// What the user should know.
    pub(crate) note: Option<String>,
    /// What other routers of this user are believed by.
    pub(crate) token: HopToken,
    me: Member,
    place: Place,
    role: Option<Role>,
    /// Where it is tried again, as long as there is no role.
    wanted: Option<ServicePort>,
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
    port: u16,
    place: Place,
    me: Arc<Member>,
    names: watch::Sender<Names>,
    published: watch::Receiver<Published>,
}

/// What happens at the port, running.
pub(crate) struct Serving {
    task: tokio::task::JoinHandle<()>,
    names: watch::Sender<Names>,
}

/// Gets the port, or joins who has it. Where neither can be, the app runs without names, unless ports are strict.
pub(crate) async fn claim(plan: &Plan, sockets: &Sockets, port: u16, strict: bool) -> Result<Claimed, Failure> {
    let token = HopToken::new().map_err(|error| Failure::new(error.to_string()))?;
    let (app, dir) = (plan.name().to_string(), plan.dir().display().to_string());
    let me = Member { app, dir, token: token.clone(), claims: Vec::new() };
    let place = Place { lock: sockets.http_lock(port), socket: sockets.http_socket(port) };
    let speaks_http = plan.processes().iter().flat_map(|p| &p.ports).any(|port| port.protocol.is_http());
    let mut claimed = Claimed { port: None, note: None, token, me, place, role: None, wanted: None };
    if !speaks_http {
        return Ok(claimed);
    }
    match role(&claimed.place, port, &claimed.me).await {
        Ok((port, role)) => {
            (claimed.port, claimed.role) = (Some(port), Some(role));
            Ok(claimed)
        }
        Err(NoRole { why, .. }) if strict => Err(Failure::new(format!(
            "cannot serve names: port {port} {why}; choose another with --http-port, or leave out --strict-port"
        ))),
        Err(NoRole { why, again }) => {
            claimed.wanted = again;
            let so_far = if again.is_some() { " for now" } else { "" };
            claimed.note = Some(format!(
                "names are not served{so_far}: port {port} {why}; service ports are; `--http-port` chooses another port for \
                 names"
            ));
            Ok(claimed)
        }
    }
}

/// Why names are not served.
struct NoRole {
    why: String,
    /// The port at which they may be later; none: it would not be otherwise then.
    again: Option<ServicePort>,
}

async fn role(place: &Place, port: u16, me: &Member) -> Result<(u16, Role), NoRole> {
    let Ok(wanted) = ServicePort::try_from(port) else {
        let no = |error: std::io::Error| NoRole { why: format!("cannot be had: {error}"), again: None };
        let sockets = tambat_os::ports::bind_localhost(0).map_err(no)?;
        let port = service::port_of(&sockets).map_err(no)?.get();
        return Ok((port, Role::Holding(Holding { sockets, door: None, seat: None, awaited: [].into() })));
    };
    let began = Instant::now();
    loop {
        let why = match attempt(place, wanted, me).await {
            Ok(role) => return Ok((port, role)),
            Err(Missed::Final(why)) => return Err(NoRole { why, again: None }),
            Err(Missed::Taken) if began.elapsed() > STRANGER_LIMIT || !may_be_tambat(port) => {
                return Err(NoRole { why: format!("is taken by {}", service::holder(wanted)), again: Some(wanted) });
            }
            Err(Missed::Taken) => None,
            Err(Missed::NotNow(why)) => Some(why),
        };
        if let Some(why) = why
            && began.elapsed() > CLAIM_LIMIT
        {
            return Err(NoRole { why, again: Some(wanted) });
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
    }
}

/// A holder that was stopped may go on, and who has the port may let it go: it is tried for as long as the app runs.
async fn late_role(post: &Post, wanted: ServicePort) -> Option<Role> {
    loop {
        tokio::time::sleep(LATE_PAUSE).await;
        match attempt(&post.place, wanted, &post.me).await {
            Ok(role) => {
                post.app.names_are_at(wanted.get());
                post.app.sayer.say(format!("names are served at port {wanted} now"));
                return Some(role);
            }
            Err(Missed::Final(why)) => {
                post.app.sayer.say(format!("names are not served: port {wanted} {why}"));
                return None;
            }
            Err(Missed::Taken | Missed::NotNow(_)) => {}
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
    /// The port is somebody's, the lock nobody's.
    Taken,
}

async fn attempt(place: &Place, port: ServicePort, me: &Member) -> Result<Role, Missed> {
    let locked = place.try_lock().map_err(|error| Missed::Final(format!("cannot be shared: {error}")))?;
    let Some(key) = locked else {
        return join(place, port.get(), me, None).await.map(Role::Joined).map_err(|missed| match missed {
            NotJoined::Refused(why) => Missed::Final(format!("cannot be shared: {why}")),
            NotJoined::NotNow(error) => {
                Missed::NotNow(format!("is held by another tambat that does not answer: {error}"))
            }
        });
    };
    let sockets = tambat_os::ports::bind_localhost(port.get()).map_err(|error| match error.kind() {
        // Also where the last holder has died and none of those who have duplicates has got the lock: it is let go here.
        ErrorKind::AddrInUse => Missed::Taken,
        ErrorKind::PermissionDenied => Missed::Final("is below 1024 and needs a privilege".to_owned()),
        _ => Missed::Final(format!("cannot be had: {error}")),
    })?;
    let door = key.open().map_err(|error| Missed::Final(format!("cannot be shared: {error}")))?;
    Ok(Role::Holding(Holding { sockets, door: Some(door), seat: None, awaited: [].into() }))
}

impl Claimed {
    /// What it may take of the limit on open files.
    pub(crate) fn files(&self) -> usize {
        let listeners = 2 * DEFAULT_HOSTS.len();
        match &self.role {
            None if self.wanted.is_none() => 0,
            Some(Role::Holding(Holding { door: None, .. })) => listeners,
            _ => listeners + FILES_SHARED,
        }
    }

    /// Serves names from now on: here or elsewhere, as it comes.
    pub(crate) fn serve(self, app: &Arc<App>) -> (NamesInTables, Serving) {
        let (in_tables, names, published) = names::channel();
        let Self { port, me, place, role, wanted, .. } = self;
        let port = port.or(wanted.map(ServicePort::get)).unwrap_or(0);
        let post = Post { app: Arc::clone(app), port, place, me: me.into(), names, published };
        let names = post.names.clone();
        let task = tokio::spawn(async move {
            let role = match (role, wanted) {
                (None, Some(wanted)) => late_role(&post, wanted).await,
                (role, _) => role,
            };
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
