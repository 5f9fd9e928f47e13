//! What holds for requests because of TLS: who is sent there, and who is told to come back that way.

use std::fmt;
use std::str::FromStr;

/// Who is sent to https when they come without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpsRedirect {
    /// Nobody.
    Never,
    /// Whoever asks for a name that has a public certificate.
    #[default]
    WherePublic,
    /// Everybody.
    Always,
}

impl From<Option<bool>> for HttpsRedirect {
    /// What `https_redirect` says, or leaves unsaid.
    fn from(said: Option<bool>) -> Self {
        match said {
            None => Self::WherePublic,
            Some(false) => Self::Never,
            Some(true) => Self::Always,
        }
    }
}

/// How long browsers remember that a host is to be asked over https alone (RFC 6797).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    days: u16,
}

/// Browsers know nothing longer than a year or two.
const DAYS_MAX: u16 = 3_650;

/// Why a text is no time for HSTS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a number of days, such as \"365d\", up to {DAYS_MAX}; \"0d\" has browsers forget it")]
pub struct HstsError {
    text: String,
}

impl FromStr for Hsts {
    type Err = HstsError;

    /// Reads `365d`.
    fn from_str(text: &str) -> Result<Self, HstsError> {
        let days = text.strip_suffix('d').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let days = days.and_then(|number| number.parse().ok()).filter(|days| *days <= DAYS_MAX);
        days.map(|days| Self { days }).ok_or_else(|| HstsError { text: text.to_owned() })
    }
}

/// As the field has it.
impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", u32::from(self.days) * 24 * 60 * 60)
    }
}

impl Hsts {
    /// The fields of an answer over https, where these are those of any.
    pub fn added_to(self, headers: &[(String, String)]) -> Vec<(String, String)> {
        const NAME: &str = "Strict-Transport-Security";
        let others = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(NAME)).cloned();
        others.chain([(NAME.to_owned(), self.to_string())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written_as_seconds() {
        let value = |text: &str| text.parse::<Hsts>().map(|hsts| hsts.to_string()).ok();
        assert_eq!(value("365d").as_deref(), Some("max-age=31536000"));
        assert_eq!(value("0d").as_deref(), Some("max-age=0"));
        for bad in ["", "d", "365", "1h", "-1d", "+1d", "3651d", "99999d", "1.5d", " 1d"] {
            assert_eq!(value(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_takes_the_place_of_what_headers_say() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = [header("X-A", "b"), header("strict-transport-security", "max-age=1")];
        let hsts: Hsts = "1d".parse().unwrap();
        assert_eq!(hsts.added_to(&headers), [header("X-A", "b"), header("Strict-Transport-Security", "max-age=86400")]);
    }
}
