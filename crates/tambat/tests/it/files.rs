//! What is wrong with the files that say what to run.

use crate::support::AppDir;

#[test]
fn no_file_at_all_says_what_to_write() {
    let output = AppDir::new().tambat(&["start"]).must_be(2);
    assert!(output.stderr.contains("there is no `tambat.toml` and no `Procfile`"), "{}", output.stderr);
    assert!(output.stderr.contains("tambat start -- "), "{}", output.stderr);
    assert_eq!(output.stdout, "");
}

#[test]
fn merge_markers_are_shown_by_line() {
    let app = AppDir::procfile("web: a\n<<<<<<< HEAD\njob: b\n=======\njob: c\n>>>>>>> other\n");
    let output = app.tambat(&["start"]).must_be(2);
    assert!(output.stderr.contains("a merge left its conflict in this file"), "{}", output.stderr);
    assert!(output.stderr.contains("Procfile:2:1"), "{}", output.stderr);
}

#[test]
fn a_line_that_is_no_entry_is_shown() {
    let output = AppDir::procfile("# fine\n\nweb: a\nnot an entry\n").tambat(&["start"]).must_be(2);
    assert!(output.stderr.contains("Procfile:4:1"), "{}", output.stderr);
}

#[test]
fn duplicate_names_are_an_error_that_shows_both() {
    let output = AppDir::procfile("web: a\njob: b\nweb: c\n").tambat(&["start"]).must_be(2);
    assert!(output.stderr.contains("two processes called `web`"), "{}", output.stderr);
    assert!(output.stderr.contains("Procfile:3:1") && output.stderr.contains("the first is here"), "{}", output.stderr);
}

#[test]
fn release_is_not_started_and_that_is_said() {
    let app = AppDir::procfile("release: touch released\nweb: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    running.err_line("`release` is run once for each release");
    assert!(!app.path().join("released").exists());
    assert_eq!(running.stop(), 0);
    assert!(!app.path().join("released").exists());
}

#[test]
fn crlf_is_no_part_of_a_command() {
    let app = AppDir::procfile(
        "# made on another system\r\nweb: tambat-fixture serve\r\n\r\nsay: tambat-fixture say done\r\n",
    );
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    assert!(running.out_line("say.1 ").ends_with("| done"));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_broken_manifest_starts_nothing() {
    for (text, part) in [
        ("[processes.web]\ncomand = \"x\"\n", "comand"),
        ("[processes.web]\ncommand = 5\n", "command"),
        ("[processes.web]\ncommand = \"touch started\"\nport = 70000\n", "70000"),
        ("[processes.web]\ncommand = \"touch started\"\nport = 0\n", "port"),
        ("[processes.web]\ncommand = \"touch started\"\nuses = [\"nobody\"]\n", "nobody"),
        ("[processes.\"a b\"]\ncommand = \"touch started\"\n", "a b"),
        ("[processes.a]\ncommand = \"x\"\nport = 5000\n[processes.b]\ncommand = \"x\"\nport = 5000\n", "5000"),
    ] {
        let app = AppDir::manifest(text);
        let output = app.tambat(&["start", "-p", "0"]).must_be(2);
        assert!(output.stderr.contains("tambat.toml:") && output.stderr.contains(part), "{text}: {}", output.stderr);
        assert!(!app.path().join("started").exists(), "{text}");
    }
}

#[test]
fn a_named_env_file_that_is_missing_is_an_error() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let output = app.tambat(&["start", "-p", "0", "-e", "prod.env"]).must_be(2);
    assert!(output.stderr.contains("prod.env") && output.stderr.contains("there is no such file"), "{}", output.stderr);
}
