use super::*;
use crate::peek::Peek;
use crate::peek::xmpp::stream_header;

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='chat.example' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

const WISH: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

fn begun() -> StartTls {
    let Peek::Found(Ok(header)) = stream_header(HEADER.as_bytes()) else { panic!("it is one") };
    StartTls::begin(&header, "id").unwrap().0
}

/// What is done by these bytes, whole; they are fed byte by byte, too, and nothing is done before the last.
fn done(bytes: &str) -> StartTlsStep {
    let whole = begun().on(bytes.as_bytes());
    let mut bit_by_bit = begun();
    for end in 0..bytes.len() {
        match bit_by_bit.on(&bytes.as_bytes()[..end]) {
            StartTlsStep::Incomplete => {}
            early => assert_eq!(early, whole, "{}", &bytes[..end]),
        }
    }
    assert_eq!(bit_by_bit.on(bytes.as_bytes()), whole, "{bytes}");
    whole
}

fn error(step: StartTlsStep) -> String {
    let StartTlsStep::Close(said) = step else { panic!("{step:?}") };
    let said = String::from_utf8(said).unwrap();
    let condition = said.strip_prefix("<stream:error><").unwrap_or_else(|| panic!("{said}"));
    assert!(said.ends_with("</stream:error></stream:stream>"), "{said}");
    condition.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn the_offer_is_a_stream_and_tls_alone() {
    let Peek::Found(Ok(header)) = stream_header(HEADER.as_bytes()) else { panic!("it is one") };
    let (_, offer) = StartTls::begin(&header, "17").unwrap();
    let offer = String::from_utf8(offer).unwrap();
    let Peek::Found(Ok(ours)) = stream_header(offer.as_bytes()) else { panic!("{offer}") };
    assert_eq!((ours.from.as_deref(), ours.version), (Some("chat.example"), Some((1, 0))));
    assert_eq!(
        &offer[ours.len..],
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    );
}

#[test]
fn a_stream_without_a_version_has_no_offers() {
    for version in ["", " version='0.9'"] {
        let old = HEADER.replace(" version='1.0'>", &format!("{version}>"));
        let Peek::Found(Ok(header)) = stream_header(old.as_bytes()) else { panic!("it is one") };
        let said = String::from_utf8(StartTls::begin(&header, "17").unwrap_err()).unwrap();
        assert!(said.contains("<unsupported-version ") && said.ends_with("</stream:stream>"), "{said}");
    }
    let newer = HEADER.replace("version='1.0'>", "version='2.0'>");
    let Peek::Found(Ok(header)) = stream_header(newer.as_bytes()) else { panic!("it is one") };
    assert!(StartTls::begin(&header, "17").is_ok(), "it is answered with the version that we have");
}

#[test]
fn who_asks_for_tls_gets_it() {
    for wish in [
        WISH,
        "\n <starttls xmlns=\"urn:ietf:params:xml:ns:xmpp-tls\"/>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></starttls>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' > </starttls >",
        "<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'></t:starttls>",
    ] {
        assert_eq!(done(wish), StartTlsStep::Handshake(PROCEED), "{wish}");
    }
}

#[test]
fn what_stands_behind_the_wish_for_tls_closes_the_connection() {
    for injected in ["<", " ", "\n", "\u{16}\u{3}\u{1}", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", WISH] {
        let together = [WISH, injected].concat();
        assert_eq!(error(begun().on(together.as_bytes())), "policy-violation", "{injected:?}");
        // Behind the answer, but before it was said that the handshake begins.
        let mut later = begun();
        assert_eq!(later.on(WISH.as_bytes()), StartTlsStep::Handshake(PROCEED));
        assert!(matches!(later.on(together.as_bytes()), StartTlsStep::Close(_)), "{injected:?}");
    }
}

#[test]
fn nothing_else_comes_before_tls() {
    for (said, condition) in [
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>", "policy-violation"),
        ("<iq type='get' id='1'>", "policy-violation"),
        ("<starttls/>", "policy-violation"),
        ("<starttls xmlns='urn:x'/>", "policy-violation"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>", "policy-violation"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></stream:stream>", "not-well-formed"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>x", "not-well-formed"),
        ("hello", "not-well-formed"),
        ("</iq>", "not-well-formed"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' <", "not-well-formed"),
        ("<!-- x -->", "restricted-xml"),
        ("<?x y?>", "restricted-xml"),
        ("<!DOCTYPE x>", "restricted-xml"),
    ] {
        assert_eq!(error(done(said)), condition, "{said}");
    }
    assert_eq!(done("</stream:stream>"), StartTlsStep::Close(END_OF_STREAM.to_vec()));
}

#[test]
fn a_client_that_never_asks_is_not_listened_to_for_ever() {
    for endless in [" ", "<iq a='", "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'> "] {
        let endless = endless.to_owned() + &" ".repeat(BEFORE_TLS_BYTES_MAX + 1);
        assert_eq!(error(begun().on(endless.as_bytes())), "policy-violation");
        let mut door = begun();
        let told = (0..endless.len()).position(|end| door.on(&endless.as_bytes()[..end]) != StartTlsStep::Incomplete);
        assert_eq!(told, Some(BEFORE_TLS_BYTES_MAX + 1));
    }
}
