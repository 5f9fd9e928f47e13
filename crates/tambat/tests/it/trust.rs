//! `tambat trust`: browsers and the system believe the local CA, and believe it no more. The stores of the machine that
//! the tests run on are never changed: a user without privileges has none of the system's, and root gets copies of it in a
//! namespace of its own.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{AppDir, Output, Terminal, programs};

/// A home with a profile of Firefox, for a user without privileges.
fn home_with_firefox() -> AppDir {
    programs::certutil();
    let app = AppDir::new();
    let profile = profile(&app);
    fs::create_dir_all(&profile).unwrap();
    let app = app.unprivileged();
    app.shell(&format!("certutil -d sql:{} -N --empty-password", profile.display())).must_be(0);
    app
}

fn profile(app: &AppDir) -> PathBuf {
    app.home_path().join("home/.mozilla/firefox/x.default")
}

fn chromium(app: &AppDir) -> PathBuf {
    app.home_path().join("home/.pki/nssdb")
}

fn root(app: &AppDir) -> PathBuf {
    app.home_path().join("state/tambat/ca/root.pem")
}

/// What certutil lists, a line each.
fn listed(app: &AppDir, database: &std::path::Path) -> Vec<String> {
    let list = app.shell(&format!("certutil -d sql:{} -L", database.display())).must_be(0).stdout;
    list.lines().filter(|line| line.starts_with("tambat")).map(str::to_owned).collect()
}

/// The stores of the newest root, as `--json` has them.
fn stores(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    report["roots"][0]["stores"].as_array().unwrap().clone()
}

fn store<'a>(all: &'a [Value], kind: &str, place: &std::path::Path) -> &'a Value {
    let is_it = |store: &&Value| store["store"] == kind && store["place"] == place.to_str().unwrap();
    all.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} at {}: {all:?}", place.display()))
}

#[test]
fn nothing_is_done_before_it_has_been_asked_or_answered() {
    let app = home_with_firefox();
    let dry = app.tambat(&["trust", "--dry-run"]).must_be(0);
    assert!(dry.stderr.contains("there is no local CA in ") && dry.stderr.contains(" yet"), "{dry:?}");
    assert!(!root(&app).exists(), "--dry-run makes nothing");
    let undone = app.tambat(&["trust", "--undo"]).must_be(0);
    assert!(undone.stderr.contains("nothing to undo"), "{undone:?}");
    let refused = app.tambat(&["trust"]).must_be(2);
    assert!(
        refused.stderr.contains("cannot ask without a terminal") && refused.stderr.contains("--yes"),
        "{refused:?}"
    );
    assert_eq!(listed(&app, &profile(&app)), [""; 0]);

    let dry = app.tambat(&["trust", "--dry-run"]).must_be(0).stdout;
    let name = dry.lines().next().unwrap().to_owned();
    assert!(name.starts_with("tambat local CA "), "{dry}");
    let (root, profile) = (root(&app), profile(&app));
    let adds =
        format!("  /usr/bin/certutil -d sql:{} -A -n '{name}' -t C,, -i {}\n", profile.display(), root.display());
    assert!(dry.contains(&adds), "{dry}");
    let anchor = format!("/usr/local/share/ca-certificates/{}.crt", name.replace(' ', "-"));
    let sudo = format!("  sudo install -m 644 {} {anchor} && sudo /usr/sbin/update-ca-certificates\n", root.display());
    assert!(dry.contains(&sudo) && dry.contains("needs root"), "{dry}");
    assert_eq!(listed(&app, &profile), [""; 0], "--dry-run changes nothing");
}

#[test]
fn browsers_believe_it_until_it_is_undone() {
    let app = home_with_firefox();
    // The system's store is left to its user, who has the command now.
    let done = app.tambat(&["trust", "--yes", "--json"]).must_be(1);
    let all = stores(&done);
    let firefox = store(&all, "nss", &profile(&app));
    assert_eq!((&firefox["has_it"], &firefox["commands"]), (&Value::Bool(true), &Value::Array(vec![])));
    let system = all.iter().find(|store| store["store"] == "system").unwrap();
    assert_eq!((&system["has_it"], &system["needs_root"]), (&Value::Bool(false), &Value::Bool(true)));
    let lists = listed(&app, &profile(&app));
    assert!(lists.len() == 1 && lists[0].contains("C,,"), "{lists:?}");

    // Once more is no more.
    let again = app.tambat(&["trust", "--yes"]).must_be(1);
    assert!(again.stdout.contains(&format!("Firefox ({}): has it", profile(&app).display())), "{again:?}");
    assert_eq!(listed(&app, &profile(&app)).len(), 1);

    // What somebody has taken the trust from is believed again.
    let name = again.stdout.lines().next().unwrap().to_owned();
    app.shell(&format!("certutil -d sql:{} -M -n '{name}' -t ,,", profile(&app).display())).must_be(0);
    let half = stores(&app.tambat(&["trust", "--dry-run", "--json"]).must_be(0));
    assert_eq!(store(&half, "nss", &profile(&app))["has_it"], Value::Bool(false));
    app.tambat(&["trust", "--yes"]).must_be(1);
    assert!(listed(&app, &profile(&app))[0].contains("C,,"));

    // The system never had it: there is nothing left to be undone there.
    let undone = app.tambat(&["trust", "--undo", "--yes"]).must_be(0);
    assert!(undone.stdout.contains("does not have it"), "{undone:?}");
    assert_eq!(listed(&app, &profile(&app)), [""; 0]);
    app.tambat(&["trust", "--undo"]).must_be(0);
}

