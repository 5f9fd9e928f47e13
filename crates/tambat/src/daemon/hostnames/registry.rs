//! Who has which names at a shared port. Pure: the first to come has a name; who came later gets it when the first has
//! ended.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tambat_model::{HostPattern, PathPrefix, Protocol};

/// So many apps share a port: each costs the holder a connection, and what it claims.
pub(super) const MEMBERS_MAX: usize = 64;

/// The place of an app in the order of arrival; it keeps it when another tambat takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Seat(u64);

impl Seat {
    /// Of whoever opens the port.
    pub(super) const FIRST: Self = Self(1);

    /// The one behind it; the last one of all has none, and stays.
    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What makes a router believe the forwarding fields of another one of the same user: 128 random bits. Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct HopToken(Arc<str>);

impl From<String> for HopToken {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<HopToken> for String {
    fn from(token: HopToken) -> Self {
        (*token.0).to_owned()
    }
}

impl HopToken {
    /// A new one.
    pub(super) fn new() -> std::io::Result<Self> {
        let bits = u128::from_ne_bytes(tambat_os::random::bytes()?);
        Ok(Self(format!("{bits:032x}").into()))
    }

    /// The text, for the field `Tambat-Hop`.
    pub(crate) fn reveal(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Debug for HopToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HopToken(hidden)")
    }
}

/// One name and prefix that an app would have, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Which hostnames.
    pub(super) host: HostPattern,
    /// Which paths.
    pub(super) path: PathPrefix,
    /// Is the prefix removed?
    pub(super) strip: bool,
    /// The process port, as its app names it: `web`, `chat:admin`.
    pub(super) route: String,
    /// What is spoken there.
    pub(super) protocol: Protocol,
    /// Its service port.
    pub(super) addr: SocketAddr,
    /// Nobody serves it now: why.
    pub(super) cause: Option<String>,
}

/// An app at the port.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Its name.
    pub(super) app: String,
    /// Its directory.
    pub(super) dir: String,
    /// Believed by its router.
    pub(super) token: HopToken,
    /// What it would have.
    pub(super) claims: Vec<Claim>,
}

/// A name that an app does not get, and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Which hostnames, as a pattern.
    pub(super) host: String,
    /// Which paths.
    pub(super) path: String,
    /// The app that has it.
    pub(super) app: String,
    /// That app's directory.
    pub(super) dir: String,
}

/// There are [`MEMBERS_MAX`] apps already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Who is at the port, in the order of arrival.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    members: BTreeMap<Seat, Member>,
    /// The next newcomer's.
    next: Seat,
}

impl Registry {
    /// Nobody is there yet; those of `expected` may come back to their seats.
    pub(super) fn new(expected: impl IntoIterator<Item = Seat>) -> Self {
        let next = expected.into_iter().max().map_or(Seat::FIRST, Seat::next);
        Self { members: BTreeMap::new(), next }
    }

    /// One more. Who comes back says which seat it had; where that is free, it has it again.
    pub(super) fn join(&mut self, member: Member, had: Option<Seat>) -> Result<Seat, Full> {
        if self.members.len() >= MEMBERS_MAX {
            return Err(Full);
        }
        let seat = had.filter(|seat| !self.members.contains_key(seat)).unwrap_or(self.next);
        self.next = self.next.max(seat.next());
        self.members.insert(seat, member);
        Ok(seat)
    }

    /// One less: its names are free.
    pub(super) fn leave(&mut self, seat: Seat) {
        self.members.remove(&seat);
    }

    /// What a member would have from now on; was it something else?
    pub(super) fn claim(&mut self, seat: Seat, claims: Vec<Claim>) -> bool {
        let Some(member) = self.members.get_mut(&seat).filter(|member| member.claims != claims) else { return false };
        member.claims = claims;
        true
    }

    /// Who is there, first come first.
    pub(super) fn members(&self) -> impl Iterator<Item = (Seat, &Member)> {
        self.members.iter().map(|(seat, member)| (*seat, member))
    }

    /// The seats that are taken.
    pub(super) fn seats(&self) -> Vec<Seat> {
        self.members.keys().copied().collect()
    }

