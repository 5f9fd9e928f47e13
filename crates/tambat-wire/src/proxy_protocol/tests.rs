use std::net::IpAddr;

use proptest::prelude::*;
use tambat_model::ProxyProtocol::{V1, V2};

use super::crc32c::crc32c;
use super::*;

fn found(bytes: &[u8]) -> Header<'_> {
    match peek(bytes) {
        Peek::Found(header) => header,
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn client(client: &str, server: &str) -> Origin {
    Origin::Client { client: client.parse().unwrap(), server: server.parse().unwrap() }
}

/// A header of version 2: command, family, and what follows.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, block].concat()
}

/// 192.0.2.1:4711 that has dialled 198.51.100.2:443, over TCP, and these entries.
fn tcp4(entries: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb], entries].concat())
}

fn entry(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// With the checksum of the whole behind these entries.
fn with_checksum(entries: &[u8]) -> Vec<u8> {
    let mut header = tcp4(&[entries, &entry(3, &[0; 4])].concat());
    let checksum = crc32c([&header[..]]).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&checksum);
    header
}

#[test]
fn lines_are_read() {
    for (line, origin) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", client("192.0.2.1:4711", "198.51.100.2:443")),
        ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", client("0.0.0.0:0", "255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", client("[2001:db8::1]:1", "[::1]:2")),
        ("PROXY TCP6 2001:0DB8:0:0:0:0:0:A ::1 1 2\r\n", client("[2001:db8::a]:1", "[::1]:2")),
        ("PROXY TCP6 ::ffff:c000:201 ::ffff:198.51.100.2 1 2\r\n", client("192.0.2.1:1", "198.51.100.2:2")),
        ("PROXY UNKNOWN\r\n", Origin::Unknown),
        ("PROXY UNKNOWN \r\n", Origin::Unknown),
        ("PROXY UNKNOWN what ever \x01\x7f\u{1f600} stands here\r\n", Origin::Unknown),
    ] {
        let header = found(line.as_bytes());
        assert_eq!((header.origin, header.len, header.notes), (origin, line.len(), Notes::default()), "{line}");
    }
    let group = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {group} {group} 65535 65535\r\n");
    assert_eq!((longest.len(), found(longest.as_bytes()).origin), (107, Origin::Unknown));
    let longest = format!("PROXY TCP6 {group} {group} 65535 65535\r\n");
    assert_eq!(longest.len(), 104);
    let end = format!("[{group}]:65535");
    assert_eq!(found(longest.as_bytes()).origin, client(&end, &end));
}

