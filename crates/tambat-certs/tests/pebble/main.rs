//! Certificates end to end against pebble, the ACME CA that tests its clients: it rejects two of five good nonces, as a
//! real one may (RFC 8555 §6.5), and forgets all accounts and orders when it ends.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod answers;
mod ca;
mod world;

use std::time::Duration;

use tambat_certs::{AskUrl, Eab, Offered, Origin};

use answers::Asked;
use ca::{Binding, Pebble};
use world::World;

/// Nothing here takes longer: nonces that are rejected again and again cost a second each.
const WITHIN: Duration = Duration::from_mins(1);

const HTTP_ONLY: Offered = Offered { http01: true, tls_alpn01: false };
const ALPN_ONLY: Offered = Offered { http01: false, tls_alpn01: true };
const NEITHER: Offered = Offered { http01: false, tls_alpn01: false };

#[tokio::test]
async fn http_01() {
    let mut world = World::start(Binding::None);
    let store = world.store(|acme| acme.offered = HTTP_ONLY);
    world.names(&["a.example", "b.example", "web.localhost"]);
    let certificate = world.certificate("a.example", WITHIN).await;
    assert_eq!((certificate.origin(), certificate.covers()), (Origin::Acme, &["a.example".parse().unwrap()][..]));
    assert!(certificate.lifetime().contains(std::time::SystemTime::now()));
    world.is_signed_by_the_ca(&certificate).await;
    world.certificate("b.example", WITHIN).await;
    assert!(world.heard().iter().any(|said| said.starts_with("made an account")), "{:?}", world.heard());
    assert!(world.asked().iter().all(|asked| matches!(asked, Asked::Http { .. })));
    assert!(store.find(Some("web.localhost")).is_none(), "no CA signs for it, and nothing else is there");
    let names: Vec<String> = store.status().acme.iter().map(|of| of.name.to_string()).collect();
    assert_eq!(names, ["a.example", "b.example"]);
    assert!(store.status().acme.iter().all(|of| of.next_order.is_some() && of.last_error.is_none()));
    world.kept_for_its_user_alone();
}

#[tokio::test]
async fn tls_alpn_01() {
    let mut world = World::start(Binding::None);
    world.store(|acme| acme.offered = ALPN_ONLY);
    world.names(&["a.example"]);
    let certificate = world.certificate("a.example", WITHIN).await;
    world.is_signed_by_the_ca(&certificate).await;
    assert!(world.asked().contains(&Asked::Alpn("a.example".into())));
}

#[tokio::test]
async fn dns_01_for_a_wildcard_and_its_base() {
    let mut world = World::start(Binding::None);
    let hook = world.hook();
    let store = world.store(|acme| (acme.offered, acme.dns_hook) = (NEITHER, Some(hook)));
    world.names(&["*.a.example", "a.example"]);
    let wildcard = world.certificate("x.a.example", WITHIN).await;
    assert_eq!(wildcard.covers(), ["*.a.example".parse().unwrap()]);
    world.is_signed_by_the_ca(&wildcard).await;
    world.certificate("a.example", WITHIN).await;
    assert!(store.find(Some("y.x.a.example")).is_none());
    let hooked = world.hooked();
    for verb in ["present", "cleanup"] {
        assert_eq!(hooked.iter().filter(|line| line.starts_with(verb)).count(), 2, "{hooked:?}");
    }
    assert!(hooked.iter().all(|line| line.contains(" _acme-challenge.a.example. ")), "{hooked:?}");
}

#[tokio::test]
async fn a_way_that_fails_gives_the_next_one_its_turn() {
    let mut world = World::start(Binding::None);
    world.refuse_http();
    let store = world.store(|acme| acme.offered = Offered { http01: true, tls_alpn01: true });
    world.names(&["a.example"]);
    world.until(WITHIN, || store.status().acme.iter().any(|of| of.failures == 1)).await;
    let status = store.status().acme[0].clone();
    let error = status.last_error.unwrap();
    assert!(error.contains("HTTP-01") && error.contains("404"), "{error}");
    assert!(status.next_order.is_some());
    // The next try is minutes away, but for whoever has forgotten the failure.
    world.forget_failures();
    world.store(|acme| acme.offered = ALPN_ONLY);
    world.names(&["a.example"]);
    world.certificate("a.example", WITHIN).await;
}

#[tokio::test]
async fn an_account_that_belongs_to_a_customer() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut world = World::start(Binding::Required { key_id: "kid-1", key });
    let store = world.store(|_| {});
    world.names(&["a.example"]);
    world.until(WITHIN, || store.status().acme.iter().any(|of| of.last_error.is_some())).await;
    let error = store.status().acme[0].last_error.clone().unwrap();
    assert!(error.contains("account"), "{error}");
    world.forget_failures();
    world.store(|acme| acme.eab = Some(Eab::new("kid-1", key).unwrap()));
    world.names(&["a.example"]);
    world.certificate("a.example", WITHIN).await;
}

