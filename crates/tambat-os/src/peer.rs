//! Who is at the other end of a unix socket.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::context::cannot;

/// The effective user id of the process that connected (`SO_PEERCRED`, unix(7)): taken at connect time, so it stays
/// true when the file is later handed on.
pub fn peer_uid(stream: &impl AsFd) -> io::Result<u32> {
    let credentials = getsockopt(stream, PeerCredentials).map_err(|e| cannot("see who connected", e))?;
    Ok(credentials.uid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_our_own_pair_is_us() {
        let (a, _b) = UnixStream::pair().unwrap();
        assert_eq!(peer_uid(&a).unwrap(), crate::runtime_dir::uid());
    }
}
