//! Addresses with one beginning, and the peers whose word counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no network: {rule}")]
pub struct NetworkError {
    text: String,
    rule: &'static str,
}

/// The addresses with one beginning: `10.0.0.0/8`, `::1`. An IPv4 address in IPv6's clothes (`::ffff:10.0.0.1`) is the
/// IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    /// Is this address one of them?
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = bits_of(address);
        is_v4 == self.is_v4 && bits & self.mask == self.first
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = |rule| NetworkError { text: text.to_owned(), rule };
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr =
            address.parse().map_err(|_| error("write an address, or an address and a length: 10.0.0.0/8, ::1"))?;
        let most = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let length = match length {
            None => most,
            Some(length) if length.bytes().all(|b| b.is_ascii_digit()) => {
                length.parse().ok().filter(|length| *length <= most).ok_or_else(|| {
                    error("the length after the `/` is a number of bits, 0 to 32 for IPv4 and 0 to 128 for IPv6")
                })?
            }
            Some(_) => return Err(error("the length after the `/` is a number of bits")),
        };
        let (bits, is_v4) = bits_of(address);
        // A mapped address and its length speak of the IPv4 address in the last 32 bits.
        let length = if is_v4 && most == Ipv6Addr::BITS { length.saturating_sub(96) } else { length };
        let width = if is_v4 { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let whole = u128::MAX >> (Ipv6Addr::BITS - width);
        let mask = whole & !whole.checked_shr(length).unwrap_or(0);
        if bits & !mask != 0 {
            return Err(error("bits of the address are set behind the length: 10.0.0.0/8, not 10.0.0.1/8"));
        }
        Ok(Self { first: bits, mask, is_v4 })
    }
}

/// The peers whose forwarding fields are believed. Nobody, unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted(Vec<Network>);

impl Trusted {
    /// Is this address in one of the networks?
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Is nobody trusted?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Trusted {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// The bits of an address, and whether they are those of an IPv4 address.
fn bits_of(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(networks: &[&str]) -> Trusted {
        networks.iter().map(|text| text.parse::<Network>().unwrap()).collect()
    }

    #[test]
    fn a_network_is_the_addresses_with_its_beginning() {
        let some = trusted(&["10.0.0.0/8", "192.0.2.7", "::1", "2001:db8::/33"]);
        for inside in ["10.255.0.1", "192.0.2.7", "::1", "2001:db8:7fff::1", "::ffff:10.1.2.3"] {
            assert!(some.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.0", "192.0.2.6", "::2", "2001:db8:8000::", "::10.0.0.1", "0.0.0.1", "127.0.0.1"] {
            assert!(!some.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(Trusted::default().is_empty() && !Trusted::default().contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn all_addresses_of_a_kind_are_a_network() {
        let v4 = trusted(&["0.0.0.0/0"]);
        assert!(v4.contains("255.255.255.255".parse().unwrap()) && !v4.contains("::1".parse().unwrap()));
        let v6 = trusted(&["::/0"]);
        assert!(v6.contains("ffff::".parse().unwrap()) && !v6.contains("1.2.3.4".parse().unwrap()));
        let mapped = trusted(&["::ffff:10.0.0.0/104"]);
        assert!(mapped.contains("10.9.9.9".parse().unwrap()) && !mapped.contains("11.0.0.0".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_said() {
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0.0/", "10.0.0.0/+8", "10/8", "localhost", "::/0/0"]
        {
            let said = bad.parse::<Network>().unwrap_err().to_string();
            assert!(said.starts_with(&format!("`{bad}` is no network: ")), "{said}");
        }
    }
}
