//! Which service port each process port gets (DESIGN: base + 100 × position, named ports + 1, + 2 …).

use std::collections::BTreeMap;
use std::fmt;

use crate::{Plan, PortName, ProcessName, Protocol, ServicePort};

/// Where service ports begin, unless something says otherwise: the number in the factor's own text.
pub const BASE_DEFAULT: u16 = 5_000;

/// From one process to the next, and from one base to the next when a port of it is busy: foreman's step.
pub const BASE_STEP: u16 = 100;

/// A process port: the one of a process that has no name, or one by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The process.
    pub process: ProcessName,
    /// Its port; none: the unnamed one.
    pub port: Option<PortName>,
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            None => f.pad(self.process.as_str()),
            Some(port) => f.pad(&format!("{}:{port}", self.process)),
        }
    }
}

/// Where service ports begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// At this number.
    At(ServicePort),
    /// Each is chosen by the kernel (`-p 0`).
    Kernel,
}

/// The service port of each process port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePorts(BTreeMap<PortKey, ServicePort>);

/// A process port and the number it wants.
pub type Wanted = (PortKey, Option<ServicePort>);

impl ServicePorts {
    /// What each process port wants from this base: its own `port`, else its place; `None`: the kernel chooses.
    /// `Err` names the first process whose place would lie past 65535.
    pub fn wanted(plan: &Plan, base: Base) -> Result<Vec<Wanted>, ProcessName> {
        let mut wanted = Vec::new();
        for process in plan.processes() {
            for (nth, port) in process.ports.iter().filter(|p| p.protocol != Protocol::None).enumerate() {
                let key = PortKey { process: process.name.clone(), port: port.name.clone() };
                let number = match (port.service, base) {
                    (Some(explicit), _) => Some(explicit),
                    (None, Base::Kernel) => None,
                    (None, Base::At(base)) => {
                        let place = i64::from(base.get()) + i64::from(process.position) * i64::from(BASE_STEP);
                        let number = place + i64::try_from(nth).unwrap_or(i64::MAX);
                        Some(ServicePort::try_from(number).map_err(|_| process.name.clone())?)
                    }
                };
                wanted.push((key, number));
            }
        }
        Ok(wanted)
    }

    /// Writes down what a process port got.
    pub fn insert(&mut self, key: PortKey, port: ServicePort) {
        self.0.insert(key, port);
    }

    /// The service port of this process port.
    pub fn get(&self, key: &PortKey) -> Option<ServicePort> {
        self.0.get(key).copied()
    }

    /// All of them, by process.
    pub fn iter(&self) -> impl Iterator<Item = (&PortKey, ServicePort)> {
        self.0.iter().map(|(key, port)| (key, *port))
    }
}

/// The next base to try when a port of this one is busy.
pub fn next_base(base: ServicePort) -> Option<ServicePort> {
    ServicePort::try_from(i64::from(base.get()) + i64::from(BASE_STEP)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::ProcessDraft;
    use crate::sample::{name, plan, port, process, with_ports};

    fn wanted(plan: &Plan, base: Base) -> Vec<(String, Option<u16>)> {
        let wanted = ServicePorts::wanted(plan, base).unwrap();
        wanted.into_iter().map(|(key, port)| (key.to_string(), port.map(ServicePort::get))).collect()
    }

    fn shop() -> Plan {
        plan(vec![
            process("web", None, &[]),
            with_ports(
                "chat",
                &[("c2s", Protocol::Tcp, None), ("admin", Protocol::Http, None), ("x", Protocol::Tcp, Some(9000))],
            ),
            process("cron", Some(Protocol::None), &[]),
            ProcessDraft { port: Some(port(8080)), ..process("api", None, &[]) },
            ProcessDraft { position: Some(7), ..process("late", None, &[]) },
        ])
    }

    #[test]
    fn each_process_has_its_place_whether_it_has_a_port_or_not() {
        let expected = [
            ("web", Some(5000)),
            ("chat:c2s", Some(5100)),
            ("chat:admin", Some(5101)),
            ("chat:x", Some(9000)),
            ("api", Some(8080)),
            ("late", Some(5700)),
        ];
        let expected = expected.map(|(key, port)| (key.to_owned(), port));
        assert_eq!(wanted(&shop(), Base::At(port(BASE_DEFAULT))), expected);
    }

    #[test]
    fn the_kernel_chooses_only_what_nobody_asked_for() {
        let chosen = wanted(&shop(), Base::Kernel);
        let explicit: Vec<&str> =
            chosen.iter().filter(|(_, port)| port.is_some()).map(|(key, _)| key.as_str()).collect();
        assert_eq!(explicit, ["chat:x", "api"]);
    }

    #[test]
    fn a_place_past_the_last_port_names_its_process() {
        assert_eq!(ServicePorts::wanted(&shop(), Base::At(port(65_400))), Err(name("late")));
        assert_eq!(next_base(port(5000)), Some(port(5100)));
        assert_eq!(next_base(port(65_500)), None);
    }

    #[test]
    fn what_was_written_down_is_found_again() {
        let mut ports = ServicePorts::default();
        let key = |port: Option<&str>| PortKey { process: name("chat"), port: port.map(|p| p.parse().unwrap()) };
        ports.insert(key(Some("c2s")), port(5100));
        assert_eq!((ports.get(&key(Some("c2s"))), ports.get(&key(None))), (Some(port(5100)), None));
        assert_eq!(ports.iter().collect::<Vec<_>>(), [(&key(Some("c2s")), port(5100))]);
    }
}
