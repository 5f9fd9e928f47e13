//! What the facts mean. Pure: the clock is one of them.

use std::path::PathBuf;

use serde::Serialize;
use tambat_api::{CertificateStatus, ServeStatus};

use super::listens::{self, Listens};

/// Everything that was looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The ports that tambat wants, and who has each.
    pub(crate) ports: Vec<PortFact>,
    /// The first port that needs no right; none: that could not be read.
    pub(crate) unprivileged_start: Option<u16>,
    /// May we bind those below?
    pub(crate) may_bind_privileged: Option<bool>,
    /// Soft and hard limit on open files.
    pub(crate) files: Option<(u64, u64)>,
    /// The folders that tambat needs.
    pub(crate) folders: Vec<FolderFact>,
    /// Can `::1` be listened at?
    pub(crate) has_ipv6_loopback: bool,
    /// How many stores of roots there are, and how many of them lack the local CA; none: there is no local CA.
    pub(crate) local_ca: Option<(usize, usize)>,
    /// Where a server's apps are, or would be.
    pub(crate) apps: Option<PathBuf>,
    /// Is there such a directory?
    pub(crate) has_apps: bool,
    /// The server of these apps, if it runs.
    pub(crate) server: Option<ServeStatus>,
    /// The certificates that were kept for the names of these apps: what is looked at where no server runs.
    pub(crate) kept: Vec<CertificateStatus>,
    /// The listeners that apps ask for.
    pub(crate) listens: Listens,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) now_s: u64,
}

/// A port that tambat wants.
#[derive(Debug, Clone)]
pub(crate) struct PortFact {
    /// Its number.
    pub(crate) port: u16,
    /// Who listens there.
    pub(crate) holder: Option<PortHolder>,
}

/// Who listens at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortHolder {
    /// A process that can be seen.
    Program {
        /// Its name.
        name: String,
        /// Its pid.
        pid: i32,
    },
    /// A process of this user, which cannot be seen.
    User(u32),
}

/// A folder that tambat needs.
#[derive(Debug, Clone)]
pub(crate) struct FolderFact {
    /// `runtime-folder`.
    pub(crate) id: &'static str,
    /// What is kept there.
    pub(crate) what: &'static str,
    /// Where it is, and whether it is there.
    pub(crate) state: Result<(PathBuf, bool), Unusable>,
}

/// Why a folder cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// Why.
    pub(crate) why: String,
    /// What mends it.
    pub(crate) fix: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It is as it should be.
    Fine,
    /// It may get in the way one day.
    Note,
    /// It gets in the way.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What: `port-80`.
    pub(crate) id: String,
    /// How bad it is.
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) seen: String,
    /// What mends it.
    pub(crate) fix: Option<String>,
}

impl Facts {
    /// Whoever serves knows best; else what was kept.
    fn certificates(&self) -> &[CertificateStatus] {
        self.server.as_ref().map_or(&self.kept, |server| &server.certificates)
    }
}

impl Finding {
    pub(super) fn fine(id: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { id: id.into(), verdict: Verdict::Fine, seen: seen.into(), fix: None }
    }

    pub(super) fn bad(
        id: impl Into<String>,
        verdict: Verdict,
        seen: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), verdict, seen: seen.into(), fix: Some(fix.into()) }
    }
}

/// What tambat wants a port for.
struct Use {
    port: u16,
    what: &'static str,
    /// Is it a server's?
    public: bool,
    option: &'static str,
}

const USES: [Use; 4] = [
    Use { port: 80, what: "`tambat serve` serves names there", public: true, option: "tambat serve --http-port" },
    Use {
        port: 443,
        what: "`tambat serve` serves names there, with TLS",
        public: true,
        option: "tambat serve --https-port",
    },
    Use { port: 7080, what: "`tambat start` serves names there", public: false, option: "tambat start --http-port" },
    Use {
        port: 7443,
        what: "`tambat start` serves names there, with TLS",
        public: false,
        option: "tambat start --https-port",
    },
];

