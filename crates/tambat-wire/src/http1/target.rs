//! The target of a request: what is asked for, and the path as it is matched and sent on.
//!
//! There is one form of a path, and it is both: what was matched is what is sent.
//!
//! - `%XX` of a character that needs none (letters, digits, `-`, `.`, `_`, `~`) is decoded (RFC 3986 §6.2.2.2); every
//!   other stays as it is: `%2f` is no slash, `%5c` no backslash. It is decoded once: `%252e` stays.
//! - Then `.` and `..` are resolved, and never lead above the root (RFC 3986 §5.2.4).
//! - `//` and `;x` stay.
//! - `%00`, and a `%` without two hexadecimal digits, are refused.
//! - Spaces, control characters, `#`, `\` and everything beyond ASCII are refused, in the query as well. RFC 3986 would
//!   also have `"`, `<`, `>`, `^`, `` ` ``, `{`, `|` and `}` encoded; browsers send some of them as they are, and nobody
//!   reads them in two ways: they stay.
//! - The query is not touched.

use std::borrow::Cow;

use super::authority::Authority;
use super::facts::Refusal;
use super::trust::Scheme;

/// What is asked for (RFC 9112 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'b> {
    /// `/path?query`, made normal.
    Origin(Cow<'b, str>),
    /// `http://host/path?query`: the same with a host of its own.
    Absolute(Scheme, Authority<'b>, Cow<'b, str>),
    /// `*`: the router itself. With `http://host`, where `OPTIONS` asks for it so (§3.2.4).
    Asterisk(Option<(Scheme, Authority<'b>)>),
}

/// Reads the target, which is not empty and has no spaces.
#[inline]
pub(super) fn target(text: &str, is_options: bool) -> Result<Target<'_>, Refusal> {
    // A dot tells something only behind a slash, whose bit is moved onto that of the dot. No branch: most are not taken.
    let (seen, _) = text.bytes().fold((0, 0), |(seen, before), b| {
        let class = CLASS[usize::from(b)];
        (seen | class & (!DOT | (before & SLASH) >> 1), class)
    });
    if seen & REFUSED != 0 {
        return Err(Refusal::bad("the target has a character that has to be percent-encoded"));
    }
    if text.starts_with('/') {
        return Ok(Target::Origin(if seen & (PERCENT | DOT) == 0 { Cow::Borrowed(text) } else { normal(text)? }));
    }
    if text == "*" {
        return if is_options {
            Ok(Target::Asterisk(None))
        } else {
            Err(Refusal::bad("only `OPTIONS` may ask for `*`"))
        };
    }
    absolute(text, is_options)
}

/// No target may have it.
const REFUSED: u8 = 1;

/// With it the path may have to be decoded.
const PERCENT: u8 = 2;

/// With it behind a slash the path may have to be resolved.
const DOT: u8 = 4;

const SLASH: u8 = 8;

/// What each byte means for a target.
const CLASS: &[u8; 256] = &{
    let mut class = [0; 256];
    let mut b = 0_u8;
    loop {
        class[b as usize] = match b {
            0..=b' ' | 0x7f.. | b'#' | b'\\' => REFUSED,
            b'%' => PERCENT,
            b'.' => DOT,
            b'/' => SLASH,
            _ => 0,
        };
        if b == u8::MAX {
            break class;
        }
        b += 1;
    }
};

fn absolute(text: &str, is_options: bool) -> Result<Target<'_>, Refusal> {
    let neither = Refusal::bad("the target is neither a path nor a URL of http or https");
    let (scheme, rest) = text.split_once("://").ok_or(neither)?;
    let scheme = [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known.as_str()))
        .ok_or(neither)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = Authority::parse(authority.as_bytes()).map_err(Refusal::bad)?;
    if path.is_empty() && is_options {
        return Ok(Target::Asterisk(Some((scheme, authority))));
    }
    let path = if path.starts_with('/') { normal(path)? } else { Cow::Owned(format!("/{path}")) };
    Ok(Target::Absolute(scheme, authority, path))
}

/// The path, and the query behind it, in their one form.
fn normal(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let mut changes = path.split('/').any(is_dots);
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        rest = &rest[at..];
        changes |= is_unreserved(escaped(rest)?);
        rest = &rest[ESCAPE_BYTES..];
    }
    if !changes {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = without_dots(&decoded(path)?);
    out.push_str(query);
    Ok(Cow::Owned(out))
}

/// `%XX`.
const ESCAPE_BYTES: usize = 3;

/// The byte that the escape at the beginning stands for.
fn escaped(text: &str) -> Result<u8, Refusal> {
    let digit = |at: usize| match text.as_bytes().get(at)? {
        b @ b'0'..=b'9' => Some(b - b'0'),
        b @ b'a'..=b'f' => Some(b - b'a' + 10),
        b @ b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    };
    match (digit(1), digit(2)) {
        (Some(0), Some(0)) => Err(Refusal::bad("the path has a `%00`")),
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(Refusal::bad("the path has a `%` without two hexadecimal digits")),
    }
}

/// A character that stands for itself (RFC 3986 §2.3).
fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

