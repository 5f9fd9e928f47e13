//! `tambat check` of the systems that boot fast: no clause is broken, and what is not kept is known.

use std::collections::BTreeMap;

use serde_json::Value;

use super::example;
use crate::support::{AppDir, programs};

/// What is not judged of an app without a backing service.
const ALONE: [&str; 2] = ["PB-15 not_judged", "PB-18 not_judged"];

/// Of each process, the clauses that are not kept, with their verdicts. PB-17 must only not be broken: whether another user
/// gets through to the directory is up to the machine.
fn not_kept(app: &AppDir) -> BTreeMap<String, Vec<String>> {
    let reports = app.tambat(&["check", "--json"]).must_be(0).stdout;
    let reports: Vec<Value> = reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports
        .iter()
        .map(|report| {
            let clauses = report["clauses"].as_array().unwrap();
            assert_eq!(clauses.len(), 19, "{report}");
            let told = clauses.iter().map(|c| (c["id"].as_str().unwrap(), c["verdict"].as_str().unwrap()));
            let told = told.filter(|(id, verdict)| *verdict != "kept" && (*id, *verdict) != ("PB-17", "not_judged"));
            let told = told.map(|(id, verdict)| format!("{id} {verdict}")).collect();
            (report["process"].as_str().unwrap().to_owned(), told)
        })
        .collect()
}

#[test]
fn tornado_keeps_the_contract() {
    programs::tornado();
    assert_eq!(not_kept(&example("tornado"))["web"], ALONE);
}

#[test]
fn thin_keeps_the_contract_but_for_one_family_of_addresses() {
    programs::thin();
    assert_eq!(not_kept(&example("thin"))["web"], ["PB-04 warned", ALONE[0], ALONE[1]]);
}

#[test]
fn apache_httpd_keeps_the_contract() {
    programs::apache_php();
    // PHP's own libraries are in no file: there are none.
    assert_eq!(not_kept(&example("apache-php"))["web"], [ALONE[0], ALONE[1], "PB-19 not_judged"]);
}

#[test]
fn redis_and_its_page_keep_the_contract() {
    programs::redis();
    programs::tornado();
    let told = not_kept(&example("redis"));
    assert!(told["web"].is_empty(), "{told:?}");
    // It is stateful, and no web server.
    let cache = ["PB-04 warned", "PB-10", "PB-12", "PB-15", "PB-16", "PB-18", "PB-19"];
    let cache =
        cache.map(|clause| if clause.contains(' ') { clause.to_owned() } else { format!("{clause} not_judged") });
    assert_eq!(told["cache"], cache);
}