/// The ports to look at.
pub(crate) fn ports() -> impl Iterator<Item = u16> {
    USES.iter().map(|of| of.port)
}

/// Fewer files than this are some hundred connections, each of which needs two.
const FILES_FEW: u64 = 4_096;

/// A certificate that has less than this left should have been renewed long ago: a third of the shortest lifetime that a
/// public CA gives by default is more.
const LEFT_FEW_S: u64 = 24 * 3_600;

/// Clocks differ by minutes; one that is this far before a certificate's first moment is wrong.
const CLOCK_OFF_S: u64 = 3_600;

const DAY_S: u64 = 24 * 3_600;

/// What it all means, in the order in which it is shown.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.ports.iter().filter_map(|fact| port(facts, fact)).collect();
    findings.extend(privileged(facts));
    let unprivileged_start = facts.unprivileged_start.filter(|_| facts.may_bind_privileged != Some(true));
    findings.extend(listens::judge(&facts.listens, unprivileged_start));
    findings.extend(files(facts));
    findings.extend(facts.folders.iter().map(folder));
    findings.push(ipv6(facts));
    findings.push(local_ca(facts));
    findings.push(server(facts));
    findings.extend(clock(facts));
    let of_certificate = |of: &CertificateStatus| match certificate(facts.now_s, of) {
        finding if facts.server.is_some() || finding.verdict == Verdict::Fine => finding,
        // Whatever it is, nobody is served by it now.
        finding => Finding::bad(finding.id, Verdict::Note, finding.seen, "`tambat serve` orders another when it runs"),
    };
    findings.extend(facts.certificates().iter().map(of_certificate));
    findings.extend(facts.server.as_ref().and_then(|server| server.ca_away.as_ref()).map(|why| {
        let fix =
            "certificates there are go on being served; it is asked again by itself; see that this machine reaches it";
        Finding::bad("ca", Verdict::Note, format!("the CA is away: {why}"), fix)
    }));
    findings
}

/// Somebody who runs no server is told of what one would want, and no more.
fn of_server(facts: &Facts) -> Verdict {
    if facts.has_apps || facts.server.is_some() { Verdict::Wrong } else { Verdict::Note }
}

fn port(facts: &Facts, fact: &PortFact) -> Option<Finding> {
    let Use { port, what, public, option } = USES.iter().find(|of| of.port == fact.port)?;
    let id = format!("port-{port}");
    let verdict = if *public { of_server(facts) } else { Verdict::Wrong };
    let other = format!("or choose another port: {option} PORT");
    Some(match &fact.holder {
        None => Finding::fine(id, format!("nobody listens at port {port}; {what}")),
        Some(PortHolder::Program { name, pid }) if name == "tambat" => {
            Finding::fine(id, format!("tambat (pid {pid}) listens at port {port}"))
        }
        Some(PortHolder::Program { name, pid }) => {
            let seen = format!("{name} (pid {pid}) listens at port {port}; {what}");
            Finding::bad(id, verdict, seen, format!("end it (kill {pid}, or the service that runs it), {other}"))
        }
        Some(PortHolder::User(uid)) => {
            let seen = format!("a process of user {uid} listens at port {port}; {what}");
            let fix = format!("`sudo ss -ltnp 'sport = :{port}'` says who it is: end it, {other}");
            Finding::bad(id, verdict, seen, fix)
        }
    })
}

fn privileged(facts: &Facts) -> Option<Finding> {
    let (first, may) = (facts.unprivileged_start?, facts.may_bind_privileged?);
    let id = "low-ports";
    let lowest = USES.iter().map(|of| of.port).min()?;
    if may || first <= lowest {
        let why = if may { "we have the right to" } else { "nobody needs a right to" };
        return Some(Finding::fine(id, format!("{why} listen at port {lowest}")));
    }
    let seen = format!("ports below {first} need a right that we do not have");
    let fix = format!(
        "sudo sysctl -w net.ipv4.ip_unprivileged_port_start={lowest} (and the same line in /etc/sysctl.d/90-tambat.conf, to \
         keep it), or AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit of tambat serve"
    );
    Some(Finding::bad(id, of_server(facts), seen, fix))
}

