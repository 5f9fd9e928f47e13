//! URLs of backing services (RFC 3986 §3, with an authority).

use std::borrow::Cow;

/// A URL, taken apart. What is percent-encoded in user, password and database is decoded; all else is as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) scheme: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// An IPv6 address without its brackets.
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// With its slash; empty when there is none.
    pub(crate) path: String,
    /// The path without its first slash, if something is left.
    pub(crate) database: Option<String>,
    pub(crate) query: Option<String>,
}

impl Url {
    /// # Errors
    ///
    /// Which part is wrong. Nothing of the text is repeated: it may hold a password.
    pub(crate) fn parse(text: String) -> Result<Self, &'static str> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it has a space or a control character in it");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("it has no scheme (nothing before ://)");
        };
        if !is_scheme(scheme) {
            return Err("what stands before :// is not a scheme");
        }
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host_and_port) = match authority.rsplit_once('@') {
            Some((user, host_and_port)) => (user, host_and_port),
            None => ("", authority),
        };
        let (username, password) = match user.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (user, None),
        };
        let (host, port) = split_port(host_and_port)?;
        let database = path.strip_prefix('/').filter(|database| !database.is_empty());
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            username: (!username.is_empty()).then(|| decoded(username, "its user")).transpose()?,
            password: password.map(|password| decoded(password, "its password")).transpose()?,
            host: (!host.is_empty()).then(|| host.to_owned()),
            port,
            path: path.to_owned(),
            database: database.map(|database| decoded(database, "its path")).transpose()?,
            query: query.map(str::to_owned),
            text,
        })
    }

    /// The pairs of the query, decoded (`application/x-www-form-urlencoded`). What cannot be decoded is left as it is.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let parts = self.query.as_deref().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (form_decoded(name), form_decoded(value))
        })
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn split_port(host_and_port: &str) -> Result<(&str, Option<u16>), &'static str> {
    if host_and_port.contains(',') {
        return Err("it names several hosts, and one is what can be dialled");
    }
    let (host, port) = match host_and_port.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, rest)) => match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return Err("its host has something after the bracket"),
            },
            None => return Err("its host has a bracket that does not close"),
        },
        None => match host_and_port.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("its host has colons but no [brackets] around it"),
            Some((host, port)) => (host, Some(port)),
            None => (host_and_port, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(0) => return Err("its port is 0, where nobody listens"),
            Ok(port) => Some(port),
            Err(_) => return Err("its port is above 65535"),
        },
        Some(_) => return Err("its port is not a number"),
    };
    Ok((host, port))
}

/// RFC 3986 §2.1.
fn decoded(text: &str, what: &str) -> Result<String, &'static str> {
    let wrong = match what {
        "its user" => "its user has a % that is not followed by two hexadecimal digits of UTF-8 (write %25 for a %)",
        "its password" => {
            "its password has a % that is not followed by two hexadecimal digits of UTF-8 (write %25 for a %)"
        }
        _ => "its path has a % that is not followed by two hexadecimal digits of UTF-8 (write %25 for a %)",
    };
    percent_decoded(text).map(Cow::into_owned).ok_or(wrong)
}

/// None when a `%` is followed by something else than two digits, or the outcome is not UTF-8.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let decoded = percent_decoded(&spaced).map(Cow::into_owned);
    decoded.map_or(spaced, Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Url, &'static str> {
        Url::parse(text.to_owned())
    }

    #[test]
    fn a_url_is_taken_apart() {
        for (text, scheme, host, port, path) in [
            ("http://127.0.0.1:5100", "http", Some("127.0.0.1"), Some(5100), ""),
            ("http://[::1]:5100/base?x=1#y", "http", Some("::1"), Some(5100), "/base"),
            ("https://api.example.com/v1", "https", Some("api.example.com"), None, "/v1"),
            ("redis://:p%40ss@cache:6379/0", "redis", Some("cache"), Some(6379), "/0"),
            ("redis://u:a@b@cache:6379", "redis", Some("cache"), Some(6379), ""),
            ("postgres:///app", "postgres", None, None, "/app"),
            ("http://api:", "http", Some("api"), None, ""),
            ("http://api?to=a@b:c", "http", Some("api"), None, ""),
            ("http://api#a@b:c", "http", Some("api"), None, ""),
            ("http://api/?#", "http", Some("api"), None, "/"),
            ("HTTP://api", "http", Some("api"), None, ""),
        ] {
            let url = parse(text).expect(text);
            assert_eq!((&*url.scheme, url.host.as_deref(), url.port, &*url.path), (scheme, host, port, path), "{text}");
            assert_eq!(url.text, text);
        }
    }

    #[test]
    fn credentials_and_database_are_decoded() {
        for (text, username, password, database) in [
            ("redis://cache", None, None, None),
            ("redis://cache/", None, None, None),
            ("redis://:p%40ss@cache/0", None, Some("p@ss"), Some("0")),
            ("redis://app@cache", Some("app"), None, None),
            ("redis://app:@cache", Some("app"), Some(""), None),
            ("postgres://a%3Ab:c%2Fd:e@db/sh%6Fp", Some("a:b"), Some("c/d:e"), Some("shop")),
            ("postgres://u:a@b@db", Some("u"), Some("a@b"), None),
            ("amqp://guest:%F0%9F%9A%A2@mq/a/b", Some("guest"), Some("🚢"), Some("a/b")),
        ] {
            let url = parse(text).expect(text);
            let found = (url.username.as_deref(), url.password.as_deref(), url.database.as_deref());
            assert_eq!(found, (username, password, database), "{text}");
        }
    }

    #[test]
    fn a_query_is_pairs() {
        let url = parse("postgres://db/app?sslmode=require&a+b=c%20d&&x&bad=%zz#f").expect("a URL");
        let pairs: Vec<(String, String)> = url.pairs().map(|(a, b)| (a.into_owned(), b.into_owned())).collect();
        let expected = [("sslmode", "require"), ("a b", "c d"), ("x", ""), ("bad", "%zz")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(url.query.as_deref(), Some("sslmode=require&a+b=c%20d&&x&bad=%zz"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (text, cause) in [
            ("", "scheme"),
            ("127.0.0.1:5100", "scheme"),
            ("://host", "scheme"),
            ("1http://host", "scheme"),
            ("http://host:port", "not a number"),
            ("http://host:+80", "not a number"),
            ("http://host:0", "port is 0"),
            ("http://host:00", "port is 0"),
            ("http://host:65536", "above 65535"),
            ("http://::1:80", "brackets"),
            ("http://[::1:80", "does not close"),
            ("http://[::1]80", "after the bracket"),
            ("mongodb://a:1,b:2/app", "several hosts"),
            ("http://host /", "space"),
            ("http://host/\n", "control"),
            ("redis://:100%@cache", "its password has a %"),
            ("redis://%zz@cache", "its user has a %"),
            ("redis://cache/%ff", "its path has a %"),
        ] {
            let refused = parse(text).err().expect(text);
            assert!(refused.contains(cause), "{text}: {refused}");
        }
    }
}
