use std::{
    env, fmt,
    net::{SocketAddr, TcpListener},
    num::NonZeroU16,
    str::FromStr,
};

use crate::{
    Bound, Error, Host,
    handed::{self, Wanted},
};

/// Where the environment tells this app to listen: a port to bind, 1 to 65535, or sockets that were handed in.
#[derive(Debug)]
pub struct Port {
    number: NonZeroU16,
    /// Listening already; none when the port is to be bound.
    sockets: Vec<TcpListener>,
}

impl Port {
    /// The port in the variable `PORT`.
    ///
    /// When a service manager has handed sockets to this process (`LISTEN_FDS` with this process's pid in `LISTEN_PID`:
    /// systemd's socket activation, systemfd), those are served instead, and `PORT` is not read: the first, and all that
    /// have its name in `LISTEN_FDNAMES`.
    ///
    /// # Errors
    ///
    /// When `PORT` is missing, not a number, 0, or above 65535: four errors, each with what to do. [`Error::Handed`] when
    /// what was handed in cannot be listened on.
    pub fn from_env() -> Result<Self, Error> {
        Self::of("PORT".to_owned(), Wanted::First)
    }

    /// The port in the variable `PORT_<NAME>`, for an app with more than one: `Port::named("admin")` reads `PORT_ADMIN`.
    /// The name is put in upper case, and `-` becomes `_`.
    ///
    /// Sockets of that name in `LISTEN_FDNAMES` are served instead.
    ///
    /// # Errors
    ///
    /// As [`Port::from_env`].
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::of(variable(name), Wanted::Named(name))
    }

    fn of(variable: String, wanted: Wanted<'_>) -> Result<Self, Error> {
        let sockets = handed::from_env(wanted)?;
        if let Some(first) = sockets.first() {
            let number = first.local_addr().map_err(Error::LocalAddress)?.port();
            let unbound = || Error::Handed { cause: "a socket is not bound to a port".to_owned() };
            return Ok(Self { number: NonZeroU16::new(number).ok_or_else(unbound)?, sockets });
        }
        match env::var_os(&variable) {
            Some(value) => Self::parse(&variable, &value.to_string_lossy()),
            None => Err(Error::PortMissing { variable }),
        }
    }

    fn parse(variable: &str, text: &str) -> Result<Self, Error> {
        let (variable, value) = (variable.to_owned(), text.to_owned());
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::PortNotANumber { variable, value });
        }
        let Ok(number) = text.parse::<u16>() else { return Err(Error::PortTooLarge { variable, value }) };
        let number = NonZeroU16::new(number).ok_or(Error::PortZero { variable })?;
        Ok(Self { number, sockets: Vec::new() })
    }

    /// The number; of sockets that were handed in, the first one's.
    pub fn get(&self) -> u16 {
        self.number.get()
    }

    /// Binds this port on the addresses that `HOST` says: [`Host`] has the table. Sockets that were handed in are bound
    /// already, and `HOST` is not read.
    ///
    /// The kernel takes connections from here on; they wait until they are served.
    ///
    /// # Errors
    ///
    /// When `HOST` is not an address, or as [`Port::bind_on`].
    pub async fn bind(self) -> Result<Bound, Error> {
        if self.sockets.is_empty() {
            return self.bind_on(Host::from_env()?).await;
        }
        Bound::listening(self.sockets)
    }

    /// Binds this port on `host`, whatever `HOST` says. Sockets that were handed in stay where they are bound.
    ///
    /// # Errors
    ///
    /// [`Error::PortTaken`] when somebody else listens there, [`Error::PortForbidden`] when this user may not,
    /// [`Error::Bind`] for every other reason.
    #[expect(clippy::unused_async, reason = "it needs a runtime, and whoever calls it must see that")]
    pub async fn bind_on(self, host: Host) -> Result<Bound, Error> {
        if !self.sockets.is_empty() {
            return Bound::listening(self.sockets);
        }
        let addresses = host.addresses().iter().map(|ip| SocketAddr::new(*ip, self.get()));
        Bound::bind(addresses)
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse("PORT", text)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// The name of the variable that has the port of this name.
fn variable(name: &str) -> String {
    let upper = name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() });
    "PORT_".chars().chain(upper).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        for (text, number) in [("1", 1), ("5000", 5000), ("05000", 5000), ("65535", 65535)] {
            assert_eq!(text.parse::<Port>().map(|port| port.get()).ok(), Some(number), "{text}");
        }
    }

    #[test]
    fn every_wrong_port_has_its_own_error() {
        for text in ["", "web", "80a", "-1", "+80", " 80", "80\n", "5000.0", "0x50", "٥٠٠٠"] {
            let error = text.parse::<Port>().expect_err(text);
            assert!(matches!(&error, Error::PortNotANumber { value, .. } if value == text), "{text:?}: {error}");
        }
        for text in ["0", "000"] {
            assert!(matches!(text.parse::<Port>(), Err(Error::PortZero { .. })), "{text}");
        }
        for text in ["65536", "70000", "99999999999999999999999"] {
            let error = text.parse::<Port>().expect_err(text);
            assert!(matches!(&error, Error::PortTooLarge { value, .. } if value == text), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_what_to_do() {
        for (error, says) in [
            (
                Error::PortMissing { variable: "PORT".to_owned() },
                "set it (PORT=5000), or start the app with `tambat start`",
            ),
            (Error::PortMissing { variable: "PORT_ADMIN".to_owned() }, "PORT_ADMIN is not in the environment"),
            (Error::PortMissing { variable: "PORT_ADMIN".to_owned() }, "name the port in `ports`"),
            (Port::parse("PORT_ADMIN", "x").expect_err("x"), "PORT_ADMIN=\"x\": it is not a number"),
            (Port::parse("PORT_ADMIN", "0").expect_err("0"), "PORT_ADMIN=0"),
            (Port::parse("PORT", "70000").expect_err("70000"), "ports end at 65535"),
        ] {
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_name_becomes_a_variable() {
        for (name, expected) in [("ADMIN", "PORT_ADMIN"), ("admin", "PORT_ADMIN"), ("c2s-tls", "PORT_C2S_TLS")] {
            assert_eq!(variable(name), expected);
        }
        let error = Port::named("nobody-sets-this").expect_err("not set");
        assert!(matches!(&error, Error::PortMissing { variable } if variable == "PORT_NOBODY_SETS_THIS"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_a_port_or_an_error(text in ".{0,12}") {
            if let Ok(port) = text.parse::<Port>() {
                prop_assert_eq!(text.trim_start_matches('0'), port.to_string());
            }
        }
    }
}