fn files(facts: &Facts) -> Option<Finding> {
    let (soft, hard) = facts.files?;
    let id = "open-files";
    // tambat raises the soft limit by itself.
    if hard >= FILES_FEW {
        return Some(Finding::fine(id, format!("tambat may have {hard} files open ({soft} to begin with)")));
    }
    let seen = format!("tambat may have {hard} files open: room for {} connections", hard / 2);
    let fix = "LimitNOFILE=1048576 in the systemd unit, or a line `* hard nofile 1048576` in /etc/security/limits.conf";
    Some(Finding::bad(id, Verdict::Note, seen, fix))
}

fn folder(fact: &FolderFact) -> Finding {
    match &fact.state {
        Ok((path, true)) => Finding::fine(fact.id, format!("{} are in {}", fact.what, path.display())),
        Ok((path, false)) => {
            Finding::fine(fact.id, format!("{} will be in {}, which is made when needed", fact.what, path.display()))
        }
        Err(Unusable { why, fix }) => Finding::bad(fact.id, Verdict::Wrong, why, fix),
    }
}

fn ipv6(facts: &Facts) -> Finding {
    if facts.has_ipv6_loopback {
        return Finding::fine("ipv6-loopback", "::1 is there");
    }
    let seen = "::1 is not there: `localhost` is 127.0.0.1 alone, which is enough unless a program asks for ::1 only";
    let fix = "sudo sysctl -w net.ipv6.conf.lo.disable_ipv6=0";
    Finding::bad("ipv6-loopback", Verdict::Note, seen, fix)
}

fn local_ca(facts: &Facts) -> Finding {
    let id = "local-ca";
    match facts.local_ca {
        None => Finding::fine(id, "there is no local CA yet: the first `tambat start` makes it"),
        Some((_, 0)) => Finding::fine(id, "every store of roots on this machine has the local CA"),
        Some((all, lacking)) => {
            let seen = format!("{lacking} of {all} stores of roots lack the local CA: browsers warn of names at 7443");
            Finding::bad(id, Verdict::Note, seen, "tambat trust (--dry-run lists what it would do)")
        }
    }
}

fn server(facts: &Facts) -> Finding {
    let id = "server";
    let Some(apps) = &facts.apps else {
        return Finding::fine(id, "there is no directory for a server's apps: neither XDG_DATA_HOME nor HOME is set");
    };
    let Some(server) = &facts.server else {
        let seen = if facts.has_apps { "no server runs with the apps in" } else { "there is no server's directory" };
        return Finding::fine(id, format!("{seen} {}", apps.display()));
    };
    let (mut broken, mut kept) = (Vec::new(), Vec::new());
    for app in &server.apps {
        let Some(cause) = &app.cause else { continue };
        let all = if app.dir.is_some() { &mut kept } else { &mut broken };
        all.push(format!("{}: {cause}", app.name));
    }
    if broken.is_empty() && kept.is_empty() {
        let count = server.apps.len();
        let apps = if count == 1 { "app" } else { "apps" };
        return Finding::fine(id, format!("tambat serve (pid {}) serves {count} {apps} of {}", server.pid, server.dir));
    }
    let told = |what: &str, of: Vec<String>| (!of.is_empty()).then(|| format!("{what} {}", of.join("; ")));
    let told = [told("does not serve", broken), told("serves in an earlier version", kept)];
    let told: Vec<String> = told.into_iter().flatten().collect();
    let seen = format!("tambat serve (pid {}) {}", server.pid, told.join(", and "));
    let fix = format!("mend them: what is mended is taken by itself, or at once by kill -HUP {}", server.pid);
    Finding::bad(id, Verdict::Wrong, seen, fix)
}

