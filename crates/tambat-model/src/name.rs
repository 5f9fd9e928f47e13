//! Names, each parsed once.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A name longer than this cannot be a hostname label (RFC 1035 §2.3.4).
const LABEL_LENGTH_MAX: usize = 63;

/// Environment variables longer than this are a mistake, and some shells cut them.
const VARIABLE_LENGTH_MAX: usize = 255;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct NameError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// The name of an app: a hostname label, because it becomes one (`shop.localhost`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppName(String);

impl AppName {
    /// The name an app gets from its directory: what cannot stand in a hostname label becomes `-`.
    pub fn from_directory(name: &str) -> Self {
        let mut label: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        label.truncate(LABEL_LENGTH_MAX);
        let label = label.trim_matches('-');
        Self(if label.is_empty() { "app".to_owned() } else { label.to_owned() })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_hostname_label(text) && !text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            what: "the name of an app",
            rule: "it becomes a hostname label, so it takes a-z, 0-9 and inner `-`, at most 63 of them",
        })
    }
}

/// The name of a process: `web`, `api`, `cache`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessName(String);

impl ProcessName {
    /// The process that people visit.
    pub fn web() -> Self {
        Self("web".to_owned())
    }

    /// Is this the process that people visit?
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }

    /// May it stand in a hostname (RFC 1123 §2.1)? A `_` may not.
    pub fn is_hostname_label(&self) -> bool {
        is_hostname_label(&self.0)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProcessName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = !text.is_empty()
            && text.len() <= LABEL_LENGTH_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            what: "the name of a process",
            rule: "it takes letters, digits, `_` and `-`, at most 63 of them",
        })
    }
}

/// The name of one of several ports of a process: `admin` in `PORT_ADMIN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName(String);

impl PortName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The variable that tells an instance this port: `PORT_ADMIN`.
    pub fn variable(&self) -> VarName {
        VarName(format!("PORT_{}", upper_snake(&self.0)))
    }
}

impl FromStr for PortName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        ProcessName::from_str(text)
            .map(|name| Self(name.0))
            .map_err(|error| NameError { what: "the name of a port", ..error })
    }
}

/// The name of an instance: `web.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The process it is a running copy of.
    pub process: ProcessName,
    /// Its number, from 1.
    pub number: NonZeroU16,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.process, self.number))
    }
}

/// The name of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarName(String);

impl VarName {
    /// The handle's variable for a provider named so: `API_URL` for `api`, `BILLING_API_URL` for `billing/api`.
    pub fn of_handle(provider: &str) -> Self {
        Self(format!("{}_URL", upper_snake(provider)))
    }

    /// One of the names that tambat itself sets.
    pub fn reserved(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// Is it one that tambat itself sets, so that no handle may take it?
    pub fn is_reserved(&self) -> bool {
        matches!(self.0.as_str(), "PORT" | "PS" | "TAMBAT_URL" | "HOST") || self.0.starts_with("PORT_")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VarName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if starts && rest && text.len() <= VARIABLE_LENGTH_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            what: "the name of an environment variable",
            rule: "it takes letters, digits and `_`, and does not begin with a digit",
        })
    }
}

macro_rules! displays_its_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

displays_its_text!(AppName, ProcessName, PortName, VarName);

/// RFC 1123 §2.1: letters, digits and inner hyphens, 1 to 63 of them.
fn is_hostname_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_LENGTH_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is neither letter nor digit becomes `_`; a leading digit gets one before it.
fn upper_snake(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_named_after_its_directory() {
        for (directory, name) in [("shop", "shop"), ("My Shop!", "my-shop"), ("_", "app"), ("caf\u{e9}", "caf")] {
            assert_eq!(AppName::from_directory(directory).as_str(), name);
            assert!(AppName::from_directory(directory).as_str().parse::<AppName>().is_ok());
        }
    }

    #[test]
    fn an_app_name_is_a_hostname_label() {
        for bad in ["", "Shop", "my shop", "-a", "a-", "a_b", "a.b", &"x".repeat(64)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_process_name_may_have_what_a_procfile_allows() {
        assert!(!"my_worker".parse::<ProcessName>().unwrap().is_hostname_label());
        assert!("web-2".parse::<ProcessName>().unwrap().is_hostname_label());
        assert!("a b".parse::<ProcessName>().is_err());
    }

    #[test]
    fn handles_are_named_in_upper_snake_case() {
        for (provider, variable) in
            [("api", "API_URL"), ("billing/api", "BILLING_API_URL"), ("my-db", "MY_DB_URL"), ("3d", "_3D_URL")]
        {
            assert_eq!(VarName::of_handle(provider).as_str(), variable);
        }
    }
}
