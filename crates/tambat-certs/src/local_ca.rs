//! The CA of this machine's user: made once, kept in a folder of its user's, and good for local names alone.
//!
//! Whoever trusts it trusts its key file. So its certificate says, in a critical extension (RFC 5280 §4.2.1.10), that it
//! signs for `localhost`, `*.localhost`, `*.test` and the loopback addresses and for nothing else: names that can never be
//! a site of anybody's (RFC 6761 §6.2, §6.3). A key that is stolen opens no bank. The hosts of an app are not among the
//! constraints: the CA is older than the app, and a constraint that anything may widen is none.
//!
//! Key and certificate are one file, so that no moment has one without the other; it is made by a hard link, of which only
//! the first of two can come true, so that two that start together have one CA. A CA that has expired is never overwritten:
//! the next one is another file, with the next number.

mod leaf;
mod root;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};

pub(crate) use leaf::Leafs;
pub use root::{Root, bundle};

use crate::certificate::{Certificate, CertificateError, Lifetime, chain_from_pem, hexadecimal, key_from_pem, sha256};
use crate::{moment, sign, write};

/// How long a CA is good: people trust it by hand, and won't do that again soon. What limits the harm of a stolen key is
/// not its age but its name constraints.
pub const LOCAL_CA_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// So far back its lifetime begins: clocks of virtual machines and containers lag behind.
const CA_BACKDATED: Duration = Duration::from_hours(24);

/// One CA has been made in some years by one user; so many are a loop, not a history.
const GENERATIONS_MAX: u32 = 1_000;

/// How often another one may be quicker at making the next CA before this is an error.
const TRIES_MAX: usize = 8;

/// Key and certificate take 1 KiB.
const CA_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The CA, ready to sign.
#[derive(Debug)]
pub struct LocalCa {
    root: Root,
    issuer: Issuer<'static, KeyPair>,
}

/// What opening the folder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The CA was there.
    Found,
    /// There was none.
    Made,
    /// The one that was there has expired, and another has taken its place: whoever trusted the old one has to trust the
    /// new one.
    Replaced {
        /// The one that was there.
        expired: Root,
    },
}

/// Why there is no local CA.
#[derive(Debug, thiserror::Error)]
pub enum LocalCaError {
    /// The system refuses something.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// In words: "read", "make the folder".
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is there and can't be used. It is not replaced: people may trust its certificate.
    #[error("cannot use the local CA in {}: {why}; when it is moved away, a new one is made, which has to be trusted again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others may read the key.
    #[error("cannot use the local CA in {}: its mode {mode:03o} lets others read the key; `chmod 600` it, or move it away if somebody may have read it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its lifetime has not begun.
    #[error("cannot use the local CA in {}: it is good from {} on, and this machine's clock says it is {}; set the clock", path.display(), moment::minute(*from), moment::minute(*now))]
    NotYetValid {
        /// Which file.
        path: PathBuf,
        /// When it begins.
        from: SystemTime,
        /// What the clock says.
        now: SystemTime,
    },
    /// No key or certificate could be made.
    #[error("cannot make a certificate of the local CA: {0}")]
    Signing(String),
}

impl From<rcgen::Error> for LocalCaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Signing(error.to_string())
    }
}

impl From<CertificateError> for LocalCaError {
    fn from(error: CertificateError) -> Self {
        Self::Signing(error.to_string())
    }
}

impl LocalCa {
    /// The CA of this folder, made if there is none or if the last one has expired. The folder is made for its user alone,
    /// and so is the file with the key; beside it, `root.pem` holds the certificate alone.
    ///
    /// # Errors
    ///
    /// When the folder or its files can't be read or written, or the CA in it is damaged, exposed or not yet valid.
    pub fn open(dir: &Path, now: SystemTime) -> Result<(Self, Opened), LocalCaError> {
        write::private_dir(dir).map_err(cannot("make the folder", dir))?;
        let mut opened = Opened::Found;
        for _ in 0..TRIES_MAX {
            let next = match generations(dir)?.last() {
                None => 1,
                Some(&last) => {
                    let path = file_of(dir, last);
                    let ca = Self::read(dir, &path)?;
                    if now < ca.root.lifetime().not_before {
                        return Err(LocalCaError::NotYetValid { path, from: ca.root.lifetime().not_before, now });
                    }
                    if now <= ca.root.not_after() {
                        let shared = ca.root.path();
                        write::write_shared(shared, ca.root.pem().as_bytes()).map_err(cannot("write", shared))?;
                        return Ok((ca, opened));
                    }
                    opened = Opened::Replaced { expired: ca.root };
                    last + 1
                }
            };
            let path = file_of(dir, next);
            let made = write::create_private(&path, Self::new_file(now)?.as_bytes()).map_err(cannot("write", &path))?;
            opened = match opened {
                _ if !made => Opened::Found,
                Opened::Found => Opened::Made,
                replaced => replaced,
            };
        }
        Err(LocalCaError::Damaged { path: dir.to_owned(), why: "others keep making new ones".to_owned() })
    }

