//! Procfile and manifest, put together: the draft, and the place of every problem that its check finds.

use std::collections::BTreeMap;
use std::path::Path;

use tambat_model::{AppName, Draft, ListenPlan, Manner, Place, Plan, Problem, ProcessDraft, ProcessName};

use crate::diagnostic::{Diagnostic, Source, Spot};
use crate::findings::Findings;
use crate::manifest::{self, Manifest};
use crate::procfile::{self, Procfile};
use crate::{Files, Loaded};

/// What the files mean for an app in this directory that is run so.
/// `name`: what it is called unless it says so itself. `listen`: what the server that runs it says of its listeners, in place of
/// its own `[router]`.
pub(crate) fn assemble(
    files: &Files,
    (dir, name): (&Path, AppName),
    manner: Manner,
    listen: Option<&[ListenPlan]>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let procfile = files.procfile.as_ref().map(procfile::read);
    let manifest = match files.manifest.as_ref().map(manifest::read).transpose() {
        Ok(manifest) => manifest,
        Err(syntax) => {
            let mut found = procfile.map(|procfile| procfile.found).unwrap_or_default();
            found.push(*syntax);
            return Err(found.in_order());
        }
    };
    Assembly { procfile, manifest, name, manner, listen }.plan(dir)
}

struct Assembly<'a> {
    procfile: Option<Procfile>,
    manifest: Option<Manifest>,
    name: AppName,
    manner: Manner,
    listen: Option<&'a [ListenPlan]>,
}

