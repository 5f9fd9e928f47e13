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
            // A container's port is held by another user's process, mostly.
            Self::Stranger(Stranger { port, who: None }) => format!(
                "on {name}'s PORT {port} listens a process of another user, which {name} did not start; \
                 if that is meant (a container), say owner = \"any\""
            ),
            Self::NotYet(answer) => format!("it listens on its PORT and is not ready: {answer}"),
            Self::Wrong(answer) => format!("it listens on its PORT and gives a wrong answer: {answer}"),
            Self::Ready { .. } => "it is ready".to_owned(),
        }
    }

    /// The first port it listens on that nobody told it, while it listens on none that it was told.
    pub(crate) fn elsewhere(&self) -> Option<u16> {
        match self {
            Self::Nobody { elsewhere } => elsewhere.first().map(|e| e.port),
            _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(sight: &Sight) -> String {
        sight.explain(&InstanceName { process: "web".parse().unwrap(), number: 1.try_into().unwrap() })
    }

    fn elsewhere(program: &str, port: u16) -> Elsewhere {
        Elsewhere { program: program.to_owned(), pid: 7, port }
    }

    #[test]
    fn what_was_seen_in_words() {
        let two = vec![elsewhere("app", 3000), elsewhere("app", 3001)];
        let endpoint = Endpoint { port: None, addr: "127.0.0.1:20000".parse().unwrap(), exposed: None };
        let all = [
            Sight::NOTHING,
            Sight::Nobody { elsewhere: two },
            Sight::Unseen("Too many open files (os error 24)".to_owned()),
            Sight::Stranger(Stranger { port: 20_000, who: Some(("nginx".to_owned(), 99)) }),
            Sight::Stranger(Stranger { port: 20_000, who: None }),
            Sight::NotYet("it answers 503 Service Unavailable".to_owned()),
            Sight::Wrong("it answered \"SSH-2.0\"".to_owned()),
            Sight::Ready { endpoints: vec![endpoint], unreadable: false },
        ];
        let lines = all.iter().map(|sight| {
            let told = if sight.is_telling() { "at once" } else { "at the end" };
            format!("{told}: {}\n", explain(sight))
        });
        insta::assert_snapshot!(lines.collect::<String>(), @r#"
        at the end: nothing listens on its PORT, nor on any other port; it must bind the number in the variable PORT
        at once: web.1 listens on 3000 (app, pid 7), 3001 (app, pid 7), not on its PORT: it ignores PORT; make it bind the number in the variable PORT, or pass $PORT on its command line
        at once: tambat cannot see who listens on its PORT: Too many open files (os error 24)
        at the end: on web.1's PORT 20000 listens nginx (pid 99), which web.1 did not start; if that is meant (a container), say owner = "any"
        at the end: on web.1's PORT 20000 listens a process of another user, which web.1 did not start; if that is meant (a container), say owner = "any"
        at the end: it listens on its PORT and is not ready: it answers 503 Service Unavailable
        at once: it listens on its PORT and gives a wrong answer: it answered "SSH-2.0"
        at the end: it is ready
        "#);
    }

    #[test]
    fn who_listens_elsewhere_is_known_by_its_first_port() {
        let two = vec![elsewhere("app", 3000), elsewhere("app", 9229)];
        assert_eq!(Sight::Nobody { elsewhere: two }.elsewhere(), Some(3000));
        assert_eq!((Sight::NOTHING.elsewhere(), Sight::NotYet("503".to_owned()).elsewhere()), (None, None));
    }

    #[test]
    fn the_line_to_change_by_program() {
        let programs = [
            "node",
            "next-server",
            "MainThread",
            "python3",
            "uvicorn",
            "gunicorn: maste",
            "flask",
            "ruby",
            "puma 6.4",
            "thin",
            "java",
            "redis-server",
            "postgres",
            "php",
            "a.out",
        ];
        let lines = programs.iter().map(|program| {
            let text = explain(&Sight::Nobody { elsewhere: vec![elsewhere(program, 3000)] });
            format!("{}\n", text.trim_start_matches("web.1 listens on 3000 "))
        });
        insta::assert_snapshot!(lines.collect::<String>(), @r#"
        (node, pid 7), not on its PORT: it ignores PORT; in Node: server.listen(process.env.PORT); for Vite: vite --port $PORT --strictPort
        (next-server, pid 7), not on its PORT: it ignores PORT; in Node: server.listen(process.env.PORT); for Vite: vite --port $PORT --strictPort
        (MainThread, pid 7), not on its PORT: it ignores PORT; in Node: server.listen(process.env.PORT); for Vite: vite --port $PORT --strictPort
        (python3, pid 7), not on its PORT: it ignores PORT; in Python: port=int(os.environ["PORT"]), or --port $PORT (gunicorn: -b 127.0.0.1:$PORT)
        (uvicorn, pid 7), not on its PORT: it ignores PORT; in Python: port=int(os.environ["PORT"]), or --port $PORT (gunicorn: -b 127.0.0.1:$PORT)
        (gunicorn: maste, pid 7), not on its PORT: it ignores PORT; in Python: port=int(os.environ["PORT"]), or --port $PORT (gunicorn: -b 127.0.0.1:$PORT)
        (flask, pid 7), not on its PORT: it ignores PORT; in Python: port=int(os.environ["PORT"]), or --port $PORT (gunicorn: -b 127.0.0.1:$PORT)
        (ruby, pid 7), not on its PORT: it ignores PORT; in Ruby: -p $PORT
        (puma 6.4, pid 7), not on its PORT: it ignores PORT; in Ruby: -p $PORT
        (thin, pid 7), not on its PORT: it ignores PORT; in Ruby: -p $PORT
        (java, pid 7), not on its PORT: it ignores PORT; on the JVM: Integer.parseInt(System.getenv("PORT")), or -Dserver.port=$PORT for Spring
        (redis-server, pid 7), not on its PORT: it ignores PORT; for Redis: redis-server --port $PORT
        (postgres, pid 7), not on its PORT: it ignores PORT; for PostgreSQL: postgres -p $PORT
        (php, pid 7), not on its PORT: it ignores PORT; for PHP: php -S 127.0.0.1:$PORT
        (a.out, pid 7), not on its PORT: it ignores PORT; make it bind the number in the variable PORT, or pass $PORT on its command line
        "#);
    }
}
