//! Why somebody cannot be reached at a listener as they ask for it, and what to write instead.

use super::plan::{Claim, EntrancePlan, ListenPlan, Part, Way};
use super::{ListenAddr, Opening, TlsHandling};
use crate::{HostPattern, Protocol, ServicePort};

/// One thing that is wrong with who asks to be reached at one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Who it is about, of [`EntrancePlan::claims`].
    pub claim: usize,
    /// What of it.
    pub about: About,
    /// Who else it is about.
    pub other: Option<(usize, About)>,
    /// What is wrong, in one sentence without a full stop.
    pub what: String,
    /// What to write instead.
    pub help: String,
}

/// The part of a claim that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Its address.
    Listen,
    /// Its `tls`.
    Tls,
    /// All of its `hosts`.
    Hosts,
    /// One of them.
    Host(HostPattern),
}

/// Where a server of SMTP greets its clients in plain (RFC 5321 §4.5.4.2, RFC 6409 §3.1).
const SMTP_PORTS: [u16; 2] = [25, 587];

/// Those that are told apart by one look at their clients' first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Http,
    Tls,
    Xmpp,
    /// Direct TLS of XMPP is TLS to everybody.
    XmppTls,
    Postgres,
    Ssh,
    /// Nothing tells.
    Untold,
}

impl Family {
    fn of(claim: &Claim, looks_for_ssh: bool) -> Self {
        match claim.openings(looks_for_ssh).as_slice() {
            [] => Self::Untold,
            [Opening::Http] => Self::Http,
            [Opening::Ssh] => Self::Ssh,
            [Opening::Tls] if claim.protocol == Protocol::Xmpp => Self::XmppTls,
            [Opening::Tls] => Self::Tls,
            all if all.contains(&Opening::Postgres) => Self::Postgres,
            _ => Self::Xmpp,
        }
    }

    /// Can both be at one listener where nothing is said of it?
    fn goes_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Untold, _) | (_, Self::Untold) => false,
            (Self::XmppTls, Self::Tls | Self::Xmpp) | (Self::Tls | Self::Xmpp, Self::XmppTls) => true,
            _ => self == other,
        }
    }
}

impl EntrancePlan {
    /// Can these two not both be listened at: has one address the other in it?
    pub fn overlaps(&self, other: &Self) -> bool {
        let both_have = |has: fn(&Self) -> bool| has(self) && has(other);
        let share = both_have(Self::has_streams) || both_have(Self::has_datagrams);
        share && self.at != other.at && self.at.takes_room_of(other.at.get())
    }

    /// What is wrong with it. `file`: where `[router] listen` is written, for whoever has to write it.
    pub fn check(&self, file: &str) -> Vec<Finding> {
        let mut found: Vec<Finding> =
            self.claims.iter().enumerate().filter_map(|(nth, c)| self.alone(nth, c)).collect();
        if !found.is_empty() {
            return found;
        }
        found.extend(self.nameless(Way::Datagrams));
        match &self.listen {
            None => found.extend(self.mixture(file)),
            // One that looks for nothing has been told so.
            Some(listen) if listen.peek.is_empty() => {}
            Some(listen) => found.extend(self.unlooked(listen)),
        }
        for table in [&[Way::Http][..], &[Way::Terminated, Way::Passed], &[Way::Xmpp]] {
            found.extend(self.names(table));
        }
        // One pair is told once, by whichever table.
        let pair = |of: &Finding| of.other.as_ref().map(|(other, _)| (of.claim.min(*other), of.claim.max(*other)));
        let mut told = Vec::new();
        found.retain(|of| {
            let is_new = pair(of).is_none_or(|pair| !told.contains(&pair));
            told.extend(pair(of));
            is_new
        });
        found
    }

