//! What `tambat-app` promises to those who depend on it: which crates its API shows, the Rust that it needs, and that it
//! can be published.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use crate::{failure::Failure, run};

const CRATE: &str = "tambat-app";

/// Crates whose types stand in its API. A new major version of one of them is one of ours: the list is short, and grows on
/// purpose.
const SHOWN: &[(&str, &str)] = &[
    ("bytes", "the data of the bodies that `healthz` can stand before"),
    ("http", "requests and responses"),
    ("http_body", "the bodies of responses"),
    ("hyper", "the body of requests"),
    ("pin_project_lite", "the condition on which the futures of `healthz` are `Unpin`, which its macro writes"),
    ("tokio", "the listeners that one may bring and take, and the streams of raw protocols"),
    ("tower_service", "the service that is served"),
];

/// Those of the compiler.
const STANDARD: &[&str] = &["std", "core", "alloc"];

/// Where the description of the API is built: the variable below is one that build scripts look at, so that in the usual
/// folder everything would be compiled again.
const TARGET: &str = "target/public-api";

/// All of it, reported before it fails.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let mut wrong = shown(&api(root)?)?;
    let args = ["metadata", "--format-version", "1"];
    wrong.extend(too_new(&parsed(&run::captured(run::cargo(root, &args))?)?)?);
    for line in &wrong {
        eprintln!("{line}");
    }
    if !wrong.is_empty() {
        return Err(Failure::new(
            format!("cannot publish {CRATE}: {} promises to its users are broken", wrong.len()),
            "each line above says which; the lists are in xtask/src/published.rs",
        ));
    }
    // Unpacked from its archive, and compiled with nothing of this repository around it.
    run::shown(run::cargo(root, &["package", "--package", CRATE, "--allow-dirty", "--quiet"]))
}

/// What rustdoc knows of the API. Its JSON is not stable, which is why it has to be asked for in this way; another format
/// than the one that is understood here is an error.
fn api(root: &Path) -> Result<Value, Failure> {
    let args = ["rustdoc", "--package", CRATE, "--lib", "--all-features", "--quiet", "--target-dir", TARGET, "--"];
    let mut rustdoc = run::cargo(root, &[&args[..], &["-Z", "unstable-options", "--output-format", "json"]].concat());
    rustdoc.env("RUSTC_BOOTSTRAP", "1");
    run::shown(rustdoc)?;
    let file = root.join(TARGET).join("doc/tambat_app.json");
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display()), "run rustdoc by hand"))?;
    parsed(&text)
}

fn parsed(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|error| unknown(&error.to_string()))
}

fn unknown(cause: &str) -> Failure {
    Failure::new(format!("cannot read what cargo and rustdoc say: {cause}"), "has their format changed?")
}

/// A line for each crate that the API shows and should not, or should and does not.
fn shown(api: &Value) -> Result<Vec<String>, Failure> {
    let shown = crates_shown(api)?;
    let listed: BTreeMap<&str, &str> = SHOWN.iter().copied().collect();
    let surplus = shown.iter().filter(|name| !listed.contains_key(name.as_str())).map(|name| {
        format!("the API of {CRATE} shows a type of `{name}`: hide it, or argue for it in the list of published.rs")
    });
    let stale = listed
        .keys()
        .filter(|name| !shown.contains(**name))
        .map(|name| format!("the API of {CRATE} shows no type of `{name}`, which published.rs lists: delete the line"));
    Ok(surplus.chain(stale).collect())
}

/// The crates of others whose items are named by what is public. Implementations that the compiler or a crate of others
/// writes for every type are not ours to answer for.
fn crates_shown(api: &Value) -> Result<BTreeSet<String>, Failure> {
    let index = api["index"].as_object().ok_or_else(|| unknown("no `index`"))?;
    let mut named = BTreeSet::new();
    for item in index.values().filter(|item| item["crate_id"] == 0) {
        let implementation = &item["inner"]["impl"];
        let of_others = implementation["is_synthetic"] == true || !implementation["blanket_impl"].is_null();
        if !of_others {
            collect(&item["inner"], &mut named);
        }
    }
    let mut crates = BTreeSet::new();
    for id in named {
        // What has no entry is private, and stands in code that a macro wrote.
        let Some(path) = api["paths"].get(&id) else { continue };
        let crate_id = path["crate_id"].as_u64().ok_or_else(|| unknown("a name without its crate"))?;
        let name = api["external_crates"][crate_id.to_string()]["name"].as_str();
        match name {
            Some(name) if !STANDARD.contains(&name) => drop(crates.insert(name.to_owned())),
            None if crate_id != 0 => return Err(unknown("a crate without a name")),
            _ => {}
        }
    }
    Ok(crates)
}

