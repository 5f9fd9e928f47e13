//! As much of HPACK (RFC 7541) as one question and its answer need: literals are written, and of a block of fields those are
//! read that are asked for.
//!
//! The server is told to keep no table (`SETTINGS_HEADER_TABLE_SIZE` is 0), so that a block is read by itself. Names and
//! values in Huffman's code are decoded up to the first symbol that nothing here is spelled with.

/// A literal field that is never put into a table, with its name (RFC 7541 §6.2.2).
const LITERAL: u8 = 0x00;

/// What stands before a string: it is in Huffman's code (RFC 7541 §5.2).
const HUFFMAN: u8 = 0x80;

/// The entries of the static table that are looked for (RFC 7541 Appendix A): `:status` stands there with these values.
const STATUSES: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];

/// Where they begin.
const STATUS_INDEX: u64 = 8;

/// Where `content-type` stands.
const CONTENT_TYPE_INDEX: u64 = 31;

/// The last entry of the static table.
const STATIC_INDEX_MAX: u64 = 61;

/// Huffman's code of what names and numbers are spelled with (RFC 7541 Appendix B): symbol, code, bits.
const CODES: [(u8, u16, u8); 41] = [
    (b'0', 0x0, 5),
    (b'1', 0x1, 5),
    (b'2', 0x2, 5),
    (b'a', 0x3, 5),
    (b'c', 0x4, 5),
    (b'e', 0x5, 5),
    (b'i', 0x6, 5),
    (b'o', 0x7, 5),
    (b's', 0x8, 5),
    (b't', 0x9, 5),
    (b'-', 0x16, 6),
    (b'.', 0x17, 6),
    (b'/', 0x18, 6),
    (b'3', 0x19, 6),
    (b'4', 0x1a, 6),
    (b'5', 0x1b, 6),
    (b'6', 0x1c, 6),
    (b'7', 0x1d, 6),
    (b'8', 0x1e, 6),
    (b'9', 0x1f, 6),
    (b'b', 0x23, 6),
    (b'd', 0x24, 6),
    (b'f', 0x25, 6),
    (b'g', 0x26, 6),
    (b'h', 0x27, 6),
    (b'l', 0x28, 6),
    (b'm', 0x29, 6),
    (b'n', 0x2a, 6),
    (b'p', 0x2b, 6),
    (b'r', 0x2c, 6),
    (b'u', 0x2d, 6),
    (b':', 0x5c, 7),
    (b'j', 0x74, 7),
    (b'k', 0x75, 7),
    (b'q', 0x76, 7),
    (b'v', 0x77, 7),
    (b'w', 0x78, 7),
    (b'x', 0x79, 7),
    (b'y', 0x7a, 7),
    (b'z', 0x7b, 7),
    (b'+', 0x7fb, 11),
];

/// The longest of them.
const CODE_BITS_MAX: u8 = 11;

/// Appends a field as a literal.
pub(super) fn put_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(LITERAL);
    put_string(name, out);
    put_string(value, out);
}

fn put_string(text: &str, out: &mut Vec<u8>) {
    let mut left = text.len();
    // RFC 7541 §5.1, with a prefix of 7 bits.
    if left < 0x7f {
        out.push(lowest(left));
    } else {
        out.push(0x7f);
        left -= 0x7f;
        while left >= 0x80 {
            out.push(0x80 | lowest(left));
            left >>= 7;
        }
        out.push(lowest(left));
    }
    out.extend_from_slice(text.as_bytes());
}

fn lowest(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// What is looked for in a block of fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fields {
    /// `:status`.
    pub(super) status: Option<u16>,
    /// Is `content-type` one of gRPC's?
    pub(super) is_grpc: bool,
    /// `grpc-status`.
    pub(super) grpc_status: Option<u16>,
}

/// Reads a whole block; none: it is none.
pub(super) fn read(block: &[u8]) -> Option<Fields> {
    let (mut fields, mut rest) = (Fields::default(), block);
    while let [first, ..] = rest {
        match *first {
            // An indexed field (RFC 7541 §6.1).
            0x80.. => {
                let index = integer(&mut rest, 7).filter(|index| (1..=STATIC_INDEX_MAX).contains(index))?;
                let nth = usize::try_from(index.wrapping_sub(STATUS_INDEX)).unwrap_or(usize::MAX);
                if let Some(status) = STATUSES.get(nth) {
                    fields.status = status.parse().ok();
                }
            }
            // Literals that are to be put into the table, of which it keeps none (§6.2.1).
            0x40.. => fields.literal(&mut rest, 6)?,
            // The table's size (§6.3).
            0x20.. => {
                integer(&mut rest, 5)?;
            }
            // Other literals (§6.2.2, §6.2.3).
            _ => fields.literal(&mut rest, 4)?,
        }
    }
    Some(fields)
}