#[test]
fn g03_lines_that_are_not_right_are_refused() {
    let addresses = [
        "TCP4 192.0.2.1 198.51.100.2 4711",
        "TCP4 192.0.2.1 198.51.100.2 4711 443 ",
        "TCP4 192.0.2.1 198.51.100.2 4711 443 5",
        "TCP4 192.0.2.1  198.51.100.2 4711 443",
        "TCP4  192.0.2.1 198.51.100.2 4711 443",
        "TCP4 192.0.2.1\t198.51.100.2 4711 443",
        "TCP4 192.0.2.256 198.51.100.2 4711 443",
        "TCP4 192.0.2 198.51.100.2 4711 443",
        "TCP4 192.0.2.01 198.51.100.2 4711 443",
        "TCP4 0xc0.0.2.1 198.51.100.2 4711 443",
        "TCP4 192.0.2.1 198.51.100.02 4711 443",
        "TCP4 192.0.2.1 198.51.100.2 04711 443",
        "TCP4 192.0.2.1 198.51.100.2 4711 0443",
        "TCP4 192.0.2.1 198.51.100.2 4711 00",
        "TCP4 192.0.2.1 198.51.100.2 65536 443",
        "TCP4 192.0.2.1 198.51.100.2 4711 65536",
        "TCP4 192.0.2.1 198.51.100.2 4711 99999999999999999999",
        "TCP4 192.0.2.1 198.51.100.2 -1 443",
        "TCP4 192.0.2.1 198.51.100.2 +4711 443",
        "TCP4 192.0.2.1 198.51.100.2 4711 0x1bb",
        "TCP4 192.0.2.1 198.51.100.2 4711 ",
        "TCP4 localhost 198.51.100.2 4711 443",
        "TCP4 2001:db8::1 ::1 4711 443",
        "TCP6 192.0.2.1 198.51.100.2 4711 443",
        "TCP6 2001:db8::1 198.51.100.2 4711 443",
        "TCP6 2001:db8::1%eth0 ::1 4711 443",
        "TCP6 [2001:db8::1] ::1 4711 443",
        "TCP6 2001:db8:::1 ::1 4711 443",
        "TCP6 2001:db8::1::2 ::1 4711 443",
        "TCP6 2001:db8:0:0:0:0:0:0:1 ::1 4711 443",
        "TCP6 20010:db8::1 ::1 4711 443",
        "TCP4",
        "TCP4 ",
        "TCP4 192.0.2.1\0 198.51.100.2 4711 443",
        "TCP4 192.0.2.1 198.51.100.2 4711 443\0",
    ];
    let protocols =
        ["", " TCP4 192.0.2.1 198.51.100.2 1 2", "TCP", "tcp4 1.2.3.4 5.6.7.8 1 2", "UDP4 1.2.3.4 5.6.7.8 1 2"];
    let protocols = protocols.into_iter().chain(["UNKNOWNS", "TCP44 1.2.3.4 5.6.7.8 1 2", "\0"]);
    let all = addresses.map(|line| (line, Wrong::Addresses));
    for (line, wrong) in all.into_iter().chain(protocols.map(|line| (line, Wrong::Protocol))) {
        assert_eq!(peek(format!("PROXY {line}\r\n").as_bytes()), Peek::Refused(wrong), "{line:?}");
    }
    let good = "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443";
    for (bytes, wrong) in [
        (format!("{good}\n"), Wrong::LineEnd),
        (format!("{good}\r\r\n"), Wrong::LineEnd),
        (format!("{good}\rGET /"), Wrong::LineEnd),
        ("PROXY UNKNOWN\nGET / HTTP/1.1\r\n".to_owned(), Wrong::LineEnd),
        (format!("PROXY UNKNOWN {}\r\n", "f".repeat(92)), Wrong::TooLong),
        (format!("PROXY UNKNOWN {}", "f".repeat(93)), Wrong::TooLong),
        (format!("PROXY {}", "f".repeat(4_096)), Wrong::TooLong),
    ] {
        assert_eq!(peek(bytes.as_bytes()), Peek::Refused(wrong), "{bytes:?}");
    }
    // 107 bytes are a line yet.
    assert_eq!(found(format!("PROXY UNKNOWN {}\r\n", "f".repeat(91)).as_bytes()).len, 107);
}

#[test]
fn g02_whatever_else_begins_a_connection_is_no_header() {
    for other in
        ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\x16\x03\x01", "\n", "proxy ", "PROXY\t"]
    {
        assert_eq!(peek(other.as_bytes()), Peek::Refused(Wrong::Absent), "{other:?}");
    }
    for other in ["PROXX", "\r\n\r\n\0\r\nQUIT\r", "\r\nGET / HTTP/1.1\r\n", "\r\r"] {
        assert_eq!(peek(other.as_bytes()), Peek::Refused(Wrong::Absent), "{other:?}");
    }
    assert_eq!(peek(b""), Peek::Incomplete);
}

#[test]
fn binary_headers_are_read() {
    let header = tcp4(&[]);
    assert_eq!(found(&header).origin, client("192.0.2.1:4711", "198.51.100.2:443"));
    assert_eq!(found(&[&header[..], b"GET / HTTP/1.1\r\n"].concat()).len, 28);
    let ip = |last| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    let block = [ip(1), ip(2), vec![0, 80, 0xff, 0xff]].concat();
    assert_eq!(found(&v2(0x21, 0x21, &block)).origin, client("[2001:db8::1]:80", "[2001:db8::2]:65535"));
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1]].concat();
    let block = [mapped.clone(), mapped, vec![0, 1, 0, 2]].concat();
    assert_eq!(found(&v2(0x21, 0x21, &block)).origin, client("192.0.2.1:1", "192.0.2.1:2"));
}

#[test]
fn g04_local_has_the_real_ends_whatever_else_stands_there() {
    for (family, block) in [(0x00, &[][..]), (0x11, &[1; 12]), (0x11, &[1; 3]), (0xff, &[0xff; 99]), (0x00, &[3, 0, 4])]
    {
        let header = v2(0x20, family, block);
        let expected = Header { len: header.len(), origin: Origin::Sender, notes: Notes::default() };
        assert_eq!(found(&header), expected);
        assert_eq!(peek(&header[..header.len() - 1]), Peek::Incomplete);
    }
}

