//! URLs of backing services: parsed once, never printed with their password.

use std::fmt;
use std::str::FromStr;

use fluent_uri::Uri;
use fluent_uri::pct_enc::EStr;

use crate::{Protocol, ServicePort};

/// What stands in place of a password wherever one would be printed.
const REDACTED: &str = "***";

/// The URL of a backing service (RFC 3986 §3), with a scheme and a host. `Debug` and `Display` hide its password;
/// [`ResourceUrl::reveal`] is the only way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct ResourceUrl(Uri<String>);

/// Why a text is not the URL of a backing service. Says nothing of the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error(
        "it is not a URL: {0}; a handle looks like redis://user:password@host:6379/0, with `%40` for a `@` in a password"
    )]
    Syntax(String),
    /// No `//host` in it.
    #[error("it names no host; a handle looks like redis://host:6379/0")]
    NoHost,
    /// The number after the host is no port.
    #[error("the port after its host is not a number from 1 to 65535")]
    Port,
}

impl ResourceUrl {
    /// The whole URL, password included: for the environment of an instance and for nothing else.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }

    /// The scheme, lower case.
    pub fn scheme(&self) -> String {
        self.0.scheme().as_str().to_ascii_lowercase()
    }

    /// The host as it is dialled: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.authority().map_or("", |a| a.host());
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }

    /// The port: the one in the URL, else the scheme's own where it is known.
    pub fn port(&self) -> Option<u16> {
        let written = self.0.authority().and_then(|a| a.port()).and_then(|p| p.as_str().parse().ok());
        written.or_else(|| scheme_of(&self.scheme())?.port)
    }

    /// What a client speaks first on a connection to it, where its scheme is known: TLS for `rediss` and its like.
    pub fn protocol(&self) -> Option<Protocol> {
        scheme_of(&self.scheme()).map(|scheme| scheme.protocol)
    }

    /// Does it carry a secret, as [`redact`] knows them?
    pub fn has_password(&self) -> bool {
        let text = self.0.as_str();
        let query = &text[text.find('?').unwrap_or(text.len())..];
        let mut shown = String::new();
        push_query(&mut shown, query);
        self.password_range().is_some() || shown != query
    }

    fn password_range(&self) -> Option<std::ops::Range<usize>> {
        let userinfo = self.0.authority()?.userinfo()?.as_str();
        let colon = userinfo.find(':')?;
        let start = self.0.as_str().find("//")? + 2 + colon + 1;
        (colon + 1 < userinfo.len()).then(|| start..start + userinfo.len() - colon - 1)
    }
}

impl FromStr for ResourceUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri = Uri::parse(text.trim().to_owned()).map_err(|(error, _)| UrlError::Syntax(error.to_string()))?;
        let authority = uri.authority().ok_or(UrlError::NoHost)?;
        if authority.host().is_empty() {
            return Err(UrlError::NoHost);
        }
        let port = authority.port().map(EStr::as_str).filter(|p| !p.is_empty());
        if port.is_some_and(|p| p.parse::<u16>().map_or(true, |n| n == 0)) {
            return Err(UrlError::Port);
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for ResourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        match self.password_range() {
            Some(range) => f.pad(&redact_all(&format!("{}{REDACTED}{}", &text[..range.start], &text[range.end..]))),
            None => f.pad(&redact_all(text)),
        }
    }
}

impl fmt::Debug for ResourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A value as it may be shown: where it is a URL, or holds some, no password is left in it. A secret is what stands
/// after the colon of a userinfo (RFC 3986 §3.2.1), and the value of a secret key in a query.
pub fn redact(value: &str) -> String {
    match value.parse::<ResourceUrl>() {
        Ok(url) => url.to_string(),
        Err(_) => redact_all(&redact_roughly(value)),
    }
}

