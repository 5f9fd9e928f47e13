use std::{borrow::Cow, env, fmt};

use crate::{Error, url::Url};

/// Schemes, the port of each when its URL names none, and a URL as an app would be given it.
const KINDS: &[Kind] = &[
    Kind { words: &["REDIS", "VALKEY"], schemes: &["redis", "rediss"], port: 6379, example: "redis://127.0.0.1:6379" },
    Kind {
        words: &["POSTGRES", "POSTGRESQL", "PG", "DATABASE", "DB"],
        schemes: &["postgres", "postgresql"],
        port: 5432,
        example: "postgres://user:password@127.0.0.1:5432/name",
    },
    Kind {
        words: &["MYSQL", "MARIADB"],
        schemes: &["mysql", "mariadb"],
        port: 3306,
        example: "mysql://user:password@127.0.0.1:3306/name",
    },
    Kind {
        words: &["AMQP", "RABBITMQ", "CLOUDAMQP"],
        schemes: &["amqp"],
        port: 5672,
        example: "amqp://user:password@127.0.0.1:5672/vhost",
    },
    Kind {
        words: &["MONGO", "MONGODB"],
        schemes: &["mongodb"],
        port: 27017,
        example: "mongodb://127.0.0.1:27017/name",
    },
    Kind { words: &["SMTP", "MAIL"], schemes: &["smtp"], port: 25, example: "smtp://127.0.0.1:25" },
    Kind { words: &["NATS"], schemes: &["nats"], port: 4222, example: "nats://127.0.0.1:4222" },
    Kind { words: &["MQTT"], schemes: &["mqtt"], port: 1883, example: "mqtt://127.0.0.1:1883" },
    Kind {
        words: &["MEMCACHED", "MEMCACHE"],
        schemes: &["memcached"],
        port: 11211,
        example: "memcached://127.0.0.1:11211",
    },
    Kind { words: &["XMPP"], schemes: &["xmpp"], port: 5222, example: "xmpp://127.0.0.1:5222" },
    Kind { words: &[], schemes: &["https", "wss"], port: 443, example: "https://api.example.com" },
    HTTP,
];

/// What a handle is taken for whose name says nothing.
const HTTP: Kind = Kind { words: &[], schemes: &["http", "ws"], port: 80, example: "http://127.0.0.1:5100" };

/// A kind of backing service.
struct Kind {
    /// A variable with one of these in its name is taken for a handle on it.
    words: &'static [&'static str],
    schemes: &'static [&'static str],
    port: u16,
    example: &'static str,
}

/// The resource handle in the environment variable `variable`: the URL of a backing service.
///
/// ```
/// match tambat_app::resource("ENTRIES_URL") {
///     Ok(entries) => println!("entries is at {entries}"),
///     Err(error) => println!("{error}"),
/// }
/// ```
///
/// # Errors
///
/// [`Error::ResourceMissing`] when it is missing or empty, [`Error::ResourceNotAUrl`] when it is no URL with an
/// authority. Both say what it should look like; neither repeats the value.
pub fn resource(variable: &str) -> Result<Resource, Error> {
    let example = example(variable);
    match env::var_os(variable) {
        Some(value) if !value.is_empty() => match value.into_string() {
            Ok(value) => Resource::parse(variable, &value),
            Err(_) => Err(Error::ResourceNotAUrl { variable: variable.to_owned(), cause: "it is not UTF-8", example }),
        },
        _ => Err(Error::ResourceMissing { variable: variable.to_owned(), example }),
    }
}

/// The URL of a backing service, as the environment gave it.
///
/// It may hold a password, so `Display` and `Debug` show only scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    variable: String,
    url: Url,
}

impl Resource {
    /// Reads a URL that came by another way than the environment: from a file, or in a test. `variable` is what errors
    /// call it.
    ///
    /// # Errors
    ///
    /// [`Error::ResourceNotAUrl`].
    pub fn parse(variable: &str, url: &str) -> Result<Self, Error> {
        match Url::parse(url.to_owned()) {
            Ok(url) => Ok(Self { variable: variable.to_owned(), url }),
            Err(cause) => {
                Err(Error::ResourceNotAUrl { variable: variable.to_owned(), cause, example: example(variable) })
            }
        }
    }

    /// Itself, if it is a URL of one of these schemes, in lower case.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), tambat_app::Error> {
    /// let cache = tambat_app::resource("REDIS_URL")?.speaking(&["redis"])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ResourceScheme`].
    pub fn speaking(self, schemes: &[&str]) -> Result<Self, Error> {
        if schemes.contains(&self.scheme()) {
            return Ok(self);
        }
        let of_that = schemes.first().and_then(|scheme| kind_of(scheme));
        Err(Error::ResourceScheme {
            scheme: self.url.scheme,
            wanted: schemes.join(" or "),
            example: of_that.map_or_else(|| example(&self.variable), |kind| kind.example),
            variable: self.variable,
        })
    }

