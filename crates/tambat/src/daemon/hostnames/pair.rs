//! One thing for each scheme.

use serde::{Deserialize, Serialize};
use tambat_model::Scheme;

/// Something of http, and the same of https.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Pair<T> {
    /// In plain text.
    pub(crate) http: T,
    /// Over TLS.
    pub(crate) https: T,
}

impl<T> Pair<T> {
    /// Made for each.
    pub(crate) fn of(mut make: impl FnMut(Scheme) -> T) -> Self {
        Self { http: make(Scheme::Http), https: make(Scheme::Https) }
    }

    /// That of a scheme.
    pub(crate) fn get(&self, scheme: Scheme) -> &T {
        match scheme {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        }
    }

    /// That of a scheme, to be changed.
    pub(crate) fn get_mut(&mut self, scheme: Scheme) -> &mut T {
        match scheme {
            Scheme::Http => &mut self.http,
            Scheme::Https => &mut self.https,
        }
    }

    /// Both, that of http first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Scheme, &T)> {
        Scheme::ALL.into_iter().map(|scheme| (scheme, self.get(scheme)))
    }

    /// Something else of each.
    pub(crate) fn map<U>(self, mut other: impl FnMut(Scheme, T) -> U) -> Pair<U> {
        Pair { http: other(Scheme::Http, self.http), https: other(Scheme::Https, self.https) }
    }
}
