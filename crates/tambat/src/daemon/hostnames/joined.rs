//! A tambat whose names another one serves: it says which, keeps duplicates of the listeners, and takes over when that
//! one has ended.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use tambat_model::Scheme;
use tokio::time::Instant;

use super::door::{Door, Place};
use super::holder::Holding;
use super::lines::{Lines, in_time};
use super::message::{Hello, Now, VERSION, Welcome, bounded, claims_line, line, read};
use super::names::next_table;
use super::notes::TakenNames;
use super::ports::{Port, PortState, received, sorted};
use super::registry::{Claim, Member, Seat};
use super::{Pair, Post, Role};

/// The world changes in bursts: others are told so long after the first change.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// How often the lock and the next holder are tried at first: nobody accepts meanwhile.
const SUCCESSION_PAUSE: Duration = Duration::from_millis(5);

/// After this, something is wrong: the user is told, and it is tried less often.
const SUCCESSION_LIMIT: Duration = Duration::from_secs(3);

/// How often then.
const SUCCESSION_PAUSE_LONG: Duration = Duration::from_secs(1);

/// A place among those whose names another tambat serves.
#[derive(Debug)]
pub(super) struct Joined {
    lines: Lines,
    /// Where it serves them; duplicates of the listeners are kept, and not accepted from.
    pub(super) ports: Pair<Port>,
    seat: Seat,
    holder: Seat,
    /// Who is there.
    seats: BTreeSet<Seat>,
    /// What the holder knows of us.
    claims: Vec<Claim>,
}

/// Why there is no place.
#[derive(Debug)]
pub(super) enum NotJoined {
    /// Nobody answers, or not as it should: perhaps in a moment.
    NotNow(io::Error),
    /// The holder says no.
    Refused(String),
}

impl From<io::Error> for NotJoined {
    fn from(error: io::Error) -> Self {
        Self::NotNow(error)
    }
}

/// Joins who holds the ports. `http_port`: the one that it is known by. `had`: our seat with the last holder.
pub(super) async fn join(place: &Place, http_port: u16, me: &Member, had: Option<Seat>) -> Result<Joined, NotJoined> {
    let invalid = |text: &str| NotJoined::NotNow(io::Error::new(io::ErrorKind::InvalidData, text));
    let mut lines = place.knock().await?;
    lines.send(&line(&Hello::of(me, had)), &[]).await?;
    let answer = in_time(lines.next_with_listeners()).await?.ok_or(io::ErrorKind::UnexpectedEof);
    let answer = answer.map_err(io::Error::from)?;
    let welcome: Welcome = read(&answer).map_err(|error| invalid(&error.to_string()))?;
    if let Some(refused) = welcome.refused {
        return Err(NotJoined::Refused(tambat_model::plain(&refused)));
    }
    if welcome.version != VERSION {
        let version = welcome.version;
        return Err(NotJoined::Refused(format!(
            "the tambat that holds it speaks version {version} of what they share it by, not {VERSION}"
        )));
    }
    let ports = welcome.ports.and_then(|states| sorted(states, lines.take_listeners()));
    let ports = ports.filter(|ports| ports.http.number().is_none_or(|number| number == http_port));
    match (welcome.seat, welcome.holder, ports) {
        (Some(seat), Some(holder), Some(ports)) => {
            Ok(Joined { lines, ports, seat, holder, seats: [seat, holder].into(), claims: me.claims.clone() })
        }
        _ => Err(invalid("it gives no listeners of the port")),
    }
}

/// Stays until the holder has ended; then takes its place, or joins who did.
pub(super) async fn stay(mut joined: Joined, post: &Post, taken: &mut TakenNames) -> Role {
    post.are_at(&joined.ports);
    let mut sent = std::mem::take(&mut joined.claims);
    // However the connection has ended, there is no holder to speak to.
    let _ = follow(&mut joined, post, taken, &mut sent).await;
    succeed(joined, post, sent).await
}

