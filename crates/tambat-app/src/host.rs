use std::{
    env, fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::Error;

/// Which of this machine's addresses the app binds: what the variable `HOST` says.
///
/// | `HOST` | bound | reachable |
/// |---|---|---|
/// | missing, empty, `localhost` | 127.0.0.1, and ::1 where the machine has it | from this machine |
/// | `127.0.0.1` or `::1` | that one | from this machine |
/// | `0.0.0.0` | every IPv4 address | from every network the machine is on, by IPv4 |
/// | `::` | every address of both families | from every network the machine is on |
/// | another address | that one | from its network |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Host(Chosen);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Chosen {
    /// Reachable from this machine only, until somebody asks for more.
    #[default]
    Loopback,
    One(IpAddr),
}

impl Host {
    /// What `HOST` says; [`Host::default`], which is `localhost`, when it is missing or empty.
    ///
    /// # Errors
    ///
    /// [`Error::HostNotAnAddress`] when it is another name, or anything else.
    pub fn from_env() -> Result<Self, Error> {
        match env::var_os("HOST") {
            Some(value) if !value.is_empty() => value.to_string_lossy().parse(),
            _ => Ok(Self::default()),
        }
    }

    /// The addresses: the first must be bound, and the others where the machine has them. `::` stands for both families.
    pub fn addresses(&self) -> &[IpAddr] {
        const LOOPBACK: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        match &self.0 {
            Chosen::Loopback => LOOPBACK,
            Chosen::One(address) => std::slice::from_ref(address),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(Chosen::One(address))
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.eq_ignore_ascii_case("localhost") {
            return Ok(Self::default());
        }
        text.parse::<IpAddr>().map(Self::from).map_err(|_| Error::HostNotAnAddress { value: text.to_owned() })
    }
}

/// As `HOST` says it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Chosen::Loopback => f.write_str("localhost"),
            Chosen::One(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_this_machine() {
        for (text, addresses) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("::", "::"),
            ("::1", "::1"),
            ("localhost", "127.0.0.1 ::1"),
            ("LOCALHOST", "127.0.0.1 ::1"),
        ] {
            let host: Host = text.parse().expect(text);
            let all: Vec<String> = host.addresses().iter().map(ToString::to_string).collect();
            assert_eq!(all.join(" "), addresses, "{text}");
            assert_eq!(host.to_string().parse::<Host>().expect("it reads what it writes"), host);
        }
        for text in ["", "app.example.com", "127.0.0.1:5000", "[::1]", "*", "localhost."] {
            let error = text.parse::<Host>().expect_err(text);
            assert!(matches!(&error, Error::HostNotAnAddress { value } if value == text), "{text:?}: {error}");
        }
    }
}
