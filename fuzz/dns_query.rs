//! What the router itself answers to a query of DNS.

use tambat_wire::servfail;

/// An answer is never longer than its query, has its number and its question, says what it is, and is no query itself.
pub(crate) fn dns_query(query: &[u8]) {
    let Some(answer) = servfail(query) else { return };
    assert!(answer.len() <= query.len());
    assert_eq!(answer[..2], query[..2]);
    assert_eq!((answer[2] & 0x80, answer[3] & 0x0f), (0x80, 2));
    assert_eq!(answer[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer[12..], query[12..answer.len()]);
    assert_eq!(servfail(&answer), None);
}
