//! `tambat start` in a terminal.

use std::time::Duration;

use crate::support::{AppDir, Terminal, until};

/// `HH:MM:SS `, a name of six columns, ` | `.
const PREFIX_COLUMNS: u16 = 9 + 6 + 3;

/// The grace is 300 ms in these tests; the rest is 1 s (DESIGN §4) and room for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(1_300 + 2_000);

#[test]
fn children_get_a_terminal_of_their_own_width() {
    let app = AppDir::procfile("job: tambat-fixture terminal; stty size; tambat-fixture park\n");
    let (_terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    running.line("stdin terminal stdout terminal stderr terminal");
    running.line(&format!("30 {}", 100 - PREFIX_COLUMNS));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_resized_window_is_handed_on() {
    let app =
        AppDir::procfile("job: trap 'stty size' WINCH; stty size; while :; do tambat-fixture park & wait; done\n");
    let (terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    running.line(&format!("30 {}", 100 - PREFIX_COLUMNS));
    terminal.resize(50, 140);
    running.line(&format!("50 {}", 140 - PREFIX_COLUMNS));
    assert_eq!(running.stop(), 0);
}

#[test]
fn colours_live_and_names_are_coloured() {
    let app = AppDir::procfile("job: printf '\\033[31mred\\033[0m\\n'; tambat-fixture park\n");
    let (_terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    let line = running.line("red");
    assert!(line.contains("\u{1b}[31mred\u{1b}[0m"), "{line:?}");
    assert!(line.starts_with("\u{1b}[36m"), "{line:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn no_color_leaves_the_names_plain() {
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let app = AppDir::procfile("job: tambat-fixture say plain; tambat-fixture park\n").env(name, value);
        let (_terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
        let line = running.line("plain");
        assert!(!line.contains('\u{1b}'), "{name}: {line:?}");
        assert_eq!(running.stop(), 0);
    }
}

#[test]
fn the_apps_own_port_is_followed_by_where_people_reach_it() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let (_terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    let line = running.ready(&["web"]).line("listening on 127.0.0.1:");
    assert!(line.contains(&format!("\u{2192} http://localhost:{}", app.port("web"))), "{line:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn control_c_reaches_tambat_alone_and_the_second_one_kills() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"trap 'echo got int' INT; trap '' TERM; tambat-fixture serve & while :; do wait; done\"\n\
         stop = { grace = \"60s\" }\n",
    );
    let (mut terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    running.ready(&["web"]);
    terminal.type_in("\u{3}");
    running.line("SIGINT: stopping (once more kills)");
    terminal.type_in("\u{3}");
    assert_eq!(running.ended(), 0);
    assert!(running.stdout().iter().all(|line| !line.contains("got int")));
}

#[test]
fn a_closed_window_ends_everything() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nstop = { grace = \"300ms\" }\n\
         [processes.deaf]\ncommand = \"trap '' TERM HUP INT; exec tambat-fixture park\"\nstop = { grace = \"300ms\" }\n\
         [processes.daemon]\ncommand = \"(setsid tambat-fixture park &); exec tambat-fixture park\"\nstop = { grace = \"300ms\" }\n",
    );
    let (terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    running.ready(&["web"]);
    until("the processes to be there", || {
        (running.processes().iter().filter(|p| p.name == "tambat-fixture").count() == 4).then_some(())
    });
    terminal.close();
    running.exit_code();
    running.nothing_left(GONE_WITHIN);
}