    /// What is wrong with one by itself.
    fn alone(&self, nth: usize, claim: &Claim) -> Option<Finding> {
        let at = self.at;
        let Claim { who, protocol, .. } = claim;
        let wrong = |about, what: String, help: &str| {
            Some(Finding { claim: nth, about, other: None, what, help: help.to_owned() })
        };
        if *protocol == Protocol::None {
            let what = format!("`{who}` speaks nothing (protocol = \"none\"), so nobody reaches it at {at}");
            return wrong(About::Listen, what, "leave out `listen`");
        }
        if let Some((what, help)) = handshake(claim, at) {
            return wrong(About::Tls, what, help);
        }
        if !claim.hosts.is_empty() && self.parts.iter().filter(|p| p.claim == nth).all(|p| is_nameless(p.way)) {
            let what = format!("`{who}` speaks {protocol}, which names no host in plain text, so `hosts` says nothing");
            let help = match protocol {
                Protocol::Udp | Protocol::Ssh | Protocol::Mysql => "give it an address of its own, without `hosts`",
                _ => {
                    "give it an address of its own, without `hosts`; or let its clients come with TLS: tls = \"terminate\""
                }
            };
            return wrong(About::Hosts, what, help);
        }
        if !claim.may_be_exposed && !at.get().ip().is_loopback() {
            let what = format!(
                "at {at} `{who}` is reached from other machines, and cannot see from which: {}",
                why(*protocol)
            );
            let help =
                "expose = true, if it guards itself (a password, certificates); or `proxy_protocol`, if it reads that";
            return wrong(About::Listen, what, help);
        }
        None
    }

    /// Two of whom nothing says whom a client wants.
    fn nameless(&self, way: Way) -> Option<Finding> {
        let mut of_way = self.parts.iter().filter(|part| part.way == way);
        let (first, second) = (of_way.next()?, of_way.next()?);
        let what = format!("{}: nothing in it says whom it is for", self.both("a datagram", first, second));
        let help = "give each an address of its own";
        Some(clash((second.claim, About::Listen), (first.claim, About::Listen), what, help))
    }

    /// Those whose clients begin in different ways, where nothing says that this is meant.
    fn mixture(&self, file: &str) -> Option<Finding> {
        let streams: Vec<usize> = self.streams().collect();
        let family = |nth: usize| Family::of(&self.claims[nth], false);
        let pairs = streams.iter().enumerate().flat_map(|(at, later)| streams[..at].iter().map(move |e| (*e, *later)));
        let (first, other) = pairs.into_iter().find(|(a, b)| !family(*a).goes_with(family(*b)))?;
        let (ours, theirs) = (&self.claims[first].who, &self.claims[other].who);
        let at = self.at;
        if (family(first), family(other)) == (Family::Untold, Family::Untold) {
            let what =
                format!("a client at {at} could want `{ours}` or `{theirs}`, and nothing that it begins with tells");
            let has_none = |nth: usize| self.claims[nth].protocol == Protocol::Mysql;
            let help = if has_none(first) || has_none(other) {
                "give each an address of its own"
            } else {
                "give each an address of its own; or `hosts`, and let clients come with TLS: tls = \"terminate\""
            };
            return Some(clash((other, About::Listen), (first, About::Listen), what, help));
        }
        let what = format!(
            "clients of `{ours}` and of `{theirs}` begin in different ways, and nothing says that {at} is for both"
        );
        let help = format!("give each an address of its own; or, in {file}:\n{}", self.lines(&streams));
        Some(clash((other, About::Listen), (first, About::Listen), what, &help))
    }

    /// The entry of `[router]` that lets all of them in.
    fn lines(&self, streams: &[usize]) -> String {
        let untold: Vec<&Claim> =
            streams.iter().map(|nth| &self.claims[*nth]).filter(|claim| claim.openings(false).is_empty()).collect();
        // One whose clients begin with SSH can be told so; for others there is the fallback.
        let (ssh, others): (Vec<&Claim>, Vec<&Claim>) =
            untold.into_iter().partition(|claim| claim.protocol == Protocol::Ssh);
        let needed: Vec<Opening> = streams.iter().flat_map(|nth| self.claims[*nth].openings(!ssh.is_empty())).collect();
        let peek: Vec<String> = Opening::ALL
            .into_iter()
            .filter(|opening| needed.contains(opening))
            .map(|opening| format!("\"{opening}\""))
            .collect();
        let fallback = others.first().map(|claim| format!("\nfallback = \"{}\"", claim.who)).unwrap_or_default();
        format!("[[router.listen]]\naddress = \"{}\"\npeek = [{}]{fallback}", self.at, peek.join(", "))
    }

