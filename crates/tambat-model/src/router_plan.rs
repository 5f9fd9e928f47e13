//! `[router]`: what holds for every app that one router serves.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;
use std::time::Duration;

/// What was said about the router; none: its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterPlan {
    /// How many threads carry requests.
    pub workers: Option<NonZeroU16>,
    /// The peers whose forwarding fields are believed: an address or a network each.
    pub trusted: Vec<NetworkText>,
    /// How many connections one client address may have open.
    pub connections_max: Option<NonZeroU32>,
    /// Where requests are written down, seen from the app's directory; `-`: to standard output.
    pub access_log: Option<String>,
    /// How they are written down.
    pub access_log_format: AccessLogFormat,
    /// The limits that hold before a route is known.
    pub timeouts: RouterTimeouts,
}

/// The limits that hold before a route is known; none: the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterTimeouts {
    /// How long a request's head may take.
    pub head: Option<Duration>,
    /// How long a body may stand still.
    pub body_idle: Option<Duration>,
    /// How long a client's connection is kept between two requests.
    pub keep_alive: Option<Duration>,
    /// How long connecting to a target may take.
    pub connect: Option<Duration>,
}

/// How requests are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// One JSON object a line, for programs.
    #[default]
    Json,
    /// One terse line, for people.
    Text,
}

/// An address or a network in the notation of RFC 4632 §3.1 and RFC 4291 §2.3, known to be one: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkText(String);

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address or a network: {rule}")]
pub struct NetworkError {
    text: String,
    rule: &'static str,
}

impl NetworkText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NetworkText {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = |rule| NetworkError { text: text.to_owned(), rule };
        let (addr, prefix) = text.split_once('/').map_or((text, None), |(addr, prefix)| (addr, Some(prefix)));
        let addr: IpAddr = addr.parse().map_err(|_| error("write 10.0.0.0/8, 192.0.2.7, fd00::/8 or ::1"))?;
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let Some(prefix) = prefix else { return Ok(Self(text.to_owned())) };
        let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix.parse::<u32>().ok().filter(|prefix| is_number && *prefix <= bits);
        let prefix =
            prefix.ok_or_else(|| error("behind the / stands how many bits count, 0 to 32, or 128 for IPv6"))?;
        if has_bits_beyond(addr, prefix) {
            return Err(error("it has bits set behind those that count: 10.0.0.0/8, not 10.0.0.1/8"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Is any bit set behind the first `prefix`? Whoever writes that means one of two things, and nobody knows which.
fn has_bits_beyond(addr: IpAddr, prefix: u32) -> bool {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).checked_shl(prefix).unwrap_or(0) != 0,
        IpAddr::V6(addr) => u128::from(addr).checked_shl(prefix).unwrap_or(0) != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_how_many_of_its_bits_count() {
        for good in ["10.0.0.0/8", "192.0.2.7", "192.0.2.7/32", "0.0.0.0/0", "::1", "fd00::/8", "::/0", "::1/128"] {
            assert_eq!(good.parse::<NetworkText>().unwrap().as_str(), good);
        }
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0.1/8", "::1/64", "lan", "10/8"] {
            assert!(bad.parse::<NetworkText>().is_err(), "{bad}");
        }
        assert_eq!(
            "10.0.0.1/8".parse::<NetworkText>().unwrap_err().to_string(),
            "`10.0.0.1/8` is not an address or a network: it has bits set behind those that count: 10.0.0.0/8, not 10.0.0.1/8"
        );
    }
}
