//! Headers, as they are sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tambat_model::ProxyProtocol;

use super::{Notes, Origin, Tls, UNIQUE_ID_BYTES_MAX, tlv, v1, v2};

/// A name, the name of a protocol, or that of a version are not longer than this (RFC 1035 §2.3.4, RFC 7301 §3.1), so
/// that a header stays below a segment: it has to be sent at once.
const TEXT_BYTES_MAX: usize = 255;

/// Appends a header. The notes are for version 2, which also gets a checksum; what is longer there than it may be is
/// left out.
pub fn write(version: ProxyProtocol, origin: &Origin, notes: &Notes<'_>, out: &mut Vec<u8>) {
    match version {
        ProxyProtocol::V1 => line(origin, out),
        ProxyProtocol::V2 => binary(origin, notes, out),
    }
}

/// The header before a datagram of version 2 (section 2.2: `DGRAM`): the addresses and nothing else, for it stands before
/// each.
pub fn datagram_header(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut header = v2::SIGNATURE.to_vec();
    let family = Family::of(client.ip(), server.ip());
    let (over, addresses) = match family {
        Family::V4(client, server) => (v2::UDP_OVER_IPV4, [client.octets(), server.octets()].concat()),
        Family::V6(client, server) => (v2::UDP_OVER_IPV6, [client.octets(), server.octets()].concat()),
    };
    let ports = [client.port().to_be_bytes(), server.port().to_be_bytes()].concat();
    let length = u16::try_from(addresses.len() + ports.len()).unwrap_or_default();
    header.extend_from_slice(&[v2::PROXY, over]);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&addresses);
    header.extend_from_slice(&ports);
    header
}

/// The header of a connection that is on nobody's behalf, such as a health check: `LOCAL`. Version 1 has nothing of the
/// kind, and some servers refuse `UNKNOWN`: there it has the ends of the connection itself (section 2.1).
pub fn own_header(version: ProxyProtocol, local: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut header = Vec::new();
    let origin = match version {
        ProxyProtocol::V1 => Origin::Client { client: local, server },
        ProxyProtocol::V2 => Origin::Sender,
    };
    write(version, &origin, &Notes::default(), &mut header);
    header
}

fn line(origin: &Origin, out: &mut Vec<u8>) {
    out.extend_from_slice(v1::PREFIX);
    let rest = match origin {
        Origin::Sender | Origin::Unknown => "UNKNOWN\r\n".to_owned(),
        Origin::Client { client, server } => {
            let ports = (client.port(), server.port());
            let (family, client, server) = match Family::of(client.ip(), server.ip()) {
                Family::V4(client, server) => ("TCP4", client.to_string(), server.to_string()),
                Family::V6(client, server) => ("TCP6", colons(client), colons(server)),
            };
            format!("{family} {client} {server} {} {}\r\n", ports.0, ports.1)
        }
    };
    out.extend_from_slice(rest.as_bytes());
}

/// An address of IPv6 in hexadecimal digits and colons alone, as version 1 has them.
fn colons(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        Some(v4) => {
            let [a, b, c, d] = v4.octets().map(u16::from);
            format!("::ffff:{:x}:{:x}", (a << 8) | b, (c << 8) | d)
        }
        None => address.to_string(),
    }
}

/// Two addresses of one family: where only one of them is of IPv6, the other is written as such.
enum Family {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Family {
    fn of(client: IpAddr, server: IpAddr) -> Self {
        let mapped = |address| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        match (client.to_canonical(), server.to_canonical()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => Self::V4(client, server),
            (client, server) => Self::V6(mapped(client), mapped(server)),
        }
    }
}

fn binary(origin: &Origin, notes: &Notes<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&v2::SIGNATURE);
    let command = if *origin == Origin::Sender { v2::LOCAL } else { v2::PROXY };
    out.extend_from_slice(&[command, v2::UNSPECIFIED, 0, 0]);
    match origin {
        // Nothing is to follow the one, and behind the other nobody could tell where entries begin.
        Origin::Sender | Origin::Unknown => return,
        Origin::Client { client, server } => {
            out[start + v2::SIGNATURE.len() + 1] = match Family::of(client.ip(), server.ip()) {
                Family::V4(client, server) => {
                    out.extend_from_slice(&client.octets());
                    out.extend_from_slice(&server.octets());
                    v2::TCP_OVER_IPV4
                }
                Family::V6(client, server) => {
                    out.extend_from_slice(&client.octets());
                    out.extend_from_slice(&server.octets());
                    v2::TCP_OVER_IPV6
                }
            };
            out.extend_from_slice(&client.port().to_be_bytes());
            out.extend_from_slice(&server.port().to_be_bytes());
        }
    }
    put_notes(notes, out);
    tlv::put(tlv::CRC32C, &[0; size_of::<u32>()], out);
    let length = u16::try_from(out.len() - start - v2::FIXED_BYTES).unwrap_or_default();
    out[start + v2::SIGNATURE.len() + 2..start + v2::FIXED_BYTES].copy_from_slice(&length.to_be_bytes());
    let at = out.len() - start - size_of::<u32>();
    let checksum = tlv::of_whole(&out[start..], at);
    out[start + at..].copy_from_slice(&checksum.to_be_bytes());
}

fn put_notes(notes: &Notes<'_>, out: &mut Vec<u8>) {
    let texts = [(tlv::ALPN, notes.alpn), (tlv::AUTHORITY, notes.authority.map(str::as_bytes))];
    for (kind, value) in texts.into_iter().filter_map(|(kind, value)| Some((kind, value?))) {
        if (1..=TEXT_BYTES_MAX).contains(&value.len()) {
            tlv::put(kind, value, out);
        }
    }
    if let Some(id) = notes.unique_id.filter(|id| (1..=UNIQUE_ID_BYTES_MAX).contains(&id.len())) {
        tlv::put(tlv::UNIQUE_ID, id, out);
    }
    if let Some(Tls { version, certified }) = notes.tls {
        let flags = if certified { tlv::CLIENT_SSL | tlv::CLIENT_CERT_CONN } else { tlv::CLIENT_SSL };
        let mut value = vec![flags];
        value.extend_from_slice(&u32::from(!certified).to_be_bytes());
        if let Some(version) = version.filter(|version| (1..=TEXT_BYTES_MAX).contains(&version.len())) {
            tlv::put(tlv::SSL_VERSION, version.as_bytes(), &mut value);
        }
        tlv::put(tlv::SSL, &value, out);
    }
}