#[test]
fn kinds_of_addresses_that_say_nothing_here_are_skipped() {
    for (family, bytes) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        let block = [vec![1; bytes], entry(5, b"id")].concat();
        let header = v2(0x21, family, &block);
        assert_eq!((found(&header).origin, found(&header).notes.unique_id), (Origin::Unknown, Some(&b"id"[..])));
        assert_eq!(peek(&v2(0x21, family, &block[..bytes - 1])), Peek::Refused(Wrong::TooShort));
    }
    // Nobody knows where the addresses of this end.
    assert_eq!(found(&v2(0x21, 0x00, &[0xff; 7])).origin, Origin::Unknown);
}

#[test]
fn g04_binary_headers_that_are_not_right_are_refused() {
    let known = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32];
    for family in (0..=0xff_u8).filter(|family| !known.contains(family)) {
        assert_eq!(peek(&v2(0x21, family, &[0; 216])), Peek::Refused(Wrong::Family), "{family:#x}");
    }
    for command in (0..=0xff_u8).filter(|command| !matches!(command, 0x20 | 0x21)) {
        let wrong = if command >> 4 == 2 { Wrong::Command } else { Wrong::Version };
        assert_eq!(peek(&v2(command, 0x11, &[0; 12])), Peek::Refused(wrong), "{command:#x}");
    }
    for bytes in 0..12 {
        assert_eq!(peek(&v2(0x21, 0x11, &vec![0; bytes])), Peek::Refused(Wrong::TooShort));
    }
    for bytes in 12..36 {
        assert_eq!(peek(&v2(0x21, 0x21, &vec![0; bytes])), Peek::Refused(Wrong::TooShort));
    }
    // Refused before the rest has come: nobody has to send it.
    let most = HEADER_BYTES_MAX - 16;
    assert_eq!(peek(&v2(0x20, 0, &vec![0; most + 1])[..16]), Peek::Refused(Wrong::TooLong));
    assert_eq!(peek(&v2(0x21, 0x11, &[0; 3])[..16]), Peek::Refused(Wrong::TooShort));
    assert_eq!(found(&v2(0x20, 0, &vec![0; most])).len, HEADER_BYTES_MAX);
}

#[test]
fn entries_are_read() {
    let ssl = [&[0x07, 0, 0, 0, 0][..], &entry(0x22, b"me"), &entry(0x21, b"TLSv1.3"), &entry(0x23, b"x")].concat();
    let entries = [
        entry(1, b"h2"),
        entry(4, b"any\0thing"),
        entry(2, b"shop.example"),
        entry(5, b"\0\x01\xff"),
        entry(0x20, &ssl),
        entry(0x30, b"netns"),
        entry(0xea, b""),
        entry(0xff, b"?"),
    ];
    let notes = Notes {
        authority: Some("shop.example"),
        alpn: Some(b"h2"),
        unique_id: Some(b"\0\x01\xff"),
        tls: Some(Tls { version: Some("TLSv1.3"), certified: true }),
    };
    assert_eq!(found(&tcp4(&entries.concat())).notes, notes);
    assert_eq!(found(&with_checksum(&entries.concat())).notes, notes);
    let tls =
        |value: &[u8]| found(&tcp4(&entry(0x20, value))).notes.tls.map(|tls| (tls.version.is_some(), tls.certified));
    // Plain, although it is said: no TLS. Without a certificate, or with one that was not verified: not certified.
    assert_eq!(tls(&[0, 0, 0, 0, 0]), None);
    assert_eq!(tls(&[1, 0, 0, 0, 0]), Some((false, false)));
    assert_eq!(tls(&[3, 0, 0, 0, 1]), Some((false, false)));
    assert_eq!(tls(&[5, 0, 0, 0, 0]), Some((false, true)));
    assert_eq!(found(&tcp4(&entry(5, &[b'i'; 128]))).notes.unique_id, Some(&[b'i'; 128][..]));
}