    /// Those that a peeking listener does not look for.
    fn unlooked(&self, listen: &ListenPlan) -> Vec<Finding> {
        let fallback = self.fallback;
        let looks_for_ssh = listen.peek.contains(&Opening::Ssh);
        let mut found = Vec::new();
        for nth in self.streams().filter(|nth| fallback != Some(*nth)) {
            let claim = &self.claims[nth];
            let openings = claim.openings(looks_for_ssh);
            let missing = openings.iter().find(|opening| !listen.peek.contains(opening));
            let (what, help) = match (missing, fallback) {
                (Some(opening), _) => {
                    let peek: Vec<String> =
                        listen.peek.iter().chain([opening]).map(|opening| format!("\"{opening}\"")).collect();
                    let what = format!(
                        "clients of `{}` begin with {}, which is not looked for at {}",
                        claim.who,
                        in_words(*opening),
                        self.at
                    );
                    (what, format!("peek = [{}]", peek.join(", ")))
                }
                (None, _) if !openings.is_empty() => continue,
                (None, Some(other)) => {
                    let what = format!(
                        "`{}` and `{}` cannot be told apart at {}, where the second one is the fallback",
                        claim.who, self.claims[other].who, self.at
                    );
                    (what, "give it an address of its own".to_owned())
                }
                (None, None) => {
                    let what = format!("nothing tells clients of `{}` at {}", claim.who, self.at);
                    let help = if claim.protocol == Protocol::Ssh { "peek = [\"ssh\", …]; or " } else { "" };
                    (what, format!("{help}fallback = \"{}\": it gets whoever is not told", claim.who))
                }
            };
            found.push(Finding { claim: nth, about: About::Listen, other: None, what, help });
        }
        found
    }

    /// Names that two ask for, and those who say none where one is needed.
    fn names(&self, table: &[Way]) -> Vec<Finding> {
        let parts: Vec<&Part> = self.parts.iter().filter(|part| table.contains(&part.way)).collect();
        let mut found = Vec::new();
        for (nth, later) in parts.iter().enumerate() {
            let claim = &self.claims[later.claim];
            let earlier = parts[..nth].iter().filter(|earlier| earlier.claim != later.claim);
            let others = parts.iter().find(|other| other.claim != later.claim);
            if let Some(other) = others.filter(|_| claim.hosts.is_empty() && !claim.protocol.is_http()) {
                let what = format!(
                    "`{}` and `{}` are told apart at {} by their names, and `{}` says none",
                    self.claims[other.claim].who, claim.who, self.at, claim.who
                );
                let help = "hosts = \"…\"; \"*\" is for all names that nobody else has";
                found.push(clash((later.claim, About::Listen), (other.claim, About::Listen), what, help));
                continue;
            }
            found.extend(earlier.into_iter().find_map(|earlier| self.same_name(earlier, later)));
        }
        found
    }

    /// The first name that both ask for.
    fn same_name(&self, earlier: &Part, later: &Part) -> Option<Finding> {
        let (first, second) = (&self.claims[earlier.claim], &self.claims[later.claim]);
        // By paths only HTTP is told apart, and only where it can be read.
        let by_path = first.protocol.is_http() && second.protocol.is_http() && earlier.way == later.way;
        if by_path && first.path != second.path {
            return None;
        }
        let any = [HostPattern::Any];
        let of = |hosts: &[HostPattern]| if hosts.is_empty() { any.to_vec() } else { hosts.to_vec() };
        let theirs = of(&first.hosts);
        let host = of(&second.hosts).into_iter().find(|host| theirs.contains(host))?;
        let path = if by_path && !second.path.is_root() { second.path.as_str() } else { "" };
        let what = format!("`{}` and `{}` both answer at {host}{path} at {}", first.who, second.who, self.at);
        let about = |claim: &Claim| {
            if claim.hosts.is_empty() { About::Listen } else { About::Host(host.clone()) }
        };
        let help = match (by_path, first.tls == second.tls) {
            (true, _) => "give one of them another host, or a `path` of its own",
            (false, true) => "give one of them another host, or an address of its own",
            (false, false) => {
                "a handshake ends here or passes through: give one of them another host, or an address of its own"
            }
        };
        Some(clash((later.claim, about(second)), (earlier.claim, about(first)), what, help))
    }

