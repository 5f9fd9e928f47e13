//! Apps for tests, in few words.

use crate::{
    AppName, Draft, Plan, PortDraft, ProcessDraft, ProcessName, Protocol, ResourcePlan, ServicePort, SiteDraft,
    UseDraft,
};

pub(crate) fn name(text: &str) -> ProcessName {
    text.parse().unwrap()
}

pub(crate) fn port(number: u16) -> ServicePort {
    ServicePort::try_from(number).unwrap()
}

/// A process that uses these and speaks this.
pub(crate) fn process(text: &str, protocol: Option<Protocol>, uses: &[&str]) -> ProcessDraft {
    let uses = uses.iter().map(|provider| UseDraft { var: None, provider: (*provider).to_owned() }).collect();
    ProcessDraft { protocol, uses, ..ProcessDraft::new(name(text), Some(format!("run {text}"))) }
}

/// A process with these named ports.
pub(crate) fn with_ports(text: &str, ports: &[(&str, Protocol, Option<u16>)]) -> ProcessDraft {
    let ports = ports.iter().map(|(name, protocol, number)| PortDraft {
        name: name.parse().unwrap(),
        protocol: *protocol,
        port: number.map(port),
        proxy_protocol: None,
        site: SiteDraft::default(),
    });
    ProcessDraft { ports: ports.collect(), ..process(text, None, &[]) }
}

pub(crate) fn draft(processes: Vec<ProcessDraft>) -> Draft {
    let mail = ResourcePlan { name: name("mail"), url: "smtp://me:secret@mail.example.com:587".parse().unwrap() };
    let name = AppName::from_directory("shop");
    Draft { processes, resources: vec![mail], ..Draft::new(name, "/srv/shop".into()) }
}

pub(crate) fn plan(processes: Vec<ProcessDraft>) -> Plan {
    Plan::new(draft(processes)).unwrap().0
}

/// What is wrong with them, or only worth saying: one line each.
pub(crate) fn problems(processes: Vec<ProcessDraft>) -> Vec<String> {
    let found = Plan::new(draft(processes)).map_or_else(|problems| problems, |(_, warnings)| warnings);
    found.into_iter().map(|problem| problem.what).collect()
}