/// By the certificates there are: one that is not good yet was made by somebody whose clock is ahead of ours.
fn clock(facts: &Facts) -> Option<Finding> {
    let latest = facts.certificates().iter().filter_map(|of| of.not_before).max()?;
    let behind = latest.saturating_sub(facts.now_s);
    if behind < CLOCK_OFF_S {
        return Some(Finding::fine("clock", "the clock is not before the beginning of any certificate"));
    }
    let seen = format!("the clock is at least {} h behind: a certificate begins then", behind / 3_600);
    Some(Finding::bad("clock", Verdict::Wrong, seen, "set it: sudo timedatectl set-ntp true"))
}

fn certificate(now_s: u64, of: &CertificateStatus) -> Finding {
    let id = format!("certificate {}", of.name);
    let trouble =
        of.last_error.as_ref().map(|why| format!("; failed {} times: {why}", of.failures)).unwrap_or_default();
    let next = match of.next_order {
        Some(at) => format!("; the next is ordered {}", in_time(now_s, at)),
        None => String::new(),
    };
    let fix = match of.origin.as_str() {
        "file" => "put a new certificate and its key in place; they are read by themselves",
        _ => "see that the CA reaches this machine under that name at ports 80 and 443; it is tried again by itself",
    };
    let Some(until) = of.not_after else {
        let verdict = if of.last_error.is_some() { Verdict::Wrong } else { Verdict::Note };
        return Finding::bad(id, verdict, format!("there is none yet{trouble}{next}"), fix);
    };
    let seen = format!("{}{trouble}{next}", lifetime(now_s, until));
    match until.saturating_sub(now_s) {
        left if left < LEFT_FEW_S => Finding::bad(id, Verdict::Wrong, seen, fix),
        _ if of.last_error.is_some() => Finding::bad(id, Verdict::Note, seen, fix),
        _ => Finding::fine(id, seen),
    }
}

fn lifetime(now_s: u64, until: u64) -> String {
    if until <= now_s {
        format!("it has expired {}", ago(now_s - until))
    } else {
        format!("good for {}", span(until - now_s))
    }
}

fn in_time(now_s: u64, at: u64) -> String {
    if at <= now_s { "now".to_owned() } else { format!("in {}", span(at - now_s)) }
}

fn ago(seconds: u64) -> String {
    format!("{} ago", span(seconds))
}