/// Whatever has a path and an id is a name of something: a type, a trait in a bound, a trait that is implemented.
fn collect(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, named)),
        Value::Object(fields) => {
            if let (Some(id), Some(Value::String(_))) = (fields.get("id").and_then(Value::as_u64), fields.get("path")) {
                named.insert(id.to_string());
            }
            fields.values().for_each(|value| collect(value, named));
        }
        _ => {}
    }
}

/// A line for each crate that is linked into an app by `tambat-app` and wants a newer Rust than `tambat-app` says.
fn too_new(metadata: &Value) -> Result<Vec<String>, Failure> {
    let packages = metadata["packages"].as_array().ok_or_else(|| unknown("no `packages`"))?;
    let by_id: BTreeMap<&str, &Value> =
        packages.iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let own = packages.iter().find(|package| package["name"] == CRATE).ok_or_else(|| unknown("no tambat-app"))?;
    let ours = rust(own).ok_or_else(|| unknown("tambat-app has no `rust-version`"))?;
    let mut todo = vec![own["id"].as_str().unwrap_or_default()];
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            todo.extend(linked(metadata, id));
        }
    }
    let newer =
        seen.iter().filter_map(|id| by_id.get(id)).filter(|package| rust(package).is_some_and(|rust| rust > ours));
    Ok(newer
        .map(|package| {
            format!(
                "{} {} wants Rust {}, and {CRATE} promises {}.{}: take an older version, or promise less",
                package["name"].as_str().unwrap_or_default(),
                package["version"].as_str().unwrap_or_default(),
                package["rust_version"].as_str().unwrap_or_default(),
                ours.0,
                ours.1,
            )
        })
        .collect())
}

/// What a package depends on when it is used: neither for its build nor for its tests.
fn linked<'a>(metadata: &'a Value, id: &str) -> Vec<&'a str> {
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let node = nodes.into_iter().find(|node| node["id"] == id);
    let dependencies = node.and_then(|node| node["deps"].as_array()).into_iter().flatten();
    let normal = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    dependencies.filter(normal).filter_map(|dependency| dependency["pkg"].as_str()).collect()
}

/// Major and minor.
fn rust(package: &Value) -> Option<(u32, u32)> {
    let mut parts = package["rust_version"].as_str()?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api() -> Value {
        json!({
            "index": {
                "1": {"crate_id": 0, "inner": {"function": {"sig": {"inputs": [["a", {"resolved_path": {"path": "Request", "id": 10}}]]}}}},
                "2": {"crate_id": 0, "inner": {"impl": {"is_synthetic": false, "blanket_impl": {"generic": "T"}, "trait": {"path": "Erased", "id": 11}}}},
                "3": {"crate_id": 0, "inner": {"impl": {"is_synthetic": false, "blanket_impl": null, "trait": {"path": "Service", "id": 12}}}},
                "4": {"crate_id": 5, "inner": {"struct": {"path": "Hidden", "id": 11}}},
                "5": {"crate_id": 0, "inner": {"struct_field": {"resolved_path": {"path": "Vec", "id": 13}}}},
            },
            "paths": {"10": {"crate_id": 1}, "11": {"crate_id": 5}, "12": {"crate_id": 2}, "13": {"crate_id": 3}},
            "external_crates": {"1": {"name": "http"}, "2": {"name": "tower_service"}, "3": {"name": "alloc"}, "5": {"name": "secret"}},
        })
    }

    #[test]
    fn only_what_is_named_by_our_own_items_is_shown() {
        let names: Vec<String> = crates_shown(&api()).unwrap().into_iter().collect();
        assert_eq!(names, ["http", "tower_service"]);
    }

    #[test]
    fn a_crate_that_is_not_listed_and_a_line_without_its_crate_are_found() {
        let mut api = api();
        api["index"]["1"]["inner"]["function"]["sig"]["output"] =
            json!({"resolved_path": {"path": "Hidden", "id": 11}});
        let lines = shown(&api).unwrap();
        assert!(lines.iter().any(|line| line.contains("shows a type of `secret`")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("shows no type of `tokio`")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("`http`")), "{lines:?}");
        assert!(shown(&json!({})).is_err());
    }

    #[test]
    fn a_newer_rust_is_found_where_it_is_linked_and_only_there() {
        let package =
            |name: &str, rust: &str| json!({"id": name, "name": name, "version": "1.0.0", "rust_version": rust});
        let depends = |on: &str, kind: Value| json!({"pkg": on, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package(CRATE, "1.85"), package("rope", "1.85.1"), package("hemp", "1.90"), package("test", "1.95")],
            "resolve": {"nodes": [
                {"id": CRATE, "deps": [depends("rope", Value::Null), depends("test", json!("dev"))]},
                {"id": "rope", "deps": [depends("hemp", Value::Null)]},
            ]},
        });
        let lines = too_new(&metadata).unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("hemp 1.0.0 wants Rust 1.90, and tambat-app promises 1.85"), "{lines:?}");
    }
}
