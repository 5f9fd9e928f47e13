//! What was seen of an app: plain values, from which the judges judge.
//!
//! What could not be looked at is an [`Unseen`] with the reason: a judge has nothing to say then, and says why.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tambat_model::{ClauseId, Protocol, Recognised, Restart};

/// Something that was looked at, or why it was not.
pub type Look<T> = Result<T, Unseen>;

/// Why something was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen(pub String);

impl Unseen {
    /// For this reason, in words that follow "not judged:".
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Why nothing that only a start shows was seen of what `--url` names.
pub(crate) const RAN_ALREADY: &str = "it ran already: only a start shows that";

impl Default for Unseen {
    fn default() -> Self {
        Self("nobody looked".to_owned())
    }
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The app.
    pub app: String,
    /// Its process; none for something that ran already.
    pub process: Option<String>,
    /// The command, or the URL, without passwords.
    pub command: String,
    /// What serves behind the command, by its words and by the app's dependencies.
    pub recognised: Recognised,
    /// What it is said to speak on its first port; none: nothing says.
    pub protocol: Option<Protocol>,
    /// Two instances of it would destroy each other's data.
    pub stateful: bool,
    /// Whoever listens on its port counts as the app.
    pub any_owner: bool,
    /// What follows its end.
    pub restart: Restart,
    /// How long it may take to listen.
    pub boot: Duration,
    /// How long it may take to stop.
    pub grace: Duration,
    /// The signal by which it is told to stop, without `SIG`.
    pub signal: String,
    /// It ran already: it was not started, and cannot be stopped.
    pub is_running: bool,
}

/// A process, as people name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its number.
    pub pid: i32,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(u8),
    /// By this signal, without `SIG`.
    Signal(String),
    /// Nobody knows: its keeper was killed.
    Unknown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(name) => write!(f, "SIG{name}"),
            Self::Unknown => f.write_str("nobody knows which code"),
        }
    }
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port that the app had open at some time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
    /// Whose.
    pub program: Program,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.transport, self.addr, self.program)
    }
}

/// What was seen of one start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The `PORT` it was told.
    pub port: u16,
    /// All ports it was told, `PORT` included.
    pub told: Vec<u16>,
    /// What became of it.
    pub boot: Boot,
    /// Every port that a process of it had open at some time, of those that it was told or not.
    pub listeners: Vec<Listener>,
    /// Processes of it whose files may not be seen.
    pub hidden: Vec<i32>,
    /// What it wrote last.
    pub last_lines: Vec<String>,
}

impl Start {
    /// It listens on its `PORT`.
    pub fn bound(&self) -> Option<&Bound> {
        match &self.boot {
            Boot::Bound(bound) => Some(bound),
            _ => None,
        }
    }

    /// What it had open beside what it was told.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| !self.told.contains(&listener.addr.port()))
    }

    /// It was the port that kept it from starting: it said so, in one of the ways in which programs say that.
    pub fn says_port_is_taken(&self) -> bool {
        says_port_is_taken(&self.last_lines)
    }
}

/// EADDRINUSE, as the runtimes of most languages word it.
pub(crate) fn says_port_is_taken(lines: &[String]) -> bool {
    const WORDS: [&str; 5] = ["address already in use", "eaddrinuse", "addrinuse", "in use", "address in use"];
    lines.iter().any(|line| {
        let line = line.to_ascii_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    })
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// The command could not be executed: why.
    Impossible(String),
    /// It ended by itself before it listened.
    Ended {
        /// How.
        end: End,
        /// After how long.
        after: Duration,
        /// What went on of it: it had gone to the background.
        left: Vec<Program>,
    },
    /// Nobody listened on its `PORT` for as long as it may take.
    Unbound(Duration),
    /// Somebody outside its tree listens on its `PORT`; none: it cannot be told who.
    Foreign(Option<Program>),
    /// It listens.
    Bound(Bound),
}