/// A time in the largest unit of which there are two.
fn span(seconds: u64) -> String {
    match seconds {
        s if s >= 2 * DAY_S => format!("{} days", s / DAY_S),
        s if s >= 2 * 3_600 => format!("{} hours", s / 3_600),
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use tambat_api::ServedApp;

    use super::super::show;
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn well() -> Facts {
        let folder = |id, what, path: &str, there| FolderFact { id, what, state: Ok((path.into(), there)) };
        Facts {
            ports: ports().map(|port| PortFact { port, holder: None }).collect(),
            unprivileged_start: Some(80),
            may_bind_privileged: Some(false),
            files: Some((1_024, 524_288)),
            folders: vec![
                folder("runtime-folder", "control sockets", "/run/user/7/tambat", true),
                folder("state-folder", "logs and what is remembered", "/home/u/.local/state/tambat", false),
            ],
            has_ipv6_loopback: true,
            local_ca: Some((2, 0)),
            apps: Some("/srv/tambat/apps".into()),
            has_apps: false,
            server: None,
            kept: Vec::new(),
            listens: Listens::default(),
            now_s: NOW_S,
        }
    }

    fn certificate(name: &str, not_after: Option<u64>) -> CertificateStatus {
        CertificateStatus {
            name: name.to_owned(),
            origin: "acme".to_owned(),
            not_before: not_after.map(|_| NOW_S - DAY_S),
            not_after,
            next_order: None,
            failures: 0,
            last_error: None,
        }
    }

    fn serving(apps: Vec<ServedApp>, certificates: Vec<CertificateStatus>) -> ServeStatus {
        ServeStatus {
            dir: "/srv/tambat/apps".to_owned(),
            pid: 71,
            version: "0".to_owned(),
            listens: Vec::new(),
            apps,
            certificates,
            ca_away: None,
        }
    }

    #[test]
    fn a_machine_that_is_well() {
        let findings = judge(&well());
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Fine));
        insta::assert_snapshot!(show(&findings), @"
        fine  port-80         nobody listens at port 80; `tambat serve` serves names there
        fine  port-443        nobody listens at port 443; `tambat serve` serves names there, with TLS
        fine  port-7080       nobody listens at port 7080; `tambat start` serves names there
        fine  port-7443       nobody listens at port 7443; `tambat start` serves names there, with TLS
        fine  low-ports       nobody needs a right to listen at port 80
        fine  open-files      tambat may have 524288 files open (1024 to begin with)
        fine  runtime-folder  control sockets are in /run/user/7/tambat
        fine  state-folder    logs and what is remembered will be in /home/u/.local/state/tambat, which is made when needed
        fine  ipv6-loopback   ::1 is there
        fine  local-ca        every store of roots on this machine has the local CA
        fine  server          there is no server's directory /srv/tambat/apps
        ");
    }

    #[test]
    fn certificates_that_were_kept_are_looked_at_where_no_server_runs() {
        let kept = vec![
            certificate("shop.example", Some(NOW_S + 20 * DAY_S)),
            certificate("over.example", Some(NOW_S - 7_200)),
        ];
        let facts = Facts { has_apps: true, kept, ..well() };
        let shown = show(&judge(&facts));
        assert!(shown.ends_with("fine  certificate shop.example  good for 20 days"), "{shown}");
        let over =
            "note  certificate over.example  it has expired 2 hours ago\n       fix: `tambat serve` orders another";
        assert!(shown.contains(over), "{shown}");
        let serving = Facts { server: Some(serving(Vec::new(), Vec::new())), ..facts };
        assert!(!show(&judge(&serving)).contains("over.example"), "the server has said what there is");
    }

    /// A server in trouble: an app that is broken, and certificates in every state.
    fn troubled() -> ServeStatus {
        let apps = vec![
            ServedApp { name: "shop".to_owned(), dir: Some("/srv/shop".to_owned()), cause: None },
            ServedApp {
                name: "chat".to_owned(),
                dir: Some("/srv/chat".to_owned()),
                cause: Some("its new version does not get ready".to_owned()),
            },
            ServedApp { name: "blog".to_owned(), dir: None, cause: Some("there is no Procfile".to_owned()) },
        ];
        let failing = |of: CertificateStatus| CertificateStatus {
            failures: 3,
            last_error: Some("connection refused".to_owned()),
            next_order: Some(NOW_S + 900),
            ..of
        };
        let certificates = vec![
            certificate("shop.example", Some(NOW_S + 60 * DAY_S)),
            failing(certificate("late.example", Some(NOW_S + 10 * DAY_S))),
            failing(certificate("new.example", None)),
            certificate("over.example", Some(NOW_S - 7_200)),
            CertificateStatus {
                not_before: Some(NOW_S + 5 * 3_600),
                ..certificate("soon.example", Some(NOW_S + 90 * DAY_S))
            },
        ];
        ServeStatus { ca_away: Some("connection refused".to_owned()), ..serving(apps, certificates) }
    }

    #[test]
    fn a_machine_on_which_everything_is_in_the_way() {
        let holder = |port| match port {
            80 => Some(PortHolder::Program { name: "nginx".to_owned(), pid: 12 }),
            443 => Some(PortHolder::User(33)),
            7080 => Some(PortHolder::Program { name: "tambat".to_owned(), pid: 13 }),
            _ => Some(PortHolder::Program { name: "java".to_owned(), pid: 14 }),
        };
        let folder = FolderFact {
            id: "runtime-folder",
            what: "control sockets",
            state: Err(Unusable {
                why: "cannot use /run/user/7/tambat: others may enter it (mode 0755)".to_owned(),
                fix: "run `chmod 700 /run/user/7/tambat`".to_owned(),
            }),
        };
        let facts = Facts {
            ports: ports().map(|port| PortFact { port, holder: holder(port) }).collect(),
            unprivileged_start: Some(1_024),
            files: Some((256, 1_024)),
            folders: vec![folder],
            has_ipv6_loopback: false,
            local_ca: Some((2, 1)),
            has_apps: true,
            server: Some(troubled()),
            ..well()
        };
        insta::assert_snapshot!(show(&judge(&facts)), @"
        wrong  port-80                   nginx (pid 12) listens at port 80; `tambat serve` serves names there
               fix: end it (kill 12, or the service that runs it), or choose another port: tambat serve --http-port PORT
        wrong  port-443                  a process of user 33 listens at port 443; `tambat serve` serves names there, with TLS
               fix: `sudo ss -ltnp 'sport = :443'` says who it is: end it, or choose another port: tambat serve --https-port PORT
        wrong  port-7443                 java (pid 14) listens at port 7443; `tambat start` serves names there, with TLS
               fix: end it (kill 14, or the service that runs it), or choose another port: tambat start --https-port PORT
        wrong  low-ports                 ports below 1024 need a right that we do not have
               fix: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80 (and the same line in /etc/sysctl.d/90-tambat.conf, to keep it), or AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit of tambat serve
        wrong  runtime-folder            cannot use /run/user/7/tambat: others may enter it (mode 0755)
               fix: run `chmod 700 /run/user/7/tambat`
        wrong  server                    tambat serve (pid 71) does not serve blog: there is no Procfile, and serves in an earlier version chat: its new version does not get ready
               fix: mend them: what is mended is taken by itself, or at once by kill -HUP 71
        wrong  clock                     the clock is at least 5 h behind: a certificate begins then
               fix: set it: sudo timedatectl set-ntp true
        wrong  certificate new.example   there is none yet; failed 3 times: connection refused; the next is ordered in 15 minutes
               fix: see that the CA reaches this machine under that name at ports 80 and 443; it is tried again by itself
        wrong  certificate over.example  it has expired 2 hours ago
               fix: see that the CA reaches this machine under that name at ports 80 and 443; it is tried again by itself
        note   open-files                tambat may have 1024 files open: room for 512 connections
               fix: LimitNOFILE=1048576 in the systemd unit, or a line `* hard nofile 1048576` in /etc/security/limits.conf
        note   ipv6-loopback             ::1 is not there: `localhost` is 127.0.0.1 alone, which is enough unless a program asks for ::1 only
               fix: sudo sysctl -w net.ipv6.conf.lo.disable_ipv6=0
        note   local-ca                  1 of 2 stores of roots lack the local CA: browsers warn of names at 7443
               fix: tambat trust (--dry-run lists what it would do)
        note   certificate late.example  good for 10 days; failed 3 times: connection refused; the next is ordered in 15 minutes
               fix: see that the CA reaches this machine under that name at ports 80 and 443; it is tried again by itself
        note   ca                        the CA is away: connection refused
               fix: certificates there are go on being served; it is asked again by itself; see that this machine reaches it
        fine   port-7080                 tambat (pid 13) listens at port 7080
        fine   certificate shop.example  good for 60 days
        fine   certificate soon.example  good for 90 days
        ");
    }

    #[test]
    fn who_runs_no_server_is_only_told_of_what_one_would_want() {
        let busy = |port| PortFact { port, holder: Some(PortHolder::User(33)) };
        let verdicts = |has_apps| {
            let ports = ports().map(busy).collect();
            let facts = Facts { ports, unprivileged_start: Some(1_024), has_apps, ..well() };
            let findings = judge(&facts).into_iter().take(5);
            findings.map(|finding| (finding.id, finding.verdict)).collect::<Vec<_>>()
        };
        let expected = |of_server| {
            [
                ("port-80", of_server),
                ("port-443", of_server),
                ("port-7080", Verdict::Wrong),
                ("port-7443", Verdict::Wrong),
            ]
            .into_iter()
            .chain([("low-ports", of_server)])
            .map(|(id, verdict)| (id.to_owned(), verdict))
            .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(false), expected(Verdict::Note));
        assert_eq!(verdicts(true), expected(Verdict::Wrong));
    }
}