    /// The variable that it came from.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The whole URL, its password included: for the client that dials it, not for logs.
    pub fn url(&self) -> &str {
        &self.url.text
    }

    /// The scheme, in lower case: `http`, `redis`, `postgres`.
    pub fn scheme(&self) -> &str {
        &self.url.scheme
    }

    /// The host, an IPv6 address without its brackets; none in `postgres:///app`.
    pub fn host(&self) -> Option<&str> {
        self.url.host.as_deref()
    }

    /// The port, if the URL says one: 1 to 65535.
    pub fn port(&self) -> Option<u16> {
        self.url.port
    }

    /// Whom to dial: the host, and the port or the one that belongs to the scheme. `TcpStream::connect` takes it.
    ///
    /// # Errors
    ///
    /// [`Error::ResourceNotDialable`] when the URL has no host, or no port and a scheme that is not known here.
    pub fn address(&self) -> Result<(&str, u16), Error> {
        let missing = |part| Error::ResourceNotDialable {
            variable: self.variable.clone(),
            part,
            example: kind_of(self.scheme()).map_or_else(|| example(&self.variable), |kind| kind.example),
        };
        let host = self.host().ok_or_else(|| missing("host"))?;
        let port = self.port().or_else(|| kind_of(self.scheme()).map(|kind| kind.port));
        Ok((host, port.ok_or_else(|| missing("port"))?))
    }

    /// The user, decoded.
    pub fn username(&self) -> Option<&str> {
        self.url.username.as_deref()
    }

    /// The password, decoded: for the client that dials, not for logs.
    pub fn password(&self) -> Option<&str> {
        self.url.password.as_deref()
    }

    /// Whether the URL carries a user or a password.
    pub fn has_user(&self) -> bool {
        self.url.username.is_some() || self.url.password.is_some()
    }

    /// The path as it is written, with its slash; empty when there is none.
    pub fn path(&self) -> &str {
        &self.url.path
    }

    /// The database, vhost or the like: the path without its first slash, decoded; none when nothing is left.
    pub fn database(&self) -> Option<&str> {
        self.url.database.as_deref()
    }

    /// The query as it is written, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.url.query.as_deref()
    }

    /// The first value of this name in the query, decoded: `sslmode` of `?sslmode=require`.
    pub fn option(&self, name: &str) -> Option<Cow<'_, str>> {
        self.url.pairs().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

/// Scheme, host and port, with `...` for what may be secret.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if self.has_user() {
            f.write_str("...@")?;
        }
        match self.host() {
            Some(host) if host.contains(':') => write!(f, "[{host}]")?,
            Some(host) => f.write_str(host)?,
            None => {}
        }
        if let Some(port) = self.port() {
            write!(f, ":{port}")?;
        }
        let more = self.path().len() > 1 || self.query().is_some() || self.host().is_none();
        f.write_str(if more { "/..." } else { "" })
    }
}

/// As `Display`, with the variable.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={self}", self.variable)
    }
}

fn kind_of(scheme: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.schemes.contains(&scheme))
}

