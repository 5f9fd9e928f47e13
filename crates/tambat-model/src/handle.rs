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
    /// needs them to run.
    pub fn replaced<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a ProcessName> {
        plan.processes().iter().map(|p| &p.name).filter(|name| {
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
