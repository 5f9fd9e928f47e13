//! The verbs that tell and run: run, ps, logs, url, open, env, plan, completions, man; and what all of them have in common.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{AppDir, Base, Running, until};

const SHOP: &str = r#"
[processes.web]
command = "exec tambat-fixture serve"
uses = ["api"]
env = { FLAVOUR = "vanilla" }

[processes.api]
command = "exec tambat-fixture serve"
protocol = "http"

[processes.worker]
command = "tambat-fixture say working; exec tambat-fixture park"
"#;

fn shop() -> (AppDir, Running) {
    let app = AppDir::manifest(SHOP);
    let running = app.start(&[]);
    running.ready(&["web", "api"]);
    (app, running)
}

#[test]
fn a_verb_that_needs_the_running_app_fails_loudly_when_there_is_none() {
    let app = AppDir::manifest(SHOP);
    let verbs: [&[&str]; 18] = [
        &["ps"],
        &["status"],
        &["ps", "--json"],
        &["logs"],
        &["logs", "-f"],
        &["url"],
        &["url", "web"],
        &["open"],
        &["env"],
        &["attach", "api", "http://127.0.0.1:1"],
        &["detach", "api"],
        &["restart", "web"],
        &["stop"],
        &["stop", "web"],
        &["scale", "web=2"],
        &["pause", "web"],
        &["resume", "web"],
        &["wait"],
    ];
    for verb in verbs {
        let said = app.tambat(verb).must_be(1);
        assert_eq!(said.stdout, "", "{verb:?}");
        assert!(said.stderr.contains("no app runs in"), "{verb:?}: {}", said.stderr);
        assert!(said.stderr.contains("`tambat start` runs it"), "{verb:?}: {}", said.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    let app = AppDir::manifest(SHOP);
    let lines: [&[&str]; 8] = [
        &["strat"],
        &["start", "--prot", "1"],
        &["start", "-p", "70000"],
        &["scale"],
        &["wait", "--timeout", "soon"],
        &["-d", "nowhere", "ps"],
        &["-d", "tambat.toml", "ps"],
        &["plan", "nobody"],
    ];
    for line in lines {
        let said = app.tambat(line).must_be(2);
        assert_eq!(said.stdout, "", "{line:?}");
        assert_ne!(said.stderr, "", "{line:?}");
    }
    assert!(app.tambat(&["strat"]).stderr.contains("'start'"));
    let said = app.tambat(&["plan", "nobody"]).stderr;
    assert!(said.contains("web, api, worker"), "{said}");
}

#[test]
fn the_verbs_find_the_app_from_below_and_from_elsewhere() {
    let (app, mut running) = shop();
    fs::create_dir_all(app.path().join("src/deep")).unwrap();
    let url = format!("http://localhost:{}\n", app.port("web"));
    assert_eq!(app.tambat_in("src/deep", &["url"]).must_be(0).stdout, url);
    let elsewhere = app.neighbour("elsewhere");
    elsewhere.tambat(&["url"]).must_be(1);
    let dir = app.path().to_str().unwrap();
    assert_eq!(elsewhere.tambat(&["-d", dir, "url"]).must_be(0).stdout, url);
    assert_eq!(elsewhere.tambat(&["url", "-d", dir]).must_be(0).stdout, url);
    assert_eq!(elsewhere.tambat(&["-d", "../shop", "url"]).must_be(0).stdout, url);
    std::os::unix::fs::symlink(dir, elsewhere.path().join("link")).unwrap();
    assert_eq!(elsewhere.tambat(&["-d", "link", "url"]).must_be(0).stdout, url);
    assert_eq!(running.stop(), 0);
}

#[test]
fn up_is_start_and_status_is_ps() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let mut running = Running::start(&app, app.command(&["up", "-p", "0"]));
    running.ready(&["web"]);
    assert_eq!(app.json(&["status", "--json"])["app"], "shop");
    assert_eq!(running.stop(), 0);
}

#[test]
fn run_has_the_apps_environment_and_no_port() {
    let (app, mut running) = shop();
    let app = app.file(".env", "COLOUR=green\nPORT=5555\n").env("PORT", "6666");
    let said = app.tambat(&["run", "env"]).must_be(0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    let handle = format!("API_URL=http://127.0.0.1:{}", app.port("api"));
    for line in [handle.as_str(), "FLAVOUR=vanilla", "COLOUR=green", "HOST=127.0.0.1"] {
        assert!(lines.contains(&line), "no {line} in {}", said.stdout);
    }
    assert!(!lines.iter().any(|line| line.starts_with("PORT") || line.starts_with("PS=")), "{}", said.stdout);
    assert_eq!(said.stderr, "");
    let worker = app.tambat(&["run", "--as", "worker", "-E", "X=1", "env"]).must_be(0).stdout;
    assert!(!worker.contains("FLAVOUR=") && !worker.contains("API_URL=") && worker.contains("X=1\n"), "{worker}");
    let unknown = app.tambat(&["run", "--as", "nobody", "env"]).must_be(2);
    assert!(unknown.stderr.contains("there is no process `nobody` in shop; it has web, api, worker"), "{unknown:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn run_below_the_apps_directory_is_run_there_with_the_apps_environment() {
    let (app, mut running) = shop();
    fs::create_dir(app.path().join("db")).unwrap();
    let said = app.tambat_in("db", &["run", "sh", "-c", "pwd; echo $FLAVOUR"]).must_be(0);
    assert_eq!(said.stdout, format!("{}/db\nvanilla\n", app.path().display()));
    assert_eq!(running.stop(), 0);
}

#[test]
fn run_becomes_the_command() {
    let app = AppDir::procfile("web: true\n");
    assert_eq!(app.tambat(&["run", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(app.tambat(&["run", "sh", "-c", "kill -TERM $$"]).code, 128 + 15);
    assert_eq!(app.tambat(&["run", "printf", "%s|", "a b", "-n"]).stdout, "a b|-n|");
    let said = app.tambat(&["run", "no-such-command"]).must_be(127);
    assert!(said.stderr.contains("cannot run no-such-command"), "{}", said.stderr);
    app.tambat(&["run", "./Procfile"]).must_be(126);
    // A signal to tambat is a signal to the command: they are one process.
    let mut child = app.command(&["run", "sh", "-c", "exec tambat-fixture park", "start"]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    until("the command to be there", || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        (name.trim() == "tambat-fixture").then_some(())
    });
    assert_eq!(children(pid), Vec::<String>::new());
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

/// Everything whose parent this is, ended or not: a command must not find children that it has not started.
fn children(pid: i32) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    // proc_pid_stat(5): the parent is the second field after the name, which stands in brackets.
    let of_pid = |stat: &String| stat.rsplit_once(") ").unwrap().1.split(' ').nth(1) == Some(&pid.to_string());
    stats.filter(of_pid).collect()
}

#[test]
fn run_without_the_app_says_which_handles_are_missing() {
    let app = AppDir::manifest(SHOP);
    let said = app.tambat(&["run", "sh", "-c", "echo \"[$API_URL]\""]).must_be(0);
    assert_eq!(said.stdout, "[]\n");
    let words = "shop does not run, so these handles are not set: API_URL; `tambat start` wires them";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    let other = app.tambat(&["run", "--as", "api", "true"]).must_be(0);
    assert_eq!(other.stderr, "");
    let given = app.tambat(&["run", "-E", "API_URL=x", "sh", "-c", "echo $API_URL"]).must_be(0);
    assert_eq!((given.stdout.as_str(), given.stderr.as_str()), ("x\n", ""));
}

#[test]
fn ps_tells_what_there_is_in_80_columns() {
    let (app, mut running) = shop();
    let port = app.environment("web")["PORT"].as_str().unwrap().to_owned();
    let status = app.json(&["ps", "--json"]);
    assert_eq!((&status["app"], &status["dir"]), (&json!("shop"), &json!(app.path())));
    assert_eq!(status["pid"], running.pid());
    let (web, worker) = (app.process("web"), app.process("worker"));
    assert_eq!((&web["state"], &web["worker"]), (&json!("ready"), &json!(false)));
    assert_eq!((&worker["state"], &worker["worker"]), (&json!("running"), &json!(true)));
    assert_eq!(web["ports"][0]["port"], app.port("web"));
    assert_eq!(web["instances"][0]["address"], format!("127.0.0.1:{port}"));
    assert_eq!(web["ports"][0]["connections"], 1);
    let pid: i64 = running.get("web", "/pid").body.parse().unwrap();
    assert_eq!(web["instances"][0]["pid"], pid);

    until("its connections to be over", || (app.process("web")["instances"][0]["open"] == 0).then_some(()));
    let shown = app.tambat(&["ps"]).must_be(0).stdout;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let line = shown.lines().find(|line| line.starts_with("web.1")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let url = format!("http://localhost:{}", app.port("web"));
    assert_eq!(words, ["web.1", "ready", &pid.to_string(), &format!(":{port}"), "0", "0", &url]);
    assert_eq!(running.stop(), 0);
}

#[test]
fn ps_shows_who_can_be_reached_past_the_router_and_why_somebody_is_not_ready() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve --host 0.0.0.0\"\n\
         [processes.api]\ncommand = \"exit 3\"\nprotocol = \"http\"\nrestart = \"never\"\n",
    );
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    app.until_state("api", "ended");
    let shown = app.tambat(&["ps"]).must_be(0).stdout;
    assert!(shown.contains("web.1: listens on 0.0.0.0:"), "{shown}");
    assert!(shown.contains("api.1: ") && shown.contains("exited with code 3"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    running.stop();
}

#[test]
fn url_prints_the_fact_alone_or_nothing() {
    let (app, mut running) = shop();
    let of = |process: &str| format!("http://localhost:{}\n", app.port(process));
    assert_eq!(app.tambat(&["url"]).must_be(0).stdout, of("web"));
    let api = app.tambat(&["url", "api"]).must_be(0);
    assert_eq!((api.stdout, api.stderr), (of("api"), String::new()));
    let unknown = app.tambat(&["url", "aip"]).must_be(2);
    assert_eq!(unknown.stdout, "");
    assert!(unknown.stderr.contains("there is no process `aip` in shop; it has web, api, worker"), "{unknown:?}");
    assert_eq!(app.tambat(&["url", "api:admin"]).must_be(2).stdout, "");
    assert_eq!(app.json(&["url", "--json", "api"])["protocol"], "http");
    assert_eq!(running.stop(), 0);
    assert_eq!(app.tambat(&["url"]).must_be(1).stdout, "");
}

#[test]
fn open_opens_the_browser() {
    let (app, mut running) = shop();
    let app = app.file("browser.sh", "#!/bin/sh\necho \"$@\" > opened\n");
    fs::set_permissions(app.path().join("browser.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let url = format!("http://localhost:{}\n", app.port("api"));
    let browser = app.path().join("browser.sh");
    let app = app.env("BROWSER", browser.to_str().unwrap());
    app.tambat(&["open", "api"]).must_be(0);
    assert_eq!(fs::read_to_string(app.path().join("opened")).unwrap(), url);
    let worker = app.tambat(&["open", "worker"]).must_be(2);
    assert!(worker.stderr.contains("in a browser: it speaks tcp"), "{}", worker.stderr);
    let app = app.env("BROWSER", "/no/such/browser");
    let said = app.tambat(&["open", "web"]).must_be(1);
    assert!(said.stderr.contains("cannot run /no/such/browser"), "{}", said.stderr);
    let app = app.env("BROWSER", "false");
    assert!(app.tambat(&["open", "web"]).must_be(1).stderr.contains("false ended with exit status: 1"));
    assert_eq!(running.stop(), 0);
}

#[test]
fn env_is_what_the_process_gets() {
    let (app, mut running) = shop();
    let told = app.tambat(&["env", "api"]).must_be(0).stdout;
    let mut told: Vec<&str> = told.lines().collect();
    let real = app.environment("api");
    let mut real: Vec<String> =
        real.as_object().unwrap().iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
    // The shell that runs the command adds its own.
    real.retain(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=") && !line.starts_with("_="));
    told.sort_unstable();
    real.sort();
    assert_eq!(told, real);
    let explained = app.tambat(&["env", "--explain"]).must_be(0).stdout;
    let line = explained.lines().find(|line| line.starts_with("API_URL ")).unwrap();
    assert!(line.contains("handle to api"), "{explained}");
    app.tambat(&["env", "nobody"]).must_be(2);
    assert_eq!(running.stop(), 0);
}

#[test]
fn plan_starts_nothing_and_leaves_nothing() {
    let app = AppDir::manifest(&SHOP.replace("exec tambat-fixture serve", "touch started; exec tambat-fixture serve"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = taken.local_addr().unwrap().port().to_string();
    let plan = app.json(&["plan", "--json", "-p", &base]);
    assert_eq!(plan["processes"][0]["ports"][0]["port"].to_string(), base);
    assert_eq!(plan["processes"][0]["uses"][0]["variable"], "API_URL");
    assert!(plan["notes"][0].as_str().unwrap().contains("is taken now"), "{plan}");
    let shown = app.tambat(&["plan", "-p", "6000"]).must_be(0);
    assert!(shown.stdout.contains("API_URL=http://127.0.0.1:6100, from api"), "{}", shown.stdout);
    assert!(shown.stdout.contains("worker  nothing says that it exports a port"), "{}", shown.stdout);
    let some = app.json(&["plan", "--json", "worker=3"]);
    let counts: Vec<&Value> = some["processes"].as_array().unwrap().iter().map(|p| &p["instances"]).collect();
    assert_eq!(counts, [&json!(0), &json!(0), &json!(3)]);
    assert!(!app.path().join("started").exists());
    for folder in ["run", "state", "home"] {
        let left: Vec<_> = fs::read_dir(app.home_path().join(folder)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(app.processes(), []);
}

/// Its ports are taken by itself, and a start would not move on: it would say that the app runs.
#[test]
fn plan_of_an_app_that_runs_says_so() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let base = Base::find();
    let mut running = app.start_at(&["-p", &base.text()]);
    running.ready(&["web"]);
    let plan = app.json(&["plan", "--json", "-p", &base.text()]);
    assert_eq!(plan["notes"], json!(["the app runs now: `tambat ps` shows where"]));
    assert_eq!(running.stop(), 0);
    assert_eq!(app.json(&["plan", "--json", "-p", &base.text()])["notes"], json!([]));
}

#[test]
fn completions_are_scripts() {
    let app = AppDir::new();
    for (shell, part) in [("bash", "complete -F _tambat"), ("zsh", "#compdef tambat"), ("fish", "complete -c tambat")] {
        let said = app.tambat(&["completions", shell]).must_be(0);
        assert!(said.stdout.contains(part), "{shell}: {}", said.stdout);
        assert!(said.stdout.contains("attach") && said.stdout.contains("strict-port"), "{shell}");
        let app = app.clone().file(shell, &said.stdout);
        if shell == "bash" || app.shell(&format!("command -v {shell}")).code == 0 {
            app.shell(&format!("{shell} -n {shell}")).must_be(0);
        }
    }
    app.tambat(&["completions", "tcsh"]).must_be(2);
}

#[test]
fn the_manual_has_every_verb_and_every_key() {
    let app = AppDir::new();
    let page = app.tambat(&["man"]).must_be(0).stdout;
    assert!(page.starts_with(".ie"), "{page:.40}");
    let help = app.tambat(&["--help"]).must_be(0).stdout;
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|l| l.split_whitespace().next().unwrap())
        .collect();
    assert!(verbs.len() >= 18, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        assert!(page.contains(&format!(".SH \"TAMBAT {}\"", verb.to_uppercase())), "{verb}");
    }
    for key in ["command", "uses", "protocol", "instances", "stateful"] {
        assert!(page.contains(&format!("\\fB{key}\\fR")), "{key}");
    }
    let app = app.file("tambat.1", &page);
    if app.shell("command -v man").code == 0 {
        let said = app.shell("MANWIDTH=80 man --warnings -l tambat.1").must_be(0);
        assert!(said.stdout.contains("tambat") && said.stderr.is_empty(), "{}", said.stderr);
    }
}

#[test]
fn a_verb_in_an_app_that_does_not_run_leaves_the_app_around_it_alone() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n")
        .file("inner/Procfile", "web: exec tambat-fixture serve\n")
        .file("folder/x", "");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    for verb in ["stop", "url", "ps"] {
        let output = app.tambat_in("inner", &[verb]).must_be(1);
        assert!(output.stderr.contains("no app runs in"), "{}", output.stderr);
    }
    app.tambat_in("folder", &["url"]).must_be(0);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn start_in_the_background_leaves_no_file_behind_and_no_false_hope() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture park\"\nrestart = \"never\"\nready = { within = \"1s\" }\n",
    );
    let said = app.tambat(&["start", "-p", "0", "--detach"]).must_be(1);
    assert!(said.stderr.contains("was not ready within 1s"), "{}", said.stderr);
    assert!(said.stderr.contains("(nothing of it runs any more)"), "{}", said.stderr);
    assert!(!said.stderr.contains("goes on"), "{}", said.stderr);
    app.has_nothing_left();
    let left: Vec<String> = fs::read_dir(app.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("detached"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
