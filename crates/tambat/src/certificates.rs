//! The certificates of a store, as the router's handshakes ask for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tambat_certs::Store;
use tambat_router::{Certificates, Challenges, Hello, Lookup};

/// A certificate as the store has it.
type Stored = Arc<tambat_certs::Certificate>;

/// The same as the router has it.
type Routed = Arc<tambat_router::Certificate>;

/// A store, asked by handshakes.
pub(crate) struct StoreCertificates {
    store: Arc<Store>,
    /// Is this name, which a client has sent, served at all?
    is_served: Box<dyn Fn(&str) -> bool + Send + Sync>,
    adapted: Arc<Adapted>,
}

impl fmt::Debug for StoreCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCertificates").field("store", &self.store).finish_non_exhaustive()
    }
}

impl StoreCertificates {
    /// `is_served` is asked first: for a name that it says no to, the store is not bothered.
    pub(crate) fn new(store: Arc<Store>, is_served: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { store, is_served: Box::new(is_served), adapted: Arc::default() }
    }
}

impl Certificates for StoreCertificates {
    fn find(&self, hello: &Hello<'_>) -> Lookup {
        let found = |stored| Lookup::Found(self.adapted.of(stored));
        if hello.acme {
            return hello.server_name.and_then(|name| self.store.alpn_challenge(name)).map_or(Lookup::None, found);
        }
        if hello.server_name.is_some_and(|name| !(self.is_served)(name)) {
            return Lookup::None;
        }
        if let Some(stored) = self.store.find(hello.server_name) {
            return found(stored);
        }
        match hello.server_name.and_then(|name| self.store.obtain(name)) {
            Some(coming) => {
                let adapted = Arc::clone(&self.adapted);
                Lookup::Wait(Box::pin(async move { coming.await.map(|stored| adapted.of(stored)) }))
            }
            None => Lookup::None,
        }
    }
}

impl Challenges for StoreCertificates {
    fn answer(&self, host: &str, token: &str) -> Option<String> {
        self.store.http_challenge(host, token)
    }

    fn is_public(&self, host: &str) -> bool {
        self.store.find(Some(host)).is_some_and(|stored| stored.origin().is_public())
    }
}

/// Every certificate that was asked for and that the store still has: the router keeps something for each, and knows it by
/// its address.
#[derive(Debug, Default)]
struct Adapted(Mutex<HashMap<usize, (Stored, Routed)>>);

impl Adapted {
    fn of(&self, stored: Stored) -> Routed {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = Arc::as_ptr(&stored).addr();
        if let Some((_, routed)) = known.get(&address) {
            return Arc::clone(routed);
        }
        // What nobody but us has any more has been replaced.
        known.retain(|_, (stored, _)| Arc::strong_count(stored) > 1);
        let routed =
            Arc::new(tambat_router::Certificate { key: Arc::clone(stored.key()), covers: stored.covers().to_vec() });
        known.insert(address, (stored, Arc::clone(&routed)));
        routed
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tambat_certs::{LocalCa, StoreSettings};

    use super::*;

    fn store(dir: &std::path::Path) -> Arc<Store> {
        let (ca, _) = LocalCa::open(dir, SystemTime::now()).unwrap();
        let report: tambat_certs::Report = Arc::new(|news| panic!("{news}"));
        let settings = StoreSettings { files: Vec::new(), local: Some(ca), acme: None, report };
        Store::new(settings, SystemTime::now()).unwrap().0
    }

    fn ask(certificates: &StoreCertificates, server_name: Option<&str>) -> Option<Routed> {
        match certificates.find(&Hello { server_name, acme: false }) {
            Lookup::Found(routed) => Some(routed),
            Lookup::None => None,
            Lookup::Wait(_) => panic!("nobody issues anything here"),
        }
    }

    #[test]
    fn one_certificate_is_one_value_for_the_router() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = StoreCertificates::new(store(dir.path()), |name| name != "other.localhost");
        let first = ask(&certificates, Some("shop.localhost")).unwrap();
        assert!(first.covers("shop.localhost") && !first.covers("localhost"));
        assert!(Arc::ptr_eq(&first, &ask(&certificates, Some("shop.localhost")).unwrap()));
        assert!(!Arc::ptr_eq(&first, &ask(&certificates, Some("api.shop.localhost")).unwrap()));
        assert!(ask(&certificates, None).unwrap().covers("localhost"), "who names nobody");
        assert!(ask(&certificates, Some("other.localhost")).is_none(), "nobody serves it");
        assert!(ask(&certificates, Some("shop.example.com")).is_none(), "the local CA does not sign for it");
        let acme = Hello { server_name: Some("shop.localhost"), acme: true };
        assert!(matches!(certificates.find(&acme), Lookup::None), "there is no challenge");
    }

    #[test]
    fn what_the_store_has_replaced_is_let_go() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let adapted = Adapted::default();
        let [one, two] = dirs.each_ref().map(|dir| store(dir.path()).find(Some("shop.localhost")).unwrap());
        let count = || adapted.0.lock().unwrap().len();
        adapted.of(Arc::clone(&one));
        adapted.of(Arc::clone(&two));
        assert_eq!(count(), 2);
        drop((one, two));
        adapted.of(store(dirs[0].path()).find(None).unwrap());
        assert_eq!(count(), 1);
    }
}
