//! What was seen on an instance's ports, and what it means to its user.

use std::fmt::Write;

use tambat_model::{Endpoint, InstanceName};

/// What was seen on an instance's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nobody listens on a port it was told to bind. `elsewhere`: where the instance does listen.
    Nobody {
        /// Program and port of each listener that no variable told it.
        elsewhere: Vec<Elsewhere>,
    },
    /// It cannot be seen who listens: why.
    Unseen(String),
    /// Somebody else listens there.
    Stranger(Stranger),
    /// It listens, and its answer says "not yet".
    NotYet(String),
    /// It listens, and its answer is not one of its protocol.
    Wrong(String),
    /// Every port answers.
    Ready {
        /// Where each is dialled.
        endpoints: Vec<Endpoint>,
        /// Whoever listens could not be looked into (setuid, or another user): taken for the instance.
        unreadable: bool,
    },
}

/// A listener of the instance on a port that nobody told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The program.
    pub program: String,
    /// Its process id.
    pub pid: i32,
    /// The port it bound.
    pub port: u16,
}

/// Somebody who is not of the instance's process tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// The port in question.
    pub(crate) port: u16,
    /// Program and pid, where they can be known.
    pub(crate) who: Option<(String, i32)>,
}

impl Sight {
    /// What is seen before anything is.
    pub(crate) const NOTHING: Self = Self::Nobody { elsewhere: Vec::new() };

    /// In words: what was seen, and what to do.
    pub(crate) fn explain(&self, name: &InstanceName) -> String {
        match self {
            Self::Nobody { elsewhere } if elsewhere.is_empty() => {
                "nothing listens on its PORT, nor on any other port; it must bind the number in the variable PORT"
                    .to_owned()
            }
            Self::Nobody { elsewhere } => {
                let mut text = format!("{name} listens on ");
                for (nth, e) in elsewhere.iter().enumerate() {
                    let comma = if nth == 0 { "" } else { ", " };
                    let _ = write!(text, "{comma}{} ({}, pid {})", e.port, e.program, e.pid);
                }
                let hint = elsewhere.first().map_or("bind the number in the variable PORT", |e| hint(&e.program));
                text.push_str(", not on its PORT: it ignores PORT; ");
                text.push_str(hint);
                text
            }
            Self::Unseen(error) => format!("tambat cannot see who listens on its PORT: {error}"),
            Self::Stranger(Stranger { port, who: Some((program, pid)) }) => format!(
                "on {name}'s PORT {port} listens {program} (pid {pid}), which {name} did not start; \
                 if that is meant (a container), say owner = \"any\""
            ),
            Self::Stranger(Stranger { port, who: None }) => {
                format!("on {name}'s PORT {port} listens a process of another user, which {name} did not start")
            }
            Self::NotYet(answer) => format!("it listens on its PORT and is not ready: {answer}"),
            Self::Wrong(answer) => format!("it listens on its PORT and gives a wrong answer: {answer}"),
            Self::Ready { .. } => "it is ready".to_owned(),
        }
    }

    /// Is it worth telling before the time is up?
    pub(crate) fn is_telling(&self) -> bool {
        match self {
            Self::Nobody { elsewhere } => !elsewhere.is_empty(),
            Self::Unseen(_) | Self::Wrong(_) => true,
            Self::Stranger(_) | Self::NotYet(_) | Self::Ready { .. } => false,
        }
    }
}

/// The line to change, by the program that listens.
fn hint(program: &str) -> &'static str {
    match program {
        p if p.starts_with("node") || p.starts_with("next") || p.starts_with("MainThread") => {
            "in Node: server.listen(process.env.PORT); for Vite: vite --port $PORT --strictPort"
        }
        p if p.starts_with("python")
            || p.starts_with("uvicorn")
            || p.starts_with("gunicorn")
            || p.starts_with("flask") =>
        {
            "in Python: port=int(os.environ[\"PORT\"]), or --port $PORT (gunicorn: -b 127.0.0.1:$PORT)"
        }
        p if p.starts_with("ruby") || p.starts_with("puma") || p.starts_with("thin") => "in Ruby: -p $PORT",
        p if p.starts_with("java") => {
            "on the JVM: Integer.parseInt(System.getenv(\"PORT\")), or -Dserver.port=$PORT for Spring"
        }
        p if p.starts_with("redis-server") => "for Redis: redis-server --port $PORT",
        p if p.starts_with("postgres") => "for PostgreSQL: postgres -p $PORT",
        p if p.starts_with("php") => "for PHP: php -S 127.0.0.1:$PORT",
        _ => "make it bind the number in the variable PORT, or pass $PORT on its command line",
    }
}
