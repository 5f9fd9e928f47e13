use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::certificate::Origin;
use crate::sample;
use crate::{moment, news::News};

/// A lifetime around now, since the store looks at the clock.
fn lifetime() -> (SystemTime, SystemTime) {
    let now = SystemTime::now();
    (moment::earlier(now, Duration::from_hours(24)), moment::later(now, Duration::from_hours(24 * 60)))
}

fn written(dir: &std::path::Path, stem: &str, names: &[&str]) -> FilePair {
    let (from, until) = lifetime();
    let made = sample::self_signed(names, from, until);
    let pair = FilePair { chain: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}.key")) };
    fs::write(&pair.chain, made.chain).unwrap();
    fs::write(&pair.key, made.key).unwrap();
    pair
}

fn store(files: Vec<FilePair>, local: Option<LocalCa>) -> (Arc<Store>, Driver, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let report: Report = Arc::new(move |news: &News| heard.lock().unwrap().push(news.to_string()));
    let (store, driver) = Store::new(StoreSettings { files, local, acme: None, report }, SystemTime::now()).unwrap();
    (store, driver, said)
}

#[test]
fn files_come_before_the_local_ca() {
    let temp = tempfile::tempdir().unwrap();
    let (ca, _) = LocalCa::open(&temp.path().join("ca"), SystemTime::now()).unwrap();
    let root = ca.root().clone();
    let file = written(temp.path(), "a", &["shop.localhost", "shop.example.com"]);
    let (with_files, _driver, said) = store(vec![file], Some(ca));
    let origin = |store: &Store, name| store.find(name).map(|found| found.origin());
    assert_eq!(origin(&with_files, Some("shop.localhost")), Some(Origin::File));
    assert_eq!(origin(&with_files, Some("shop.example.com")), Some(Origin::File));
    assert_eq!(origin(&with_files, Some("web.localhost")), Some(Origin::Local));
    assert_eq!(origin(&with_files, Some("web.example.com")), None);
    assert_eq!(origin(&with_files, None), Some(Origin::File));
    assert_eq!(with_files.local_root(), Some(&root));
    assert!(with_files.obtain("shop.example.com").is_none(), "there is no ACME CA");
    assert!(said.lock().unwrap().is_empty());

    let (ca, _) = LocalCa::open(&temp.path().join("ca"), SystemTime::now()).unwrap();
    let (local, _driver, _) = store(Vec::new(), Some(ca));
    assert!(local.find(None).unwrap().covers_name("localhost"));
    let (empty, _driver, _) = store(Vec::new(), None);
    assert_eq!((origin(&empty, None), origin(&empty, Some("localhost"))), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_driver_reads_files_that_change() {
    let temp = tempfile::tempdir().unwrap();
    let pair = written(temp.path(), "a", &["a.example"]);
    let (store, driver, said) = store(vec![pair], None);
    let running = tokio::spawn(driver.run());
    assert!(store.find(Some("a.example")).is_some());
    written(temp.path(), "a", &["b.example"]);
    tokio::time::sleep(FILES_LOOK_EVERY_TWICE).await;
    assert!(store.find(Some("a.example")).is_none() && store.find(Some("b.example")).is_some());
    let other = written(temp.path(), "c", &["c.example"]);
    store.set_files(vec![other.clone()]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(store.find(Some("b.example")).is_none() && store.find(Some("c.example")).is_some());
    assert_eq!(store.status().files.len(), 1);
    assert_eq!(store.status().files[0].pair, other);
    fs::write(&other.key, "broken").unwrap();
    tokio::time::sleep(FILES_LOOK_EVERY_TWICE).await;
    assert!(store.find(Some("c.example")).is_some());
    assert!(store.status().files[0].error.is_some());
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 2, "{said:?}");
    running.abort();
}

/// Until a change is seen at rest.
const FILES_LOOK_EVERY_TWICE: Duration = Duration::from_secs(11);

#[test]
fn only_names_of_routes_are_obtained() {
    let names: BTreeSet<HostPattern> = ["a.example", "*.b.example"].iter().map(|name| name.parse().unwrap()).collect();
    for (name, routed) in [("a.example", true), ("x.y.b.example", true), ("b.example", false), ("c.example", false)] {
        assert_eq!(is_routed(&names, name), routed, "{name}");
    }
    assert!(is_routed(&[HostPattern::Any].into(), "c.example"));
}