/// A text such as a command as it may be shown: as [`redact`], for every URL in it. A URL ends at a blank, or at the
/// quote that stands before it. Where it is not clear what is a password, too much is hidden.
pub fn redact_all(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(AFTER_SCHEME) {
        let (before, url) = rest.split_at(at + AFTER_SCHEME.len());
        shown.push_str(before);
        let scheme = scheme_at_end(&rest[..at]);
        let quote = rest[..at - scheme].chars().next_back().filter(|c| matches!(c, '"' | '\'' | '`'));
        let end = url.find(|c: char| c.is_whitespace() || Some(c) == quote).unwrap_or(url.len());
        // In a list, the next one begins before this ends.
        let next = url[..end].find(AFTER_SCHEME).map(|at| at - scheme_at_end(&url[..at]));
        let (url, after) = url.split_at(next.unwrap_or(end));
        let (url, query) = url.find('?').map_or((url, ""), |at| url.split_at(at));
        match password_in(url, query) {
            Some(Hidden::Within(range)) => {
                shown.push_str(&format!("{}{REDACTED}{}", &url[..range.start], &url[range.end..]));
                push_query(&mut shown, query);
            }
            Some(Hidden::IntoQuery { from, to }) => {
                shown.push_str(&format!("{}{REDACTED}", &url[..from]));
                push_query(&mut shown, &query[to..]);
            }
            None => {
                shown.push_str(url);
                push_query(&mut shown, query);
            }
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// What stands between a scheme and an authority.
const AFTER_SCHEME: &str = "://";

/// Keys of a query that end so have a secret for a value (`sslpassword`, `access_token`).
const SECRET_KEYS: [&str; 4] = ["password", "passwd", "token", "secret"];

/// Where a password is, in a URL that has been cut at its `?`.
enum Hidden {
    /// Before the query.
    Within(std::ops::Range<usize>),
    /// It has a `?` in it: from here before the `?` to there after it.
    IntoQuery { from: usize, to: usize },
}

/// How many bytes of a scheme (RFC 3986 §3.1) stand at the end.
fn scheme_at_end(text: &str) -> usize {
    let rest = text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    text.len() - rest.len()
}

/// The password of a URL without its scheme. It ends at the authority's last `@`; where there is none, the password may
/// hold a `/`, `?` or `#` that should have been encoded, unless what stands after the colon is a port.
fn password_in(url: &str, query: &str) -> Option<Hidden> {
    let authority = &url[..url.find(['/', '#']).unwrap_or(url.len())];
    if let Some(at) = authority.rfind('@') {
        return authority[..at].find(':').map(|colon| Hidden::Within(colon + 1..at));
    }
    let colon = if authority.starts_with('[') { authority.find("]:")? + 1 } else { authority.find(':')? };
    let port = &authority[colon + 1..];
    if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match (query.rfind('@'), url.rfind('@')) {
        (Some(to), _) => Some(Hidden::IntoQuery { from: colon + 1, to }),
        (None, Some(at)) => Some(Hidden::Within(colon + 1..at)),
        (None, None) => None,
    }
}

/// Adds a query, and the fragment after it, without the values of its secret keys.
fn push_query(shown: &mut String, query: &str) {
    for pair in query.split_inclusive(['&', ';', '#']) {
        let end = pair.trim_end_matches(['&', ';', '#']).len();
        let key = pair[..end].split_once('=').map(|(key, _)| key.to_ascii_lowercase());
        match key.filter(|key| SECRET_KEYS.iter().any(|secret| key.ends_with(secret))) {
            Some(key) => shown.push_str(&format!("{}={REDACTED}{}", &pair[..key.len()], &pair[end..])),
            None => shown.push_str(pair),
        }
    }
}

/// What is no URL to us may still be one to a client library: `scheme://user:password@…`.
fn redact_roughly(value: &str) -> String {
    let rough = value.find("://").and_then(|at| {
        let start = at + 3;
        let end = start + value[start..].rfind('@')?;
        let colon = start + value[start..end].find(':')?;
        Some(colon + 1..end)
    });
    match rough {
        Some(range) => format!("{}{REDACTED}{}", &value[..range.start], &value[range.end..]),
        None => value.to_owned(),
    }
}

/// How a provider's handle is written: `postgres://app@{host}:{port}/shop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate(String);

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A place holder that is none.
    #[error("`{{{0}}}` is unknown in a URL template: it knows {{host}} and {{port}}")]
    Placeholder(String),
    /// What comes out is not a URL.
    #[error(transparent)]
    Url(#[from] UrlError),
}

impl UrlTemplate {
    /// The template a protocol has by itself: scheme, host, port.
    pub fn of(protocol: Protocol) -> Self {
        Self(format!("{}://{{host}}:{{port}}", protocol.scheme()))
    }

    /// The text, with its place holders.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL for a provider at this host and port.
    pub fn fill(&self, host: &str, port: ServicePort) -> Result<ResourceUrl, UrlError> {
        self.0.replace("{host}", host).replace("{port}", &port.to_string()).parse()
    }
}

impl FromStr for UrlTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            if name != "host" && name != "port" {
                return Err(TemplateError::Placeholder(name.to_owned()));
            }
            rest = tail;
        }
        text.replace("{host}", "localhost").replace("{port}", "1").parse::<ResourceUrl>()?;
        Ok(Self(text.to_owned()))
    }
}

