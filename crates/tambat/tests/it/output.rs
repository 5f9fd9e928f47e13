//! What processes write, and how it is shown.

use crate::support::{AppDir, Running, until};

/// A line longer than this goes on in the next one.
const PIECE_BYTES_MAX: usize = 64 * 1024;

const TEN_MB: usize = 10_000_000;

/// The most memory that a process has had (`proc_pid_status(5)`), in KiB.
fn memory_peak_kib(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_megabytes_in_one_line_come_in_bounded_pieces_and_whole() {
    let app = AppDir::procfile(&format!(
        "web: tambat-fixture serve\nloud: read -r go < go && tambat-fixture big-line {TEN_MB} && tambat-fixture say after && tambat-fixture park\n"
    ));
    nix::unistd::mkfifo(&app.path().join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut running = app.start(&["--no-timestamp"]);
    running.ready(&["web"]);
    let before = memory_peak_kib(running.pid());
    std::fs::write(app.path().join("go"), "go\n").unwrap();
    running.out_line("loud.1 | after");
    let grown = memory_peak_kib(running.pid()) - before;
    let lines = running.stdout();
    let pieces: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("loud.1 | ")).collect();
    assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
    let text = pieces.concat();
    assert_eq!(text.strip_suffix("after").unwrap().len(), TEN_MB);
    assert!(text.as_bytes().chunks(10).take(TEN_MB / 10).all(|chunk| chunk == b"0123456789"), "in order and whole");
    assert!(grown * 1024 < TEN_MB, "memory grew by {grown} KiB");
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_is_not_utf8_is_shown_and_breaks_nothing() {
    let app = AppDir::procfile(
        "job: tambat-fixture bytes 61fffe62c3280a && tambat-fixture say after && tambat-fixture park\n",
    );
    let mut running = app.start(&["--no-timestamp"]);
    running.out_line("after");
    assert_eq!(running.stdout()[0], "job.1  | a\u{fffd}\u{fffd}b\u{fffd}(");
    until("the log to have it", || {
        let logged = app.tambat(&["logs", "job", "--json"]).must_be(0).stdout;
        logged.contains("a\u{fffd}\u{fffd}b\u{fffd}(").then_some(())
    });
    assert_eq!(running.stop(), 0);
}

#[test]
fn lines_have_a_time_a_padded_name_and_a_bar_and_streams_stay_apart() {
    let app =
        AppDir::procfile("a: tambat-fixture say hello; tambat-fixture stderr oops\nlonger-name: tambat-fixture park\n");
    let mut running = app.start(&[]);
    let hello = running.out_line("hello");
    let (time, rest) = hello.split_at(9);
    assert!(time.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b' '), "{hello}");
    assert_eq!(rest, "a.1           | hello");
    running.out_line("oops");
    assert_eq!(running.stop(), 0);
    assert!(running.stdout().iter().all(|line| !line.contains("started with pid") && !line.contains("SIGINT")));
    assert!(running.stderr().iter().all(|line| !line.contains("hello")));
}

#[test]
fn json_is_one_object_a_line_on_both_streams() {
    let app = AppDir::procfile("web: tambat-fixture serve\njob: tambat-fixture stderr oops\n");
    let mut running = app.start(&["--log-format", "json"]);
    running.out_line("oops");
    running.ready(&["web"]);
    assert_eq!(running.stop(), 0);
    let records: Vec<serde_json::Value> = running
        .stdout()
        .iter()
        .chain(&running.stderr())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let with = |source: &str, stream: &str, text: &str| {
        records.iter().any(|r| {
            r["source"] == source && r["stream"] == stream && r["text"].as_str().is_some_and(|t| t.contains(text))
        })
    };
    assert!(with("job.1", "err", "oops"));
    assert!(with("web.1", "out", "listening on"));
    assert!(with("web.1", "system", "started with pid"));
    assert!(with("tambat", "system", "SIGINT"));
    assert!(records.iter().all(|r| r["at_ms"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000)));
}

#[test]
fn without_a_terminal_there_are_pipes_and_no_colour() {
    let app = AppDir::procfile("job: tambat-fixture terminal && tambat-fixture park\n");
    let mut running = app.start(&[]);
    running.out_line("stdin no-terminal stdout no-terminal stderr no-terminal");
    assert_eq!(running.stop(), 0);
    assert!(running.stdout().iter().chain(&running.stderr()).all(|line| !line.contains('\u{1b}')));
}

#[test]
fn a_log_that_cannot_be_written_is_said_once_and_stops_nothing() {
    // A limit on the size of files in place of a full disk: the same failed write, and it needs no privilege.
    let app = AppDir::procfile(
        "web: tambat-fixture serve\njob: for i in $(seq 200); do echo line $i; done; tambat-fixture park\n",
    );
    let mut running = app.start_after("trap '' XFSZ; ulimit -f 4", &[]);
    running.ready(&["web"]);
    running.out_line("line 200");
    let said = running.err_line("cannot write the log");
    assert!(said.contains("File too large") && said.contains("tambat logs"), "{said}");
    assert_eq!(running.get("web", "/").body, "web.1");
    let logged = app.tambat(&["logs", "job", "-n", "1000"]).must_be(0).stdout;
    assert!(logged.contains("| line 1\n") && !logged.contains("line 200"), "{logged}");
    assert_eq!(running.stop(), 0);
    assert_eq!(running.stderr().iter().filter(|line| line.contains("cannot write the log")).count(), 1);
}

#[test]
fn no_place_for_state_is_said_and_stops_nothing() {
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("XDG_STATE_HOME", "/dev/null/state");
    let mut running = app.start(&[]);
    running.err_line("logs and attachments are not kept");
    running.ready(&["web"]);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_lines_of_the_last_run_can_be_read_when_it_is_over() {
    let app = AppDir::procfile("job: tambat-fixture say remembered\n");
    let mut running = app.start(&[]);
    assert_eq!(running.ended(), 0);
    let output = app.tambat(&["logs"]).must_be(0);
    assert!(output.stdout.contains("remembered"), "{output:?}");
    assert!(output.stderr.contains("it does not run"), "{output:?}");
}

#[test]
fn a_reader_that_has_stopped_slows_the_app_down_and_nothing_else() {
    let far_more = 20 * TEN_MB;
    let app = AppDir::procfile(&format!("web: tambat-fixture serve\nloud: tambat-fixture big-line {far_more}\n"));
    // Held open and never read: the pipe has room for 64 KiB, and so many lines may wait for it.
    let (_unread, stdout) = std::io::pipe().unwrap();
    let (words, stderr) = std::io::pipe().unwrap();
    let mut command = app.command(&["start", "-p", "0"]);
    command.stdout(stdout).stderr(stderr);
    let mut running = Running::start_reading(&app, command, words);
    until("it to run", || (app.tambat(&["wait", "web"]).code == 0).then_some(()));
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(app.process("loud")["state"], "running", "it waits to be read");
    assert!(memory_peak_kib(running.pid()) * 1024 < far_more / 2);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_reader_that_has_gone_away_ends_nothing() {
    let app =
        AppDir::procfile("web: tambat-fixture serve\nloud: tambat-fixture big-line 1000000; tambat-fixture park\n");
    let (unread, stdout) = std::io::pipe().unwrap();
    let (words, stderr) = std::io::pipe().unwrap();
    let mut command = app.command(&["start", "-p", "0"]);
    command.stdout(stdout).stderr(stderr);
    let mut running = Running::start_reading(&app, command, words);
    drop(unread);
    until("it to run", || (app.tambat(&["wait", "web"]).code == 0).then_some(()));
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_loud_process_keeps_no_news_waiting() {
    // It is loud until the news is there: news that came only when the noise was over would never come.
    let app = AppDir::manifest(
        "[processes.noise]\n\
         command = \"touch loud; until [ -e heard ]; do yes | head -n 1000; done; echo silent; exec tambat-fixture park\"\n\
         [processes.web]\ncommand = \"until [ -e loud ]; do sleep 0.01; done; sleep 0.1; exit 7\"\nrestart = \"never\"\n",
    );
    let mut running = app.start(&["--no-timestamp"]);
    running.err_line("exited with code 7");
    assert!(!running.stdout().iter().any(|line| line.ends_with("| silent")));
    let _app = app.file("heard", "");
    running.out_line("| silent");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_cause_has_no_control_sequences_and_a_shown_command_no_password() {
    let app = AppDir::manifest(
        r#"build = "true redis://:hunter4@h:1"
           [processes.web]
           command = '''printf '\033[1;31mboom\033[2J\n'; true redis://:hunter4@h:1; exit 3'''
           restart = "never"
           [processes.job]
           command = "tambat-fixture park"
        "#,
    );
    for shown in [app.tambat(&["plan"]), app.tambat(&["plan", "--json"])] {
        let shown = shown.must_be(0).stdout;
        assert!(!shown.contains("hunter4"), "{shown}");
        assert_eq!(shown.matches("redis://:***@h:1").count(), 2, "{shown}");
    }
    let mut running = app.start(&[]);
    running.err_line("exited with code 3");
    running.up();
    let web = app.until_state("web", "ended");
    let cause = web["cause"].as_str().unwrap();
    assert!(cause.ends_with("its last line: boom"), "{cause:?}");
    let command = web["command"].as_str().unwrap();
    assert!(command.contains("redis://:***@h:1") && !command.contains("hunter4"), "{command}");
    assert_eq!(running.stop(), 0);
}
