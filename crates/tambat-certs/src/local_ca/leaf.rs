//! Certificates of the local CA: made when somebody asks for the name, kept in memory only.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls::pki_types::PrivateKeyDer;

use super::{LOCALHOST, LocalCa, LocalCaError};
use crate::certificate::{Certificate, Lifetime, Origin};
use crate::{moment, sign};

/// How long one is good. Every platform takes so few days, of a CA of the user's own too; it is made anew when two thirds
/// are over, and with every start.
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// So far back its lifetime begins: clocks of virtual machines and phones lag behind.
const LEAF_BACKDATED: Duration = Duration::from_hours(1);

/// So many names have a certificate in memory, 2 KiB each. Names come from whoever connects; one that was let go is made
/// again in under a millisecond.
pub(crate) const LEAFS_MAX: usize = 1_024;

/// A certificate for the name.
pub(super) fn issue(ca: &LocalCa, name: &str, now: SystemTime) -> Result<Certificate, LocalCaError> {
    if !LocalCa::signs(name) {
        return Err(LocalCaError::Signing(format!("it does not sign for `{name}`")));
    }
    let of_ca = ca.root.lifetime();
    let not_before = moment::earlier(now, LEAF_BACKDATED).max(of_ca.not_before);
    let not_after = moment::later(now, LEAF_LIFETIME).min(of_ca.not_after);
    if not_after <= now {
        return Err(LocalCaError::Signing(format!("it expired on {}", moment::day(of_ca.not_after))));
    }
    let mut params = CertificateParams::new([name.to_owned()])?;
    if name == LOCALHOST {
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    }
    // Not the name itself: common names end at 64 bytes (RFC 5280 appendix A.1), and nobody reads them any more.
    params.distinguished_name = sign::named("local certificate");
    sign::set_lifetime(&mut params, Lifetime { not_before, not_after });
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = sign::new_key()?;
    let certificate = params.signed_by(&key, &ca.issuer)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(Certificate::from_parts(vec![certificate.der().clone()], &key, Origin::Local)?)
}

/// The CA with the certificates that it has made.
#[derive(Debug)]
pub(crate) struct Leafs {
    ca: LocalCa,
    made: Mutex<HashMap<Box<str>, Arc<Certificate>>>,
}

impl Leafs {
    pub(crate) fn new(ca: LocalCa) -> Self {
        Self { ca, made: Mutex::default() }
    }

    pub(crate) fn ca(&self) -> &LocalCa {
        &self.ca
    }

    /// The one for this name, or for `localhost` and its addresses where no name was said; made where there is none that
    /// is fresh. `None`: the CA does not sign for it, or can't.
    pub(crate) fn find(&self, name: Option<&str>, now: SystemTime) -> Option<Arc<Certificate>> {
        let name = name.unwrap_or(LOCALHOST);
        let is_fresh = |leaf: &Certificate| leaf.lifetime().contains(now) && now < leaf.lifetime().two_thirds();
        let there = self.made().get(name).cloned();
        if let Some(leaf) = there.filter(|leaf| is_fresh(leaf)) {
            return Some(leaf);
        }
        // Outside of the lock: two that ask at once make two, and both are good.
        let leaf = Arc::new(self.ca.certificate(name, now).ok()?);
        let mut made = self.made();
        if made.len() >= LEAFS_MAX {
            made.retain(|_, leaf| is_fresh(leaf));
        }
        if made.len() >= LEAFS_MAX
            && let Some(any) = made.keys().next().cloned()
        {
            made.remove(&any);
        }
        made.insert(name.into(), Arc::clone(&leaf));
        Some(leaf)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, Arc<Certificate>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{days, hours};

    fn leafs() -> (tempfile::TempDir, Leafs) {
        let temp = tempfile::tempdir().unwrap();
        let (ca, _) = LocalCa::open(temp.path(), days(10)).unwrap();
        (temp, Leafs::new(ca))
    }

    #[test]
    fn a_name_keeps_its_certificate_while_it_is_fresh() {
        let (_temp, leafs) = leafs();
        let find = |name, now| leafs.find(name, now).unwrap();
        let first = find(Some("web.shop.localhost"), days(10));
        assert_eq!(first.not_before(), hours(10 * 24 - 1));
        assert!(Arc::ptr_eq(&first, &find(Some("web.shop.localhost"), days(14))));
        let second = find(Some("web.shop.localhost"), days(15));
        assert!(!Arc::ptr_eq(&first, &second));
        // A clock that was set back: the second's lifetime has not begun.
        assert!(find(Some("web.shop.localhost"), days(11)).lifetime().contains(days(11)));
        assert!(Arc::ptr_eq(&find(None, days(15)), &find(Some("localhost"), days(15))));
        assert!(leafs.find(Some("shop.example.com"), days(10)).is_none());
    }

    #[test]
    fn a_flood_of_names_takes_no_more_memory() {
        let (_temp, leafs) = leafs();
        for number in 0..LEAFS_MAX + 20 {
            assert!(leafs.find(Some(&format!("n{number}.localhost")), days(10)).is_some());
        }
        assert_eq!(leafs.made().len(), LEAFS_MAX);
    }

    #[test]
    fn an_expired_ca_signs_nothing() {
        let (_temp, leafs) = leafs();
        assert!(leafs.find(None, days(10 + 3_650) - Duration::from_secs(1)).is_some());
        assert!(leafs.find(None, days(10 + 3_650)).is_none());
    }
}
