//! Where starts happen: ports, environments, and the reins of everything that runs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tambat_model::{
    INSTANCE_PORT_FIRST, INSTANCE_PORT_LAST, InstanceName, InstancePort, Layer, PortKey, PortName, ProcessPlan,
    Protocol, Readiness, ServicePort, Source, VarName, Wiring, instance_environment, shell_command,
};
use tambat_os::{CommandSpec, Pid, Signal, Spawner, StdioSpec, StopSpec, User};

use super::boot::Patience;
use super::staged::{Reins, Staged, ToldPort};
use super::{Limits, Subject};

/// What a killed `tambat check` leaves may take no longer: nobody waits for it.
pub(super) const ABANDONED_GRACE: Duration = Duration::from_secs(2);

/// So many numbers are tried before it is said that none is free.
const PORT_TRIES_MAX: usize = 2_000;

/// How one start differs from the others.
#[derive(Debug, Clone, Default)]
pub(super) struct How<'a> {
    /// On this port; none: a free one.
    pub(super) port: Option<u16>,
    /// What `HOST` says; none: what `tambat start` says.
    pub(super) host: Option<&'static str>,
    /// Where its handles lead; none: to the recorder's ports, or to the providers themselves.
    pub(super) handles: Option<&'a [(PortKey, u16)]>,
    /// In this directory; none: the plan's.
    pub(super) dir: Option<&'a Path>,
    /// Who it is, and that user's home.
    pub(super) user: Option<(User, &'a Path)>,
}

/// Where starts happen.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) subject: &'a Subject,
    pub(super) process: &'a ProcessPlan,
    pub(super) limits: Limits,
    /// Where handles lead at every start that says nothing else.
    pub(super) handles: Vec<(PortKey, u16)>,
    /// The keepers of all starts so far.
    pub(super) keepers: Arc<Mutex<Vec<Pid>>>,
    spawner: &'a Spawner,
    used: Mutex<BTreeSet<u16>>,
    reins: Mutex<Vec<Reins>>,
}

impl<'a> Stage<'a> {
    /// None: the plan has no such process.
    pub(super) fn new(subject: &'a Subject, limits: Limits, spawner: &'a Spawner) -> Option<Self> {
        let process = subject.plan.process(&subject.process)?;
        let (used, reins) = (Mutex::default(), Mutex::default());
        Some(Self { subject, process, limits, handles: Vec::new(), keepers: Arc::default(), spawner, used, reins })
    }

    /// Starts it. The error is a sentence.
    pub(super) fn start(&self, how: &How<'_>) -> Result<Staged, String> {
        let told = self.told(how).map_err(|error| error.to_string())?;
        let spec = self.spec(how, &told)?;
        let begun = self.spawner.spawn(&spec).and_then(|keeper| Staged::begin(keeper, told, Arc::clone(&self.keepers)));
        let staged = begun.map_err(|error| format!("cannot start it: {error}"))?;
        self.reins.lock().unwrap_or_else(PoisonError::into_inner).push(staged.reins.clone());
        Ok(staged)
    }

    /// Kills everything that was started here, and waits until nothing is left.
    pub(super) async fn clear(&self) {
        let all = std::mem::take(&mut *self.reins.lock().unwrap_or_else(PoisonError::into_inner));
        for mut reins in all {
            reins.kill().await;
        }
    }

    /// How it is told to stop.
    pub(super) fn stop_spec(&self) -> StopSpec {
        StopSpec { signal: self.signal(), grace: self.limits.grace }
    }

    pub(super) fn signal(&self) -> Signal {
        self.process.stop.signal.parse().unwrap_or(Signal::TERM)
    }