impl Assembly<'_> {
    fn plan(self, dir: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        let draft = self.draft(dir);
        let mut found = self.one_off();
        self.procfile.iter().for_each(|p| found.append(p.found.clone()));
        self.manifest.iter().for_each(|m| found.append(m.found.clone()));
        let spoilt = found.has_errors();
        let (plan, problems) = match Plan::new(draft) {
            Ok((plan, problems)) => (Some(plan), problems),
            Err(problems) => (None, problems),
        };
        let follows = |problem: &&Problem| !(spoilt && self.follows(problem));
        problems.iter().filter(follows).for_each(|problem| found.push(self.diagnostic(problem)));
        match plan {
            Some(plan) if !spoilt => Ok(Loaded { plan, warnings: found.in_order() }),
            _ => Err(found.in_order()),
        }
    }

    /// The lines of the Procfile, then what only the manifest has. The manifest's command wins.
    fn draft(&self, dir: &Path) -> Draft {
        let mut written: Vec<Option<ProcessDraft>> =
            self.manifest.iter().flat_map(|m| &m.processes).cloned().map(Some).collect();
        let names = self.manifest.iter().flat_map(|m| &m.processes).map(|process| &process.name);
        let places: BTreeMap<&ProcessName, usize> = names.zip(0..).collect();
        let mut processes = Vec::new();
        let mut position = 0_u16;
        for entry in self.procfile.iter().flat_map(|p| &p.entries) {
            let of_manifest = places.get(&entry.name).and_then(|nth| written[*nth].take());
            let draft = match of_manifest {
                None if entry.is_one_off() => None,
                None => Some(ProcessDraft::new(entry.name.clone(), None)),
                some => some,
            };
            if let Some(mut draft) = draft {
                draft.command.get_or_insert_with(|| entry.command.clone());
                processes.push(ProcessDraft { position: Some(position), ..draft });
            }
            position = position.saturating_add(1);
        }
        for draft in written.into_iter().flatten() {
            processes.push(ProcessDraft { position: Some(position), ..draft });
            position = position.saturating_add(1);
        }
        let name = self.manifest.as_ref().and_then(|m| m.name.clone()).unwrap_or_else(|| self.name.clone());
        let mut router = self.manifest.as_ref().map(|m| m.router.clone()).unwrap_or_default();
        if let Some(listen) = self.listen {
            router.listen = listen.iter().map(|listen| of_app(listen, &name)).collect();
        }
        Draft {
            name,
            dir: dir.to_path_buf(),
            build: self.manifest.as_ref().and_then(|m| m.build.clone()),
            processes,
            resources: self.manifest.as_ref().map(|m| m.resources.clone()).unwrap_or_default(),
            router,
            manner: self.manner,
        }
    }

    /// A `release` line of the Procfile is for deploying elsewhere, unless the manifest makes it a process.
    fn one_off(&self) -> Findings {
        let is_process = |entry: &procfile::Entry| {
            self.manifest.iter().flat_map(|m| &m.processes).any(|process| process.name == entry.name)
        };
        let warning = |procfile: &Procfile, entry: &procfile::Entry| {
            let title = format!("`{}` is run once for each release, so it is not started here", entry.name);
            Diagnostic::warning(procfile.source.spot(entry.span.clone()), title)
                .help(format!("when it is due: tambat run '{}'", entry.command.replace('\'', "'\\''")))
        };
        let mut found = Findings::default();
        if let Some(procfile) = &self.procfile {
            let one_offs = procfile.entries.iter().filter(|entry| entry.is_one_off() && !is_process(entry));
            one_offs.for_each(|entry| found.push(warning(procfile, entry)));
        }
        found
    }

    /// Does a problem probably follow from one that has been reported: is it about a process that could not be read
    /// whole, or about the app when nothing was read whole?
    fn follows(&self, problem: &Problem) -> bool {
        let spoilt = |place: &Place| match place {
            Place::App => true,
            Place::Process(name) | Place::Key(name, _) => {
                self.manifest.as_ref().is_some_and(|m| m.spoilt.contains(name))
            }
            Place::Use(..)
            | Place::Port(..)
            | Place::Host(..)
            | Place::Listen(..)
            | Place::RouterListen(_)
            | Place::Fallback(_)
            | Place::Resource(_) => false,
        };
        spoilt(&problem.at) || problem.other.as_ref().is_some_and(spoilt)
    }

    fn diagnostic(&self, problem: &Problem) -> Diagnostic {
        let spot = self.spot(&problem.at);
        let mut diagnostic = Diagnostic {
            severity: problem.severity,
            title: problem.what.clone(),
            spots: spot.into_iter().collect(),
            help: problem.help.clone(),
        };
        let other = problem.other.as_ref().and_then(|place| self.spot(place));
        diagnostic.spots.extend(other.filter(|other| diagnostic.spots.first() != Some(other)));
        if problem.at == Place::App && self.manifest.is_none() {
            diagnostic.help = Some("write a line such as `web: npm start`".to_owned());
        }
        diagnostic
    }

    /// Where that stands: as near as was written.
    fn spot(&self, place: &Place) -> Option<Spot> {
        let in_manifest =
            |place: &Place| self.manifest.as_ref().and_then(|m| Some(m.source.spot(m.places.get(place)?.clone())));
        if let Some(spot) = in_manifest(place) {
            return Some(spot);
        }
        match place {
            Place::Process(name) => self.procfile.as_ref().and_then(|procfile| {
                let entry = procfile.entries.iter().find(|entry| entry.name == *name)?;
                Some(procfile.source.spot(entry.span.clone()))
            }),
            Place::Key(name, _)
            | Place::Use(name, _)
            | Place::Port(name, _)
            | Place::Host(name, ..)
            | Place::Listen(name, ..) => self.spot(&Place::Process(name.clone())),
            Place::App | Place::Resource(_) | Place::RouterListen(_) | Place::Fallback(_) => {
                let source = self.manifest.as_ref().map(|m| &m.source);
                source.or(self.procfile.as_ref().map(|p| &p.source)).map(Source::everywhere)
            }
        }
    }
}