    fn both(&self, what: &str, first: &Part, second: &Part) -> String {
        let who = |part: &Part| &self.claims[part.claim].who;
        format!("{what} at {} could be for `{}` or for `{}`", self.at, who(first), who(second))
    }

    /// Those that take streams.
    fn streams(&self) -> impl Iterator<Item = usize> {
        (0..self.claims.len())
            .filter(|nth| self.parts.iter().any(|part| part.claim == *nth && part.way != Way::Datagrams))
    }
}

/// Why no handshake comes to be at this address as `tls` has it, and what to write instead.
fn handshake(claim: &Claim, at: ListenAddr) -> Option<(String, &'static str)> {
    let Claim { who, protocol, tls, .. } = claim;
    Some(match (protocol, tls) {
        (_, TlsHandling::Off) => return None,
        (Protocol::Udp, _) => (format!("`{who}` speaks udp, and datagrams have no TLS here"), "leave out `tls`"),
        (Protocol::Tls, TlsHandling::Terminate) => (
            format!(
                "`{who}` speaks TLS itself (protocol = \"tls\"): if the handshake ended here, it would wait for another \
                 one"
            ),
            "tls = \"passthrough\"; or, if it can do without TLS, the `protocol` that it speaks then",
        ),
        (Protocol::Http | Protocol::H2c, TlsHandling::Passthrough) => (
            format!("`{who}` speaks {protocol} without TLS, so no handshake can pass through to it"),
            "tls = \"terminate\"; or protocol = \"tls\", if it has certificates of its own",
        ),
        (Protocol::Mysql, _) => (
            format!(
                "`{who}` speaks mysql, whose clients wait for its greeting before they begin with TLS: none would be heard \
                 at {at}"
            ),
            "leave out `tls`, and give it an address of its own; its clients and it agree on TLS by themselves there",
        ),
        (Protocol::Smtp, TlsHandling::Terminate) if SMTP_PORTS.contains(&at.get().port()) => (
            format!(
                "clients of `{who}` wait for its greeting at port {} before they begin with TLS: none would be heard",
                at.get().port()
            ),
            "leave out `tls`: it and its clients agree on TLS by themselves (STARTTLS); those that begin with TLS come to \
             port 465",
        ),
        (Protocol::Smtp | Protocol::Ssh, TlsHandling::Passthrough) => (
            format!(
                "`{who}` speaks {protocol}, and greets its clients before any TLS: no handshake can pass through to it"
            ),
            "leave out `tls`; or protocol = \"tls\", if it begins with TLS",
        ),
        _ => return None,
    })
}

fn clash((claim, about): (usize, About), other: (usize, About), what: String, help: &str) -> Finding {
    Finding { claim, about, other: Some(other), what, help: help.to_owned() }
}

/// Is there no room at this address beside a service port of this number, which is held on loopback?
pub(crate) fn takes(at: ListenAddr, port: ServicePort) -> bool {
    let addr = at.get();
    addr.port() == port.get() && (addr.ip().is_loopback() || addr.ip().is_unspecified())
}

fn is_nameless(way: Way) -> bool {
    matches!(way, Way::Ssh | Way::Other | Way::Datagrams)
}

/// Why it matters who calls.
fn why(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Redis => "Redis' protected mode would take every client for a local one",
        Protocol::Postgres => "what its rules trust local clients with, it would trust everybody with",
        Protocol::Mysql => "every client would be a user of localhost to it",
        Protocol::Smtp => "it would relay for everybody what it relays for local clients",
        Protocol::Dns | Protocol::Udp => "whatever it answers local clients, it would answer everybody",
        _ => "what it lets local clients do, everybody could do",
    }
}

/// How a client begins, in words.
fn in_words(opening: Opening) -> &'static str {
    match opening {
        Opening::Tls => "a handshake (\"tls\")",
        Opening::Http => "a request (\"http\")",
        Opening::Ssh => "their version (\"ssh\")",
        Opening::Xmpp => "the header of a stream (\"xmpp\")",
        Opening::Postgres => "the wish for TLS (\"postgres\")",
    }
}
