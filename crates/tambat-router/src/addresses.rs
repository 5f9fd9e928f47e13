//! How many connections each client address has open, where that is limited (`max_connections`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of each client address. Looked at once for each connection, and only where there is a limit.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, u32>>);

impl Addresses {
    /// One more connection of this client; none: it has `max` already.
    pub(crate) fn count(self: &Arc<Self>, client: IpAddr, max: NonZeroU32) -> Option<AddressCount> {
        let mut open = self.lock();
        let count = open.entry(client).or_default();
        if *count >= max.get() {
            return None;
        }
        *count += 1;
        Some(AddressCount { client, addresses: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, counted at its client's address until it is dropped.
#[derive(Debug)]
pub(crate) struct AddressCount {
    client: IpAddr,
    addresses: Arc<Addresses>,
}

impl Drop for AddressCount {
    fn drop(&mut self) {
        let mut open = self.addresses.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            // Addresses that have come and gone leave nothing behind.
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_limit_and_leaves_nothing_behind() {
        let (addresses, max) = (Arc::new(Addresses::default()), NonZeroU32::new(2).unwrap());
        let [a, b] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let first = addresses.count(a, max).unwrap();
        let second = addresses.count(a, max).unwrap();
        assert!(addresses.count(a, max).is_none());
        let other = addresses.count(b, max).unwrap();
        drop(first);
        let third = addresses.count(a, max).unwrap();
        drop((second, third, other));
        assert!(addresses.lock().is_empty());
    }
}
