//! What a user is told about certificates.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tambat_model::HostPattern;

use crate::acme::Failure;
use crate::cert_name::CertName;
use crate::files::{FilePair, LifetimeWarning};
use crate::moment;

/// Whoever tells the user.
pub type Report = Arc<dyn Fn(&News) + Send + Sync>;

/// One thing that a user is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Files have changed, and what is in them is served from now on.
    FilesRead {
        /// Which.
        pair: FilePair,
        /// The names of the certificate.
        names: Vec<HostPattern>,
        /// The last moment at which it is good.
        until: SystemTime,
    },
    /// Files can't be used as they are now.
    FilesBroken {
        /// Which, and why.
        error: String,
        /// What was read before is served on, which is good until then; none: there is nothing to serve.
        served_until: Option<SystemTime>,
    },
    /// The lifetime of a certificate from files gives cause for concern.
    FilesLifetime {
        /// Which.
        pair: FilePair,
        /// What is wrong.
        warning: LifetimeWarning,
    },
    /// An account was made with the CA.
    AccountMade {
        /// Its directory.
        directory: String,
    },
    /// A certificate came.
    Issued {
        /// For this name.
        name: CertName,
        /// The last moment at which it is good.
        until: SystemTime,
    },
    /// An order failed.
    OrderFailed {
        /// For this name.
        name: CertName,
        /// Why.
        failure: Failure,
        /// When the next one begins, if it is known to.
        again: Option<SystemTime>,
        /// The certificate that there is goes on until then; none: there is none.
        served_until: Option<SystemTime>,
    },
    /// The CA can't be reached, or is out of order. Said once, until it is back.
    CaAway {
        /// Its directory.
        directory: String,
        /// Why it seems so.
        failure: Failure,
    },
    /// It is back.
    CaBack {
        /// Its directory.
        directory: String,
        /// It was away since then.
        since: SystemTime,
    },
    /// Something can't be kept or read on the disk.
    Disk {
        /// What, and why.
        error: String,
    },
}

/// How much a user should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Info,
    /// Something works on, but not for ever.
    Warning,
    /// Something does not work.
    Error,
}

impl News {
    /// How much a user should care.
    pub fn severity(&self) -> Severity {
        match self {
            Self::FilesRead { .. } | Self::AccountMade { .. } | Self::Issued { .. } | Self::CaBack { .. } => {
                Severity::Info
            }
            Self::FilesBroken { served_until: None, .. } | Self::OrderFailed { served_until: None, .. } => {
                Severity::Error
            }
            Self::FilesLifetime { warning: LifetimeWarning::Expired { .. }, .. } => Severity::Error,
            Self::FilesBroken { .. }
            | Self::OrderFailed { .. }
            | Self::FilesLifetime { .. }
            | Self::CaAway { .. }
            | Self::Disk { .. } => Severity::Warning,
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FilesRead { pair, names, until } => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                let (chain, until) = (pair.chain.display(), moment::day(*until));
                write!(f, "{chain} has changed: its certificate for {} is served now, until {until}", names.join(", "))
            }
            Self::FilesBroken { error, served_until } => match served_until {
                Some(until) => {
                    write!(
                        f,
                        "{error}; the certificate that was read before is served on, until {}",
                        moment::day(*until)
                    )
                }
                None => write!(f, "{error}; its names have no certificate"),
            },
            Self::FilesLifetime { pair, warning } => {
                write!(f, "the certificate in {} needs a look: {warning}", pair.chain.display())
            }
            Self::AccountMade { directory } => write!(f, "made an account with the ACME CA at {directory}"),
            Self::Issued { name, until } => write!(f, "{name} has a new certificate, until {}", moment::day(*until)),
            Self::OrderFailed { name, failure, again, served_until } => {
                write!(f, "cannot get a certificate for {name}: {failure}")?;
                if let Some(again) = again {
                    write!(f, "; trying again at {}", moment::minute(*again))?;
                }
                match served_until {
                    Some(until) => write!(f, "; the one that is there goes on until {}", moment::day(*until)),
                    None => f.write_str("; until then it has none"),
                }
            }
            Self::CaAway { directory, failure } => {
                write!(f, "cannot get certificates from {directory}: {failure}; it is tried again and again")
            }
            Self::CaBack { directory, since } => {
                write!(f, "{directory} is back; it was away since {}", moment::minute(*since))
            }
            Self::Disk { error } => f.write_str(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::FailureKind;
    use crate::sample::days;

    #[test]
    fn sentences() {
        let pair = FilePair { chain: "/etc/tls/chain.pem".into(), key: "/etc/tls/key.pem".into() };
        let name = CertName::Exact("shop.example.com".into());
        let failure = Failure { kind: FailureKind::Refused, retry_after: None, text: "the CA says: no".into() };
        let directory = "https://ca.example/dir".to_owned();
        let names = vec!["a.example".parse().unwrap(), "*.a.example".parse().unwrap()];
        let failed = |served_until, again| News::OrderFailed {
            name: name.clone(),
            failure: failure.clone(),
            again,
            served_until,
        };
        let all = [
            News::FilesRead { pair: pair.clone(), names, until: days(90) },
            News::FilesBroken { error: "cannot read /etc/tls/key.pem: no".into(), served_until: Some(days(9)) },
            News::FilesBroken { error: "cannot read /etc/tls/key.pem: no".into(), served_until: None },
            News::FilesLifetime { pair: pair.clone(), warning: LifetimeWarning::Expired { since: days(3) } },
            News::FilesLifetime { pair, warning: LifetimeWarning::NotYetValid { from: days(3) } },
            News::AccountMade { directory: directory.clone() },
            News::Issued { name: name.clone(), until: days(90) },
            failed(None, Some(days(1))),
            failed(Some(days(30)), None),
            News::CaAway { directory: directory.clone(), failure: failure.clone() },
            News::CaBack { directory, since: days(2) },
        ];
        let lines: Vec<String> = all.iter().map(|news| format!("{:?}: {news}", news.severity())).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
