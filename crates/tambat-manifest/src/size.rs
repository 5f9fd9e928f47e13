//! Sizes as people write them.

/// More than any body that is let through on purpose: whoever wants no limit leaves the key out.
pub const SIZE_BYTES_MAX: u64 = 1 << 50;

/// The units, in bytes (IEC 80000-13 for those with an `i`).
const UNITS_BYTES: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No whole number in front.
    #[error("a size is a whole number and a unit, such as \"512KiB\", \"10MiB\" or \"1GiB\"")]
    Syntax,
    /// Another unit.
    #[error("`{0}` is not a unit of size known here: it is B, KiB, MiB, GiB, kB, MB or GB")]
    Unit(String),
    /// More than [`SIZE_BYTES_MAX`].
    #[error("a size is at most 1048576GiB")]
    TooBig,
}

/// Reads `512KiB`, `10MiB`, `10MB`, `1GiB` and a bare number of bytes, at most [`SIZE_BYTES_MAX`]; gives bytes.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(SizeError::Syntax);
    }
    let number: u64 = number.parse().map_err(|_| SizeError::TooBig)?;
    let unit = unit.trim_start();
    if !unit.chars().all(char::is_alphabetic) {
        return Err(SizeError::Syntax);
    }
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, bytes) =
        UNITS_BYTES.iter().find(|(name, _)| *name == unit).ok_or_else(|| SizeError::Unit(unit.to_owned()))?;
    number.checked_mul(*bytes).filter(|bytes| *bytes <= SIZE_BYTES_MAX).ok_or(SizeError::TooBig)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_a_size() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("100B", 100),
            ("10kB", 10_000),
            ("10MB", 10_000_000),
            ("10MiB", 10 * 1024 * 1024),
            (" 2 GiB ", 2 << 30),
            ("1048576GiB", SIZE_BYTES_MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_told_what_to_write() {
        let syntax = "a size is a whole number and a unit, such as \"512KiB\", \"10MiB\" or \"1GiB\"";
        let cases = [
            ("", syntax),
            ("big", syntax),
            ("-1MiB", syntax),
            ("1.5MiB", syntax),
            ("10Mb", "`Mb` is not a unit of size known here: it is B, KiB, MiB, GiB, kB, MB or GB"),
            ("1048577GiB", "a size is at most 1048576GiB"),
            ("99999999999999999999", "a size is at most 1048576GiB"),
        ];
        for (text, sentence) in cases {
            assert_eq!(parse_size(text).unwrap_err().to_string(), sentence, "{text}");
        }
    }
}
