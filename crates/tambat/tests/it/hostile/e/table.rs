//! The rules one by one, each as what a client sends and what has to come of it, by section.
//!
//! What is expected is what the section says, with its error code. A stream error may be answered as a connection error
//! (RFC 9113 §5.4.1), with the same code. Where the router answers otherwise, the row says so, and why: such rows are
//! counted, so that none comes or goes unnoticed.

mod frames;
mod hpack;
pub(super) mod messages;
mod streams;
pub(super) mod websocket;

use std::panic::AssertUnwindSafe;

use super::client::Client;
use super::frames::{GOAWAY, HOST, RST_STREAM};
use crate::hostile::recorder::{Recorder, Then};
use crate::hostile::stage::{Setting, Stage};

/// What has to come of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// GOAWAY with this code, and the end of the connection.
    Goaway(u32),
    /// `RST_STREAM` with this code, or else GOAWAY with it.
    Reset(u32),
    /// An answer with this status on stream 1, and the connection goes on.
    Answer(u16),
    /// The connection goes on.
    Alive,
}

/// One rule.
pub(super) struct Row {
    pub(super) section: &'static str,
    pub(super) what: &'static str,
    act: fn(&mut Client),
    want: Want,
    /// What comes instead, and why that will do.
    instead: Option<(Want, &'static str)>,
}

pub(super) const fn row(section: &'static str, what: &'static str, want: Want, act: fn(&mut Client)) -> Row {
    Row { section, what, act, want, instead: None }
}

impl Row {
    const fn but(self, instead: Want, why: &'static str) -> Self {
        Self { instead: Some((instead, why)), ..self }
    }

    fn name(&self) -> String {
        format!("{}: {}", self.section, self.what)
    }

    /// Plays it, and says what is wrong with what came.
    fn play(&self, stage: &Stage) {
        let mut client = Client::open(stage.router.addr);
        (self.act)(&mut client);
        let name = self.name();
        match self.instead.map_or(self.want, |(instead, _)| instead) {
            Want::Goaway(code) => {
                assert_eq!(client.goaway(&name).0, code, "{name}");
                client.must_end(&name);
            }
            Want::Reset(code) => {
                let ended = client.until(&name, |frame| matches!(frame.kind, RST_STREAM | GOAWAY));
                assert_eq!(ended.number(if ended.kind == GOAWAY { 4 } else { 0 }), code, "{name}: {ended:?}");
                if ended.kind == RST_STREAM {
                    client.must_be_alive(&name);
                }
            }
            Want::Answer(status) => {
                let (got, _) = client.answer(1);
                assert_eq!(got, Some(status), "{name}");
                client.must_be_alive(&name);
            }
            Want::Alive => client.must_be_alive(&name),
        }
    }
}

/// Plays all rows against one router: what is evil never reaches the app, what is half an evil never whole. How many rows
/// are answered otherwise than the section says.
pub(super) fn play(rows: &[Row]) -> Vec<(String, &'static str)> {
    let app = Recorder::playing(|visit, request| {
        if request.path.starts_with("/wait") {
            // It is never answered.
            visit.until_closed();
            return Then::Close;
        }
        if request.field("upgrade").is_some() {
            return websocket::switch(visit, request);
        }
        visit.echo(request)
    });
    let stage = Stage::of(app, &Setting::default());
    let mut wrong = Vec::new();
    for row in rows {
        // All rows that fail are told, not the first alone.
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| row.play(&stage)));
        if played.is_err() {
            wrong.push(row.name());
        }
        assert!(stage.app.requests("evil").is_empty(), "{}: the app was sent it", row.name());
        assert!(stage.app.requests("half").iter().all(|seen| !seen.whole), "{}: the app was sent all", row.name());
        assert_eq!(stage.app.log().junk, Vec::<String>::new(), "{}", row.name());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stage.good();
    rows.iter().filter_map(|row| Some((row.name(), row.instead?.1))).collect()
}

/// What the sections ask for as a whole, and how many rows are answered otherwise.
#[test]
fn there_are_as_many_rows_as_promised() {
    let all = [frames::rows(), streams::rows(), messages::rows(), hpack::rows(), websocket::rows()];
    let rows: usize = all.iter().map(Vec::len).sum();
    assert!(rows >= 140, "{rows}");
    let mut names: Vec<_> = all.iter().flatten().map(Row::name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), rows, "two rows have one name");
}

/// RFC 9113 §3.4, §4, §6, §7.
#[test]
fn frames_keep_their_rules() {
    let others = play(&frames::rows());
    assert_eq!(others.len(), frames::OTHERWISE, "{others:#?}");
}

/// RFC 9113 §5.
#[test]
fn streams_keep_their_rules() {
    let others = play(&streams::rows());
    assert_eq!(others.len(), streams::OTHERWISE, "{others:#?}");
}

/// RFC 9113 §8.
#[test]
fn messages_keep_their_rules() {
    let others = play(&messages::rows());
    assert_eq!(others.len(), messages::OTHERWISE, "{others:#?}");
}

/// RFC 7541.
#[test]
fn field_sections_keep_their_rules() {
    let others = play(&hpack::rows());
    assert_eq!(others.len(), hpack::OTHERWISE, "{others:#?}");
}

/// RFC 8441.
#[test]
fn websockets_keep_their_rules() {
    let others = play(&websocket::rows());
    assert_eq!(others.len(), websocket::OTHERWISE, "{others:#?}");
}
