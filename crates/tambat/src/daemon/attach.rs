//! Swaps a provider for a remote URL and back: tested first, remembered, only its consumers restarted.

use std::sync::Arc;
use std::time::Duration;

use tambat_model::{Plan, ProcessName, Protocol, Provider, ResourceUrl, World, closest};
use tambat_probe::NoAnswer;
use tambat_supervisor::Command;
use tambat_wire::{Judgement, Probe};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::App;

/// A provider that does not answer within this time is not reachable.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Why a provider was not swapped: whose fault, and what to do.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request makes no sense.
    Usage(String),
    /// It makes sense, and it does not work.
    NotSo(String),
}

/// Attaches a remote URL in the place of a provider.
pub(crate) async fn attach(app: &Arc<App>, name: &str, url: &str) -> Result<String, Refusal> {
    let name = resolve(&app.plan, name)?;
    let url: ResourceUrl =
        url.parse().map_err(|error| Refusal::Usage(format!("cannot attach a URL to {name}: {error}")))?;
    refuse_itself(app, &name, &url)?;
    reach(&name, &url).await.map_err(Refusal::NotSo)?;
    let replaced_before: Vec<ProcessName> = app.wiring().replaced(&app.plan).cloned().collect();
    app.rewire(|wiring| drop(wiring.attached.insert(name.clone(), url.clone())));
    let kept = remember(app);
    let old = pids_of_consumers(app, &name);
    let restarted = restart_consumers(app, &name);
    let wiring = app.wiring();
    let stopped: Vec<&ProcessName> = wiring.replaced(&app.plan).filter(|p| !replaced_before.contains(p)).collect();
    if !stopped.is_empty() {
        let stopped = stopped.iter().map(|p| (*p).clone()).collect();
        tokio::spawn(stop_when_unused(Arc::clone(app), name.clone(), old, stopped));
    }
    let stops = if stopped.is_empty() {
        String::new()
    } else {
        format!("; {} stops, since nobody uses it", list(stopped.iter().copied()))
    };
    let done = format!("{name} is now {url}; restarted: {restarted}{stops}{kept}");
    app.sayer.say(done.clone());
    Ok(done)
}

/// A consumer that is replaced still serves with what it was told at first: the local provider stops after it. One whose
/// replacement fails goes on, and so does what it uses.
async fn stop_when_unused(app: Arc<App>, name: String, old: Vec<i32>, stopped: Vec<ProcessName>) {
    let mut world = app.world.clone();
    let limit = app.plan.consumers_of(&name).map(|c| c.ready.within() + c.stop.grace).max().unwrap_or_default();
    let in_time = timeout(limit, world.wait_for(|world| users(world, &old).is_empty())).await.is_ok();
    if !in_time {
        let users = users(&world.borrow(), &old).join(", ");
        app.sayer.say(format!("{} goes on: {users} still uses it", list(&stopped)));
    }
    if world.wait_for(|world| users(world, &old).is_empty()).await.is_err() {
        // The app has ended.
        return;
    }
    let replaced: Vec<ProcessName> = app.wiring().replaced(&app.plan).cloned().collect();
    for process in stopped.into_iter().filter(|process| replaced.contains(process)) {
        app.command(Command::Stop(process));
    }
}

/// The instances that still run as one of these.
fn users(world: &World, old: &[i32]) -> Vec<String> {
    let views = world.processes.values().flat_map(|view| &view.instances);
    let running = views.filter(|instance| instance.phase.pid().is_some_and(|pid| old.contains(&pid)));
    running.map(|instance| instance.name.to_string()).collect()
}

fn pids_of_consumers(app: &App, name: &str) -> Vec<i32> {
    let world = app.world.borrow();
    let views = app.plan.consumers_of(name).filter_map(|consumer| world.processes.get(&consumer.name));
    views.flat_map(|view| &view.instances).filter_map(|instance| instance.phase.pid()).collect()
}

/// Takes the provider back.
pub(crate) fn detach(app: &App, name: &str) -> Result<String, Refusal> {
    let name = resolve(&app.plan, name)?;
    let replaced: Vec<ProcessName> = app.wiring().replaced(&app.plan).cloned().collect();
    if !app.wiring().attached.contains_key(&name) {
        return Err(Refusal::NotSo(format!("cannot detach {name}: nothing is attached in its place")));
    }
    app.rewire(|wiring| drop(wiring.attached.remove(&name)));
    let kept = remember(app);
    let wiring = app.wiring();
    let still: Vec<&ProcessName> = wiring.replaced(&app.plan).collect();
    let back: Vec<&ProcessName> = replaced.iter().filter(|p| !still.contains(p)).collect();
    for process in &back {
        app.command(Command::Scale((*process).clone(), instances_of(app, process)));
    }
    let restarted = restart_consumers(app, &name);
    let starts = if back.is_empty() { String::new() } else { format!("; {} starts again", list(back.iter().copied())) };
    let done = format!("{name} is back{starts}; restarted: {restarted}{kept}");
    app.sayer.say(done.clone());
    Ok(done)
}

/// How many there were before something was attached in its place, or were asked for meanwhile; where tambat has been
/// started since, how many it was told to start.
fn instances_of(app: &App, process: &ProcessName) -> u16 {
    let desired = app.world.borrow().processes.get(process).map_or(0, |view| view.desired);
    let asked = app.formation.get(process).copied().unwrap_or(0);
    if desired > 0 { desired } else { asked.max(1) }
}

