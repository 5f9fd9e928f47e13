//! Openings that are told by a word, and name nobody: HTTP, whose `Host` its own engine reads, and SSH.

use super::Peek;

/// The longest method: `UPDATEREDIRECTREF` (RFC 4437) has 17 letters, and is the longest that is registered.
const METHOD_BYTES_MAX: usize = 32;

/// Does it begin like a request of HTTP, of whatever version? That is a method (RFC 9110 §9.1), a blank, and the beginning
/// of a path, of a URL, or of `*` (RFC 9112 §3.2), which is also how HTTP/2 begins (RFC 9113 §3.4). One empty line before
/// it is passed over (RFC 9112 §2.2).
///
/// `EHLO mail.example` and `GET key` are none.
pub fn http_request(received: &[u8]) -> Peek<()> {
    let line = match received {
        [b'\r'] => return Peek::Incomplete,
        [b'\r', b'\n', line @ ..] | [b'\n', line @ ..] | line => line,
    };
    let is_method = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_');
    let method = line.iter().take(METHOD_BYTES_MAX + 1).take_while(|byte| is_method(byte)).count();
    if method > METHOD_BYTES_MAX {
        return Peek::No;
    }
    match &line[method..] {
        [] => Peek::Incomplete,
        [b' ', target @ ..] if method > 0 => begins_target(target, &line[..method]),
        _ => Peek::No,
    }
}

/// Does it begin like SSH: with the version of the protocol that the client speaks (RFC 4253 §4.2)?
pub fn ssh(received: &[u8]) -> Peek<()> {
    const BEGINNING: &[u8] = b"SSH-";
    match received.strip_prefix(BEGINNING) {
        Some([]) => Peek::Incomplete,
        Some([major, ..]) if major.is_ascii_digit() => Peek::Found(()),
        None if BEGINNING.starts_with(received) => Peek::Incomplete,
        _ => Peek::No,
    }
}

fn begins_target(target: &[u8], method: &[u8]) -> Peek<()> {
    const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];
    match target {
        [] => Peek::Incomplete,
        [b'/' | b'*', ..] => Peek::Found(()),
        // A name and a port (RFC 9112 §3.2.3).
        [first, ..] if method == b"CONNECT" && (first.is_ascii_alphanumeric() || *first == b'[') => Peek::Found(()),
        target => {
            let begins = |scheme: &[u8]| {
                let shared = scheme.len().min(target.len());
                target[..shared].eq_ignore_ascii_case(&scheme[..shared]).then_some(shared == scheme.len())
            };
            match SCHEMES.into_iter().filter_map(begins).max() {
                Some(true) => Peek::Found(()),
                Some(false) => Peek::Incomplete,
                None => Peek::No,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_prefix(peek: fn(&[u8]) -> Peek<()>, whole: &[u8], found_at: Option<usize>) {
        for end in 0..=whole.len() {
            let now = peek(&whole[..end]);
            let expected = match found_at {
                Some(at) if end >= at => Peek::Found(()),
                Some(_) => Peek::Incomplete,
                None => now,
            };
            assert_eq!(now, expected, "{}", whole[..end].escape_ascii());
        }
        if found_at.is_none() {
            assert_eq!(peek(whole), Peek::No, "{}", whole.escape_ascii());
        }
    }

    #[test]
    fn requests_are_told_by_method_and_target() {
        for (request, at) in [
            ("GET / HTTP/1.1\r\n", 5),
            ("\r\nPOST /x HTTP/1.1\r\n", 8),
            ("\nGET /", 6),
            ("OPTIONS * HTTP/1.1\r\n", 9),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 5),
            ("GET http://a.example/ HTTP/1.1\r\n", 11),
            ("GET HTTPS://a.example/ HTTP/1.1\r\n", 12),
            ("CONNECT a.example:443 HTTP/1.1\r\n", 9),
            ("CONNECT [::1]:443 HTTP/1.1\r\n", 9),
            ("M-SEARCH * HTTP/1.1\r\n", 10),
            ("get / HTTP/1.1\r\n", 5),
        ] {
            every_prefix(http_request, request.as_bytes(), Some(at));
        }
    }

    #[test]
    fn what_other_clients_begin_with_is_no_request() {
        let long = format!("{} /", "A".repeat(METHOD_BYTES_MAX + 1));
        for other in [
            "EHLO mail.example\r\n",
            "HELO x\r\n",
            "USER anonymous\r\n",
            "GET key\r\n",
            "*1\r\n$4\r\nPING\r\n",
            " / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET  / HTTP/1.1",
            "\r\n\r\nGET / HTTP/1.1",
            "\r\rGET /",
            "SSH-2.0-x /",
            "<?xml version='1.0'?>",
            "\u{16}\u{3}\u{1}",
            "\0\0\0\u{8}",
            &*long,
        ] {
            every_prefix(http_request, other.as_bytes(), None);
        }
    }

    #[test]
    fn ssh_is_told_by_its_version() {
        every_prefix(ssh, b"SSH-2.0-OpenSSH_9.2p1\r\n", Some(5));
        every_prefix(ssh, b"SSH-1.99-x\r\n", Some(5));
        for other in ["SSH-x", "SSh-2", "GET / HTTP/1.1", "\r\nSSH-2.0"] {
            every_prefix(ssh, other.as_bytes(), None);
        }
    }
}