/// What is known of a scheme.
struct Scheme {
    /// The usual port, where there is one.
    port: Option<u16>,
    /// What is spoken first on a connection.
    protocol: Protocol,
}

fn scheme_of(scheme: &str) -> Option<Scheme> {
    let (port, protocol) = match scheme {
        "http" | "ws" => (80, Protocol::Http),
        "https" | "wss" => (443, Protocol::Tls),
        "redis" => (6379, Protocol::Redis),
        "rediss" => (6379, Protocol::Tls),
        "postgres" | "postgresql" => (5432, Protocol::Postgres),
        "mysql" | "mariadb" => (3306, Protocol::Mysql),
        "xmpp" => (5222, Protocol::Xmpp),
        "xmpps" => (5223, Protocol::Tls),
        "mqtt" => (1883, Protocol::Mqtt),
        "mqtts" => (8883, Protocol::Tls),
        "smtp" => (25, Protocol::Smtp),
        "submission" => (587, Protocol::Smtp),
        "smtps" | "submissions" => (465, Protocol::Tls),
        "ssh" | "sftp" => (22, Protocol::Ssh),
        "dns" => (53, Protocol::Dns),
        "amqp" => (5672, Protocol::Tcp),
        "amqps" => (5671, Protocol::Tls),
        "mongodb" => (27017, Protocol::Tcp),
        "ldap" => (389, Protocol::Tcp),
        "ldaps" => (636, Protocol::Tls),
        "nats" => (4222, Protocol::Tcp),
        "memcached" => (11211, Protocol::Tcp),
        "tls" => return Some(Scheme { port: None, protocol: Protocol::Tls }),
        "tcp" => return Some(Scheme { port: None, protocol: Protocol::Tcp }),
        "udp" => return Some(Scheme { port: None, protocol: Protocol::Udp }),
        _ => return None,
    };
    Some(Scheme { port: Some(port), protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "redis://:secret@h:1/0",
            "postgres://app:secret@db.example.com/shop?x=y",
            "amqp://u:secret@[::1]:5672",
            "postgres://db/shop?user=app&password=secret",
        ] {
            let url: ResourceUrl = text.parse().unwrap();
            assert!(url.has_password());
            assert!(!url.to_string().contains("secret"), "{url}");
            assert!(!format!("{url:?}").contains("secret"));
            assert!(!redact(text).contains("secret"));
            assert_eq!(url.reveal(), text);
        }
        for text in ["redis://h:1/0", "postgres://app@db/shop?sslmode=require", "amqp://u:@h"] {
            assert!(!text.parse::<ResourceUrl>().unwrap().has_password(), "{text}");
        }
        assert_eq!(redact("postgres://u:se cret@h"), "postgres://u:***@h");
        assert_eq!(redact("postgres://u:p@ss@h"), "postgres://u:***@h");
        assert_eq!(redact("plain"), "plain");
    }

    #[test]
    fn no_url_in_a_command_shows_its_password() {
        for (text, shown) in [
            ("redis-cli -u redis://:hunter4@h:1", "redis-cli -u redis://:***@h:1"),
            ("a redis://:x@h b redis://u:y@i/0 c", "a redis://:***@h b redis://u:***@i/0 c"),
            ("redis://:x@h,redis://:y@i", "redis://:***@h,redis://:***@i"),
            ("A='redis://:x@h' B=\"redis://:y'z@i\" c", "A='redis://:***@h' B=\"redis://:***@i\" c"),
            ("x postgres://u:p/s@h/d", "x postgres://u:***@h/d"),
            ("x postgres://u:p?s@h/d?token=z", "x postgres://u:***@h/d?token=***"),
            ("x postgres://u:p@s@h", "x postgres://u:***@h"),
            ("x http://h/?a=1&Token=x&b=2&sslpassword=y#f", "x http://h/?a=1&Token=***&b=2&sslpassword=***#f"),
            ("http://h/?client_secret=x;passwd=y z", "http://h/?client_secret=***;passwd=*** z"),
        ] {
            assert_eq!(redact_all(text), shown);
            assert_eq!(redact_all(shown), shown, "once is enough");
        }
        for text in [
            "echo me@example.com: hello",
            "curl http://localhost:3000/@user?mail=a@b",
            "curl http://[::1]:80/@user",
            "psql postgres://app@{host}:{port}/shop",
            "curl http://localhost:$PORT/ready",
            "://",
        ] {
            assert_eq!(redact_all(text), text);
        }
        assert_eq!(redact("redis://:x@h,redis://:y@i"), "redis://:***@h,redis://:***@i");
        assert_eq!(redact("postgres://h/d?user=u&password=x"), "postgres://h/d?user=u&password=***");
    }

    proptest::proptest! {
        #[test]
        fn redaction_takes_any_text_and_leaves_no_password(
            text in "([a-z:/@?&=#\"' é\\[\\]]|://|token=){0,40}", password in "[A-Z]([A-Z@&:!]{0,6}|[A-Z/?#&:!]{0,6})Q"
        ) {
            let _ = (redact(&text), redact_all(&text));
            let shown = redact_all(&format!("{text} redis://:{password}@h {text}"));
            proptest::prop_assert!(password.contains("://") || !shown.contains('Q'), "{shown}");
        }
    }

    #[test]
    fn a_url_knows_where_to_dial() {
        let url: ResourceUrl = "redis://[::1]".parse().unwrap();
        assert_eq!((url.host(), url.port()), ("::1", Some(6379)));
        let url: ResourceUrl = "https://example.com:8443/x".parse().unwrap();
        assert_eq!((url.host(), url.port()), ("example.com", Some(8443)));
    }

    #[test]
    fn a_scheme_says_the_port_and_what_is_spoken_first() {
        let known = |text: &str| {
            let url: ResourceUrl = text.parse().unwrap();
            (url.port(), url.protocol())
        };
        for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::None) {
            let (port, spoken) = known(&format!("{}://h", protocol.scheme()));
            let has_no_usual_port = matches!(protocol, Protocol::Tls | Protocol::Tcp | Protocol::Udp);
            assert_eq!(port.is_none(), has_no_usual_port, "{protocol}");
            assert_eq!(spoken, Some(if protocol.is_http() { Protocol::Http } else { protocol }));
        }
        for secured in ["https", "wss", "rediss", "mqtts", "smtps", "submissions", "xmpps", "ldaps", "amqps"] {
            assert_eq!(known(&format!("{secured}://h:1")), (Some(1), Some(Protocol::Tls)), "{secured}");
        }
        assert_eq!(known("mariadb://u:p@db/shop"), (Some(3306), Some(Protocol::Mysql)));
        assert_eq!(known("mongodb://h"), (Some(27017), Some(Protocol::Tcp)));
        assert_eq!(known("foo://h:7"), (Some(7), None));
    }

    #[test]
    fn what_is_no_resource_url_is_refused_without_being_repeated() {
        for text in
            ["", "no url secret", "mailto:x@y", "http://", "http://h:99999", "http://h:0", "postgres://u:p@@ss#@h"]
        {
            let error = text.parse::<ResourceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_template_is_checked_where_it_is_written() {
        let template: UrlTemplate = "postgres://app@{host}:{port}/shop".parse().unwrap();
        let port = ServicePort::try_from(5100_i64).unwrap();
        assert_eq!(template.fill("127.0.0.1", port).unwrap().reveal(), "postgres://app@127.0.0.1:5100/shop");
        assert!("x://{hots}:{port}".parse::<UrlTemplate>().is_err());
        assert!("{host}".parse::<UrlTemplate>().is_err());
    }
}
