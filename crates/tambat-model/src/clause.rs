//! The clauses of the port-binding contract, by their ids: what `tambat check` judges, and what `tambat start` names when
//! it sees the same thing.

use std::fmt;
use std::str::FromStr;

/// The id of a clause, as in "PB-03".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClauseId(u8);

/// A text that is no clause's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no clause of the contract: they are PB-01 to PB-19")]
pub struct UnknownClause(pub String);

impl ClauseId {
    /// What answers on the port is the app.
    pub const SELF_CONTAINED: Self = Self(1);
    /// It binds its `PORT` in time.
    pub const BINDS_IN_TIME: Self = Self(2);
    /// It binds the number that it was told.
    pub const OBEYS_PORT: Self = Self(3);
    /// It can be reached from other machines.
    pub const REACHABLE: Self = Self(4);
    /// It opens no port that it did not declare.
    pub const UNDECLARED: Self = Self(5);
    /// It speaks its protocol.
    pub const PROTOCOL: Self = Self(6);
    /// It serves many at once.
    pub const MANY_AT_ONCE: Self = Self(7);
    /// It survives rude clients.
    pub const RUDE_CLIENTS: Self = Self(8);
    /// It fails loudly when its port is taken.
    pub const PORT_TAKEN: Self = Self(9);
    /// It runs beside itself.
    pub const BESIDE_ITSELF: Self = Self(10);
    /// It stops when told.
    pub const STOPS: Self = Self(11);
    /// It finishes what it began.
    pub const FINISHES: Self = Self(12);
    /// It frees its port.
    pub const FREES_PORT: Self = Self(13);
    /// It leaves nothing behind.
    pub const NOTHING_LEFT: Self = Self(14);
    /// It finds its backing services in its configuration.
    pub const BACKING_SERVICES: Self = Self(15);
    /// It does not leak its private port.
    pub const PRIVATE_PORT: Self = Self(16);
    /// It needs no privilege.
    pub const UNPRIVILEGED: Self = Self(17);
    /// It does not exit when a backing service is away at first.
    pub const PROVIDER_AWAY: Self = Self(18);
    /// It declares its web server library.
    pub const LIBRARY: Self = Self(19);

    const LAST: u8 = 19;

    /// The one with this number, if there is one.
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::LAST).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=Self::LAST).map(Self)
    }
}

impl fmt::Display for ClauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("PB-{:02}", self.0))
    }
}

impl FromStr for ClauseId {
    type Err = UnknownClause;

    /// Takes `PB-03`, `pb03` and `3`.
    fn from_str(text: &str) -> Result<Self, UnknownClause> {
        let upper = text.trim().to_ascii_uppercase();
        let digits = upper.strip_prefix("PB").map_or(upper.as_str(), |rest| rest.strip_prefix('-').unwrap_or(rest));
        let number = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        number.and_then(Self::new).ok_or_else(|| UnknownClause(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        assert_eq!(ClauseId::all().count(), 19);
        for id in ClauseId::all() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in ["PB-03", "pb-03", "PB03", "pb3", "3", " 03 "] {
            assert_eq!(text.parse(), Ok(ClauseId::OBEYS_PORT), "{text}");
        }
        assert_eq!(ClauseId::new(19).map(ClauseId::number), Some(19));
        assert_eq!(ClauseId::LIBRARY.to_string(), "PB-19");
        for text in ["", "PB", "PB-", "PB-0", "PB-20", "PB--3", "+3", "PB-003x", "300"] {
            assert!(text.parse::<ClauseId>().is_err(), "{text}");
        }
    }
}