fn decoded(path: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match escaped(rest)? {
            b if is_unreserved(b) => out.push(char::from(b)),
            _ => out.push_str(&rest[..ESCAPE_BYTES]),
        }
        rest = &rest[ESCAPE_BYTES..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The path, which begins with `/`, with its `.` and `..` resolved.
fn without_dots(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment == ".." {
            out.truncate(out.rfind('/').unwrap_or(0));
        }
        if !is_dots(segment) {
            out.push('/');
            out.push_str(segment);
        } else if segments.peek().is_none() {
            out.push('/');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(text: &str) -> Option<String> {
        match target(text, false) {
            Ok(Target::Origin(path)) => Some(path.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn b24_a_path_has_one_form() {
        for (asked, sent) in [
            ("/", "/"),
            ("/a/%2e%2e/admin", "/admin"),
            ("/a/%2E./admin", "/admin"),
            ("/a//b", "/a//b"),
            ("/a%2fb", "/a%2fb"),
            ("/a%5Cb", "/a%5Cb"),
            ("/a;x/b", "/a;x/b"),
            ("/..;/b", "/..;/b"),
            ("/%41%7e%2d%5f%39", "/A~-_9"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%25%32%65", "/%252e"),
            ("/a/./b/../c", "/a/c"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a//../b", "/a/b"),
            ("/a/b/../../../../c/", "/c/"),
            ("/a/...", "/a/..."),
            ("/.a/..b/c.", "/.a/..b/c."),
            ("/app.js?v=1.2&p=/../%zz%00", "/app.js?v=1.2&p=/../%zz%00"),
            ("/x/../y?a/../b", "/y?a/../b"),
            ("/%20%C3%A9", "/%20%C3%A9"),
            ("/?", "/?"),
            ("/a|b\"<>^`{}[]", "/a|b\"<>^`{}[]"),
        ] {
            assert_eq!(origin(asked).as_deref(), Some(sent), "{asked}");
        }
    }

    #[test]
    fn b12_b24_what_can_be_read_in_two_ways_is_refused() {
        for bad in [
            "/%00",
            "/a%00b",
            "/%",
            "/%4",
            "/%4g",
            "/%g4",
            "/a%",
            "/a#frag",
            "/a?b#c",
            "/a\\b",
            "/a?b\\c",
            "/\u{e9}",
            "/a?\u{e9}",
            "/a\x7f",
            "/a\x01",
            "/a b",
            "a",
            "example.com:443",
            "?x",
            "*",
            "//",
            "ftp://a/",
        ] {
            let got = target(bad, false);
            if bad == "//" {
                // A path with an empty segment, and no host.
                assert_eq!(got, Ok(Target::Origin("//".into())));
            } else {
                assert!(got.is_err(), "{bad:?}: {got:?}");
            }
        }
    }

    #[test]
    fn a_path_that_is_normal_is_not_copied() {
        for asked in ["/", "/a/b?c=d", "/app.js", "/%20/%2f", "/a/b..?x=/../"] {
            assert!(matches!(target(asked, false), Ok(Target::Origin(Cow::Borrowed(_)))), "{asked}");
        }
    }

    #[test]
    fn b04_b05_an_absolute_target_has_a_host_and_no_user() {
        let path_of = |text| match target(text, false) {
            Ok(Target::Absolute(scheme, authority, path)) => Some((scheme, authority.text, path.into_owned())),
            _ => None,
        };
        assert_eq!(path_of("http://a.b:81/x/../y?z"), Some((Scheme::Http, "a.b:81", "/y?z".into())));
        assert_eq!(path_of("HTTPS://a"), Some((Scheme::Https, "a", "/".into())));
        assert_eq!(path_of("http://a?q"), Some((Scheme::Http, "a", "/?q".into())));
        for bad in
            ["http://user@h/", "http://u:p@h/", "http:///x", "http://", "http:/a", "ws://a/", "http://a:0/", "x://a/"]
        {
            assert_eq!(path_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn b08_options_may_ask_for_the_router_itself() {
        assert_eq!(target("*", true), Ok(Target::Asterisk(None)));
        let Ok(Target::Asterisk(Some((Scheme::Http, authority)))) = target("http://a:81", true) else {
            panic!("RFC 9112 §3.2.4");
        };
        assert_eq!(authority.text, "a:81");
        assert!(matches!(target("http://a/", true), Ok(Target::Absolute(..))));
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_and_has_no_dots(path in "/([a./%2eE5cf;]{0,4}/){0,5}[.a%2e]{0,4}(\\?[./%]{0,4})?") {
            if let Some(sent) = origin(&path) {
                prop_assert!(sent.starts_with('/'));
                let (only_path, query) = sent.split_at(sent.find('?').unwrap_or(sent.len()));
                prop_assert!(!only_path.split('/').any(is_dots), "{} -> {}", path, sent);
                prop_assert!(path.ends_with(query));
                // Escapes are decoded once, so that only those that stayed can be decoded by somebody else.
                if !path.contains("%25") {
                    prop_assert_eq!(origin(&sent), Some(sent.clone()));
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\u{e9}]{1,40}", is_options: bool) {
            let _ = target(&text, is_options);
        }
    }
}
