//! Numbers that nobody can guess.

use std::io;

use crate::context::cannot;
use crate::sys;

/// So many bytes from the kernel's generator (`getrandom(2)`), fit for secrets.
///
/// # Errors
///
/// On a kernel without that call (before 3.17).
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    sys::fill_random(&mut bytes).map_err(|error| cannot("get random bytes from the kernel", error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_filled_and_no_two_are_alike() {
        let (one, two) = (bytes::<16>().unwrap(), bytes::<16>().unwrap());
        assert_ne!(one, two);
        // Of 4,096 random bytes the last 64 are not all 0.
        assert!(bytes::<4096>().unwrap()[4032..].iter().any(|byte| *byte != 0));
    }
}
