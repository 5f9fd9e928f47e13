//! The beginning of a TLS handshake (RFC 8446 §4.1.2) that asks for the one name: what a proxy reads that passes it on. No
//! handshake follows: what it would cost is not the proxy's.

/// Whom it asks for.
pub(super) const NAME: &str = "shop.example";

/// TLS 1.3 by `TLS_AES_128_GCM_SHA256`, in one record.
pub(super) fn client_hello() -> Vec<u8> {
    let name = with_length(&[&[0][..], &with_length(NAME.as_bytes())].concat());
    let extensions = [
        extension(0, &name),
        // supported_groups: x25519.
        extension(10, &[0, 2, 0, 0x1d]),
        // signature_algorithms: ecdsa_secp256r1_sha256.
        extension(13, &[0, 2, 4, 3]),
        // supported_versions: TLS 1.3.
        extension(43, &[2, 3, 4]),
        // key_share: x25519.
        extension(51, &with_length(&[&[0, 0x1d][..], &with_length(&[9; 32])].concat())),
    ]
    .concat();
    let body = [&[3, 3][..], &[7; 32], &[32], &[8; 32], &[0, 2, 0x13, 1], &[1, 0], &with_length(&extensions)].concat();
    let handshake = [&[1, 0][..], &with_length(&body)].concat();
    [&[22, 3, 1][..], &with_length(&handshake)].concat()
}

fn extension(number: u16, body: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &with_length(body)].concat()
}

/// Behind its length in two bytes.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_say_how_long_it_is() {
        let hello = client_hello();
        let length = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
        assert_eq!((length(3), length(7)), (hello.len() - 5, hello.len() - 9));
        assert!(hello.windows(NAME.len()).any(|part| part == NAME.as_bytes()));
    }
}
