//! What the kernel says of one connection (`sock_diag(7)`): it is asked for that one, since its list of all has thousands that
//! are over, and takes longer than what is tested.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc::{AF_INET, IPPROTO_TCP};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `SOCK_DIAG_BY_FAMILY`, and how an answer to it begins.
const BY_FAMILY: u16 = 20;

/// A state (`include/net/tcp_states.h`).
const ESTABLISHED: u8 = 1;

/// The lengths of struct `nlmsghdr`, and of that and struct `inet_diag_req_v2`.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;

/// Asks the kernel.
pub(super) struct Kernel(OwnedFd);

impl Kernel {
    pub(super) fn new() -> Self {
        let protocol = SockProtocol::NetlinkSockDiag;
        Self(socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).unwrap())
    }

    /// Does this end of a connection stand, and has all that has come there been read?
    pub(super) fn has_read(&self, this: SocketAddr, other: SocketAddr) -> bool {
        send(self.0.as_raw_fd(), &request(this, other), MsgFlags::empty()).unwrap();
        let mut answer = [0; 1024];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        // Of one that is not there it says so. Struct `inet_diag_msg`: the state is its second byte.
        answer[4..6] == BY_FAMILY.to_ne_bytes() && answer[HEADER_BYTES + 1] == ESTABLISHED && {
            let unread = HEADER_BYTES + 56..HEADER_BYTES + 60;
            assert!(length >= unread.end);
            answer[unread] == [0; 4]
        }
    }
}

/// For the one socket with these ends.
fn request(this: SocketAddr, other: SocketAddr) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    bytes[..4].copy_from_slice(&u32::try_from(REQUEST_BYTES).unwrap().to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&1_u16.to_ne_bytes());
    bytes[16] = u8::try_from(AF_INET).unwrap();
    bytes[17] = u8::try_from(IPPROTO_TCP).unwrap();
    for ((addr, port), ip) in [(this, 24), (other, 26)].into_iter().zip([28, 44]) {
        let IpAddr::V4(octets) = addr.ip() else { panic!("{addr}") };
        bytes[port..port + 2].copy_from_slice(&addr.port().to_be_bytes());
        bytes[ip..ip + 4].copy_from_slice(&octets.octets());
    }
    // Whatever its cookie is.
    bytes[64..].fill(0xff);
    bytes
}

#[test]
fn the_kernel_knows_whether_all_has_been_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let kernel = Kernel::new();
    let has_read = |client: &TcpStream| kernel.has_read(listener.local_addr().unwrap(), client.local_addr().unwrap());
    client.write_all(b"words").unwrap();
    // Nobody has accepted it, but it is there.
    assert!(!has_read(&client));
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    assert!(!has_read(&client));
    server.read_exact(&mut [0; 1]).unwrap();
    assert!(has_read(&client));
    drop(server);
    assert!(!has_read(&client));
}
