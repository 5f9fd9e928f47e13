use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::sample::days;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What a client that trusts this root says of the certificate.
fn verified(root: &Root, certificate: &Certificate, name: &str, now: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.der().to_vec())).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let name = ServerName::try_from(name).unwrap();
    let now = UnixTime::since_unix_epoch(moment::since(now, SystemTime::UNIX_EPOCH));
    let chain = &certificate.key().cert;
    verifier.build().unwrap().verify_server_cert(&chain[0], &[], &name, &[], now).map(|_| ())
}

#[test]
fn one_ca_is_made_and_found_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state/ca");
    assert_eq!(LocalCa::roots(&dir).unwrap(), [], "looking makes nothing");
    assert!(!dir.exists());
    let (made, opened) = LocalCa::open(&dir, days(0)).unwrap();
    assert_eq!(opened, Opened::Made);
    let (found, opened) = LocalCa::open(&dir, days(3_000)).unwrap();
    assert_eq!(opened, Opened::Found);
    assert_eq!(made.root(), found.root());
    assert_eq!((mode(&dir), mode(&dir.join("ca-1.pem")), mode(made.root().path())), (0o700, 0o600, 0o644));
    assert_eq!(fs::read_to_string(made.root().path()).unwrap(), made.root().pem());
    assert!(!made.root().pem().contains("KEY"));
    assert_eq!(made.root().fingerprint().len(), 32 * 3 - 1);
    assert!(made.root().subject().contains("CN=tambat local CA "), "{}", made.root().subject());
    assert_eq!(LocalCa::roots(&dir).unwrap(), [made.root().clone()]);
}

#[test]
fn two_that_start_together_have_one_ca() {
    let temp = tempfile::tempdir().unwrap();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| LocalCa::open(temp.path(), days(0)).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let first = opened[0].0.root().fingerprint();
    assert!(opened.iter().all(|(ca, _)| ca.root().fingerprint() == first));
    assert_eq!(opened.iter().filter(|(_, how)| *how == Opened::Made).count(), 1);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
}

#[test]
fn what_it_signs_is_what_clients_take() {
    let temp = tempfile::tempdir().unwrap();
    let (ca, _) = LocalCa::open(temp.path(), days(0)).unwrap();
    let of = |name: &str| ca.certificate(name, days(1)).unwrap();
    let check = |certificate: &Certificate, name: &str| verified(ca.root(), certificate, name, days(1));
    for name in ["localhost", "shop.localhost", "web.shop.localhost", "shop.test", "my_app.localhost"] {
        assert_eq!(of(name).covers(), [name.parse().unwrap()], "one name each");
    }
    check(&of("web.shop.localhost"), "web.shop.localhost").unwrap();
    check(&of("shop.test"), "shop.test").unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        check(&of("localhost"), name).unwrap();
    }
    assert!(check(&of("shop.localhost"), "localhost").is_err());
    assert!(check(&of("shop.localhost"), "127.0.0.1").is_err());
    assert!(verified(ca.root(), &of("localhost"), "localhost", days(9)).is_err(), "it is short-lived");
    for name in ["example.com", "xlocalhost", "test", "*.localhost", ".localhost", "a..test", "127.0.0.1", ""] {
        assert!(!LocalCa::signs(name), "{name}");
        assert!(ca.certificate(name, days(1)).is_err(), "{name}");
    }
}

#[test]
fn a_stolen_key_opens_no_other_site() {
    let temp = tempfile::tempdir().unwrap();
    let (ca, _) = LocalCa::open(temp.path(), days(0)).unwrap();
    let forged = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        sign::set_lifetime(&mut params, Lifetime { not_before: days(0), not_after: days(2) });
        let key = sign::new_key().unwrap();
        let certificate = params.signed_by(&key, &ca.issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Certificate::from_parts(vec![certificate.der().clone()], &key, crate::Origin::Local).unwrap()
    };
    verified(ca.root(), &forged("a.localhost"), "a.localhost", days(1)).unwrap();
    for name in ["bank.example.com", "192.0.2.1", "localhost.example.com"] {
        let refused = verified(ca.root(), &forged(name), name, days(1)).unwrap_err();
        assert!(format!("{refused:?}").contains("NameConstraint"), "{name}: {refused:?}");
    }
    let critical = crate::certificate::with_parsed(ca.root().der(), |root| {
        let is_constraint = |parsed: &ParsedExtension<'_>| matches!(parsed, ParsedExtension::NameConstraints(_));
        root.extensions().iter().any(|e| e.critical && is_constraint(e.parsed_extension()))
    });
    assert!(critical.unwrap());
}

#[test]
fn an_expired_ca_has_a_successor_and_stays() {
    let temp = tempfile::tempdir().unwrap();
    let (old, _) = LocalCa::open(temp.path(), days(0)).unwrap();
    let (new, opened) = LocalCa::open(temp.path(), days(3_651)).unwrap();
    assert_eq!(opened, Opened::Replaced { expired: old.root().clone() });
    assert_ne!(new.root().fingerprint(), old.root().fingerprint());
    assert_ne!(new.root().subject(), old.root().subject());
    assert_eq!(LocalCa::roots(temp.path()).unwrap(), [new.root().clone(), old.root().clone()]);
    assert_eq!(fs::read_to_string(new.root().path()).unwrap(), new.root().pem());
    assert_eq!(LocalCa::open(temp.path(), days(3_651)).unwrap().1, Opened::Found);
}

#[test]
fn what_is_wrong_with_a_ca_is_said_and_nothing_replaces_it() {
    let temp = tempfile::tempdir().unwrap();
    let (other, _) = LocalCa::open(&temp.path().join("other"), days(0)).unwrap();
    let dir = temp.path().join("ca");
    LocalCa::open(&dir, days(0)).unwrap();
    let path = dir.join("ca-1.pem");
    let good = fs::read_to_string(&path).unwrap();
    let key_at = good.find("-----BEGIN PRIVATE").unwrap();
    let said = |text: &str, mode: u32, now| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = LocalCa::open(&dir, now).unwrap_err().to_string();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        error.replace(&path.display().to_string(), "PATH")
    };
    let mixed = format!("{}{}", other.root().pem(), &good[key_at..]);
    let all = [
        said("", 0o600, days(0)),
        said(&good[..key_at], 0o600, days(0)),
        said(&mixed, 0o600, days(0)),
        said(&"x".repeat(70_000), 0o600, days(0)),
        said(&good, 0o644, days(0)),
        said(&good, 0o600, days(0) - CA_BACKDATED - Duration::from_mins(1)),
    ];
    insta::assert_snapshot!(all.join("\n"));
}