/// What was seen of one that listens on its `PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Who listens.
    pub owner: Owner,
    /// Where.
    pub addrs: Vec<IpAddr>,
    /// In which families it takes connections.
    pub families: Families,
    /// After how long.
    pub after: Duration,
    /// The variables whose ports were not bound in time.
    pub missing: Vec<String>,
    /// Who outside its tree has a socket that listens on that port.
    pub outsiders: Vec<Program>,
    /// What it answered, by the variable of each port; that of `PORT` first.
    pub talks: Vec<(String, Talk)>,
}

/// In which families connections are taken. One that this machine does not have counts as taken: nothing is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A process of the tree.
    Ours(Program),
    /// Perhaps a process of the tree, whose files may not be seen.
    Hidden(Option<i32>),
    /// Anybody: the manifest says `owner = "any"`.
    Any,
}

/// What was answered on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Talk {
    /// It speaks this.
    Speaks {
        /// The protocol and its version, as people read it.
        protocol: String,
        /// The first answer, since the start.
        after: Duration,
        /// What it says against itself, in a sentence's end: "it answers 500 Internal Server Error".
        but: Option<String>,
    },
    /// It accepts, and nothing that is known here was recognised.
    PlainTcp,
    /// Datagrams, of which nobody knows what would be answered.
    Datagrams,
    /// It speaks something else than was declared: what was seen.
    Wrong(String),
    /// It gave no answer: what was tried.
    Silent(String),
}

/// Was a good request answered: after how long, or what happened instead.
pub type Reply = Result<Duration, String>;

/// What became of the app under one rude client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rude {
    /// What the client did, to be read after "a client that".
    pub what: &'static str,
    /// How the app took it.
    pub outcome: RudeOutcome,
}

/// How an app took a rude client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RudeOutcome {
    /// A good request was answered afterwards.
    Fine,
    /// It is still there; no good request is known for what it speaks.
    Alive,
    /// It has ended.
    Ended(End),
    /// A good request was not answered.
    NoAnswer(String),
}

/// What was seen of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// How long it took until nothing was left, or until it was killed.
    pub took: Duration,
    /// It had to be killed.
    pub killed: bool,
    /// How it ended.
    pub end: End,
    /// What went on when the command had ended.
    pub left: Vec<Program>,
    /// One of those listened on its port: the server itself.
    pub server_left: bool,
}

/// What became of a request that was under way when the app was told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InFlight {
    /// Its answer came whole, with this status.
    Whole(u16),
    /// Its answer broke off after so many bytes.
    Cut(usize),
    /// No answer came: what happened.
    Lost(String),
    /// It was answered before the app was told to stop: nothing was under way.
    Early,
}

/// What was seen of the port after the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Could the port be bound right after the end? Else what kept it.
    pub bind: Result<(), Kept>,
    /// The app, started there again.
    pub start: Start,
}

/// What keeps a port from being bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Somebody listens there.
    By(String),
    /// Nobody does: connections that the app has closed linger, and it had bound without `SO_REUSEADDR`.
    Lingering,
    /// Something else.
    Other(String),
}

/// What was seen of a start on a port that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It ended.
    Ended {
        /// How.
        end: End,
        /// After how long.
        after: Duration,
        /// What it wrote last.
        last_lines: Vec<String>,
    },
    /// It still ran at the end of the boot limit.
    Running(Duration),
    /// It listened elsewhere.
    Elsewhere(Listener),
}

/// What was seen of two at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The second one, started while the first one ran.
    pub second: Start,
    /// What the first one answered when the second one was there.
    pub first_answers: Reply,
    /// The second one, started when the first one was gone, if it failed beside it.
    pub alone: Option<Start>,
}

/// What was seen of one page that was asked for by a public name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its path.
    pub path: String,
    /// The status.
    pub status: u16,
    /// Where the private port stood: `Location: http://localhost:20123/login`.
    pub leaks: Vec<String>,
}

/// What was seen of requests by a public name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The name.
    pub host: String,
    /// The pages.
    pub pages: Vec<Page>,
}