/// The provider that is meant, as handles name it: `chat` for its first port `chat:c2s`.
fn resolve(plan: &Plan, name: &str) -> Result<String, Refusal> {
    let providers = plan.providers();
    if providers.iter().any(|p| p == name) {
        return Ok(name.to_owned());
    }
    let uses = plan.processes().iter().flat_map(|p| &p.uses);
    let first =
        uses.map(|used| &used.provider).find(|p| matches!(p, Provider::Process(key) if key.process.as_str() == name));
    if let Some(provider) = first {
        return Ok(provider.to_string());
    }
    let known = if providers.is_empty() {
        "no process uses anything".to_owned()
    } else {
        format!("used are {}", providers.join(", "))
    };
    let meant = closest(name, providers.iter().map(String::as_str))
        .map(|m| format!("; did you mean `{m}`?"))
        .unwrap_or_default();
    Err(Refusal::Usage(format!("no process uses `{name}`: {known}{meant}")))
}

/// Its own service port can be reached, until the provider stops because that was attached in its place.
fn refuse_itself(app: &App, name: &str, url: &ResourceUrl) -> Result<(), Refusal> {
    let host = url.host().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let own = app.wiring().service_ports.iter().any(|(key, p)| url.port() == Some(p.get()) && key.to_string() == name);
    if is_here && own {
        let why = format!(
            "cannot attach {url} in place of {name}: that is {name} itself; `tambat detach {name}` goes back to it"
        );
        return Err(Refusal::Usage(why));
    }
    Ok(())
}

/// Asks it in the protocol of its scheme, and says how it went without ever saying the URL's password.
async fn reach(name: &str, url: &ResourceUrl) -> Result<(), String> {
    let not = |cause: String| format!("cannot attach {url} in place of {name}: {cause}; nothing was changed");
    let Some(port) = url.port() else {
        return Err(not(format!("it has no port, and {} has no usual one; write HOST:PORT", url.scheme())));
    };
    let at = format!("{}:{port}", url.host());
    let found = match timeout(ANSWER_LIMIT, lookup_host((url.host(), port))).await {
        Ok(found) => found.map_err(|error| not(format!("{at} cannot be reached: {error}")))?,
        Err(_) => return Err(not(format!("{} is not found within {} s", url.host(), ANSWER_LIMIT.as_secs()))),
    };
    let Some(probe) = question(url) else { return Ok(()) };
    let mut last = format!("{} has no address", url.host());
    for addr in found {
        let mut answer = tambat_probe::ask(addr, None, &probe, ANSWER_LIMIT).await;
        if probe == Probe::Dns && answer.is_err() {
            // Not every server of it is there over TCP.
            answer = tambat_probe::ask_by_datagram(addr, None, &probe, ANSWER_LIMIT).await;
        }
        match answer {
            Ok(judgement) => return judged(&probe, url, judgement).map_err(|cause| not(format!("{at} {cause}"))),
            Err(no_answer) => last = unanswered(&at, &no_answer),
        }
    }
    Err(not(last))
}

/// None: it cannot be asked, for nobody can tell whether datagrams arrive.
fn question(url: &ResourceUrl) -> Option<Probe> {
    let is_name = url.host().parse::<std::net::IpAddr>().is_err();
    match url.protocol() {
        Some(Protocol::Udp) => None,
        // An address has no place in it (RFC 6066 §3).
        Some(Protocol::Tls) => Some(Probe::Tls { server_name: is_name.then(|| url.host().to_owned()) }),
        Some(protocol) => Probe::for_protocol(protocol, None, url.host()),
        None => Some(Probe::Accept),
    }
}

/// What keeps it from being attached: the end of a sentence that begins with its address.
fn judged(probe: &Probe, url: &ResourceUrl, judgement: Judgement) -> Result<(), String> {
    let protocol = url.protocol().map_or("", Protocol::as_str);
    match judgement {
        Judgement::Ready => Ok(()),
        // Any status is an answer: which paths there are is not known.
        Judgement::NotYet(_) if probe.is_http() => Ok(()),
        Judgement::NotYet(said) => Err(format!("is not ready: {said}")),
        Judgement::Wrong(said) => Err(format!("does not speak {protocol}: {said}")),
        Judgement::Incomplete => Err(format!("does not speak {protocol}: it answered in part")),
    }
}

fn unanswered(at: &str, no_answer: &NoAnswer) -> String {
    match no_answer {
        NoAnswer::Failed(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("nobody listens at {at}")
        }
        NoAnswer::Failed(error) => format!("{at} cannot be reached: {error}"),
        NoAnswer::Late => format!("{at} gives no answer within {} s", ANSWER_LIMIT.as_secs()),
    }
}

fn remember(app: &App) -> String {
    let providers = app.plan.providers();
    let known = |name: &str| providers.iter().any(|provider| provider == name);
    let written = match &app.state {
        Some(state) => state.set_attachments(&app.wiring().attached, known).map_err(|error| error.to_string()),
        None => Err("there is no state folder".to_owned()),
    };
    written
        .err()
        .map(|error| format!("; this lasts until tambat ends, for it cannot be remembered: {error}"))
        .unwrap_or_default()
}

fn restart_consumers(app: &App, name: &str) -> String {
    let consumers = app.restart_consumers(name);
    if consumers.is_empty() { "nothing".to_owned() } else { list(&consumers) }
}

fn list<'a>(names: impl IntoIterator<Item = &'a ProcessName>) -> String {
    names.into_iter().map(ProcessName::as_str).collect::<Vec<_>>().join(", ")
}