#[test]
fn g04_entries_that_are_not_right_are_refused() {
    let cut = |mut entry: Vec<u8>| {
        entry.pop();
        entry
    };
    for entries in [
        vec![1],
        vec![1, 0],
        cut(entry(4, b"x")),
        cut([entry(1, b"h2"), entry(4, b"x")].concat()),
        vec![4, 0xff, 0xff],
        entry(1, b""),
        entry(2, b""),
        entry(2, b"\xff\xfe"),
        entry(2, b"a\r\nb"),
        entry(5, b""),
        entry(5, &[b'i'; 129]),
        entry(3, &[0; 3]),
        entry(3, &[0; 5]),
        entry(3, b""),
        [entry(1, b"h2"), entry(1, b"h2")].concat(),
        [entry(2, b"a"), entry(2, b"b")].concat(),
        [entry(5, b"a"), entry(5, b"a")].concat(),
        entry(0x20, b""),
        entry(0x20, &[1, 0, 0, 0]),
        entry(0x20, &[1, 0, 0, 0, 0, 0x21, 0]),
        entry(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9, b'T']),
        entry(0x20, &[&[1, 0, 0, 0, 0][..], &entry(0x21, b"")].concat()),
        entry(0x20, &[&[1, 0, 0, 0, 0][..], &entry(0x21, b"\n")].concat()),
        [entry(0x20, &[1, 0, 0, 0, 0]), entry(0x20, &[1, 0, 0, 0, 0])].concat(),
    ] {
        assert_eq!(peek(&tcp4(&entries)), Peek::Refused(Wrong::Entry), "{entries:?}");
    }
    let twice = with_checksum(&entry(3, &[0; 4]));
    assert_eq!(peek(&twice), Peek::Refused(Wrong::Entry));
}

#[test]
fn g04_a_checksum_is_that_of_every_bit() {
    let good = with_checksum(&[entry(4, b"padding"), entry(5, b"id")].concat());
    assert_eq!(found(&good).len, good.len());
    for nth in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[nth / 8] ^= 1 << (nth % 8);
        // What makes LOCAL of it makes all of it mean nothing, and of what is no checksum any more nothing can be said.
        let is_seen = bad[12] != 0x20 && nth / 8 != good.len() - 7;
        assert!(!is_seen || !matches!(peek(&bad), Peek::Found(_)), "bit {nth}");
    }
    let mut zeros = good;
    let at = zeros.len() - 4;
    zeros[at..].fill(0);
    assert_eq!(peek(&zeros), Peek::Refused(Wrong::Checksum));
}

#[test]
fn g05_a_header_is_found_wherever_it_is_split() {
    let notes = [entry(1, b"h2"), entry(2, b"shop.example"), entry(0x20, &[1, 0, 0, 0, 1])].concat();
    for header in
        [b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(), tcp4(&[]), with_checksum(&notes), v2(0x20, 0, b"x")]
    {
        let all = [&header[..], b"GET / HTTP/1.1\r\n\r\nPROXY UNKNOWN\r\n"].concat();
        for end in 0..header.len() {
            assert_eq!(peek(&all[..end]), Peek::Incomplete, "{end} of {}", header.len());
        }
        let whole = found(&header);
        assert_eq!(whole.len, header.len());
        for end in header.len()..=all.len() {
            assert_eq!(peek(&all[..end]), Peek::Found(whole));
        }
    }
}

#[test]
fn what_is_written_is_what_the_standard_shows() {
    let written = |version, origin: &Origin| {
        let mut out = b"before".to_vec();
        write(version, origin, &Notes::default(), &mut out);
        out.split_off("before".len())
    };
    let text = |origin| String::from_utf8(written(V1, &origin)).unwrap();
    assert_eq!(
        text(client("192.168.0.1:56324", "192.168.0.11:443")),
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    );
    assert_eq!(text(client("[2001:db8::1]:1", "[::1]:2")), "PROXY TCP6 2001:db8::1 ::1 1 2\r\n");
    assert_eq!(text(client("[::ffff:1.2.3.4]:1", "5.6.7.8:2")), "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n");
    assert_eq!(text(client("192.0.2.1:1", "[2001:db8::1]:2")), "PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n");
    assert_eq!((text(Origin::Unknown), text(Origin::Sender)), ("PROXY UNKNOWN\r\n".into(), "PROXY UNKNOWN\r\n".into()));
    assert_eq!(written(V2, &Origin::Sender), v2(0x20, 0, &[]));
    assert_eq!(written(V2, &Origin::Unknown), v2(0x21, 0, &[]));
    assert_eq!(written(V2, &client("192.0.2.1:4711", "198.51.100.2:443")), with_checksum(&[]));
}

