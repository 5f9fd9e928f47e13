use std::io::{PipeWriter, Read, Write};
use std::os::unix::net::UnixStream as StdStream;

use tambat_os::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::*;

const SLOT: SlotId = SlotId { process: 0, nth: 0 };
const LIMIT: Duration = Duration::from_secs(10);

/// A run, and both what its keeper holds and what its driver hears.
struct Scene {
    run: Run,
    keeper: Option<StdStream>,
    stdout: PipeWriter,
    stderr: PipeWriter,
    lines: Receiver<OutputLine>,
    events: UnboundedReceiver<(SlotId, u32, RunEvent)>,
}

/// An output that a keeper would give: its reading end does not block.
fn output() -> (OwnedFd, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let socket = StdStream::from(OwnedFd::from(reader));
    socket.set_nonblocking(true).unwrap();
    (socket.into(), writer)
}

impl Scene {
    fn begin(room_for_lines: usize) -> Self {
        let (ours, keeper) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ((stdout, their_stdout), (stderr, their_stderr)) = (output(), output());
        let (lines_out, lines) = tokio::sync::mpsc::channel(room_for_lines);
        let (events_out, events) = unbounded_channel();
        let name = InstanceName { process: "web".parse().unwrap(), number: 1.try_into().unwrap() };
        let given = Keeper { socket: ours, output: ChildOutput::Pipes { stdout, stderr } };
        let run = Run::begin(4, SLOT, (&name, None), given, &lines_out, events_out).unwrap();
        Self { run, keeper: Some(keeper), stdout: their_stdout, stderr: their_stderr, lines, events }
    }

    fn closes_its_outputs(&mut self) {
        (self.stdout, self.stderr) = (std::io::pipe().unwrap().1, std::io::pipe().unwrap().1);
    }

    /// The keeper is gone, and with it the instance.
    fn ends(&mut self) {
        drop(self.keeper.take());
    }

    async fn event(&mut self) -> RunEvent {
        let (slot, run, event) = timeout(LIMIT, self.events.recv()).await.unwrap().unwrap();
        assert_eq!((slot, run), (SLOT, 4));
        event
    }

    async fn exit(&mut self) -> Exit {
        match self.event().await {
            RunEvent::Ended(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    async fn line(&mut self) -> Option<String> {
        timeout(LIMIT, self.lines.recv()).await.unwrap().map(|line| line.text)
    }
}

#[tokio::test]
async fn an_order_given_at_once_arrives() {
    let mut scene = Scene::begin(1);
    // Before the runtime has looked at the socket even once.
    let orders = [Order::Signal(Signal::USR1), Order::Kill];
    orders.iter().for_each(|order| scene.run.order(*order));
    let expected: Vec<u8> = orders.iter().flat_map(Order::encode).collect();
    let keeper = scene.keeper.take().unwrap();
    keeper.set_nonblocking(true).unwrap();
    let mut keeper = UnixStream::from_std(keeper).unwrap();
    let mut read = vec![0; expected.len()];
    timeout(LIMIT, keeper.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn dropping_a_run_lets_go_of_its_keeper() {
    let mut scene = Scene::begin(1);
    let keeper = scene.keeper.take().unwrap();
    keeper.set_nonblocking(true).unwrap();
    let mut keeper = UnixStream::from_std(keeper).unwrap();
    tokio::task::yield_now().await;
    drop(scene.run);
    assert_eq!(timeout(LIMIT, keeper.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn what_was_written_is_there_before_the_end_is_told() {
    let mut scene = Scene::begin(64);
    scene.stdout.write_all(b"one\ntwo\nthree\nfour\nfive\nsix\nlast, without a line end").unwrap();
    scene.closes_its_outputs();
    scene.ends();
    let exit = scene.exit().await;
    assert_eq!(exit.how, How::Unknown);
    assert_eq!(exit.last_lines, ["three", "four", "five", "six", "last, without a line end"]);
    let mut lines = Vec::new();
    while let Ok(line) = scene.lines.try_recv() {
        lines.push((line.stream, line.text));
    }
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[6], (Stream::Out, "last, without a line end".to_owned()));
}

#[tokio::test]
async fn the_last_lines_are_told_without_what_a_terminal_obeys() {
    let mut scene = Scene::begin(64);
    let written = "\u{1b}[1;31mboom\u{1b}[0m\u{1b}[2J\u{1b}]0;title\u{7}";
    writeln!(scene.stdout, "{written}").unwrap();
    scene.closes_its_outputs();
    scene.ends();
    assert_eq!(scene.exit().await.last_lines, ["boom"]);
    assert_eq!(scene.line().await.as_deref(), Some(written), "the line itself is left as it is");
}

#[tokio::test]
async fn the_last_lines_are_told_without_passwords() {
    let mut scene = Scene::begin(64);
    let name = "x".repeat(LAST_LINE_CHARS_MAX);
    writeln!(scene.stdout, "connecting to redis://:geheim@h:1").unwrap();
    writeln!(scene.stdout, "to postgres://{name}:geheim@h").unwrap();
    // The colon is among what is quoted, the end of the password is not.
    writeln!(scene.stdout, "amqp://u:geheim{name}@h").unwrap();
    scene.closes_its_outputs();
    scene.ends();
    let told = scene.exit().await.last_lines;
    assert_eq!(told[0], "connecting to redis://:***@h:1");
    assert!(told.len() == 3 && told.iter().all(|line| !line.contains("geheim")), "{told:?}");
}

#[tokio::test]
async fn an_output_that_a_stranger_holds_open_ends_with_what_is_in_it() {
    let mut scene = Scene::begin(64);
    scene.stdout.write_all(b"one\nhalf").unwrap();
    scene.ends();
    let exit = scene.exit().await;
    assert_eq!(exit.last_lines, ["one", "half"]);
    assert_eq!((scene.line().await, scene.line().await), (Some("one".to_owned()), Some("half".to_owned())));
    assert!(scene.stdout.write_all(b"nobody reads this\n").is_err(), "its reading end is closed");
}

#[tokio::test]
async fn who_reads_slowly_gets_every_line_and_holds_nobody_up() {
    let mut scene = Scene::begin(1);
    (0..500).for_each(|nth| writeln!(scene.stdout, "{nth}").unwrap());
    scene.closes_its_outputs();
    scene.ends();
    scene.exit().await;
    for nth in 0..500 {
        assert_eq!(scene.line().await, Some(nth.to_string()));
    }
    assert_eq!(scene.line().await, None);
}

#[tokio::test]
async fn reports_become_events() {
    let mut scene = Scene::begin(1);
    let mut keeper = scene.keeper.take().unwrap();
    // A frame that is none: whoever sends it is no keeper of ours.
    keeper.write_all(&[0, 0, 0, 1, 255]).unwrap();
    assert_eq!(scene.exit().await.how, How::Unknown);
    drop(scene.run);
    keeper.set_read_timeout(Some(LIMIT)).unwrap();
    tokio::task::yield_now().await;
    assert!(keeper.read(&mut [0; 8]).is_ok_and(|read| read == 0));
}