    /// How long is waited for a start.
    pub(super) fn patience(&self, limit: Duration) -> Patience<'static> {
        Patience { limit, any_owner: self.process.any_owner, enough: &[] }
    }

    /// A number that nobody has now, and that no start of this check had before. Chosen at random, so that two checks
    /// seldom want the same.
    pub(super) fn free_port(&self) -> io::Result<u16> {
        let range = u64::from(INSTANCE_PORT_LAST - INSTANCE_PORT_FIRST) + 1;
        for _ in 0..PORT_TRIES_MAX {
            let random = u64::from_ne_bytes(tambat_os::random::bytes()?) % range;
            let port = INSTANCE_PORT_FIRST + u16::try_from(random).unwrap_or_default();
            let is_new = !self.used.lock().unwrap_or_else(PoisonError::into_inner).contains(&port);
            if is_new && tambat_os::ports::is_free(port) {
                self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
                return Ok(port);
            }
        }
        Err(io::Error::other(format!(
            "cannot find a free port from {INSTANCE_PORT_FIRST} to {INSTANCE_PORT_LAST}: stop something that listens there"
        )))
    }

    fn told(&self, how: &How<'_>) -> io::Result<Vec<ToldPort>> {
        let mut told = Vec::new();
        for port in self.process.ports.iter().filter(|port| port.protocol != Protocol::None) {
            let is_first = told.is_empty();
            let number = match how.port {
                Some(number) if is_first => number,
                _ => self.free_port()?,
            };
            let var = if is_first { "PORT".to_owned() } else { variable(port.name.as_ref()) };
            let protocol = if is_first { self.subject.protocol } else { said(port.protocol) };
            let path = match &self.process.ready {
                Readiness::Path(path, _) if is_first => Some(path.clone()),
                _ => None,
            };
            told.push(ToldPort { var, number, protocol, path, proxy_protocol: port.proxy_protocol });
        }
        Ok(told)
    }

    fn spec(&self, how: &How<'_>, told: &[ToldPort]) -> Result<CommandSpec, String> {
        let plan = &self.subject.plan;
        let mut wiring = self.subject.wiring.clone();
        for (key, port) in how.handles.unwrap_or(&self.handles) {
            lead(&mut wiring, key, *port);
        }
        let mut layers = self.subject.layers.clone();
        let mut say = |name: &str, value: &str| {
            layers.push(Layer { source: Source::CommandLine, name: name.to_owned(), value: value.to_owned() });
        };
        if let Some(host) = how.host {
            say("HOST", host);
        }
        if let Some((_, home)) = how.user {
            [("HOME", home.to_string_lossy().as_ref()), ("USER", "nobody"), ("LOGNAME", "nobody")]
                .into_iter()
                .for_each(|(name, value)| say(name, value));
        }
        let names = self.process.ports.iter().filter(|port| port.protocol != Protocol::None).map(|p| p.name.clone());
        let ports = names
            .zip(told)
            .map(|(name, told)| InstancePort::try_from(told.number).map(|port| (name, port)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let name = InstanceName { process: self.process.name.clone(), number: NonZeroU16::MIN };
        let environment = instance_environment(plan, &wiring, &layers, self.process, Some((&name, &ports)));
        let known = environment.iter().map(|(name, setting)| (OsString::from(name), OsString::from(&setting.value)));
        let shell = ["/bin/sh", "-c"].into_iter().map(OsString::from);
        Ok(CommandSpec {
            argv: shell.chain([shell_command(&self.process.command).into()]).collect(),
            dir: how.dir.unwrap_or(plan.dir()).to_owned(),
            env: known.chain(self.subject.raw_env.iter().cloned()).collect(),
            stdio: StdioSpec::Pipes,
            stop: StopSpec { signal: self.signal(), grace: ABANDONED_GRACE },
            // What goes by itself is told from what stays; whoever looks cuts it short.
            linger: self.limits.grace,
            user: how.user.map(|(user, _)| user),
        })
    }
}

/// Nothing is said of what a port speaks that takes any stream.
fn said(protocol: Protocol) -> Option<Protocol> {
    (protocol != Protocol::Tcp).then_some(protocol)
}

fn variable(name: Option<&PortName>) -> String {
    name.map_or_else(|| VarName::reserved("PORT"), PortName::variable).to_string()
}

/// A handle leads where this port is on this machine.
fn lead(wiring: &mut Wiring, key: &PortKey, port: u16) {
    if let Ok(port) = ServicePort::try_from(port) {
        wiring.service_ports.insert(key.clone(), port);
    }
}
