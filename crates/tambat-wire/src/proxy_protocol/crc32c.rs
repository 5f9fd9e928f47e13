//! The checksum of a header: `CRC32c` (RFC 9260, appendix A).

/// The polynomial of Castagnoli, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What each byte does to the checksum. One look a byte: a header has a few hundred, once a connection.
const TABLE: [u32; 256] = table();

/// The checksum of these pieces, one behind the other.
pub(super) fn crc32c<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> u32 {
    let after = |crc: u32, byte: &u8| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !pieces.into_iter().flatten().fold(u32::MAX, after)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let (mut nth, mut byte) = (0, 0_u32);
    while nth < table.len() {
        let (mut crc, mut bit) = (byte, 0);
        while bit < u8::BITS {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[nth] = crc;
        (nth, byte) = (nth + 1, byte + 1);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_of_the_standard_come_out() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        // RFC 3720, appendix B.4, whose bytes are in the order of the wire.
        for (bytes, expected) in [
            (&[0; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&ascending, [0x4e, 0x79, 0xdd, 0x46]),
            (&descending, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(crc32c([bytes]).to_le_bytes(), expected);
            assert_eq!(crc32c([&bytes[..7], &[], &bytes[7..]]).to_le_bytes(), expected);
        }
        assert_eq!(crc32c([&b"123456789"[..]]), 0xe306_9283);
    }
}
