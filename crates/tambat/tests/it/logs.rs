//! `tambat logs`: while the app runs and afterwards.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{AppDir, LIMIT, Running, until};

const TALKERS: &str = "web: tambat-fixture say one two; exec tambat-fixture serve\n\
                       worker: tambat-fixture stderr oops; exec tambat-fixture park\n";

fn talkers(args: &[&str]) -> (AppDir, Running) {
    let app = AppDir::procfile(TALKERS);
    let running = app.start(args);
    running.ready(&["web"]);
    running.line("oops");
    (app, running)
}

/// The lines without time, name and bar.
fn texts(stdout: &str) -> Vec<&str> {
    stdout.lines().map(|line| line.split_once("| ").unwrap().1).collect()
}

#[test]
fn of_all_of_one_process_of_one_instance_and_the_last_ones() {
    let (app, mut running) = talkers(&["web=2", "worker"]);
    running.lines("| two", 2);
    let all = app.tambat(&["logs"]).must_be(0).stdout;
    assert!(all.contains("| one") && all.contains("| oops") && all.contains("tambat"), "{all}");
    let web = app.tambat(&["logs", "web"]).must_be(0).stdout;
    assert_eq!(texts(&web).iter().filter(|text| **text == "one").count(), 2);
    assert!(!web.contains("oops"), "{web}");
    let second = app.tambat(&["logs", "web.2"]).must_be(0).stdout;
    assert_eq!(texts(&second).iter().filter(|text| **text == "one").count(), 1);
    assert!(second.lines().all(|line| line.contains(" web.2 ")), "{second}");
    assert_eq!(app.tambat(&["logs", "-n", "1"]).must_be(0).stdout.lines().count(), 1);
    assert_eq!(app.tambat(&["logs", "-n", "0"]).must_be(0).stdout, "");
    let unknown = app.tambat(&["logs", "nobody"]).must_be(2);
    assert!(unknown.stderr.contains("there is no process `nobody`"), "{}", unknown.stderr);
    assert_eq!(running.stop(), 0);
}

#[test]
fn as_json() {
    let (app, mut running) = talkers(&[]);
    let said = app.tambat(&["logs", "--json", "worker"]).must_be(0).stdout;
    let records: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let oops = records.iter().find(|record| record["text"] == "oops").unwrap();
    assert_eq!((&oops["source"], &oops["stream"]), (&"worker.1".into(), &"err".into()));
    assert!(oops["at_ms"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(running.stop(), 0);
}

#[test]
fn followed_until_the_app_ends() {
    let (app, mut running) = talkers(&[]);
    let mut follower = app.command(&["logs", "-f", "-n", "0", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (said, heard) = channel();
    let reading = thread::spawn(move || lines.for_each(|line| drop(said.send(line))));
    let restarts = || app.tambat(&["restart", "web"]).must_be(0);
    // A restart says something; when the follower has begun is not known, so it is done until it has been heard.
    let first = until("the follower to hear something", || {
        restarts();
        heard.recv_timeout(Duration::from_secs(1)).ok()
    });
    restarts();
    let mut all = vec![first];
    while !all.last().unwrap().contains("| two") {
        all.push(heard.recv_timeout(LIMIT).unwrap());
    }
    assert_eq!(running.stop(), 0);
    reading.join().unwrap();
    all.extend(heard);
    assert!(all.iter().all(|line| line.contains(" web.1 ")), "{all:?}");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn of_the_last_run_when_it_does_not_run_any_more() {
    let (app, mut running) = talkers(&[]);
    assert_eq!(running.stop(), 0);
    let said = app.tambat(&["logs"]).must_be(0);
    assert!(said.stderr.contains("it does not run; these are the last lines that it wrote"), "{}", said.stderr);
    assert!(said.stdout.contains("| oops") && said.stdout.contains("SIGINT: stopping"), "{}", said.stdout);
    let web = app.tambat(&["logs", "web", "-n", "100"]).must_be(0).stdout;
    assert!(web.contains("| one") && !web.contains("oops"), "{web}");
    app.tambat(&["logs", "-f"]).must_be(1);
}

/// Where an app is written down, none further up is meant.
#[test]
fn of_an_app_that_never_ran_are_not_those_of_the_one_above_it() {
    let (app, mut running) = talkers(&[]);
    assert_eq!(running.stop(), 0);
    let app = app.file("part/Procfile", "web: exec tambat-fixture serve\n").file("docs/a", "");
    assert!(app.tambat_in("docs", &["logs"]).must_be(0).stdout.contains("| oops"));
    let said = app.tambat_in("part", &["logs"]).must_be(1);
    assert!(said.stdout.is_empty() && said.stderr.contains("no app runs in"), "{said:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_of_the_app() {
    let (app, mut running) = talkers(&[]);
    assert_eq!(app.shell("tambat logs | head -n 1").must_be(0).stdout.lines().count(), 1);
    assert_eq!(app.shell("tambat logs -f | head -n 1").must_be(0).stdout.lines().count(), 1);
    running.get("web", "/");
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_tambat_said_can_be_asked_for_by_its_name() {
    let (app, mut running) = talkers(&[]);
    let said = app.tambat(&["logs", "tambat"]).must_be(0).stdout;
    assert!(said.contains("http://localhost:"), "{said}");
    assert!(said.lines().all(|line| line.contains("tambat ")), "{said}");
    assert_eq!(running.stop(), 0);
}
