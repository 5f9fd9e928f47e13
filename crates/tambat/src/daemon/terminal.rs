//! How lines look: `HH:MM:SS web.1    | text`, in colour on a terminal, or one JSON object a line.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use tambat_api::LogRecord;
use tambat_model::colours_only;
use tambat_os::WinSize;

use crate::cli::LogFormat;

/// No name column is narrower: foreman's width.
const NAME_WIDTH_MIN: usize = 6;

/// A child's terminal is never narrower than this, however long the names are.
const CHILD_COLUMNS_MIN: u16 = 40;

/// foreman's colours, in its order: cyan, yellow, green, magenta, red, blue.
const COLORS: [u8; 6] = [36, 33, 32, 35, 31, 34];

/// What tambat itself says is bright white.
const COLOR_SYSTEM: u8 = 97;

/// How lines look.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Text or JSON.
    pub(crate) format: LogFormat,
    /// With the time of day.
    pub(crate) timestamp: bool,
    /// Standard output takes colour.
    pub(crate) color_out: bool,
    /// Standard error takes colour.
    pub(crate) color_err: bool,
    /// Standard output is a terminal, where a child's control sequences would do harm.
    pub(crate) tty: bool,
    /// The app that stands before the name; none: there is no other.
    pub(crate) app: Option<String>,
    /// The names, in the order of their colours.
    pub(crate) names: Vec<String>,
    /// How wide the column of the names is.
    pub(crate) width: usize,
}

impl Look {
    /// The width of the column for these names.
    pub(crate) fn width_of<'a>(names: impl Iterator<Item = &'a str>) -> usize {
        names.map(str::len).chain([NAME_WIDTH_MIN]).max().unwrap_or(NAME_WIDTH_MIN)
    }

    /// How many columns stand before the text: a child's terminal is so much narrower.
    fn prefix_width(&self) -> u16 {
        let time = if self.timestamp { "HH:MM:SS ".len() } else { 0 };
        u16::try_from(time + self.width + " | ".len()).unwrap_or(u16::MAX)
    }

    /// The terminal of a child beside our prefix: narrower by what stands before its lines.
    pub(crate) fn of_child(&self, ours: WinSize) -> WinSize {
        WinSize { rows: ours.rows, cols: ours.cols.saturating_sub(self.prefix_width()).max(CHILD_COLUMNS_MIN) }
    }

    /// The line, with its line end.
    pub(crate) fn render(&self, record: &LogRecord) -> String {
        let source = self.shown(&record.source);
        if self.format == LogFormat::Json {
            let record = LogRecord { source: source.into_owned(), ..record.clone() };
            return serde_json::to_string(&record).map(|json| json + "\n").unwrap_or_default();
        }
        let system = record.stream == "system";
        let time = if self.timestamp { time_of_day(record.at_ms) } else { String::new() };
        let width = self.width;
        let prefix = format!("{time}{source:<width$} |");
        let color = if system { self.color_err } else { self.color_out };
        let text = if self.tty { colours_only(&record.text) } else { record.text.clone() };
        let (prefix, reset) = if color {
            (format!("\u{1b}[{}m{prefix}\u{1b}[0m", self.color_of(&record.source)), reset_after(&text))
        } else {
            (prefix, "")
        };
        format!("{prefix} {text}{reset}\n")
    }

    /// How a source is called here: what tambat says of an app has the app's name alone.
    fn shown<'a>(&self, source: &'a str) -> Cow<'a, str> {
        match &self.app {
            None => source.into(),
            Some(app) if source == "tambat" => app.clone().into(),
            Some(app) => format!("{app}/{source}").into(),
        }
    }

    fn color_of(&self, source: &str) -> u8 {
        let process = source.split_once('.').map_or(source, |(process, _)| process);
        self.names.iter().position(|n| n == process).map_or(COLOR_SYSTEM, |nth| COLORS[nth % COLORS.len()])
    }
}

/// A child's colour must not run into the next line.
fn reset_after(text: &str) -> &'static str {
    if text.contains('\u{1b}') { "\u{1b}[0m" } else { "" }
}

fn time_of_day(at_ms: u64) -> String {
    let (hour, minute, second) = tambat_os::clock::local_time_of_day(UNIX_EPOCH + Duration::from_millis(at_ms));
    format!("{hour:02}:{minute:02}:{second:02} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(color: bool) -> Look {
        let names = vec!["web".to_owned(), "entries".to_owned()];
        Look {
            format: LogFormat::Text,
            timestamp: false,
            color_out: color,
            color_err: color,
            tty: color,
            app: None,
            names,
            width: 9,
        }
    }

    fn record(source: &str, stream: &str, text: &str) -> LogRecord {
        LogRecord { at_ms: 0, source: source.into(), stream: stream.into(), text: text.into() }
    }

    #[test]
    fn a_line_has_the_name_in_a_column() {
        assert_eq!(look(false).render(&record("web.1", "out", "hello")), "web.1     | hello\n");
    }

    #[test]
    fn among_many_apps_each_line_says_whose_it_is() {
        let look = Look { app: Some("shop".to_owned()), width: 12, ..look(false) };
        assert_eq!(look.render(&record("web.1", "out", "hello")), "shop/web.1   | hello\n");
        assert_eq!(look.render(&record("tambat", "system", "hello")), "shop         | hello\n");
        let json = Look { format: LogFormat::Json, ..look }.render(&record("web.1", "out", "hello"));
        assert_eq!(serde_json::from_str::<LogRecord>(&json).unwrap().source, "shop/web.1");
    }

    #[test]
    fn each_process_has_its_colour_and_keeps_its_own() {
        let line = look(true).render(&record("entries.2", "out", "\u{1b}[1mbold"));
        assert_eq!(line, "\u{1b}[33mentries.2 |\u{1b}[0m \u{1b}[1mbold\u{1b}[0m\n");
        assert!(look(true).render(&record("tambat", "system", "x")).starts_with("\u{1b}[97m"));
    }

    #[test]
    fn on_a_terminal_a_child_may_colour_and_nothing_else() {
        let text = "\u{1b}[2J\u{1b}[31mred\u{1b}(B\u{1b}[m";
        let on_a_terminal = Look { color_out: false, ..look(true) };
        let line = on_a_terminal.render(&record("web.1", "out", text));
        assert_eq!(line, "web.1     | \u{1b}[31mred\u{1b}[m\n");
        assert!(look(false).render(&record("web.1", "out", text)).contains(text), "a file gets what was written");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let look = Look { format: LogFormat::Json, ..look(false) };
        let line = look.render(&record("web.1", "err", "a\nb"));
        assert_eq!(serde_json::from_str::<LogRecord>(&line).unwrap().text, "a\nb");
        assert_eq!(line.matches('\n').count(), 1);
    }
}
