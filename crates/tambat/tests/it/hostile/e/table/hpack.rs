//! RFC 7541: field sections.

use super::super::client::Client;
use super::super::frames::{
    COMPRESSION_ERROR, ENHANCE_YOUR_CALM, NEWEST, PROTOCOL_ERROR, WHOLE, block, get, headers, length, pseudo, request,
};
use super::{Row, Want, row};
use Want::{Answer, Goaway};

/// So many of these rows are answered otherwise than their section says.
pub(in super::super) const OTHERWISE: usize = 12;

const BAD: Want = Goaway(COMPRESSION_ERROR);
const INSTEAD: Want = Goaway(PROTOCOL_ERROR);
const WHY: &str = "the codec has one code for all errors of field sections; the connection ends";

/// The block of an evil GET with these bytes behind it.
fn behind(c: &mut Client, bytes: &[u8]) {
    c.send(headers(1, WHOLE, &[&request("GET", "/evil", &[])[..], bytes].concat()));
}

fn before(c: &mut Client, path: &str, bytes: &[u8]) {
    c.send(headers(1, WHOLE, &[bytes, &request("GET", path, &[])[..]].concat()));
}

pub(in super::super) fn rows() -> Vec<Row> {
    vec![
        row("HPACK 2.3.3", "an entry of no table", BAD, |c| behind(c, &[0xfe])).but(INSTEAD, WHY),
        row("HPACK 2.3.3", "a literal with a name of no table", BAD, |c| behind(c, &[0x7e, 1, b'x'])).but(INSTEAD, WHY),
        row("HPACK 2.3.3", "the first entry of an empty dynamic table", BAD, |c| behind(c, &[NEWEST]))
            .but(INSTEAD, WHY),
        row("HPACK 4.2", "a table size behind a field", BAD, |c| behind(c, &[0x20])).but(INSTEAD, WHY),
        row("HPACK 4.2", "a table size before the fields", Answer(200), |c| before(c, "/fine", &[0x20])),
        row("HPACK 4.2", "two table sizes before the fields", Answer(200), |c| {
            before(c, "/fine", &[0x20, 0x3f, 0xe1, 0x1f]);
        }),
        row("HPACK 5.1", "a number without an end", BAD, |c| {
            behind(c, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        })
        .but(INSTEAD, WHY),
        row("HPACK 5.1", "a length without an end", BAD, |c| {
            behind(c, &[0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        })
        .but(INSTEAD, WHY),
        row("HPACK 5.2", "a string that is longer than the block", BAD, |c| behind(c, &[0, 1, b'x', 0x20, b'y']))
            .but(INSTEAD, WHY),
        row("HPACK 5.2", "the end of strings in a coded string", BAD, |c| {
            behind(c, &[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]);
        })
        .but(INSTEAD, WHY),
        row("HPACK 5.2", "padding of a byte in a coded string", BAD, |c| behind(c, &[0, 1, b'x', 0x82, 0x1f, 0xff]))
            .but(INSTEAD, WHY),
        row("HPACK 5.2", "padding of zeros in a coded string", BAD, |c| behind(c, &[0, 1, b'x', 0x81, 0x18]))
            .but(INSTEAD, WHY),
        row("HPACK 5.2", "coded strings", Answer(200), |c| behind_fine(c, &[0, 0x81, 0xf3, 0x81, 0x1f])),
        row("HPACK 6.1", "entry 0", BAD, |c| behind(c, &[0x80])).but(INSTEAD, WHY),
        row("HPACK 6.1", "entries of the static table", Answer(200), |c| {
            c.send(headers(1, WHOLE, &[&[0x82, 0x86, 0x84][..], &block(&[(":authority", super::HOST)])].concat()));
        }),
        row("HPACK 6.2.1", "what was put into the table is there", Answer(200), |c| {
            let mut first = block(&pseudo("GET", "/fine"));
            first.extend_from_slice(b"\x40\x01x\x01y");
            let second = [&block(&pseudo("GET", "/fine"))[..], &[NEWEST]].concat();
            c.send([headers(1, WHOLE, &first), headers(3, WHOLE, &second)].concat());
        }),
        row("HPACK 6.2.3", "fields that are never put into a table", Answer(200), |c| {
            behind_fine(c, b"\x10\x06secret\x01x");
        }),
        row("HPACK 6.3", "a table size beyond what was agreed on", BAD, |c| {
            let mut size = Vec::new();
            length(4_097, 0x1f, 0x20, &mut size);
            before(c, "/evil", &size);
        })
        .but(INSTEAD, WHY),
        row("HPACK 7.3", "a section of a few bytes that is huge when it is read", Goaway(ENHANCE_YOUR_CALM), |c| {
            let mut bomb = block(&pseudo("GET", "/evil"));
            bomb.extend_from_slice(b"\x40\x01x");
            length(4_000, 0x7f, 0, &mut bomb);
            bomb.extend_from_slice(&[b'y'; 4_000]);
            bomb.extend_from_slice(&[NEWEST; 8_000]);
            c.send(headers(1, WHOLE, &bomb));
        }),
        row("HPACK 4.1", "sections that leave the table as it was", Answer(200), |c| {
            for stream in [1, 3, 5, 7] {
                c.send(get(stream, "/fine"));
            }
        }),
    ]
}

/// A GET that comes through, with these bytes behind its fields.
fn behind_fine(c: &mut Client, bytes: &[u8]) {
    c.send(headers(1, WHOLE, &[&request("GET", "/fine", &[])[..], bytes].concat()));
}