impl Fields {
    fn literal(&mut self, rest: &mut &[u8], prefix_bits: u8) -> Option<()> {
        let index = integer(rest, prefix_bits)?;
        let name = match index {
            0 => string(rest)?,
            _ if (STATUS_INDEX..STATUS_INDEX + STATUSES.len() as u64).contains(&index) => b":status".to_vec(),
            CONTENT_TYPE_INDEX => b"content-type".to_vec(),
            1..=STATIC_INDEX_MAX => Vec::new(),
            _ => return None,
        };
        let value = string(rest)?;
        let number = || std::str::from_utf8(&value).ok()?.parse().ok();
        match name.as_slice() {
            b":status" => self.status = number(),
            b"grpc-status" => self.grpc_status = number(),
            b"content-type" => self.is_grpc = value.starts_with(b"application/grpc"),
            _ => {}
        }
        Some(())
    }
}

/// RFC 7541 §5.1.
fn integer(rest: &mut &[u8], prefix_bits: u8) -> Option<u64> {
    let (first, mut left) = rest.split_first()?;
    let most = (1_u64 << prefix_bits) - 1;
    let mut number = u64::from(*first) & most;
    if number == most {
        let mut shift = 0;
        loop {
            let (byte, behind) = left.split_first()?;
            left = behind;
            // What does not fit has no use here: blocks are far shorter.
            number += u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 32)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = left;
    Some(number)
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let is_coded = rest.first()? & HUFFMAN != 0;
    let length = usize::try_from(integer(rest, 7)?).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(if is_coded { decoded(text) } else { text.to_vec() })
}

/// Up to the first symbol that is not among [`CODES`]; the ones at the end are padding.
fn decoded(coded: &[u8]) -> Vec<u8> {
    let (mut text, mut code, mut bits) = (Vec::new(), 0_u16, 0);
    for nth in 0..coded.len() * 8 {
        code = code << 1 | u16::from(coded[nth / 8] >> (7 - nth % 8) & 1);
        bits += 1;
        if let Some((symbol, ..)) = CODES.iter().find(|(_, known, length)| (*known, *length) == (code, bits)) {
            text.push(*symbol);
            (code, bits) = (0, 0);
        } else if bits == CODE_BITS_MAX {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In Huffman's code, padded with ones.
    pub(super) fn coded(text: &str) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text.bytes() {
            let (_, code, length) = CODES.iter().find(|(symbol, ..)| *symbol == byte).unwrap();
            bits += &format!("{code:0width$b}", width = usize::from(*length));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7541 Appendix C.4.1 and C.6.1.
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]), b"no-cache");
        assert_eq!(decoded(&[0x64, 0x02]), b"302");
        assert_eq!(coded("302"), [0x64, 0x02]);
        // C.6.1 begins with `:status: 302` as a literal with the index 8.
        let block = [0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b];
        assert_eq!(read(&block).unwrap().status, Some(302));
        // C.1.2: 1337 with a prefix of 5 bits.
        assert_eq!(integer(&mut &[0x1f, 0x9a, 0x0a][..], 5), Some(1337));
    }

    #[test]
    fn what_is_looked_for_is_found_however_it_is_written() {
        let coded_string = |text: &str| [vec![HUFFMAN | lowest(coded(text).len())], coded(text)].concat();
        let mut plain = vec![0x88];
        put_field("content-type", "application/grpc", &mut plain);
        put_field("grpc-status", "12", &mut plain);
        let packed = [
            vec![0x20, 0x88, 0x5f],
            coded_string("application/grpc+proto"),
            vec![0x00],
            coded_string("grpc-status"),
            coded_string("12"),
        ];
        for block in [plain, packed.concat()] {
            let want = Fields { status: Some(200), is_grpc: true, grpc_status: Some(12) };
            assert_eq!(read(&block), Some(want), "{block:?}");
        }
    }

    #[test]
    fn what_is_no_block_is_none() {
        for block in
            [&[0x80][..], &[0xbe], &[0x0f, 0xff], &[0x00, 0x05, b'a'], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(read(block), None, "{block:?}");
        }
    }

    #[test]
    fn a_long_string_is_written_as_it_is_read() {
        for length in [0, 126, 127, 128, 254, 255, 300, 20_000] {
            let (text, mut out) = ("x".repeat(length), Vec::new());
            put_string(&text, &mut out);
            let mut rest = out.as_slice();
            assert_eq!((string(&mut rest).unwrap().len(), rest.len()), (length, 0));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&block);
        }

        #[test]
        fn text_is_decoded_as_it_was_coded(text in "[a-z0-9./:+-]{0,40}") {
            // Padding of ones could only be taken for the beginning of a longer code.
            prop_assert_eq!(decoded(&coded(&text)), text.as_bytes());
        }
    }
}
