//! What tambats that share a port say to each other: JSON, a line each.
//!
//! The first line of each side carries a version. Who hears another one than its own says so and ends.
//!
//! ```text
//! newcomer                                        holder
//!    Hello { version, app, dir, seat, token, claims }  ─►
//!                        ◄─  Welcome { version, seat, holder, ports }   with duplicates of the listeners
//!                        ◄─  Welcome { version, refused }               and the end
//!    Claims { claims }     ─►         whenever they change
//!                        ◄─  Now { seats, taken }                       whenever that changes
//!                        ◄─  Now { .., ports }                          with the listeners of a port that has come
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tambat_model::{HostPattern, PathPrefix};

use super::Pair;
use super::ports::PortState;
use super::registry::{Claim, HopToken, Member, Registry, Seat, Taken};

/// Of what is said here. Any other is refused: tambats of two versions do not share a port.
/// 1 knew one port, that of http.
pub(super) const VERSION: u32 = 2;

/// A longer line is not read. [`bounded`] keeps what is sent below it.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// So many sites of one app are passed on.
const CLAIMS_MAX: usize = 1_000;

/// A cause is a sentence.
const CAUSE_BYTES_MAX: usize = 512;

/// What a claim takes in its line besides its texts.
const CLAIM_BYTES: usize = 256;

/// So many names that it does not get are told to a member: 32 KiB each at most, so a line holds them.
const TAKEN_MAX: usize = 32;

/// A path has 4,096 bytes (`PATH_MAX`, limits.h), a name at most 253.
const TEXT_BYTES_MAX: usize = 4_096;

/// Who comes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) app: String,
    pub(super) dir: String,
    /// Its seat with the last holder.
    #[serde(default)]
    pub(super) seat: Option<Seat>,
    pub(super) token: HopToken,
    claims: Vec<RawClaim>,
}

/// What a newcomer is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) version: u32,
    /// Why it can't be; what follows is the end.
    #[serde(default)]
    pub(super) refused: Option<String>,
    /// Its own seat.
    #[serde(default)]
    pub(super) seat: Option<Seat>,
    /// The holder's.
    #[serde(default)]
    pub(super) holder: Option<Seat>,
    /// Where names are served.
    #[serde(default)]
    pub(super) ports: Option<Pair<PortState>>,
}

/// What a member would have.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    claims: Vec<RawClaim>,
}

/// How things are for a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Now {
    /// Who is there.
    pub(super) seats: Vec<Seat>,
    /// What it does not get.
    pub(super) taken: Vec<Taken>,
    /// Where names are served, if that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ports: Option<Pair<PortState>>,
}

/// What was read is not what a tambat says. It says no more, because tokens are among what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak as a tambat does")]
pub(super) struct Nonsense;

impl Now {
    /// For this member.
    pub(super) fn of(registry: &Registry, seat: Seat) -> Self {
        let mut taken = registry.taken(seat);
        taken.truncate(TAKEN_MAX);
        Self { seats: registry.seats(), taken, ports: None }
    }
}

impl Hello {
    /// For the holder. `had`: the seat with the last one.
    pub(super) fn of(member: &Member, had: Option<Seat>) -> Self {
        Self {
            version: VERSION,
            app: member.app.clone(),
            dir: member.dir.clone(),
            seat: had,
            token: member.token.clone(),
            claims: member.claims.iter().map(RawClaim::of).collect(),
        }
    }

    /// The version that a newcomer speaks, whatever else it says.
    pub(super) fn version_of(line: &[u8]) -> Result<u32, Nonsense> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        read::<Versioned>(line).map(|versioned| versioned.version)
    }

    /// A newcomer of our version.
    pub(super) fn read(line: &[u8]) -> Result<Self, Nonsense> {
        let hello: Self = read(line)?;
        let fits = |text: &str| !text.is_empty() && text.len() <= TEXT_BYTES_MAX;
        // As long as the ones that are made here, and a field's value (RFC 9110 §5.5).
        let token = hello.token.reveal();
        let is_token = token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit());
        if fits(&hello.app) && fits(&hello.dir) && is_token { Ok(hello) } else { Err(Nonsense) }
    }

    /// What is entered in the registry.
    pub(super) fn member(self) -> Result<Member, Nonsense> {
        let claims = parsed(self.claims)?;
        Ok(Member { app: self.app, dir: self.dir, token: self.token, claims })
    }
}

/// The line of a member whose claims have changed.
pub(super) fn claims_line(claims: &[Claim]) -> Vec<u8> {
    line(&Claims { claims: claims.iter().map(RawClaim::of).collect() })
}

/// What a member would have from now on.
pub(super) fn read_claims(line: &[u8]) -> Result<Vec<Claim>, Nonsense> {
    parsed(read::<Claims>(line)?.claims)
}

/// A message as it is sent.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A message as it came. What serde has to say may quote a token, so nobody hears it.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, Nonsense> {
    serde_json::from_slice(line).map_err(|_| Nonsense)
}