/// As a server says it, seen from one of its apps: what another one gets is none of its business.
fn of_app(listen: &ListenPlan, app: &AppName) -> ListenPlan {
    let fallback = listen.fallback.as_ref().and_then(|name| name.split_once('/'));
    let fallback = fallback.filter(|(of, _)| *of == app.as_str()).map(|(_, name)| name.to_owned());
    ListenPlan { fallback, ..listen.clone() }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU16, NonZeroU32};
    use std::time::{Duration, Instant};

    use tambat_model::{
        AccessLogFormat, Balance, CertificateFiles, ClientAuthPlan, HealthRules, HttpRules, HttpsRedirect, Network,
        Opening, Protocol, ProxyProtocol, Readiness, Restart, Role, RouterPlan, RouterTimeouts, Sticky, TlsPlan,
    };

    use super::*;
    use crate::Text;

    fn plan(manifest: Option<&str>, procfile: Option<&str>) -> Plan {
        let files = Files {
            manifest: manifest.map(|text| Text::new("tambat.toml", text)),
            procfile: procfile.map(|text| Text::new("Procfile", text)),
        };
        files.plan(Path::new("/srv/My Shop")).map_err(|found| found[0].render(false)).unwrap().plan
    }

    fn positions(plan: &Plan) -> Vec<(&str, u16, &str)> {
        plan.processes().iter().map(|p| (p.name.as_str(), p.position, p.command.as_str())).collect()
    }

    #[test]
    fn positions_are_the_lines_of_the_procfile_then_the_order_of_the_manifest() {
        let manifest = "[processes.zeta]\ncommand = \"z\"\n[processes.api]\ncommand = \"mine\"\n[processes.alpha]\ncommand = \"a\"\n";
        let plan = plan(Some(manifest), Some("web: w\nrelease: r\n# no line\n\napi:theirs\n"));
        let expected = [("web", 0, "w"), ("api", 2, "mine"), ("zeta", 3, "z"), ("alpha", 4, "a")];
        assert_eq!(positions(&plan), expected);
        assert_eq!(plan.name().as_str(), "my-shop");
    }

    #[test]
    fn a_release_line_that_the_manifest_makes_a_process_is_one() {
        let plan = plan(Some("[processes.release]\nprotocol = \"http\"\n"), Some("release: r\nweb: w\n"));
        assert_eq!(positions(&plan), [("release", 0, "r"), ("web", 1, "w")]);
    }

    #[test]
    fn a_procfile_is_read_as_foreman_reads_it() {
        let plan = plan(None, Some("\u{feff}web:a b \r\n  # c\r\nweb-2:   x: y # not a comment\r\n"));
        assert_eq!(positions(&plan), [("web", 0, "a b"), ("web-2", 1, "x: y # not a comment")]);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of keys is as long as it has keys")]
    fn every_key_reaches_the_plan() {
        let manifest = r#"
            name = "shop"
            build = "make"
            [processes.web]
            command = "python app.py"
            protocol = "http"
            port = 8000
            instances = 2
            uses = ["cache", "chat", "mail", "billing/api"]
            env = { LOG_LEVEL = "info", MODE = "dev" }
            url = "http://me@{host}:{port}/x"
            ready = { path = "/healthz", within = "30s" }
            stop = { signal = "SIGINT", grace = "500ms" }
            restart = "always"
            stateful = false
            owner = "any"
            expose = true
            proxy_protocol = "v1"
            hosts = ["shop.example.com", "*.shop.example.com"]
            path = "/shop"
            strip_path = true
            timeouts = { idle = "15m", connect = "1s", first_byte = "30s", response_idle = "55s", wait = "10s" }
            max_body = "10MiB"
            headers = { X-Frame-Options = "DENY", Server = "" }
            https_redirect = false
            hsts = "2d"
            sticky = "sid"
            balance = "least-in-flight"
            max_in_flight = 100
            queue = 50
            health = { path = "/healthz", every = "5s", within = "2s", up = 1, down = 4 }
            [processes.cache]
            command = "redis-server"
            protocol = "redis"
            hosts = "cache.example.com"
            listen = ["127.0.0.1:4222", "0.0.0.0:6380"]
            tls = "terminate"
            max_connections = 9
            expose = true
            [processes.chat]
            command = "chat"
            ports = { c2s = { protocol = "tcp", port = 5222, listen = "192.0.2.1:5222", tls = "off", proxy_protocol = "v1" }, admin = { protocol = "http", hosts = "admin.example.com", path = "/a", strip_path = true, proxy_protocol = "v2" } }
            [processes.clock]
            command = "clock"
            uses = { MAILER = "mail" }
            [resources.mail]
            url = "smtp://mail.example.com:587"
            [router]
            workers = 2
            trusted = ["10.0.0.0/8", "::1"]
            proxy_protocol = "192.0.2.0/24"
            max_connections = 256
            access_log = "access.log"
            access_log_format = "text"
            listen = [{ address = "127.0.0.1:4222", peek = ["tls", "ssh"], within = "2s", fallback = "chat" }]
            timeouts = { head = "1s", body_idle = "2s", keep_alive = "3s", connect = "4s" }
            [router.tls]
            certificates = [{ chain = "a.pem", key = "a.key" }]
            client_ca = "ca.pem"
            client_auth = "optional"
        "#;
        let plan = plan(Some(manifest), None);
        assert_eq!((plan.name().as_str(), plan.build()), ("shop", Some("make")));
        let [web, cache, chat, clock] = plan.processes() else { panic!("four processes") };
        assert_eq!((web.ports[0].protocol, web.ports[0].service.unwrap().get()), (Protocol::Http, 8000));
        assert_eq!(web.ports[0].template.as_str(), "http://me@{host}:{port}/x");
        assert_eq!((web.instances, web.any_owner, web.expose, web.stateful), (2, true, true, false));
        let vars: Vec<&str> = web.uses.iter().map(|used| used.var.as_str()).collect();
        assert_eq!(vars, ["CACHE_URL", "CHAT_URL", "CHAT_C2S_URL", "CHAT_ADMIN_URL", "MAIL_URL", "BILLING_API_URL"]);
        let env: Vec<(&str, &str)> = web.env.iter().map(|(var, value)| (var.as_str(), value.as_str())).collect();
        assert_eq!(env, [("LOG_LEVEL", "info"), ("MODE", "dev")]);
        assert_eq!(web.ready, Readiness::Path("/healthz".to_owned(), Duration::from_secs(30)));
        assert_eq!((web.stop.signal.as_str(), web.stop.grace), ("INT", Duration::from_millis(500)));
        assert_eq!((web.restart, web.idle), (Restart::Always, Some(Duration::from_mins(15))));
        let site = web.ports[0].site.as_ref().unwrap();
        let hosts: Vec<String> = site.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["shop.example.com", "*.shop.example.com"]);
        assert_eq!((site.path.as_str(), site.strip), ("/shop", true));
        let rules = HttpRules {
            first_byte: Some(Duration::from_secs(30)),
            response_idle: Some(Duration::from_secs(55)),
            wait: Some(Duration::from_secs(10)),
            waits_when_refused: true,
            body_bytes_max: Some(10 << 20),
            headers: [("X-Frame-Options", "DENY"), ("Server", "")].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            https_headers: Some(
                [("X-Frame-Options", "DENY"), ("Server", ""), ("Strict-Transport-Security", "max-age=172800")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
            ),
            https_redirect: HttpsRedirect::Never,
            health_path: Some("/healthz".to_owned()),
            sticky: Some(Sticky { cookie: "sid".to_owned() }),
            balance: Balance::LeastInFlight,
            in_flight_max: NonZeroU32::new(100),
            queue_max: NonZeroU32::new(50),
            hop_token: None,
        };
        assert_eq!(*web.http, rules);
        let health = HealthRules {
            path: Some("/healthz".to_owned()),
            every: Duration::from_secs(5),
            within: Duration::from_secs(2),
            up: NonZeroU32::MIN,
            down: NonZeroU32::new(4).unwrap(),
        };
        assert_eq!((web.health.as_ref(), cache.health.as_ref()), (Some(&health), None));
        let admin = chat.ports[1].site.as_ref().unwrap();
        assert_eq!(
            (admin.hosts[0].to_string().as_str(), admin.path.as_str(), admin.strip),
            ("admin.example.com", "/a", true)
        );
        let told = |process: &tambat_model::ProcessPlan| {
            process.ports.iter().map(|port| port.proxy_protocol).collect::<Vec<_>>()
        };
        assert_eq!((told(web), told(cache)), (vec![Some(ProxyProtocol::V1)], vec![None]));
        assert_eq!(told(chat), [Some(ProxyProtocol::V1), Some(ProxyProtocol::V2)]);
        assert_eq!((web.connect, cache.connections_max), (Some(Duration::from_secs(1)), NonZeroU32::new(9)));
        let entrances = plan.entrances().iter().map(|entrance| {
            let of = |claim: &tambat_model::Claim| format!("{} {}", claim.who, claim.tls.as_str());
            (entrance.at.to_string(), entrance.claims.iter().map(of).collect::<Vec<_>>().join(", "))
        });
        assert_eq!(
            entrances.collect::<Vec<_>>(),
            [
                ("0.0.0.0:6380", "cache terminate"),
                ("127.0.0.1:4222", "cache terminate, chat:c2s off"),
                ("192.0.2.1:5222", "chat:c2s off"),
            ]
            .map(|(at, who)| (at.to_owned(), who.to_owned()))
        );
        assert!(cache.stateful);
        assert_eq!(chat.ports[0].service.unwrap().get(), 5222);
        assert_eq!((chat.ports[1].name.as_ref().unwrap().as_str(), chat.ports[1].protocol), ("admin", Protocol::Http));
        let seconds = |s| Some(Duration::from_secs(s));
        let timeouts =
            RouterTimeouts { head: seconds(1), body_idle: seconds(2), keep_alive: seconds(3), connect: seconds(4) };
        let router = RouterPlan {
            workers: NonZeroU16::new(2),
            trusted: ["10.0.0.0/8", "::1"].iter().map(|n| n.parse::<Network>().unwrap()).collect(),
            proxy_peers: ["192.0.2.0/24".parse::<Network>().unwrap()].into_iter().collect(),
            connections_max: NonZeroU32::new(256),
            access_log: Some("access.log".to_owned()),
            access_log_format: AccessLogFormat::Text,
            timeouts,
            tls: TlsPlan {
                certificates: vec![CertificateFiles { chain: "a.pem".to_owned(), key: "a.key".to_owned() }],
                client_auth: Some(ClientAuthPlan { ca: "ca.pem".to_owned(), required: false }),
            },
            listen: vec![ListenPlan {
                address: "127.0.0.1:4222".parse().unwrap(),
                peek: vec![Opening::Tls, Opening::Ssh],
                within: seconds(2),
                fallback: Some("chat".to_owned()),
            }],
        };
        assert_eq!(*plan.router(), router);
        assert_eq!((clock.role, clock.uses[0].var.as_str()), (Role::Worker, "MAILER"));
    }

    #[test]
    fn fifty_processes_are_read_in_no_time() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for nth in 0..50 {
            let next = (nth + 1) % 50;
            write!(text, "[processes.p{nth}]\ncommand = \"serve {nth}\"\nprotocol = \"http\"\nuses = [\"p{next}\"]\nenv = {{ A = \"1\" }}\n").unwrap();
        }
        let best = (0..20).map(|_| {
            let start = Instant::now();
            assert_eq!(plan(Some(&text), None).processes().len(), 50);
            start.elapsed()
        });
        // Not optimised here, and the machine has other things to do: the best of 20, with room.
        let best = best.min().unwrap();
        assert!(best < Duration::from_millis(25), "{best:?}");
    }
}
