use std::{env, fmt};

use crate::Error;

/// The resource handle in the environment variable `variable`: the URL of a backing service.
///
/// ```
/// match tambat_app::resource("ENTRIES_URL") {
///     Ok(entries) => println!("entries is at {}", entries.url()),
///     Err(error) => println!("{error}"),
/// }
/// ```
///
/// # Errors
///
/// [`Error::ResourceMissing`] when it is missing or empty, [`Error::ResourceNotAUrl`] when it is no URL with an
/// authority. Neither repeats the value.
pub fn resource(variable: &str) -> Result<Resource, Error> {
    match env::var_os(variable) {
        Some(value) if !value.is_empty() => {
            let not_a_url = |cause| Error::ResourceNotAUrl { variable: variable.to_owned(), cause };
            let value = value.into_string().map_err(|_| not_a_url("it is not UTF-8"))?;
            Resource::parse(variable, value).map_err(not_a_url)
        }
        _ => Err(Error::ResourceMissing { variable: variable.to_owned() }),
    }
}

/// The URL of a backing service, as the environment gave it.
///
/// It may hold a password, so `Debug` shows only scheme, host and port, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    variable: String,
    url: String,
    scheme_len: usize,
    host: Option<String>,
    port: Option<u16>,
    has_user: bool,
}

impl Resource {
    /// The variable that it came from.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The whole URL, its password included: for the client that dials it, not for logs.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The scheme, as written: `http`, `redis`, `postgres`.
    pub fn scheme(&self) -> &str {
        &self.url[..self.scheme_len]
    }

    /// The host, an IPv6 address without its brackets; none in `postgres:///app`.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port, if the URL says one: 0 to 65535.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the URL carries a user or a password.
    pub fn has_user(&self) -> bool {
        self.has_user
    }

    /// Reads `scheme "://" [user "@"] host [":" port]` and what follows (RFC 3986 §3, with an authority).
    fn parse(variable: &str, url: String) -> Result<Self, &'static str> {
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it has a space or a control character in it");
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("it has no scheme (nothing before ://)");
        };
        if !is_scheme(scheme) {
            return Err("what stands before :// is not a scheme");
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host_and_port) = match authority.rsplit_once('@') {
            Some((user, host_and_port)) => (Some(user), host_and_port),
            None => (None, authority),
        };
        let (host, port) = split_port(host_and_port)?;
        Ok(Self {
            variable: variable.to_owned(),
            scheme_len: scheme.len(),
            host: (!host.is_empty()).then(|| host.to_owned()),
            port: match port {
                None | Some("") => None,
                Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Some(digits.parse().map_err(|_| "its port is above 65535")?)
                }
                Some(_) => return Err("its port is not a number"),
            },
            has_user: user.is_some(),
            url,
        })
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}://", self.variable, self.scheme())?;
        if self.has_user {
            f.write_str("...@")?;
        }
        match self.host() {
            Some(host) if host.contains(':') => write!(f, "[{host}]")?,
            Some(host) => f.write_str(host)?,
            None => {}
        }
        match self.port {
            Some(port) => write!(f, ":{port}/..."),
            None => f.write_str("/..."),
        }
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn split_port(host_and_port: &str) -> Result<(&str, Option<&str>), &'static str> {
    let Some(bracketed) = host_and_port.strip_prefix('[') else {
        return match host_and_port.split_once(':') {
            Some((_, port)) if port.contains(':') => Err("its host has colons but no [brackets] around it"),
            Some((host, port)) => Ok((host, Some(port))),
            None => Ok((host_and_port, None)),
        };
    };
    match bracketed.split_once(']') {
        Some((host, "")) => Ok((host, None)),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None => Err("its host has something after the bracket"),
        },
        None => Err("its host has a bracket that does not close"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Resource, &'static str> {
        Resource::parse("ENTRIES_URL", url.to_owned())
    }

    #[test]
    fn a_handle_is_taken_apart() {
        for (url, scheme, host, port, has_user) in [
            ("http://127.0.0.1:5100", "http", Some("127.0.0.1"), Some(5100), false),
            ("http://[::1]:5100/base?x=1#y", "http", Some("::1"), Some(5100), false),
            ("https://api.example.com/v1", "https", Some("api.example.com"), None, false),
            ("redis://:p%40ss@cache:6379/0", "redis", Some("cache"), Some(6379), true),
            ("redis://u:a@b@cache:6379", "redis", Some("cache"), Some(6379), true),
            ("postgres:///app", "postgres", None, None, false),
            ("http://api:", "http", Some("api"), None, false),
            ("http://api?to=a@b:c", "http", Some("api"), None, false),
        ] {
            let handle = parse(url).expect(url);
            assert_eq!(
                (handle.scheme(), handle.host(), handle.port(), handle.has_user()),
                (scheme, host, port, has_user)
            );
            assert_eq!((handle.url(), handle.variable()), (url, "ENTRIES_URL"));
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (url, cause) in [
            ("127.0.0.1:5100", "scheme"),
            ("://host", "scheme"),
            ("1http://host", "scheme"),
            ("http://host:port", "not a number"),
            ("http://host:+80", "not a number"),
            ("http://host:65536", "above 65535"),
            ("http://::1:80", "brackets"),
            ("http://[::1:80", "does not close"),
            ("http://[::1]80", "after the bracket"),
            ("http://host /", "space"),
            ("http://host/\n", "control"),
        ] {
            let refused = parse(url).expect_err(url);
            assert!(refused.contains(cause), "{url}: {refused}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        for (url, shown) in [
            ("redis://user:hunter2@cache:6379/0?auth=hunter2", "ENTRIES_URL=redis://...@cache:6379/..."),
            ("https://hooks.example.com/hunter2", "ENTRIES_URL=https://hooks.example.com/..."),
            ("http://[::1]:80", "ENTRIES_URL=http://[::1]:80/..."),
        ] {
            assert_eq!(format!("{:?}", parse(url).expect(url)), shown);
        }
    }

    #[test]
    fn an_error_names_the_variable_and_the_form_but_not_the_value() {
        let missing = resource("TAMBAT_APP_TEST_NOBODY_SETS_THIS_URL").expect_err("not set").to_string();
        assert!(missing.contains("TAMBAT_APP_TEST_NOBODY_SETS_THIS_URL") && missing.contains("http://127.0.0.1:5100"));
        let cause = parse("http://u:hunter2@host:x").expect_err("no number");
        let error = Error::ResourceNotAUrl { variable: "ENTRIES_URL".to_owned(), cause }.to_string();
        assert!(error.contains("ENTRIES_URL") && error.contains("scheme://host:port") && !error.contains("hunter2"));
    }
}
