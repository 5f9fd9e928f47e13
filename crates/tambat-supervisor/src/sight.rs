//! What was seen on an instance's ports, and what it means to its user.

use std::fmt::Write;

use tambat_model::{ClauseId, Elsewhere, Endpoint, InstanceName, Recognised};

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

    /// In words: what was seen, which clause of the contract that is about, and what to do. `recognised`: what serves
    /// there.
    pub(crate) fn explain(&self, name: &InstanceName, recognised: &Recognised) -> String {
        match self {
            Self::Nobody { elsewhere } => nobody(name, elsewhere, recognised),
            Self::Unseen(error) => format!("tambat cannot see who listens on its PORT: {error}"),
            Self::Stranger(Stranger { port, who: Some((program, pid)) }) => format!(
                "on {name}'s PORT {port} listens {program} (pid {pid}), which {name} did not start ({}); \
                 if that is meant (a container), say owner = \"any\"",
                ClauseId::SELF_CONTAINED
            ),
            // A container's port is held by another user's process, mostly.
            Self::Stranger(Stranger { port, who: None }) => format!(
                "on {name}'s PORT {port} listens a process of another user, which {name} did not start ({}); \
                 if that is meant (a container), say owner = \"any\"",
                ClauseId::SELF_CONTAINED
            ),
            Self::NotYet(answer) => format!("it listens on its PORT and is not ready: {answer}"),
            Self::Wrong(answer) => {
                format!("it listens on its PORT and gives a wrong answer ({}): {answer}", ClauseId::PROTOCOL)
            }
            Self::Ready { .. } => "it is ready".to_owned(),
        }
    }

    /// The first listener on a port that nobody told it, while it listens on none that it was told.
    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        match self {
            Self::Nobody { elsewhere } => elsewhere.first(),
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

fn nobody(name: &InstanceName, elsewhere: &[Elsewhere], recognised: &Recognised) -> String {
    let Some(first) = elsewhere.first() else {
        let (clause, line) = (ClauseId::BINDS_IN_TIME, recognised.bind_port(None));
        return format!("nothing listens on its PORT, nor on any other port ({clause}); {line}");
    };
    let mut text = format!("{name} listens on ");
    for (nth, e) in elsewhere.iter().enumerate() {
        let comma = if nth == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{} ({}, pid {})", e.port, e.program, e.pid);
    }
    let (clause, line) = (ClauseId::OBEYS_PORT, recognised.bind_port(Some(&first.program)));
    let _ = write!(text, ", not on its PORT: it ignores PORT ({clause}); {line}");
    text
}

#[cfg(test)]
mod tests {
    use tambat_model::DependencyFile;

    use super::*;

    fn name() -> InstanceName {
        InstanceName { process: "web".parse().unwrap(), number: 1.try_into().unwrap() }
    }

    fn explain(sight: &Sight) -> String {
        sight.explain(&name(), &Recognised::default())
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
        at the end: nothing listens on its PORT, nor on any other port (PB-02); make it listen on the number in the variable PORT, or put $PORT in its command
        at once: web.1 listens on 3000 (app, pid 7), 3001 (app, pid 7), not on its PORT: it ignores PORT (PB-03); make it listen on the number in the variable PORT, or put $PORT in its command
        at once: tambat cannot see who listens on its PORT: Too many open files (os error 24)
        at the end: on web.1's PORT 20000 listens nginx (pid 99), which web.1 did not start (PB-01); if that is meant (a container), say owner = "any"
        at the end: on web.1's PORT 20000 listens a process of another user, which web.1 did not start (PB-01); if that is meant (a container), say owner = "any"
        at the end: it listens on its PORT and is not ready: it answers 503 Service Unavailable
        at once: it listens on its PORT and gives a wrong answer (PB-06): it answered "SSH-2.0"
        at the end: it is ready
        "#);
    }

    #[test]
    fn who_listens_elsewhere_is_known_by_its_first_port() {
        let two = vec![elsewhere("app", 3000), elsewhere("app", 9229)];
        assert_eq!(Sight::Nobody { elsewhere: two }.elsewhere(), Some(&elsewhere("app", 3000)));
        assert_eq!((Sight::NOTHING.elsewhere(), Sight::NotYet("503".to_owned()).elsewhere()), (None, None));
    }

    #[test]
    fn the_line_to_change_is_of_what_was_recognised() {
        let listens = Sight::Nobody { elsewhere: vec![elsewhere("node", 3000)] };
        let files = [DependencyFile::read("package.json", r#"{"dependencies": {"express": "4"}}"#).unwrap()];
        let lines = [Recognised::default(), Recognised::of("npx vite", &[]), Recognised::of("node app.js", &files)]
            .map(|recognised| {
                format!("{}\n{}\n", listens.explain(&name(), &recognised), Sight::NOTHING.explain(&name(), &recognised))
            });
        insta::assert_snapshot!(lines.concat(), @"
        web.1 listens on 3000 (node, pid 7), not on its PORT: it ignores PORT (PB-03); in the server's file use process.env.PORT
        nothing listens on its PORT, nor on any other port (PB-02); make it listen on the number in the variable PORT, or put $PORT in its command
        web.1 listens on 3000 (node, pid 7), not on its PORT: it ignores PORT (PB-03); Vite: vite --port $PORT --strictPort
        nothing listens on its PORT, nor on any other port (PB-02); Vite: vite --port $PORT --strictPort
        web.1 listens on 3000 (node, pid 7), not on its PORT: it ignores PORT (PB-03); Express: in app.js say app.listen(process.env.PORT)
        nothing listens on its PORT, nor on any other port (PB-02); Express: in app.js say app.listen(process.env.PORT)
        ");
    }
}
