//! What an instance is started with, and where it is looked for afterwards.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{Environment, Protocol, Readiness, instance_environment, shell_command};
use tambat_os::{CommandSpec, Pid, Signal, StdioSpec, StopSpec};
use tambat_wire::Probe;

use super::{Driver, Live};
use crate::group::{Group, SlotId};
use crate::instance::Pace;
use crate::run::Run;
use crate::watcher::{Watch, WatchId, WatchedPort};

impl Driver {
    /// Asks for an instance, on new ports. The error is the cause, for the user.
    pub(super) fn spawn(&mut self, slot: SlotId) -> Result<(), String> {
        let group = self.groups.get(slot.process).ok_or("there is no such process")?;
        let name = group.instance(slot).ok_or("there is no such instance")?.name();
        let cannot = |what, error: &dyn std::fmt::Display| format!("cannot {what} {name}: {error}");
        let process = group.plan();
        let mut ports = Vec::with_capacity(process.ports.len());
        let mut held = Vec::with_capacity(process.ports.len());
        for port in process.ports.iter().filter(|p| p.protocol != Protocol::None) {
            let port_held = self.setup.commons.port().map_err(|error| cannot("start", &error))?;
            ports.push((port.name.clone(), port_held.number()));
            held.push(port_held);
        }
        let environment = instance_environment(
            &self.setup.plan,
            &self.setup.wiring,
            &self.setup.layers,
            process,
            Some((name, &ports)),
        );
        let shell = ["/bin/sh", "-c"].into_iter().map(OsString::from);
        let spec = CommandSpec {
            argv: shell.chain([shell_command(&process.command).into()]).collect(),
            dir: self.setup.plan.dir().to_owned(),
            env: os_environment(&environment, &self.setup.raw_env),
            stdio: self.setup.terminal.map_or(StdioSpec::Pipes, StdioSpec::Pty),
            stop: stop_spec(group),
            linger: Duration::ZERO,
            user: None,
        };
        let keeper = self.spawner.spawn(&spec).map_err(|error| cannot("start", &error))?;
        let id = self.setup.commons.run();
        let first = ports.first().map(|(_, port)| *port);
        let run = Run::begin(id, slot, (name, first), keeper, &self.outlets.lines, self.runs.clone())
            .map_err(|error| cannot("watch", &error))?;
        self.live.insert(slot, Live { run, keeper: None, ports, _held: held, load: Arc::default(), watching: None });
        Ok(())
    }
}

/// How an instance is asked to stop.
pub(super) fn stop_spec(group: &Group) -> StopSpec {
    let stop = &group.plan().stop;
    StopSpec { signal: stop.signal.parse().unwrap_or(Signal::TERM), grace: stop.grace }
}

/// How an instance is watched; `None`: its keeper is not known yet, or it has no port.
pub(super) fn watch(group: &Group, slot: SlotId, live: &Live, pace: Pace, id: WatchId) -> Option<Watch> {
    let keeper: Pid = live.keeper?;
    let ports: Vec<WatchedPort> = live
        .ports
        .iter()
        .enumerate()
        .filter_map(|(nth, (name, port))| {
            let plan = group.plan().ports.iter().find(|plan| plan.name == *name)?;
            let probe = probe(group, plan.protocol, port.get(), nth == 0)?;
            Some(WatchedPort {
                name: name.clone(),
                port: port.get(),
                transports: plan.protocol.transports(),
                probe,
                proxy_protocol: plan.proxy_protocol,
            })
        })
        .collect();
    let any_owner = group.plan().any_owner;
    let within = group.plan().ready.within();
    (!ports.is_empty()).then_some(Watch::Begin { slot, id, keeper, ports, any_owner, pace, within })
}

/// The path that the manifest names is the first port's.
fn probe(group: &Group, protocol: Protocol, port: u16, is_first: bool) -> Option<Probe> {
    let path = match &group.plan().ready {
        Readiness::Path(path, _) if is_first => Some(path.as_str()),
        _ => None,
    };
    Probe::for_protocol(protocol, path, &format!("localhost:{port}"))
}

fn os_environment(environment: &Environment, raw: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let known = environment.iter().map(|(name, setting)| (OsString::from(name), OsString::from(&setting.value)));
    known.chain(raw.iter().cloned()).collect()
}
