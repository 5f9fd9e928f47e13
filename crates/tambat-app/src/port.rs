use std::{
    env, fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

use crate::{Bound, Error};

/// The port that the environment tells this app to bind: 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port in the variable `PORT`.
    ///
    /// # Errors
    ///
    /// When `PORT` is missing, not a number, 0, or above 65535: four errors, each with what to do.
    pub fn from_env() -> Result<Self, Error> {
        let value = env::var_os("PORT").ok_or(Error::PortMissing)?;
        value.to_string_lossy().parse()
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// Binds this port on the address in `HOST`, or on 127.0.0.1 without it.
    ///
    /// # Errors
    ///
    /// When `HOST` is not an IP address, or as [`Port::bind_on`].
    pub async fn bind(self) -> Result<Bound, Error> {
        self.bind_on(Host::from_env()?).await
    }

    /// Binds this port on `host`. The kernel takes connections from here on; they wait until
    /// [`Bound::serve`] answers them.
    ///
    /// # Errors
    ///
    /// [`Error::PortTaken`] when somebody else listens there, [`Error::Bind`] for every other reason.
    pub async fn bind_on(self, host: Host) -> Result<Bound, Error> {
        Bound::bind(SocketAddr::new(host.0, self.get())).await
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::PortNotANumber { value: text.to_owned() });
        }
        let number: u16 = text.parse().map_err(|_| Error::PortTooLarge { value: text.to_owned() })?;
        NonZeroU16::new(number).map(Self).ok_or(Error::PortZero)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The address of this machine that the app binds: 127.0.0.1 unless the variable `HOST` says another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Host(IpAddr);

impl Host {
    /// The address in the variable `HOST`; [`Host::default`] when it is missing or empty.
    ///
    /// # Errors
    ///
    /// [`Error::HostNotAnAddress`] when it is a name or anything else.
    pub fn from_env() -> Result<Self, Error> {
        match env::var_os("HOST") {
            Some(value) if !value.is_empty() => value.to_string_lossy().parse(),
            _ => Ok(Self::default()),
        }
    }

    /// The address.
    pub fn ip(self) -> IpAddr {
        self.0
    }
}

impl Default for Host {
    /// 127.0.0.1: reachable from this machine only, until somebody asks for more.
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| Error::HostNotAnAddress { value: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        for (text, number) in [("1", 1), ("5000", 5000), ("05000", 5000), ("65535", 65535)] {
            assert_eq!(text.parse::<Port>().map(Port::get).ok(), Some(number), "{text}");
        }
    }

    #[test]
    fn every_wrong_port_has_its_own_error() {
        for text in ["", "web", "80a", "-1", "+80", " 80", "80\n", "5000.0", "0x50", "٥٠٠٠"] {
            let error = text.parse::<Port>().expect_err(text);
            assert!(matches!(&error, Error::PortNotANumber { value } if value == text), "{text:?}: {error}");
        }
        assert!(matches!("0".parse::<Port>(), Err(Error::PortZero)));
        assert!(matches!("000".parse::<Port>(), Err(Error::PortZero)));
        for text in ["65536", "70000", "99999999999999999999999"] {
            let error = text.parse::<Port>().expect_err(text);
            assert!(matches!(&error, Error::PortTooLarge { value } if value == text), "{text}: {error}");
        }
    }

    #[test]
    fn every_error_names_the_variable_and_says_what_to_set() {
        for error in [
            Error::PortMissing,
            "x".parse::<Port>().expect_err("not a number"),
            "0".parse::<Port>().expect_err("zero"),
            "70000".parse::<Port>().expect_err("too large"),
        ] {
            let text = error.to_string();
            assert!(text.contains("PORT") && text.contains("\nset it ") && text.contains("PORT=5000"), "{text}");
            assert_eq!(format!("{error:?}"), text, "what main prints is what is meant for people");
        }
        let text = "localhost".parse::<Host>().expect_err("a name").to_string();
        assert!(text.contains("HOST=\"localhost\"") && text.contains("127.0.0.1"), "{text}");
    }

    #[test]
    fn a_host_is_an_ip_address() {
        for text in ["127.0.0.1", "0.0.0.0", "::", "::1", "192.0.2.7"] {
            assert_eq!(text.parse::<Host>().map(|host| host.ip().to_string()).ok().as_deref(), Some(text));
        }
        for text in ["localhost", "[::1]", "127.0.0.1:80", "127.1", " ::1"] {
            assert!(matches!(text.parse::<Host>(), Err(Error::HostNotAnAddress { .. })), "{text}");
        }
        assert_eq!(Host::default().ip().to_string(), "127.0.0.1");
    }
}
