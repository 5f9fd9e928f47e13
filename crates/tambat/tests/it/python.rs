//! Python, as it comes from Debian: what ignores PORT is told how Python reads it, and text and colours come through.

use crate::support::{AppDir, Base, Terminal, is_free, programs};

/// Tornado on the port in FIXED, whatever PORT says: the habit that tambat finds.
const STUBBORN: &str = r#"
import asyncio, os
import tornado.web

class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write("hello")

async def main():
    tornado.web.Application([("/", Hello)]).listen(int(os.environ["FIXED"]), address="127.0.0.1")
    await asyncio.Event().wait()

asyncio.run(main())
"#;

/// What a progress bar, a linter and a greeting do: 256 colours, bold, wide and combined characters.
const COLOURFUL: &str = r#"
import signal, sys
print("\x1b[1;38;5;42mgrün ✓\x1b[0m 漢字 e\u0301 🚢", flush="--flush" in sys.argv)
signal.pause()
"#;

const COLOURED: &str = "\u{1b}[1;38;5;42mgrün ✓\u{1b}[0m 漢字 e\u{301} 🚢";

#[test]
fn tornado_on_a_port_of_its_own_is_told_the_line_to_change() {
    programs::tornado();
    let fixed = Base::find();
    let app = AppDir::procfile("web: /usr/bin/python3 app.py\n").file("app.py", STUBBORN).env("FIXED", &fixed.text());
    let mut running = app.start(&[]);
    let line = running.err_line("it ignores PORT");
    assert!(line.contains("web.1") && line.contains("python3"), "{line}");
    assert!(line.contains(&format!("listens on {}", fixed.0)), "{line}");
    assert!(line.contains("(PB-03); in app.py use os.environ[\"PORT\"]"), "{line}");
    assert_eq!(app.process("web")["state"], "waiting");
    assert_eq!(running.stop(), 0);
    assert!(is_free(fixed.0));
}

#[test]
fn text_and_colours_go_through_a_pipe_as_they_are() {
    let app = AppDir::procfile("job: /usr/bin/python3 job.py --flush\n").file("job.py", COLOURFUL);
    let mut running = app.start(&["--no-timestamp"]);
    assert_eq!(running.out_line("grün"), format!("job.1  | {COLOURED}"));
    assert_eq!(running.stop(), 0);
}

#[test]
fn on_a_terminal_python_writes_at_once_and_its_colours_end_with_the_line() {
    let app = AppDir::procfile("job: /usr/bin/python3 job.py\n").file("job.py", COLOURFUL);
    let (_terminal, mut running) = Terminal::start(&app, 24, 80, &["--no-timestamp"]);
    // Without flush: Python itself does so where its output is a terminal, and it is one.
    let line = running.line("grün");
    assert!(line.contains(&format!("job.1  |\u{1b}[0m {COLOURED}")), "{line:?}");
    assert_eq!(running.stop(), 0);
}
