//! What can be found out about an app, for the tests that look at it from all sides.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::app_dir::{Output, finish};
use super::{AppDir, get, until};

impl AppDir {
    /// The environment that a `serve` process really has, asked at its service port.
    pub(crate) fn environment(&self, process: &str) -> Value {
        serde_json::from_str(&get(self.port(process), "/env").body).unwrap()
    }

    /// What `tambat env PROCESS --json` says of one variable.
    pub(crate) fn variable(&self, process: &str, name: &str) -> Value {
        let report = self.json(&["env", "--json", process]);
        let variables = report["variables"].as_array().unwrap();
        variables.iter().find(|v| v["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}")).clone()
    }

    /// The pid of the first instance, once it is ready.
    pub(crate) fn pid_of(&self, process: &str) -> i64 {
        until(&format!("{process} to be ready"), || {
            let instance = self.process(process)["instances"][0].clone();
            (instance["state"] == "ready").then(|| instance["pid"].as_i64().unwrap())
        })
    }

    /// The pid of the first instance, once it is ready and not this one.
    pub(crate) fn pid_after(&self, process: &str, old: i64) -> i64 {
        until(&format!("{process} to be another than pid {old}"), || {
            Some(self.pid_of(process)).filter(|new| *new != old)
        })
    }

    /// What `ps` says, once a process is in this state.
    pub(crate) fn until_state(&self, process: &str, state: &str) -> Value {
        until(&format!("{process} to be {state}"), || Some(self.process(process)).filter(|p| p["state"] == state))
    }

    /// Nothing that was started from this home is there any more, but for a spawner, which may be about to leave.
    #[track_caller]
    pub(crate) fn has_nothing_left(&self) {
        let mut left = self.processes();
        left.retain(|process| process.name != "tambat-spawn");
        assert!(left.is_empty(), "left behind: {left:#?}");
        until("the end of the spawner", || self.processes().is_empty().then_some(()));
    }

    /// `XDG_STATE_HOME/tambat/HASH` of the one app that has been started in this home. The local CA's is beside it.
    pub(crate) fn state_dir(&self) -> PathBuf {
        only_entry(&self.home_path().join("state/tambat"), |name| name != "ca")
    }

    /// The control socket of the one app that runs in this home.
    pub(crate) fn socket(&self) -> PathBuf {
        only_entry(&self.home_path().join("run/tambat"), |name| name.strip_suffix(".sock").is_some())
    }

    /// The folder of runtime folder, state folder and apps.
    pub(crate) fn home_path(&self) -> PathBuf {
        self.path().parent().unwrap().to_owned()
    }

    /// Runs a line of shell in the app's directory, to its end.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let mut command = self.any_command("/bin/sh");
        command.args(["-c", line]);
        finish(command, line)
    }

    /// Runs tambat in this folder of the app's directory.
    pub(crate) fn tambat_in(&self, folder: &str, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.current_dir(self.path().join(folder));
        finish(command, &format!("tambat {} in {folder}", args.join(" ")))
    }
}

fn only_entry(folder: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fitting = entries.filter(|path| fits(path.file_name().unwrap().to_str().unwrap()));
    let first = fitting.next().unwrap_or_else(|| panic!("nothing like it in {}", folder.display()));
    assert_eq!(fitting.next(), None);
    first
}