    /// What this member does not get, because others came before.
    pub(super) fn taken(&self, seat: Seat) -> Vec<Taken> {
        let Some(member) = self.members.get(&seat) else { return Vec::new() };
        let mut first: HashMap<(&HostPattern, &PathPrefix), &Member> = HashMap::new();
        for (_, earlier) in self.members.range(..seat) {
            for claim in &earlier.claims {
                first.entry((&claim.host, &claim.path)).or_insert(earlier);
            }
        }
        let taken = member.claims.iter().filter_map(|claim| {
            let other = first.get(&(&claim.host, &claim.path))?;
            let (host, path) = (claim.host.to_string(), claim.path.to_string());
            Some(Taken { host, path, app: other.app.clone(), dir: other.dir.clone() })
        });
        taken.collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn claim(host: &str, path: &str, port: u16) -> Claim {
        Claim {
            host: host.parse().unwrap(),
            path: path.parse().unwrap(),
            strip: false,
            route: "web".to_owned(),
            protocol: Protocol::Http,
            addr: ([127, 0, 0, 1], port).into(),
            cause: None,
        }
    }

    pub(in super::super) fn member(app: &str, dir: &str, claims: Vec<Claim>) -> Member {
        Member { app: app.to_owned(), dir: dir.to_owned(), token: HopToken::new().unwrap(), claims }
    }

    fn who_has(registry: &Registry, seat: Seat) -> Vec<String> {
        registry.taken(seat).iter().map(|t| format!("{}{} {} {}", t.host, t.path, t.app, t.dir)).collect()
    }

    #[test]
    fn the_first_has_a_name_and_the_second_gets_it_when_the_first_has_ended() {
        let mut registry = Registry::new([]);
        let both = || vec![claim("shop.localhost", "/", 1), claim("web.shop.localhost", "/", 1)];
        let first = registry.join(member("shop", "/a", both()), None).unwrap();
        let other = vec![claim("SHOP.localhost.", "/", 2), claim("shop.localhost", "/api", 2)];
        let second = registry.join(member("shop", "/b", other), None).unwrap();
        let third = registry.join(member("shop", "/c", both()), None).unwrap();
        assert_eq!(who_has(&registry, first), [""; 0]);
        assert_eq!(who_has(&registry, second), ["shop.localhost/ shop /a"], "another prefix is another site");
        assert_eq!(who_has(&registry, third), ["shop.localhost/ shop /a", "web.shop.localhost/ shop /a"]);
        registry.leave(first);
        assert_eq!(who_has(&registry, second), [""; 0]);
        assert_eq!(who_has(&registry, third), ["shop.localhost/ shop /b"], "first come, first served");
        assert!(registry.claim(second, Vec::new()) && !registry.claim(second, Vec::new()));
        assert_eq!(who_has(&registry, third), [""; 0]);
        assert_eq!(registry.seats(), [second, third]);
        registry.leave(second);
        assert!(!registry.claim(second, both()), "who has left claims nothing");
    }

    #[test]
    fn who_comes_back_has_its_seat_and_newcomers_sit_behind() {
        let seats = [Seat(2), Seat(5)];
        let mut registry = Registry::new(seats);
        let new = registry.join(member("new", "/n", vec![claim("a", "/", 1)]), None).unwrap();
        assert_eq!(new, Seat(6));
        let back = registry.join(member("back", "/b", vec![claim("a", "/", 2)]), Some(Seat(2))).unwrap();
        assert_eq!(back, Seat(2));
        assert_eq!(who_has(&registry, new), ["a/ back /b"]);
        assert_eq!(registry.join(member("double", "/d", vec![]), Some(Seat(2))).unwrap(), Seat(7), "its seat is taken");
        let far = registry.join(member("far", "/f", vec![]), Some(Seat(u64::MAX))).unwrap();
        assert_eq!(far, Seat(u64::MAX));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut registry = Registry::new([]);
        for _ in 0..MEMBERS_MAX {
            registry.join(member("a", "/a", vec![]), None).unwrap();
        }
        assert_eq!(registry.join(member("a", "/a", vec![]), None), Err(Full));
        registry.leave(Seat::FIRST);
        registry.join(member("a", "/a", vec![]), None).unwrap();
    }

    #[test]
    fn a_token_is_long_and_never_shown() {
        let token = HopToken::new().unwrap();
        assert_eq!(token.reveal().len(), 32);
        assert_ne!(token, HopToken::new().unwrap());
        let shown = format!("{:?}", member("a", "/", vec![]));
        assert!(shown.contains("hidden"), "{shown}");
        assert!(!format!("{token:?}").contains(&**token.reveal()));
    }
}
