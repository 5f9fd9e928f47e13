//! Certificates from files that somebody else looks after: read, judged, and read again when they change.

mod pairs;
mod watch;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use pairs::FileStatus;
pub(crate) use pairs::Pairs;
pub(crate) use watch::{Stamps, Watch};

use crate::certificate::{Certificate, CertificateError, Lifetime, Origin};
use crate::moment;

/// A chain of 16 certificates with RSA keys of 4096 bits takes 40 KiB.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 256 * 1024;

/// The end of a certificate is said to be near in the last sixth of its lifetime …
const SOON_PART: u32 = 6;

/// … and in its last two weeks at most: who renews at two thirds has failed for two weeks by then, if it is for 90 days.
const SOON_MAX: Duration = Duration::from_hours(14 * 24);

/// A chain, the certificate itself first, and its key, as PEM. Both may be the same file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePair {
    /// Where the chain is.
    pub chain: PathBuf,
    /// Where the key is.
    pub key: PathBuf,
}

/// Why a pair of files gives no certificate.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses to read one.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// More than [`CERTIFICATE_FILE_BYTES_MAX`].
    #[error("cannot use {}: it has {bytes} bytes, and no certificate takes more than {CERTIFICATE_FILE_BYTES_MAX}", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
    },
    /// What is in them is no certificate with its key.
    #[error("cannot use {}: {why}{}", path.display(), try_this(why))]
    Content {
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        why: CertificateError,
    },
}

/// What to try.
fn try_this(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Mismatch => "; name the key that its certificate was made for",
        CertificateError::NoKey(_) => {
            "; an unencrypted PEM block is needed, which begins with `-----BEGIN PRIVATE KEY-----` or alike"
        }
        _ => "",
    }
}

/// What is wrong with the lifetime of a certificate that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeWarning {
    /// It is over: clients refuse it.
    Expired {
        /// Since when.
        since: SystemTime,
    },
    /// It has not begun: clients refuse it, or the clock of this machine is wrong.
    NotYetValid {
        /// When it begins.
        from: SystemTime,
    },
    /// It ends soon, and whoever renews it should have done so.
    ExpiresSoon {
        /// When it ends.
        at: SystemTime,
        /// How long that is.
        left: Duration,
    },
}

impl LifetimeWarning {
    /// What is wrong at this moment, if anything.
    pub fn of(lifetime: Lifetime, now: SystemTime) -> Option<Self> {
        let left = lifetime.left(now);
        if now > lifetime.not_after {
            Some(Self::Expired { since: lifetime.not_after })
        } else if now < lifetime.not_before {
            Some(Self::NotYetValid { from: lifetime.not_before })
        } else if left < (lifetime.length() / SOON_PART).min(SOON_MAX) {
            Some(Self::ExpiresSoon { at: lifetime.not_after, left })
        } else {
            None
        }
    }

    /// The same kind of trouble?
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl fmt::Display for LifetimeWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { since } => write!(f, "it expired on {}", moment::minute(*since)),
            Self::NotYetValid { from } => {
                write!(f, "it is not good before {}, if this machine's clock is right", moment::minute(*from))
            }
            Self::ExpiresSoon { at, left } => {
                write!(f, "it expires on {}, in {}", moment::minute(*at), moment::spell(*left))
            }
        }
    }
}

impl FilePair {
    /// Reads the certificate, and says what is wrong with its lifetime.
    ///
    /// # Errors
    ///
    /// When a file can't be read, holds no certificate or no key, or the key is that of another certificate.
    pub fn load(&self, now: SystemTime) -> Result<(Certificate, Option<LifetimeWarning>), FileError> {
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        let certificate = Certificate::from_pem(&chain, &key, Origin::File).map_err(|why| {
            let of_key =
                matches!(why, CertificateError::NoKey(_) | CertificateError::Key(_) | CertificateError::Mismatch);
            FileError::Content { path: if of_key { self.key.clone() } else { self.chain.clone() }, why }
        })?;
        let warning = LifetimeWarning::of(certificate.lifetime(), now);
        Ok((certificate, warning))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let cannot = |error| FileError::Io { path: path.to_owned(), error };
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if bytes > CERTIFICATE_FILE_BYTES_MAX {
        return Err(FileError::TooLong { path: path.to_owned(), bytes });
    }
    std::fs::read(path).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sample::{self, days, hours};

    #[test]
    fn what_is_wrong_with_files_is_said() {
        let temp = tempfile::tempdir().unwrap();
        let (good, other) = (
            sample::self_signed(&["a.example"], days(0), days(90)),
            sample::self_signed(&["a.example"], days(0), days(90)),
        );
        let pair = FilePair { chain: temp.path().join("chain.pem"), key: temp.path().join("key.pem") };
        let said = |chain: &str, key: &str| {
            fs::write(&pair.chain, chain).unwrap();
            fs::write(&pair.key, key).unwrap();
            match pair.load(days(1)) {
                Ok((certificate, warning)) => format!("{:?} {warning:?}", certificate.covers()),
                Err(e) => e.to_string().replace(&temp.path().display().to_string(), "DIR"),
            }
        };
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let mut all = vec![
            said(&good.chain, &good.key),
            said(&format!("{}{}", good.chain, good.key), &format!("{}{}", good.chain, good.key)),
            said(&good.chain, &other.key),
            said(&good.chain, encrypted),
            said(&good.chain[..200], &good.key),
            said("", &good.key),
            said(&"x".repeat(300_000), &good.key),
        ];
        fs::remove_file(&pair.chain).unwrap();
        all.push(pair.load(days(1)).unwrap_err().to_string().replace(&temp.path().display().to_string(), "DIR"));
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn a_lifetime_is_judged_at_a_moment() {
        let said = |from, until, now| {
            let warning = LifetimeWarning::of(Lifetime { not_before: from, not_after: until }, now);
            warning.map_or("good".to_owned(), |warning| warning.to_string())
        };
        let all = [
            said(days(0), days(90), days(75)),
            said(days(0), days(90), days(77)),
            said(days(0), days(90), days(91)),
            said(days(10), days(90), days(9)),
            said(days(0), days(6), hours(6 * 24 - 25)),
            said(days(0), days(6), hours(6 * 24 - 23)),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
