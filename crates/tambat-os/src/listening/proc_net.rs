//! `/proc/net/tcp` and `tcp6` (`proc_net_tcp(5))`: the same list as text, where netlink is refused.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Listening, canonical};

/// A machine without IPv6 has no `tcp6`.
pub(super) fn read() -> io::Result<Vec<Listening>> {
    let mut found: Vec<_> = fs::read_to_string("/proc/net/tcp")?.lines().filter_map(parse).collect();
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(text) => found.extend(text.lines().filter_map(parse)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok(found)
}

const LISTEN: &str = "0A";

/// One line; `None` for the heading and for sockets in any other state.
fn parse(line: &str) -> Option<Listening> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [_slot, local, _remote, LISTEN, _queues, _timer, _retransmits, uid, _timeout, inode] = fields[..] else {
        return None;
    };
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listening { addr: canonical(address(ip)?, port), inode: inode.parse().ok()?, uid: uid.parse().ok()? })
}

/// Groups of four bytes, each written as a number of this machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_files() {
        let v4 = "   1: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0";
        let expected = Listening { addr: "127.0.0.1:5000".parse().unwrap(), inode: 4711, uid: 1000 };
        assert_eq!(parse(v4), Some(expected));
        let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                  00000000:00000000 00:00000000 00000000     0        0 12 1 0";
        assert_eq!(parse(v6).unwrap().addr, "[::1]:80".parse().unwrap());
        let mapped = v6.replace("00000000000000000000000001000000", "0000000000000000FFFF00000100007F");
        assert_eq!(parse(&mapped).unwrap().addr, "127.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn all_else_is_passed_over() {
        for line in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "   1: 0100007F:1388 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0",
            "   1: 0100007:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0",
            "   1: 0100007F:1388 00000000:0000 0A 0:0 0:0 0  1000",
            "   1: ääää:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