    /// The roots of all CAs that were made in this folder, the newest first, those that have expired among them: for
    /// whoever wants to trust the newest, or to trust none of them any more. Makes nothing.
    ///
    /// # Errors
    ///
    /// When one can't be read.
    pub fn roots(dir: &Path) -> Result<Vec<Root>, LocalCaError> {
        let all = generations(dir)?.into_iter().rev();
        all.map(|generation| Self::read(dir, &file_of(dir, generation)).map(|ca| ca.root)).collect()
    }

    /// Does it sign for this name (in lower case, without a last dot)? See the constraints above.
    pub fn signs(name: &str) -> bool {
        let is_hostname = name.parse::<tambat_model::HostPattern>().is_ok() && !name.contains('*');
        let below = |top: &str| name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
        is_hostname && (name == LOCALHOST || SIGNED_DOMAINS.iter().any(|top| below(top)))
    }

    /// Its certificate.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A new certificate for a name that it [`signs`](Self::signs); the one for `localhost` is also for 127.0.0.1 and `::1`,
    /// since whoever connects to an address names no host. Takes well under a millisecond.
    ///
    /// # Errors
    ///
    /// When it does not sign for the name, has expired, or no key could be made.
    pub fn certificate(&self, name: &str, now: SystemTime) -> Result<Certificate, LocalCaError> {
        leaf::issue(self, name, now)
    }

    fn read(dir: &Path, path: &Path) -> Result<Self, LocalCaError> {
        let metadata = std::fs::metadata(path).map_err(cannot("read", path))?;
        let damaged = |why: String| LocalCaError::Damaged { path: path.to_owned(), why };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(LocalCaError::Exposed { path: path.to_owned(), mode });
        }
        if metadata.len() > CA_FILE_BYTES_MAX {
            return Err(damaged(format!("it has {} bytes", metadata.len())));
        }
        let text = std::fs::read(path).map_err(cannot("read", path))?;
        let of_file = |e: CertificateError| damaged(e.to_string());
        let der = chain_from_pem(&text).map_err(of_file)?.swap_remove(0);
        let key = key_from_pem(&text).map_err(of_file)?;
        Certificate::from_parts(vec![der.clone()], &key, crate::Origin::Local).map_err(of_file)?;
        let key = KeyPair::try_from(&key).map_err(|e| damaged(e.to_string()))?;
        let root = Root::read(der.to_vec(), dir.join(ROOT_FILE)).map_err(of_file)?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { root, issuer })
    }

    /// Key and certificate of a new CA, as PEM.
    fn new_file(now: SystemTime) -> Result<String, LocalCaError> {
        let key = sign::new_key()?;
        let mut params = CertificateParams::default();
        // A name of its own: a trust store that has seen several tells them apart.
        let tag = hexadecimal(&sha256(key.public_key_raw())[..4]).concat();
        params.distinguished_name = sign::named(&format!("tambat local CA {tag}"));
        let not_before = moment::earlier(now, CA_BACKDATED);
        sign::set_lifetime(&mut params, Lifetime { not_before, not_after: moment::later(now, LOCAL_CA_LIFETIME) });
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: constraints(), excluded_subtrees: Vec::new() });
        let certificate = params.self_signed(&key)?;
        Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
    }
}

const LOCALHOST: &str = "localhost";

/// Below these it signs (RFC 6761).
const SIGNED_DOMAINS: [&str; 2] = [LOCALHOST, "test"];

/// The certificate alone, for programs that are told which roots to trust.
const ROOT_FILE: &str = "root.pem";

fn constraints() -> Vec<GeneralSubtree> {
    let names = SIGNED_DOMAINS.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned()));
    let v4 = CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0]);
    let v6 = CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16]);
    names.chain([v4, v6].map(GeneralSubtree::IpAddress)).collect()
}

fn file_of(dir: &Path, generation: u32) -> PathBuf {
    dir.join(format!("ca-{generation}.pem"))
}

/// The numbers of the CAs in this folder, the oldest first.
fn generations(dir: &Path) -> Result<Vec<u32>, LocalCaError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot("read the folder", dir)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(cannot("read the folder", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("ca-")?.strip_suffix(".pem")?.parse().ok());
        found.extend(number.filter(|number| (1..=GENERATIONS_MAX).contains(number)));
    }
    found.sort_unstable();
    Ok(found)
}

fn cannot(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> LocalCaError {
    let path = path.to_owned();
    move |error| LocalCaError::Io { doing, path: path.clone(), error }
}

#[cfg(test)]
mod tests;
