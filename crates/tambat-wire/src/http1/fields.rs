//! What the fields of either side's heads have in common: lists, lengths, codings, and lines that end as they must.

use super::facts::Refusal;

/// How the lines of a head measure, in bytes without their CRLF.
pub(super) struct Lines {
    /// The first line.
    pub(super) first_bytes: usize,
    /// The longest line of a field.
    pub(super) field_bytes: usize,
}

/// Measures the lines of a whole head that begins with its first line. None where one of them ends with a LF that no CR
/// stands before: httparse takes it, RFC 9112 §2.2 lets us refuse it, and what two programs may see differently is not
/// passed on.
#[inline]
pub(super) fn lines(head: &[u8], fields: &[httparse::Header<'_>]) -> Option<Lines> {
    // Each field begins where the line before it has ended: the ends are found without looking for them.
    let mut measured = Lines { first_bytes: 0, field_bytes: 0 };
    let mut begins = 0;
    for (nth, field) in fields.iter().enumerate() {
        let next = offset(head, field.name.as_bytes());
        measured.add(nth, line_bytes(head, begins, next)?);
        begins = next;
    }
    let (_, empty) = head.split_last_chunk::<2>()?;
    if empty != b"\r\n" {
        return None;
    }
    measured.add(fields.len(), line_bytes(head, begins, head.len() - 2)?);
    Some(measured)
}

impl Lines {
    #[inline]
    fn add(&mut self, nth: usize, bytes: usize) {
        if nth == 0 {
            self.first_bytes = bytes;
        } else {
            self.field_bytes = self.field_bytes.max(bytes);
        }
    }
}

/// The bytes of the line between these two places, without its CRLF, which has to be there.
#[inline]
fn line_bytes(head: &[u8], begins: usize, next: usize) -> Option<usize> {
    head.get(begins..next)?.strip_suffix(b"\r\n").map(<[u8]>::len)
}

/// Where a part of a head begins in it.
#[inline]
pub(super) fn offset(head: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(head.as_ptr().addr())
}

/// The lines of the fields from the nth to the one before `end`, each with its CRLF, as they stand in the head.
#[inline]
pub(super) fn field_lines<'b>(head: &'b [u8], fields: &[httparse::Header<'b>], nth: usize, end: usize) -> &'b [u8] {
    let begins = |nth: usize| fields.get(nth).map(|field| offset(head, field.name.as_bytes()));
    let to = begins(end).unwrap_or(head.len() - 2);
    &head[begins(nth).unwrap_or(to)..to]
}

/// The members of a list, without the white space around them, empty ones as well (RFC 9110 §5.6.1).
pub(super) fn members(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trimmed)
}

/// Without spaces and tabs at its ends (RFC 9110 §5.6.3).
pub(super) fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// One or more of the bytes that make a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// A number in digits alone that 64 bits hold: `Content-Length` (RFC 9110 §8.6), `Max-Forwards`.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// What a `Transfer-Encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// `chunked`, and nothing else.
    Chunked,
    /// Codings that are not known here; if `chunked` is among them, it is the last.
    Unknown,
    /// No list of codings, or `chunked` in the wrong place.
    Bad,
}

/// Reads the value of the only `Transfer-Encoding` of a message (RFC 9112 §6.1).
pub(super) fn coding(value: &[u8]) -> Coding {
    let is_chunked = |member: &[u8]| member.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Coding::Chunked;
    }
    let mut before_last = members(value);
    let last = before_last.next_back().unwrap_or_default();
    let unknown = is_token(last) && before_last.all(|member| is_token(member) && !is_chunked(member));
    if unknown { Coding::Unknown } else { Coding::Bad }
}

/// What all `Connection` fields of a message say (RFC 9110 §7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// How many names of fields there are.
    pub(super) names: usize,
}

/// So many fields may `Connection` name: each is looked for among all fields of the head.
const CONNECTION_NAMES_MAX: usize = 32;

impl Connection {
    /// Takes one of them in.
    pub(super) fn read(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for member in members(value) {
            match option(member) {
                ConnectionOption::Close => self.close = true,
                ConnectionOption::KeepAlive => self.keep_alive = true,
                ConnectionOption::Upgrade => self.upgrade = true,
                ConnectionOption::Name => self.names += 1,
                ConnectionOption::Empty => {}
                ConnectionOption::Bad => return Err(Refusal::bad("`Connection` is not a list of names")),
            }
        }
        if self.names > CONNECTION_NAMES_MAX {
            return Err(Refusal::bad("`Connection` names more fields than anybody has for it"));
        }
        Ok(())
    }
}