#[test]
fn a_browsers_database_is_made_where_there_is_none_and_a_broken_one_is_left_alone() {
    programs::chromium();
    let app = home_with_firefox();
    let broken = app.home_path().join("home/.mozilla/firefox/broken");
    app.shell(&format!("mkdir {0} && echo broken > {0}/cert9.db", broken.display())).must_be(0);
    let done = app.tambat(&["trust", "--yes", "--json"]).must_be(1);
    let all = stores(&done);
    assert_eq!(store(&all, "nss", &chromium(&app))["has_it"], Value::Bool(true));
    assert_eq!(listed(&app, &chromium(&app)).len(), 1);
    assert_eq!(store(&all, "nss", &profile(&app))["has_it"], Value::Bool(true));
    let untold = store(&all, "nss", &broken);
    assert_eq!(untold["has_it"], Value::Null);
    assert!(untold["cause"].as_str().unwrap().contains("certutil cannot read it"), "{untold}");
    assert_eq!(fs::read_to_string(broken.join("cert9.db")).unwrap(), "broken\n");
}

#[test]
fn on_a_terminal_it_asks() {
    let app = home_with_firefox();
    for (keys, code, trusted) in [("n\n", 1, 0), ("\n", 1, 0), ("y\n", 1, 1)] {
        let (mut terminal, mut running) = Terminal::run(&app, 24, 200, &["trust"]);
        running.line("certutil -d sql:");
        terminal.type_in(keys);
        assert_eq!(running.exit_code(), code);
        assert_eq!(listed(&app, &profile(&app)).len(), trusted, "{keys:?}");
    }
}

#[test]
fn by_way_of_sudo_it_would_be_roots_own() {
    let app = AppDir::new().env("SUDO_UID", "1000");
    if nix::unistd::geteuid().is_root() {
        let refused = app.tambat(&["trust", "--yes"]).must_be(2);
        assert!(refused.stderr.contains("without sudo"), "{refused:?}");
        assert!(!root(&app).exists());
    } else {
        // Without privileges the variable says nothing.
        app.tambat(&["trust", "--dry-run"]).must_be(0);
    }
}

/// In a namespace where the system's store is a copy.
#[test]
fn the_system_believes_it_until_it_is_undone() {
    let app = AppDir::new();
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let before = fs::read(bundle).unwrap();
    let script = "set -e
        mkdir certs anchors
        cp -r /etc/ssl/certs/. certs/
        cp -r /usr/local/share/ca-certificates/. anchors/
        ls anchors > before
        mount --bind certs /etc/ssl/certs
        mount --bind anchors /usr/local/share/ca-certificates
        ca=$XDG_STATE_HOME/tambat/ca/root.pem
        tambat trust --yes > said
        ls anchors > anchor
        openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt $ca
        openssl verify -no-CAfile -CApath /etc/ssl/certs $ca
        tambat trust --yes > again
        tambat trust --undo --yes > undone
        ls anchors > after
        if openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt $ca; then exit 9; fi
        if openssl verify -no-CAfile -CApath /etc/ssl/certs $ca; then exit 9; fi";
    let user = if nix::unistd::geteuid().is_root() { "" } else { "-r " };
    app.shell(&format!("unshare {user}-m /bin/sh -c '{script}'")).must_be(0);
    let text = |name: &str| fs::read_to_string(app.path().join(name)).unwrap();
    let anchors = text("anchor");
    let is_ours = |name: &str| name.strip_suffix(".crt").is_some_and(|name| name.starts_with("tambat-local-CA-"));
    assert!(anchors.lines().any(is_ours), "{anchors}");
    for (name, expected) in
        [("said", "(Debian): has it"), ("again", "(Debian): has it"), ("undone", "(Debian): does not have it")]
    {
        assert!(text(name).contains(expected), "{name}: {}", text(name));
    }
    assert_eq!(text("after"), text("before"));
    assert_eq!(fs::read(bundle).unwrap(), before, "the machine's own has not changed");
}
