//! Resource handles: which variable, whose URL.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crate::assign::{PortKey, ServicePorts};
use crate::{AppName, Plan, PortName, ProcessName, ResourceUrl, ServicePort, UrlTemplate, VarName};

/// What stands behind a handle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// A port of a process of this app.
    Process(PortKey),
    /// A port of a process of another app of this user.
    Foreign {
        /// The other app.
        app: AppName,
        /// Its process.
        process: ProcessName,
        /// One of its named ports; none: the first.
        port: Option<PortName>,
    },
    /// An entry of `[resources]`.
    Resource(String),
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(key) => f.pad(&key.to_string()),
            Self::Foreign { app, process, port: None } => f.pad(&format!("{app}/{process}")),
            Self::Foreign { app, process, port: Some(port) } => f.pad(&format!("{app}/{process}:{port}")),
            Self::Resource(name) => f.pad(name),
        }
    }
}

/// What is known at run time about where providers are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiring {
    /// Where this app's own process ports are served.
    pub service_ports: ServicePorts,
    /// The port held here for each provider in another app, and how its handle is written.
    pub foreign: BTreeMap<Provider, ForeignUrl>,
    /// Remote URLs that stand in for providers, by the name that `uses` has.
    pub attached: BTreeMap<String, ResourceUrl>,
    /// The URL by which everybody reaches each process port that a server has published.
    pub published: BTreeMap<PortKey, String>,
}

/// How a provider in another app is reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignUrl {
    /// The port held here for it.
    pub port: ServicePort,
    /// How that app writes its handle; as for HTTP until it has been seen.
    pub template: UrlTemplate,
}

/// A resource handle: an environment variable whose value is the URL of a backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The variable.
    pub var: VarName,
    /// Who stands behind it.
    pub provider: Provider,
    /// What it says now.
    pub state: HandleState,
}

/// What a handle says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandleState {
    /// The provider's URL through a port held here, or the manifest's URL of a resource.
    Wired(ResourceUrl),
    /// A remote URL that was attached in its place.
    Attached(ResourceUrl),
    /// Nothing runs that could say.
    Unknown,
}

impl HandleState {
    /// The URL, where there is one.
    pub fn url(&self) -> Option<&ResourceUrl> {
        match self {
            Self::Wired(url) | Self::Attached(url) => Some(url),
            Self::Unknown => None,
        }
    }
}

impl Wiring {
    /// The handles of one process, in the order of its `uses`.
    pub fn handles(&self, plan: &Plan, process: &ProcessName) -> Vec<Handle> {
        let uses = plan.process(process).map(|p| p.uses.as_slice()).unwrap_or_default();
        uses.iter()
            .map(|used| Handle {
                var: used.var.clone(),
                provider: used.provider.clone(),
                state: self.state_of(plan, &used.provider),
            })
            .collect()
    }

    /// The processes of this app that are used by others only through handles that are attached elsewhere: nobody
    /// needs them to run. Never `web`, which people visit.
    pub fn replaced<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a ProcessName> {
        plan.processes().iter().map(|p| &p.name).filter(|name| !name.is_web()).filter(|name| {
            let mut uses = plan.uses_of(name).peekable();
            uses.peek().is_some() && uses.all(|used| self.attached.contains_key(&used.provider.to_string()))
        })
    }

    fn state_of(&self, plan: &Plan, provider: &Provider) -> HandleState {
        if let Some(url) = self.attached.get(&provider.to_string()) {
            return HandleState::Attached(url.clone());
        }
        let wired = match provider {
            Provider::Process(key) => {
                self.service_ports.get(key).and_then(|port| local_url(&plan.template(key)?, port))
            }
            Provider::Foreign { .. } => self.foreign.get(provider).and_then(|f| local_url(&f.template, f.port)),
            Provider::Resource(name) => plan.resource(name).map(|r| r.url.clone()),
        };
        wired.map_or(HandleState::Unknown, HandleState::Wired)
    }
}

/// Never a `.localhost` name, which many resolvers refuse.
fn local_url(template: &UrlTemplate, port: ServicePort) -> Option<ResourceUrl> {
    template.fill(&Ipv4Addr::LOCALHOST.to_string(), port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;
    use crate::draft::ProcessDraft;
    use crate::sample::{name, plan, port, process};

    fn shop() -> Plan {
        let template = "postgres://app@{host}:{port}/shop".parse().ok();
        plan(vec![
            process("web", None, &["api", "mail", "billing/api"]),
            process("api", Some(Protocol::Http), &["db"]),
            ProcessDraft { url: template, ..process("db", Some(Protocol::Postgres), &[]) },
            process("idle", None, &[]),
        ])
    }

    fn shown(wiring: &Wiring, process: &str) -> Vec<String> {
        let handles = wiring.handles(&shop(), &name(process));
        let line = |h: &Handle| format!("{}={}", h.var, h.state.url().map_or("?".to_owned(), ToString::to_string));
        handles.iter().map(line).collect()
    }

    fn key(process: &str) -> PortKey {
        PortKey { process: name(process), port: None }
    }

    #[test]
    fn a_handle_says_what_is_known() {
        let mut wiring = Wiring::default();
        let mail = "MAIL_URL=smtp://me:***@mail.example.com:587";
        assert_eq!(shown(&wiring, "web"), ["API_URL=?", mail, "BILLING_API_URL=?"]);
        wiring.service_ports.insert(key("api"), port(5100));
        wiring.service_ports.insert(key("db"), port(5200));
        let billing = Provider::Foreign { app: AppName::from_directory("billing"), process: name("api"), port: None };
        let foreign = ForeignUrl { port: port(5900), template: UrlTemplate::of(Protocol::Http) };
        wiring.foreign.insert(billing, foreign);
        let expected = ["API_URL=http://127.0.0.1:5100", mail, "BILLING_API_URL=http://127.0.0.1:5900"];
        assert_eq!(shown(&wiring, "web"), expected);
        assert_eq!(shown(&wiring, "api"), ["DB_URL=postgres://app@127.0.0.1:5200/shop"]);
        assert_eq!(shown(&wiring, "nobody"), Vec::<String>::new());
    }

    #[test]
    fn what_is_attached_stands_in_for_its_provider() {
        let mut wiring = Wiring::default();
        wiring.service_ports.insert(key("api"), port(5100));
        for provider in ["api", "mail", "billing/api"] {
            wiring
                .attached
                .insert(provider.to_owned(), format!("http://u:p@far.example.com/{provider}").parse().unwrap());
        }
        let handles = wiring.handles(&shop(), &name("web"));
        assert!(handles.iter().all(|handle| matches!(handle.state, HandleState::Attached(_))));
        assert_eq!(shown(&wiring, "web")[0], "API_URL=http://u:***@far.example.com/api");
        assert_eq!(wiring.replaced(&shop()).map(ProcessName::as_str).collect::<Vec<_>>(), ["api"]);
    }

    #[test]
    fn a_process_that_somebody_still_uses_is_not_replaced() {
        let plan = plan(vec![
            crate::sample::with_ports("chat", &[("c2s", Protocol::Tcp, None), ("admin", Protocol::Http, None)]),
            process("web", None, &["chat"]),
        ]);
        let mut wiring = Wiring::default();
        let url: ResourceUrl = "xmpp://far.example.com".parse().unwrap();
        wiring.attached.insert("chat:c2s".to_owned(), url.clone());
        assert_eq!(wiring.replaced(&plan).count(), 0);
        wiring.attached.insert("chat:admin".to_owned(), url);
        assert_eq!(wiring.replaced(&plan).count(), 1);
    }
}