#[test]
fn a_connection_of_our_own_says_so_where_that_can_be_said() {
    let (local, server) = ("127.0.0.1:4711".parse().unwrap(), "127.0.0.1:20000".parse().unwrap());
    assert_eq!(own_header(V1, local, server), b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 20000\r\n");
    assert_eq!(own_header(V2, local, server), v2(0x20, 0, &[]));
}

#[test]
fn what_is_too_long_to_be_sent_is_left_out() {
    let long = "a".repeat(256);
    let notes = Notes {
        authority: Some(&long),
        alpn: Some(long.as_bytes()),
        unique_id: Some(&long.as_bytes()[..129]),
        tls: Some(Tls { version: Some(&long), certified: false }),
    };
    let mut out = Vec::new();
    write(V2, &client("1.2.3.4:5", "6.7.8.9:10"), &notes, &mut out);
    assert_eq!(found(&out).notes, Notes { tls: Some(Tls { version: None, certified: false }), ..Notes::default() });
    let most = "a".repeat(255);
    let notes = Notes {
        authority: Some(&most),
        alpn: Some(most.as_bytes()),
        unique_id: Some(&most.as_bytes()[..128]),
        tls: Some(Tls { version: Some(&most), certified: true }),
    };
    out.clear();
    write(V2, &client("[::1]:5", "[::2]:10"), &notes, &mut out);
    assert_eq!(found(&out).notes, notes);
    assert!(out.len() <= 1_220, "{}: not below the smallest segment of IPv6", out.len());
}

prop_compose! {
    fn any_origin()(
        kind in 0..4, client: (std::net::Ipv4Addr, std::net::Ipv6Addr, u16), server: (std::net::Ipv4Addr, std::net::Ipv6Addr, u16),
    ) -> Origin {
        let end = |end: (std::net::Ipv4Addr, std::net::Ipv6Addr, u16), is_v4| {
            SocketAddr::new(if is_v4 { end.0.into() } else { IpAddr::from(end.1).to_canonical() }, end.2)
        };
        match kind {
            0 => Origin::Unknown,
            1 => Origin::Sender,
            _ => Origin::Client { client: end(client, kind == 2), server: end(server, kind == 2 || client.2 % 2 == 0) },
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        origin in any_origin(), authority in proptest::option::of("[a-z.]{1,255}"),
        alpn in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..256)),
        unique_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..129)),
        tls in proptest::option::of((proptest::option::of("[A-Za-z0-9.]{1,10}"), any::<bool>())),
        behind in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let notes = Notes {
            authority: authority.as_deref(),
            alpn: alpn.as_deref(),
            unique_id: unique_id.as_deref(),
            tls: tls.as_ref().map(|(version, certified)| Tls { version: version.as_deref(), certified: *certified }),
        };
        for version in [V1, V2] {
            let mut out = Vec::new();
            write(version, &origin, &notes, &mut out);
            let len = out.len();
            out.extend_from_slice(&behind);
            let header = found(&out);
            let said = match (version, origin) {
                (V1, Origin::Sender) => Origin::Unknown,
                (_, origin) => origin,
            };
            let noted = if version == V2 && matches!(origin, Origin::Client { .. }) { notes } else { Notes::default() };
            prop_assert_eq!(header, Header { len, origin: said, notes: noted });
        }
    }

    #[test]
    fn a_word_is_kept_when_more_bytes_follow(
        start in prop_oneof![
            Just(vec![]), Just(b"PROXY ".to_vec()), Just(b"PROXY TCP4 ".to_vec()), Just(b"\r\n\r\n\0\r\nQUIT\n!".to_vec()),
            Just(v2(0x21, 0x11, &[0; 20])), Just(tcp4(&entry(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 1, b'T']))),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        let bytes = [start, rest].concat();
        let mut word = Peek::Incomplete;
        for end in 0..=bytes.len() {
            let now = peek(&bytes[..end]);
            if word != Peek::Incomplete {
                prop_assert_eq!(now, word);
            }
            if let Peek::Found(header) = now {
                prop_assert!((15..=HEADER_BYTES_MAX).contains(&header.len) && header.len <= end);
            }
            word = now;
        }
        let more = [&bytes[..], &[b'-'; 2 * HEADER_BYTES_MAX]].concat();
        prop_assert_ne!(peek(&more), Peek::Incomplete);
    }
}