/// A URL as this variable may hold it, by what it is called: `REDIS_URL`, `HEROKU_POSTGRESQL_AMBER_URL`.
fn example(variable: &str) -> &'static str {
    let has = |word: &&str| variable.split('_').any(|part| part.eq_ignore_ascii_case(word));
    KINDS.iter().find(|kind| kind.words.iter().any(has)).unwrap_or(&HTTP).example
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Resource {
        Resource::parse("ENTRIES_URL", url).expect(url)
    }

    #[test]
    fn a_handle_is_typed() {
        let cache = parse("redis://app:p%40ss@cache:6380/2?db=x&name=a%20b");
        assert_eq!((cache.scheme(), cache.host(), cache.port()), ("redis", Some("cache"), Some(6380)));
        assert_eq!((cache.username(), cache.password(), cache.has_user()), (Some("app"), Some("p@ss"), true));
        assert_eq!((cache.path(), cache.database()), ("/2", Some("2")));
        assert_eq!((cache.query(), cache.option("name").as_deref()), (Some("db=x&name=a%20b"), Some("a b")));
        assert_eq!(cache.option("absent"), None);
        assert_eq!((cache.url(), cache.variable()), ("redis://app:p%40ss@cache:6380/2?db=x&name=a%20b", "ENTRIES_URL"));
    }

    #[test]
    fn whom_to_dial_is_known_by_the_scheme() {
        for (url, host, port) in [
            ("http://api", "api", 80),
            ("http://api:5100", "api", 5100),
            ("https://[::1]/x", "::1", 443),
            ("redis://cache", "cache", 6379),
            ("postgresql://db/app", "db", 5432),
        ] {
            assert_eq!(parse(url).address().expect(url), (host, port), "{url}");
        }
        let error = parse("postgres:///app").address().expect_err("no host").to_string();
        assert!(error.contains("ENTRIES_URL: it names no host") && error.contains("postgres://user"), "{error}");
        let error = parse("quay://api").address().expect_err("no port").to_string();
        assert!(error.contains("it names no port"), "{error}");
    }

    #[test]
    fn another_service_than_the_one_that_is_spoken_is_refused() {
        let cache = parse("rediss://u:hunter2@cache");
        assert_eq!(cache.clone().speaking(&["redis", "rediss"]).expect("spoken"), cache);
        let error = cache.speaking(&["postgres", "postgresql"]).expect_err("not spoken").to_string();
        assert!(error.contains("its scheme is rediss, and this app speaks postgres or postgresql"), "{error}");
        assert!(error.contains("ENTRIES_URL=postgres://") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn neither_debug_nor_display_shows_a_secret() {
        for (url, shown) in [
            ("redis://user:hunter2@cache:6379/0?auth=hunter2", "redis://...@cache:6379/..."),
            ("redis://:hunter2@cache", "redis://...@cache"),
            ("https://hooks.example.com/hunter2", "https://hooks.example.com/..."),
            ("https://hooks.example.com?key=hunter2", "https://hooks.example.com/..."),
            ("http://[::1]:80/", "http://[::1]:80"),
            ("postgres:///hunter2", "postgres:///..."),
            ("http://api#hunter2", "http://api"),
        ] {
            assert_eq!(parse(url).to_string(), shown);
            assert_eq!(format!("{:?}", parse(url)), format!("ENTRIES_URL={shown}"));
        }
    }

    #[test]
    fn an_error_names_the_variable_and_the_form_but_not_the_value() {
        for (variable, form) in [
            ("TAMBAT_APP_NOBODY_SETS_THIS_URL", "http://127.0.0.1:5100"),
            ("NOBODY_SETS_THIS_REDIS_URL", "redis://127.0.0.1:6379"),
            ("NOBODY_SETS_THIS_DATABASE_URL", "postgres://user:password@127.0.0.1:5432/name"),
            ("NOBODY_SETS_THIS_POSTGRESQL_AMBER_URL", "postgres://"),
        ] {
            let missing = resource(variable).expect_err("not set").to_string();
            assert!(missing.contains(&format!("{variable}={form}")), "{missing}");
        }
        let error = Resource::parse("CACHE_URL", "http://u:hunter2@host:x").expect_err("no number").to_string();
        assert!(error.contains("CACHE_URL: its port is not a number") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn every_example_is_a_handle_of_its_kind() {
        for kind in KINDS {
            let handle = parse(kind.example);
            assert!(kind.schemes.contains(&handle.scheme()), "{}", kind.example);
            assert_eq!(handle.address().expect(kind.example).1, handle.port().unwrap_or(kind.port));
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_a_handle_or_an_error(url in ".{0,60}") {
            if let Ok(handle) = Resource::parse("X_URL", &url) {
                prop_assert_eq!(handle.url(), url);
                let _ = (handle.address().is_ok(), handle.option("a"), handle.to_string());
            }
        }

        #[test]
        fn what_is_put_in_comes_out_and_nothing_of_it_is_shown(
            scheme in "[a-z][a-z0-9+.-]{0,8}", user in "[a-z]{1,8}", secret in "Z[A-Za-z0-9]{7,12}",
            host in "[a-z][a-z0-9.-]{0,12}", port in 1_u16.., database in "[a-z0-9]{1,8}",
        ) {
            let url = format!("{scheme}://{user}:{secret}@{host}:{port}/{database}?key={secret}");
            let handle = Resource::parse("X_URL", &url).expect("a URL");
            prop_assert_eq!((handle.scheme(), handle.host(), handle.port()), (&*scheme, Some(&*host), Some(port)));
            prop_assert_eq!((handle.username(), handle.password()), (Some(&*user), Some(&*secret)));
            prop_assert_eq!(handle.database(), Some(&*database));
            prop_assert_eq!(handle.option("key"), Some(Cow::Borrowed(&*secret)));
            let shown = format!("{handle} {handle:?}");
            prop_assert!(!shown.contains(&secret));
        }

        #[test]
        fn a_password_of_any_characters_survives_its_encoding(password in "\\PC{1,12}") {
            let encoded = password.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
            let handle = Resource::parse("X_URL", &format!("redis://:{encoded}@cache")).expect("a URL");
            prop_assert_eq!(handle.password(), Some(&*password));
        }
    }
}
