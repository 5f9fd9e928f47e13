//! What tambat tells a keeper and what a keeper tells tambat, over their unix socket. No I/O here: bytes in,
//! messages out, and the other way round.

use std::time::Duration;

use crate::frame::{Decoder, Encoder, FrameReader, ProtocolError};
use crate::{Pid, ProcessInfo, Signal};

/// How a command is asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StopSpec {
    /// What its process group is sent first.
    pub signal: Signal,
    /// How long it, and what it leaves behind, may take in all before KILL. Carried in whole milliseconds.
    pub grace: Duration,
}

/// tambat to keeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// End it. The grace counts from the first of these; the second one kills at once.
    Stop(StopSpec),
    /// Pass a signal on to the command's process group; ignored once the command has ended.
    Signal(Signal),
    /// Kill all of it now.
    Kill,
}

/// Keeper to tambat. The first is `Started` or `NotStarted`; after `Started` comes one `Exited`; then the socket
/// closes (an end of stream, or ECONNRESET when an order crossed it). A socket that closes without `Exited`: the
/// keeper was killed, and the spawner kills what it kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The command runs: execve(2) has succeeded.
    Started {
        /// The command, leader of its own session and process group.
        pid: Pid,
        /// The keeper: what [`crate::owner()`] and [`crate::listeners_of`] ask for.
        keeper: Pid,
    },
    /// The command could not be started, and nothing of it runs.
    NotStarted {
        /// What failed, to be read after "cannot": `enter the directory /x`.
        step: String,
        /// Why (errno(3)).
        errno: i32,
    },
    /// The command and everything it had started are gone: ports and files are free.
    Exited(ExitReport),
}

/// How an instance ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExitReport {
    /// How the command itself ended.
    pub status: ExitStatus,
    /// What was still alive of its tree when the command ended, whether or not it was asked to: a command that went
    /// to the background, or a group that was slower than its leader. At most [`LEFT_BEHIND_MAX`] of them.
    pub left_behind: Vec<ProcessInfo>,
    /// Something had to be ended by KILL: on order, or because it was alive after the grace.
    pub killed: bool,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(u8),
    /// By a signal.
    Signal(Signal),
}

/// Enough to show a person what a command forgot; a fork bomb must not fill the socket.
pub const LEFT_BEHIND_MAX: usize = 16;

/// A `NotStarted` names a path of up to 4096 bytes, and escapes may quadruple it.
const REPORT_BYTES_MAX: usize = 32 * 1024;
const ORDER_BYTES_MAX: usize = 16;

const STOP: u8 = 1;
const SIGNAL: u8 = 2;
const KILL: u8 = 3;
const STARTED: u8 = 1;
const NOT_STARTED: u8 = 2;
const EXITED: u8 = 3;
const BY_CODE: u8 = 1;
const BY_SIGNAL: u8 = 2;

impl Order {
    /// The frame to write to [`crate::Keeper::socket`], at most 20 bytes: it fits the socket's buffer whenever the
    /// keeper lives.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stop(stop) => stop.encode(Encoder::new().u8(STOP)).finish(),
            Self::Signal(signal) => Encoder::new().u8(SIGNAL).i32(signal.number()).finish(),
            Self::Kill => Encoder::new().u8(KILL).finish(),
        }
    }

    fn decode(content: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Decoder::new(content);
        let order = match fields.u8()? {
            STOP => Self::Stop(StopSpec::decode(&mut fields)?),
            SIGNAL => Self::Signal(signal(&mut fields)?),
            KILL => Self::Kill,
            _ => return Err(ProtocolError::Value("order")),
        };
        fields.finish()?;
        Ok(order)
    }
}

impl StopSpec {
    pub(crate) fn encode(self, to: Encoder) -> Encoder {
        to.i32(self.signal.number()).duration(self.grace)
    }

    pub(crate) fn decode(fields: &mut Decoder<'_>) -> Result<Self, ProtocolError> {
        Ok(Self { signal: signal(fields)?, grace: fields.duration()? })
    }
}

impl Report {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started { pid, keeper } => Encoder::new().u8(STARTED).i32(pid.get()).i32(keeper.get()).finish(),
            Self::NotStarted { step, errno } => {
                Encoder::new().u8(NOT_STARTED).bytes(step.as_bytes()).i32(*errno).finish()
            }
            Self::Exited(exit) => {
                let (by, number) = match exit.status {
                    ExitStatus::Code(code) => (BY_CODE, i32::from(code)),
                    ExitStatus::Signal(signal) => (BY_SIGNAL, signal.number()),
                };
                let left = &exit.left_behind[..exit.left_behind.len().min(LEFT_BEHIND_MAX)];
                let head = Encoder::new().u8(EXITED).u8(by).i32(number).u8(u8::from(exit.killed)).count(left.len());
                left.iter()
                    .fold(head, |to, process| {
                        to.i32(process.pid.get()).bytes(process.name.as_bytes()).bytes(process.command.as_bytes())
                    })
                    .finish()
            }
        }
    }

    fn decode(content: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Decoder::new(content);
        let report = match fields.u8()? {
            STARTED => Self::Started { pid: pid(&mut fields)?, keeper: pid(&mut fields)? },
            NOT_STARTED => Self::NotStarted { step: fields.text()?, errno: fields.i32()? },
            EXITED => Self::Exited(ExitReport {
                status: match fields.u8()? {
                    BY_CODE => {
                        ExitStatus::Code(u8::try_from(fields.i32()?).map_err(|_| ProtocolError::Value("exit code"))?)
                    }
                    BY_SIGNAL => ExitStatus::Signal(signal(&mut fields)?),
                    _ => return Err(ProtocolError::Value("way to end")),
                },
                killed: match fields.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(ProtocolError::Value("flag")),
                },
                left_behind: fields
                    .list(|of| Ok(ProcessInfo { pid: pid(of)?, name: of.text()?, command: of.text()? }))?,
            }),
            _ => return Err(ProtocolError::Value("report")),
        };
        fields.finish()?;
        Ok(report)
    }
}