#[tokio::test]
async fn a_ca_that_is_killed_in_the_middle_and_comes_back() {
    let mut world = World::start(Binding::None);
    let store = world.store(|acme| acme.offered = HTTP_ONLY);
    world.names(&["a.example"]);
    let first = world.certificate("a.example", WITHIN).await;
    // It ends when it looks for the challenge of the next name.
    world.kill_at_next_challenge();
    world.names(&["a.example", "b.example"]);
    world.until(WITHIN, || store.status().ca.as_ref().is_some_and(|ca| ca.away.is_some())).await;
    assert!(world.pebble_has_ended());
    assert!(std::sync::Arc::ptr_eq(&store.find(Some("a.example")).unwrap(), &first), "it serves on");
    assert!(store.find(Some("b.example")).is_none());
    let waiting = store.obtain("b.example").expect("a route takes it").await;
    assert!(waiting.is_none(), "nobody waits for a CA that is away");
    world.restart_pebble();
    let second = world.certificate("b.example", WITHIN).await;
    world.is_signed_by_the_ca(&second).await;
    assert!(store.status().ca.as_ref().is_some_and(|ca| ca.away.is_none()));
    let heard = world.heard();
    let count = |what: &str| heard.iter().filter(|said| said.contains(what)).count();
    assert_eq!((count("it is tried again and again"), count("is back")), (1, 1), "{heard:?}");
    assert_eq!(count("made an account"), 2, "the CA has forgotten the first: {heard:?}");
}

#[tokio::test]
async fn what_was_kept_is_served_at_once_and_renewed_when_it_is_due() {
    let mut world = World::start(Binding::None);
    world.store(|acme| acme.offered = HTTP_ONLY);
    world.names(&["a.example"]);
    let first = world.certificate("a.example", WITHIN).await;
    // With the CA away, a new store serves what is there.
    world.kill_pebble();
    let store = world.store(|acme| acme.offered = HTTP_ONLY);
    world.names(&["a.example"]);
    let again = world.certificate("a.example", Duration::from_secs(10)).await;
    assert_eq!(again.key().cert, first.key().cert);
    // One whose time is nearly over is served, and replaced.
    world.restart_pebble();
    world.age("a.example");
    let store_of_old = world.store(|acme| acme.offered = HTTP_ONLY);
    world.names(&["a.example"]);
    let old = world.certificate("a.example", Duration::from_secs(10)).await;
    let is_new = || store_of_old.find(Some("a.example")).is_some_and(|now| now.key().cert != old.key().cert);
    world.until(WITHIN, is_new).await;
    world.is_signed_by_the_ca(&store_of_old.find(Some("a.example")).unwrap()).await;
    drop(store);
}

#[tokio::test]
async fn on_demand_only_what_is_allowed_and_asked_for_once() {
    let mut world = World::start(Binding::None);
    let ask: AskUrl = world.ask_url(&["x.example"]).parse().unwrap();
    let store = world.store(|acme| (acme.offered, acme.ask) = (HTTP_ONLY, Some(ask)));
    world.names(&["*"]);
    let obtain = |name: &str| store.obtain(name).expect("a route takes every name");
    let (one, two, denied) = tokio::join!(obtain("x.example"), obtain("x.example"), obtain("y.example"));
    let (one, two) = (one.expect("allowed"), two.expect("allowed"));
    assert!(std::sync::Arc::ptr_eq(&one, &two), "one order for both");
    assert!(one.covers_name("x.example") && denied.is_none());
    assert!(std::sync::Arc::ptr_eq(&store.find(Some("x.example")).unwrap(), &one));
    assert!(obtain("y.example").await.is_none());
    assert!(obtain("web.localhost").await.is_none() && obtain("not a name").await.is_none());
    let asked: Vec<_> = world.asked().into_iter().filter(|asked| matches!(asked, Asked::Ask(_))).collect();
    assert_eq!(asked.len(), 2, "once each: {asked:?}");
    // A new store finds it on the disk, asks nobody, and needs no CA.
    world.kill_pebble();
    let ask: AskUrl = world.ask_url(&[]).parse().unwrap();
    let store = world.store(|acme| (acme.offered, acme.ask) = (HTTP_ONLY, Some(ask)));
    world.names(&["*"]);
    let kept = store.obtain("x.example").expect("a route takes every name").await.expect("it is kept");
    assert_eq!(kept.key().cert, one.key().cert);
}

#[test]
fn pebble_is_there() {
    assert!(Pebble::is_installed(), "cannot run these tests without pebble: apt-get install pebble");
}
