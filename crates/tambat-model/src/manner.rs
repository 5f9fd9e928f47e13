//! Who runs an app: its developer (`tambat start`) or a server (`tambat serve`). It decides what holds where nothing is
//! said: on a developer's machine there are breakpoints and cold compiles, on a server there are strangers.

use std::time::Duration;

/// How long an instance may take to stop on a developer's machine.
const STOP_GRACE_AT_HOME: Duration = Duration::from_secs(5);

/// The same on a server: what platforms allow, so that what an app has begun is done.
const STOP_GRACE_SERVED: Duration = Duration::from_secs(30);

/// What an instance has in flight when it is replaced may take so long on a developer's machine, who waits for the new one.
const DRAIN_AT_HOME: Duration = Duration::from_secs(2);

/// The same on a server, where nothing is lost.
const DRAIN_SERVED: Duration = Duration::from_secs(30);

/// How long the first byte of an answer may take: what takes longer has hung, and its client has gone.
pub const FIRST_BYTE_SERVED: Duration = Duration::from_secs(30);

/// How long an answer may stand still: just under the minute after which many clients give up.
pub const RESPONSE_IDLE_SERVED: Duration = Duration::from_secs(55);

/// How long a tunnel or a stream may stand still: those who keep one open on purpose send something more often.
pub const STREAM_IDLE_SERVED: Duration = Duration::from_hours(1);

/// How long a connection or a request waits for a target: a restart takes less.
pub const WAIT_SERVED: Duration = Duration::from_secs(30);

/// Who runs an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Its developer, on a machine where only its user reaches it.
    #[default]
    Start,
    /// A server, for everybody.
    Serve,
}

impl Manner {
    /// How long an instance may take to stop, unless `stop.grace` says otherwise.
    pub(crate) fn stop_grace(self) -> Duration {
        self.choose(STOP_GRACE_AT_HOME, STOP_GRACE_SERVED)
    }

    /// How long what an instance has in flight may take when it is replaced.
    pub(crate) fn drain(self) -> Duration {
        self.choose(DRAIN_AT_HOME, DRAIN_SERVED)
    }

    /// How long the first byte of an answer may take, unless `timeouts.first_byte` says otherwise.
    pub(crate) fn first_byte(self) -> Option<Duration> {
        self.choose(None, Some(FIRST_BYTE_SERVED))
    }

    /// How long an answer may stand still, unless `timeouts.response_idle` says otherwise.
    pub(crate) fn response_idle(self) -> Option<Duration> {
        self.choose(None, Some(RESPONSE_IDLE_SERVED))
    }

    /// How long a stream may stand still, unless `timeouts.idle` says otherwise.
    pub(crate) fn stream_idle(self) -> Option<Duration> {
        self.choose(None, Some(STREAM_IDLE_SERVED))
    }

    /// How long a connection waits for an instance that is coming; none: as long as that may take.
    pub(crate) fn wait(self) -> Option<Duration> {
        self.choose(None, Some(WAIT_SERVED))
    }

    /// Does an app have names of its own on this machine, below `localhost`? On a server a client from anywhere could ask
    /// for such a name, and reach what nobody has published.
    pub(crate) fn has_local_names(self) -> bool {
        self.choose(true, false)
    }

    /// Where `[router]` is written for it.
    pub(crate) fn router_file(self) -> &'static str {
        self.choose("tambat.toml", "the server's serve.toml")
    }

    fn choose<T>(self, at_home: T, served: T) -> T {
        match self {
            Self::Start => at_home,
            Self::Serve => served,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol::Http;
    use crate::draft::{HttpDraft, SiteDraft, StopDraft};
    use crate::sample::{draft, process};
    use crate::{Draft, Plan, ProcessDraft, ProcessPlan};

    fn served(web: ProcessDraft) -> ProcessPlan {
        let draft = Draft { manner: Manner::Serve, ..draft(vec![web]) };
        Plan::new(draft).unwrap().0.processes()[0].clone()
    }

    #[test]
    fn a_server_has_limits_where_a_developer_has_none() {
        let web = served(process("web", Some(Http), &[]));
        assert_eq!((web.stop.grace, web.drain), (Duration::from_secs(30), Duration::from_secs(30)));
        assert_eq!((web.idle, web.wait), (Some(STREAM_IDLE_SERVED), WAIT_SERVED));
        assert_eq!(
            (web.http.first_byte, web.http.response_idle),
            (Some(FIRST_BYTE_SERVED), Some(RESPONSE_IDLE_SERVED))
        );
    }

    #[test]
    fn what_is_said_holds_on_a_server_too() {
        let second = Duration::from_secs(1);
        let stop = StopDraft { grace: Some(second), ..StopDraft::default() };
        let http = HttpDraft { first_byte: Some(second), response_idle: Some(second), ..HttpDraft::default() };
        let web = served(ProcessDraft { stop, http, idle: Some(second), ..process("web", Some(Http), &[]) });
        assert_eq!((web.stop.grace, web.idle), (second, Some(second)));
        assert_eq!((web.http.first_byte, web.http.response_idle), (Some(second), Some(second)));
    }

    #[test]
    fn on_a_server_only_what_is_said_is_a_name() {
        let site = SiteDraft { hosts: vec!["shop.example.com".parse().unwrap()], ..SiteDraft::default() };
        let web = served(ProcessDraft { site, ..process("web", Some(Http), &[]) });
        let names: Vec<String> = web.ports[0].site.as_ref().unwrap().patterns().map(ToString::to_string).collect();
        assert_eq!(names, ["shop.example.com"]);
        let quiet = served(process("web", Some(Http), &[]));
        assert_eq!(quiet.ports[0].site.as_ref().unwrap().patterns().count(), 0);
    }
}