fn signal(fields: &mut Decoder<'_>) -> Result<Signal, ProtocolError> {
    Signal::new(fields.i32()?).ok_or(ProtocolError::Value("signal"))
}

fn pid(fields: &mut Decoder<'_>) -> Result<Pid, ProtocolError> {
    Pid::new(fields.i32()?).ok_or(ProtocolError::Value("pid"))
}

/// Turns what a keeper's socket delivers, in pieces of any size, into reports. Holds at most one incomplete report
/// and what was pushed; after the first error it says nothing more.
#[derive(Debug)]
pub struct ReportReader(FrameReader);

impl Default for ReportReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ReportReader {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self(FrameReader::new(REPORT_BYTES_MAX))
    }

    /// Takes what was just read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next whole report, if there is one. Call until `None`.
    #[expect(clippy::should_implement_trait, reason = "None means not yet, and an iterator's None means never")]
    pub fn next(&mut self) -> Option<Result<Report, ProtocolError>> {
        self.0.next().map(|frame| frame.and_then(|content| Report::decode(&content)))
    }
}

/// The keeper's side of the same.
#[derive(Debug)]
pub(crate) struct OrderReader(FrameReader);

impl OrderReader {
    pub(crate) fn new() -> Self {
        Self(FrameReader::new(ORDER_BYTES_MAX))
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    pub(crate) fn next(&mut self) -> Option<Result<Order, ProtocolError>> {
        self.0.next().map(|frame| frame.and_then(|content| Order::decode(&content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::new(raw).unwrap()
    }

    fn reports() -> Vec<Report> {
        let left = |n| ProcessInfo { pid: pid(n), name: "sleep".into(), command: "sleep ∞ --long".into() };
        vec![
            Report::Started { pid: pid(7), keeper: pid(i32::MAX) },
            Report::NotStarted { step: "enter the directory /ä".into(), errno: 2 },
            Report::Exited(ExitReport { status: ExitStatus::Code(255), left_behind: vec![], killed: false }),
            Report::Exited(ExitReport {
                status: ExitStatus::Signal(Signal::KILL),
                left_behind: vec![left(1), left(2)],
                killed: true,
            }),
        ]
    }

    fn orders() -> Vec<Order> {
        let stop = StopSpec { signal: Signal::INT, grace: Duration::from_millis(1500) };
        vec![Order::Stop(stop), Order::Signal(Signal::USR1), Order::Kill]
    }

    #[test]
    fn reports_arrive_in_pieces_of_any_size() {
        let stream: Vec<u8> = reports().iter().flat_map(Report::encode).collect();
        for size in 1..=stream.len() {
            let mut reader = ReportReader::new();
            let mut read = Vec::new();
            for piece in stream.chunks(size) {
                reader.push(piece);
                while let Some(report) = reader.next() {
                    read.push(report.unwrap());
                }
            }
            assert_eq!(read, reports(), "in pieces of {size}");
        }
    }

    #[test]
    fn orders_arrive_in_pieces_of_any_size() {
        let stream: Vec<u8> = orders().iter().flat_map(Order::encode).collect();
        for size in 1..=stream.len() {
            let mut reader = OrderReader::new();
            let mut read = Vec::new();
            for piece in stream.chunks(size) {
                reader.push(piece);
                while let Some(order) = reader.next() {
                    read.push(order.unwrap());
                }
            }
            assert_eq!(read, orders(), "in pieces of {size}");
        }
    }

    #[test]
    fn every_shortened_or_lengthened_content_is_refused() {
        for frame in reports().iter().map(Report::encode) {
            let content = &frame[4..];
            for end in 0..content.len() {
                assert!(Report::decode(&content[..end]).is_err(), "{content:?} up to {end}");
            }
            assert_eq!(Report::decode(&[content, b"x"].concat()), Err(ProtocolError::Length));
        }
        for frame in orders().iter().map(Order::encode) {
            let content = &frame[4..];
            assert!(content.len() <= ORDER_BYTES_MAX);
            for end in 0..content.len() {
                assert!(Order::decode(&content[..end]).is_err(), "{content:?} up to {end}");
            }
        }
    }

    #[test]
    fn any_single_wrong_byte_is_an_answer_not_a_panic() {
        for frame in reports().iter().map(Report::encode) {
            for at in 0..frame.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut frame = frame.clone();
                    frame[at] = value;
                    let mut reader = ReportReader::new();
                    reader.push(&frame);
                    while reader.next().is_some() {}
                }
            }
        }
    }

    #[test]
    fn what_is_left_behind_is_bounded_and_fits_a_frame() {
        let process =
            ProcessInfo { pid: pid(1), name: "x".repeat(16), command: "€".repeat(crate::tree::COMMAND_CHARS_MAX) };
        let exit = |count| {
            Report::Exited(ExitReport {
                status: ExitStatus::Code(0),
                left_behind: vec![process.clone(); count],
                killed: false,
            })
        };
        let mut reader = ReportReader::new();
        reader.push(&exit(10_000).encode());
        assert_eq!(reader.next(), Some(Ok(exit(LEFT_BEHIND_MAX))));
    }
}
