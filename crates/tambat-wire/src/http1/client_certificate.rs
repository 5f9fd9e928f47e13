//! What a target is told of the client's certificate.

use std::fmt::Write as _;

/// A larger certificate is not passed on whole: many servers take 8 KiB of fields in all. Its name and its digest are.
const CERTIFICATE_BYTES_MAX: usize = 5 * 1024;

/// Longer names are cut: nobody tells people apart by so much.
const SUBJECT_BYTES_MAX: usize = 1024;

/// What a target is told of a certificate that the client has proved to own. From clients none of these fields is ever
/// passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    lines: String,
}

impl ClientCertificate {
    /// One whose DER encoding, name (RFC 4514) and SHA-256 digest these are: `Client-Cert` has the first (RFC 9440 §2.2),
    /// `X-Client-Cert-Subject` the second, in ASCII with the bytes of all else as `\XX`, and `X-Client-Cert-SHA256` the
    /// third in hexadecimal digits.
    pub fn new(der: &[u8], subject: &str, sha256: &[u8]) -> Self {
        let mut lines = String::new();
        if der.len() <= CERTIFICATE_BYTES_MAX {
            lines.push_str("Client-Cert: :");
            put_base64(&mut lines, der);
            lines.push_str(":\r\n");
        }
        lines.push_str("X-Client-Cert-Subject: ");
        for byte in subject.bytes().take(SUBJECT_BYTES_MAX) {
            // Writing to a String cannot fail, here and below.
            let _ = match byte {
                b' '..=b'~' => lines.write_char(byte.into()),
                _ => write!(lines, "\\{byte:02X}"),
            };
        }
        lines.push_str("\r\nX-Client-Cert-SHA256: ");
        for byte in sha256 {
            let _ = write!(lines, "{byte:02x}");
        }
        lines.push_str("\r\n");
        Self { lines }
    }

    /// The fields, each with its end.
    pub(super) fn lines(&self) -> &[u8] {
        self.lines.as_bytes()
    }
}

/// RFC 4648 §4.
fn put_base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let byte = |nth: usize| u32::from(three.get(nth).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for nth in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * nth)) as usize & 63];
            out.push(if nth > three.len() { '=' } else { digit.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648 §10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = String::new();
            put_base64(&mut out, bytes.as_bytes());
            assert_eq!(out, text);
        }
    }

    #[test]
    fn no_name_makes_a_field_of_its_own() {
        let certificate = ClientCertificate::new(&[0xff, 0xfe], "CN=Zoë\r\nX-Admin: yes", &[0, 0xab]);
        assert_eq!(
            certificate.lines,
            "Client-Cert: ://4=:\r\nX-Client-Cert-Subject: CN=Zo\\C3\\AB\\0D\\0AX-Admin: yes\r\nX-Client-Cert-SHA256: 00ab\r\n"
        );
        let large = ClientCertificate::new(&vec![0; CERTIFICATE_BYTES_MAX + 1], &"x".repeat(10_000), &[]);
        assert!(large.lines.len() < 2_000 && large.lines.starts_with("X-Client-Cert-Subject: "));
    }
}