/// The names of fields in a `Connection`: they are for this connection alone.
pub(super) fn named_by_connection(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value).filter(|member| option(member) == ConnectionOption::Name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionOption {
    Close,
    KeepAlive,
    Upgrade,
    Name,
    Empty,
    Bad,
}

fn option(member: &[u8]) -> ConnectionOption {
    if member.is_empty() {
        ConnectionOption::Empty
    } else if member.eq_ignore_ascii_case(b"close") {
        ConnectionOption::Close
    } else if member.eq_ignore_ascii_case(b"keep-alive") {
        ConnectionOption::KeepAlive
    } else if member.eq_ignore_ascii_case(b"upgrade") {
        ConnectionOption::Upgrade
    } else if is_token(member) {
        ConnectionOption::Name
    } else {
        ConnectionOption::Bad
    }
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_that_64_bits_hold() {
        for (text, want) in [("0", 0), ("007", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(number(text.as_bytes()), Some(want), "{text}");
        }
        for bad in ["", "+5", "-1", "0x10", "1_0", " 5 5", "5;", "5, 5", "18446744073709551616", "99999999999999999999"]
        {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_number_is_written_as_it_is_read() {
        for given in [0, 9, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, given);
            assert_eq!(out, given.to_string().into_bytes());
        }
    }

    #[test]
    fn only_chunked_alone_is_known() {
        for (value, want) in [
            ("chunked", Coding::Chunked),
            ("Chunked", Coding::Chunked),
            ("gzip", Coding::Unknown),
            ("xchunked", Coding::Unknown),
            ("identity", Coding::Unknown),
            ("gzip, chunked", Coding::Unknown),
            ("chunked, identity", Coding::Bad),
            ("chunked, chunked", Coding::Bad),
            (",chunked", Coding::Bad),
            ("chunked,", Coding::Bad),
            ("", Coding::Bad),
            ("chunked;a=b", Coding::Bad),
            ("\u{b}chunked", Coding::Bad),
            ("\u{a0}chunked", Coding::Bad),
        ] {
            assert_eq!(coding(value.as_bytes()), want, "{value:?}");
        }
    }

    #[test]
    fn connection_options_add_up() {
        let mut connection = Connection::default();
        connection.read(b"Keep-Alive").unwrap();
        connection.read(b", UPGRADE ,\tX-One,, x-two").unwrap();
        assert_eq!(connection, Connection { close: false, keep_alive: true, upgrade: true, names: 2 });
        let names: Vec<_> = named_by_connection(b", UPGRADE ,\tX-One,, x-two").collect();
        assert_eq!(names, [&b"X-One"[..], b"x-two"]);
        assert!(connection.read(b"a b").is_err() && connection.read(b"\"close\"").is_err());
    }

    #[test]
    fn a_head_is_measured_by_its_fields() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX: \t y \r\nEmpty:\r\n\r\n";
        let mut slots = [httparse::EMPTY_HEADER; 4];
        let mut parsed = httparse::Request::new(&mut slots);
        parsed.parse(head).unwrap();
        let measured = lines(head, parsed.headers).unwrap();
        assert_eq!((measured.first_bytes, measured.field_bytes), (14, 7));
        assert_eq!(field_lines(head, parsed.headers, 1, 3), b"X: \t y \r\nEmpty:\r\n");
        assert_eq!(field_lines(head, parsed.headers, 0, 1), b"Host: a\r\n");
    }

    #[test]
    fn b20_a_bare_lf_is_found_at_the_end_of_any_line() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for (at, _) in head.match_indices('\r') {
            let mut bare = head.to_owned();
            bare.remove(at);
            let mut slots = [httparse::EMPTY_HEADER; 4];
            let mut parsed = httparse::Request::new(&mut slots);
            assert!(parsed.parse(bare.as_bytes()).unwrap().is_complete(), "{bare:?}");
            assert!(lines(bare.as_bytes(), parsed.headers).is_none(), "{bare:?}");
        }
    }
}