/// What was seen of the way to one backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The variable with its handle.
    pub var: String,
    /// Who stands behind it.
    pub provider: String,
    /// How often the app dialled what the variable says.
    pub dials: usize,
    /// Where else it was seen to dial it.
    pub elsewhere: Vec<SocketAddr>,
}

/// What was seen of a start while its backing services were away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// The handles that led nowhere.
    pub vars: Vec<String>,
    /// For how long they did.
    pub away: Duration,
    /// How it ended, each time that it did.
    pub ends: Vec<End>,
    /// Did it answer in the end: after how long, or what happened instead.
    pub answers: Reply,
    /// What it wrote last.
    pub last_lines: Vec<String>,
}

/// What was seen of a start without privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserStart {
    /// The user.
    pub uid: u32,
    /// Folders and files that this user may not be able to use, and the app may need.
    pub closed: Vec<PathBuf>,
    /// The start; none: everything in this check ran as that user.
    pub start: Option<Start>,
    /// The same in the same place as root, where that user's failed.
    pub as_root: Option<Start>,
}

/// What a file of dependencies says of a web server library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The file, as it is named in the app's directory.
    pub file: String,
    /// The library; none: it has none of those known here.
    pub library: Option<String>,
}

/// What is told beside the verdicts; what was not seen is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// From the start to the first answer.
    pub boot: Option<Duration>,
    /// Memory when it was ready, in bytes.
    pub memory_at_rest: Option<u64>,
    /// Memory after [`Facts::requests`] requests, in bytes.
    pub memory_after: Option<u64>,
    /// How many requests those were.
    pub requests: Option<u32>,
    /// The protocol and its version.
    pub protocol: Option<String>,
    /// Where it listened.
    pub addresses: Vec<SocketAddr>,
    /// How many processes it had, at most.
    pub processes: Option<usize>,
    /// From the signal until nothing was left.
    pub stop: Option<Duration>,
}

/// Everything that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What was checked.
    pub asked: Asked,
    /// The first start.
    pub first: Look<Start>,
    /// A start on another port.
    pub second: Look<Start>,
    /// A start that was told `HOST=0.0.0.0`; usually the second one.
    pub open: Look<Start>,
    /// Two at once.
    pub beside: Look<Beside>,
    /// A good request while many connections idled.
    pub idle: Look<Reply>,
    /// Rude clients.
    pub rude: Look<Vec<Rude>>,
    /// The stop of the first start.
    pub stop: Look<Stop>,
    /// A request that was under way then.
    pub in_flight: Look<InFlight>,
    /// Its port afterwards.
    pub again: Look<Again>,
    /// A start on a port that was held.
    pub taken: Look<Taken>,
    /// Its backing services.
    pub services: Look<Vec<Service>>,
    /// Requests by a public name.
    pub forwarded: Look<Forwarded>,
    /// A start without privileges.
    pub user: Look<UserStart>,
    /// A start while its backing services were away.
    pub away: Look<Away>,
    /// Its dependencies.
    pub declared: Look<Declared>,
    /// What is told beside the verdicts.
    pub facts: Facts,
    /// How long each clause took to observe.
    pub spent: BTreeMap<ClauseId, Duration>,
}

impl Observed {
    /// Nothing has been seen yet.
    pub fn nothing(asked: Asked) -> Self {
        fn unseen<T>() -> Look<T> {
            Err(Unseen::default())
        }
        Self {
            asked,
            first: unseen(),
            second: unseen(),
            open: unseen(),
            beside: unseen(),
            idle: unseen(),
            rude: unseen(),
            stop: unseen(),
            in_flight: unseen(),
            again: unseen(),
            taken: unseen(),
            services: unseen(),
            forwarded: unseen(),
            user: unseen(),
            away: unseen(),
            declared: unseen(),
            facts: Facts::default(),
            spent: BTreeMap::new(),
        }
    }

    /// How long the observation of this clause took.
    pub fn took(&self, id: ClauseId) -> Duration {
        self.spent.get(&id).copied().unwrap_or_default()
    }
}