/// As many claims as go into a line, and how many are left out.
pub(super) fn bounded(claims: Vec<Claim>) -> (Vec<Claim>, usize) {
    let all = claims.len();
    let mut room = LINE_BYTES_MAX;
    let mut fitting = Vec::new();
    for mut claim in claims {
        if let Some(cause) = &mut claim.cause {
            cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
        }
        // JSON writes a control character of a cause with six bytes; names and paths have none that it escapes.
        let cause = claim.cause.as_ref().map_or(0, |cause| cause.len() * 6);
        let bytes = CLAIM_BYTES + claim.host.to_string().len() + claim.path.as_str().len() + claim.route.len() + cause;
        if claim.path.as_str().len() <= TEXT_BYTES_MAX && bytes <= room && fitting.len() < CLAIMS_MAX {
            room -= bytes;
            fitting.push(claim);
        }
    }
    let left_out = all - fitting.len();
    (fitting, left_out)
}

/// A claim as it stands in a line.
#[derive(Debug, Serialize, Deserialize)]
struct RawClaim {
    host: String,
    path: String,
    #[serde(default)]
    strip: bool,
    route: String,
    protocol: String,
    addr: std::net::SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl RawClaim {
    fn of(claim: &Claim) -> Self {
        Self {
            host: claim.host.to_string(),
            path: claim.path.to_string(),
            strip: claim.strip,
            route: claim.route.clone(),
            protocol: claim.protocol.to_string(),
            addr: claim.addr,
            cause: claim.cause.clone(),
        }
    }

    fn parse(self) -> Option<Claim> {
        let Self { host, path, strip, route, protocol, addr, cause } = self;
        let host: HostPattern = host.parse().ok()?;
        let path: PathPrefix = path.parse().ok()?;
        let protocol = protocol.parse().ok()?;
        let fits = path.as_str().len() <= TEXT_BYTES_MAX
            && route.len() <= TEXT_BYTES_MAX
            && cause.as_ref().is_none_or(|cause| cause.len() <= TEXT_BYTES_MAX);
        fits.then_some(Claim { host, path, strip, route, protocol, addr, cause })
    }
}

fn parsed(raw: Vec<RawClaim>) -> Result<Vec<Claim>, Nonsense> {
    if raw.len() > CLAIMS_MAX {
        return Err(Nonsense);
    }
    raw.into_iter().map(|raw| raw.parse().ok_or(Nonsense)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::registry::tests::{claim, member};
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let mut api = claim("*.shop.localhost", "/api", 5_100);
        api.strip = true;
        api.cause = Some("api.1 exited with code 1".to_owned());
        let shop = member("shop", "/srv/shop", vec![claim("*", "/", 5_000), api]);
        let said = line(&Hello::of(&shop, Some(Seat::FIRST)));
        assert_eq!(Hello::version_of(&said), Ok(VERSION));
        let heard = Hello::read(&said).unwrap();
        assert_eq!(heard.seat, Some(Seat::FIRST));
        let heard = heard.member().unwrap();
        assert_eq!((heard.app, heard.dir, heard.token), (shop.app, shop.dir, shop.token));
        assert_eq!(heard.claims, shop.claims);
        assert_eq!(read_claims(&claims_line(&shop.claims)).unwrap(), shop.claims);
    }

    #[test]
    fn another_version_is_known_by_its_number_alone() {
        assert_eq!(Hello::version_of(br#"{"version":7,"names":{}}"#), Ok(7));
        assert_eq!(Hello::version_of(br#"{"versio":1}"#), Err(Nonsense));
        let welcome: Welcome = read(br#"{"version":7,"anything":[]}"#).unwrap();
        assert_eq!((welcome.version, welcome.seat), (7, None));
    }

    #[test]
    fn nonsense_is_refused_and_never_quoted() {
        let good =
            String::from_utf8(line(&Hello::of(&member("shop", "/shop", vec![claim("a", "/", 1)]), None))).unwrap();
        assert!(Hello::read(good.as_bytes()).is_ok());
        for (from, to) in [
            ("\"shop\"", "\"\""),
            ("\"host\":\"a\"", "\"host\":\"a b\""),
            ("\"path\":\"/\"", "\"path\":\"\""),
            ("\"addr\":\"127.0.0.1:1\"", "\"addr\":\"somewhere\""),
            ("\"protocol\":\"http\"", "\"protocol\":\"gopher\""),
            ("\"token\":\"", "\"token\":\"x"),
            ("{", "{{"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            let error = Hello::read(bad.as_bytes()).and_then(Hello::member).unwrap_err();
            assert_eq!(error.to_string(), "it does not speak as a tambat does");
        }
        let many = vec![claim("a", "/", 1); CLAIMS_MAX + 1];
        assert_eq!(read_claims(&claims_line(&many)), Err(Nonsense));
    }

    #[test]
    fn what_is_sent_fits_into_a_line() {
        let (few, left_out) = bounded(vec![claim("a", "/", 1); 3]);
        assert_eq!((few.len(), left_out), (3, 0));
        let (many, left_out) = bounded(vec![claim("a", "/", 1); CLAIMS_MAX + 7]);
        assert_eq!((many.len(), left_out), (CLAIMS_MAX, 7));
        let mut long = claim("a", &format!("/{}", "x".repeat(4_000)), 1);
        long.cause = Some("\u{1}\u{fc}".repeat(CAUSE_BYTES_MAX));
        let (some, left_out) = bounded(vec![long; 500]);
        assert!(some.len() + left_out == 500 && left_out > 0 && some.len() > 50, "{left_out}");
        let line = claims_line(&some);
        assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
        assert_eq!(read_claims(&line).unwrap(), some);
    }
}