/// Tells the holder of changes, and hears of its own.
async fn follow(joined: &mut Joined, post: &Post, taken: &mut TakenNames, sent: &mut Vec<Claim>) -> io::Result<()> {
    let mut published = post.published.clone();
    published.mark_changed();
    let mut due = Instant::now();
    let mut is_due = false;
    let mut complained = false;
    loop {
        tokio::select! {
            said = joined.lines.next_with_listeners() => {
                let Some(said) = said? else { return Ok(()) };
                let now: Now = read(&said).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                joined.seats = now.seats.into_iter().collect();
                if let Some(states) = now.ports {
                    joined.hear_of(&states);
                    post.are_at(&joined.ports);
                }
                taken.say(now.taken, post);
            }
            () = next_table(&mut published), if !is_due => {
                // The first names are told at once.
                due = Instant::now() + if sent.is_empty() { Duration::ZERO } else { DEBOUNCE };
                is_due = true;
            }
            () = tokio::time::sleep_until(due), if is_due => {
                is_due = false;
                let (claims, left_out) = bounded(published.borrow_and_update().claims.to_vec());
                if left_out > 0 && !std::mem::replace(&mut complained, true) {
                    let (_, port) = post.front();
                    post.app.sayer.say(format!("{left_out} names are not served at port {port}: they are too many"));
                }
                if claims != *sent {
                    joined.lines.send(&claims_line(&claims), &[]).await?;
                    *sent = claims;
                }
            }
        }
    }
}

impl Joined {
    /// The holder has got a port that it did not have.
    fn hear_of(&mut self, states: &Pair<PortState>) {
        let mut listeners = self.lines.take_listeners();
        for (scheme, state) in states.iter() {
            let known = self.ports.get_mut(scheme);
            if known.missing().is_some() {
                let port = received(state.clone(), &mut listeners);
                // Open without listeners says nothing.
                if port.missing().is_some() || port.number().is_some() {
                    *known = port;
                }
            }
        }
    }
}

/// The holder has ended: whoever gets the lock is the next one.
async fn succeed(left: Joined, post: &Post, claims: Vec<Claim>) -> Role {
    let Joined { ports, seat, holder, mut seats, lines, claims: _ } = left;
    drop(lines);
    seats.remove(&holder);
    seats.remove(&seat);
    let me = Member { claims, ..(*post.me).clone() };
    let began = Instant::now();
    let mut complained = false;
    loop {
        let error = match attempt(post, &me, seat).await {
            Ok(Attempt::Door(door)) => {
                return Role::Holding(Holding { ports, door: Some(door), seat: Some(seat), awaited: seats });
            }
            Ok(Attempt::Joined(mut joined)) => {
                joined.seats.append(&mut seats);
                return Role::Joined(joined);
            }
            Err(error) => error,
        };
        let is_long = began.elapsed() > SUCCESSION_LIMIT;
        if is_long && !std::mem::replace(&mut complained, true) {
            let (_, port) = post.front();
            post.app.sayer.say(format!("names at port {port} are not served for now: {error}; it is tried again"));
        }
        tokio::time::sleep(if is_long { SUCCESSION_PAUSE_LONG } else { SUCCESSION_PAUSE }).await;
    }
}

enum Attempt {
    Door(Door),
    Joined(Joined),
}

async fn attempt(post: &Post, me: &Member, seat: Seat) -> Result<Attempt, String> {
    let place = &post.place;
    match place.try_lock() {
        Ok(Some(key)) => key.open().map(Attempt::Door).map_err(|error| error.to_string()),
        Ok(None) => match join(place, post.asked.port(Scheme::Http), me, Some(seat)).await {
            Ok(joined) => Ok(Attempt::Joined(joined)),
            Err(NotJoined::Refused(why)) => Err(why),
            Err(NotJoined::NotNow(error)) => Err(format!("who holds it does not answer: {error}")),
        },
        Err(error) => Err(error.to_string()),
    }
}
