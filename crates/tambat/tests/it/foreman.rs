//! Beside foreman, on the same Procfile: the same numbers and names, and another end.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{AppDir, Base, LIMIT, get, is_free, programs, until};

const PROCFILE: &str = "web: tambat-fixture serve\nadmin: tambat-fixture serve\napi: tambat-fixture serve\n";

/// A `foreman start`; what it leaves is ended by pid.
struct Foreman {
    app: AppDir,
    child: Child,
}

impl Foreman {
    fn start(app: &AppDir, base: Base) -> Self {
        programs::foreman();
        let mut command = app.any_command("foreman");
        command.args(["start", "-p", &base.text()]).stdout(Stdio::null()).stderr(Stdio::null());
        Self { app: app.clone(), child: command.spawn().unwrap() }
    }

    fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Foreman {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for left in self.app.processes() {
            let _ = kill(Pid::from_raw(left.pid), Signal::SIGKILL);
        }
    }
}

/// Who answers at each of three ports from a base: `web.1` by the variable PS.
fn names(base: Base) -> BTreeMap<u16, String> {
    [0, 100, 200].into_iter().map(|above| (base.0 + above, get(base.0 + above, "/").body)).collect()
}

#[test]
fn service_ports_and_names_are_those_that_foreman_gives() {
    let (app, base) = (AppDir::procfile(PROCFILE), Base::find());
    let of_foreman = {
        let _foreman = Foreman::start(&app, base);
        for above in [0, 100, 200] {
            until("foreman's app", || std::net::TcpStream::connect(("127.0.0.1", base.0 + above)).ok());
        }
        names(base)
    };
    until("the end of foreman's app", || app.processes().is_empty().then_some(()));

    let mut running = app.start_at(&["-p", &base.text(), "--strict-port"]);
    running.ready(&[]);
    let of_tambat = names(base);
    assert_eq!(running.stop(), 0);
    assert_eq!(of_tambat, of_foreman);
    let expected = [(0, "web.1"), (100, "admin.1"), (200, "api.1")];
    assert_eq!(of_tambat, expected.map(|(above, name)| (base.0 + above, name.to_owned())).into());
}

#[test]
fn foreman_killed_leaves_the_app_on_its_port_and_tambat_leaves_nothing() {
    let (app, base) = (AppDir::procfile("web: tambat-fixture serve\n"), Base::find());
    let mut foreman = Foreman::start(&app, base);
    until("foreman's app", || std::net::TcpStream::connect(("127.0.0.1", base.0)).ok());
    foreman.kill_9();
    // This is what tambat is for.
    assert_eq!(get(base.0, "/").body, "web.1", "foreman has left its app there");
    drop(foreman);
    until("the end of what foreman has left", || (app.processes().is_empty() && is_free(base.0)).then_some(()));

    let mut running = app.start_at(&["-p", &base.text(), "--strict-port"]);
    running.ready(&["web"]);
    assert_eq!(get(base.0, "/").body, "web.1");
    let instance = app.process("web")["instances"][0]["address"].as_str().unwrap().to_owned();
    running.kill_9();
    running.nothing_left(LIMIT);
    let private = instance.rsplit(':').next().unwrap().parse().unwrap();
    assert!(is_free(base.0) && is_free(private), "{instance}");
}
