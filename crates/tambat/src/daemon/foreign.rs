//! Providers in other apps: found by name among this user's running tambats, followed while they run.
//!
//! A handle to `billing/api` points at a port held here. While billing runs, connections go on to its service port;
//! while it does not, they wait, and then fail with the cause.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tambat_api::{AppStatus, Client, PortStatus};
use tambat_model::{ForeignService, ForeignUrl, Plan, Protocol, Provider, ServicePort, UrlTemplate};
use tokio::sync::{mpsc, watch};

use super::App;
use crate::run_lock::all_sockets;
use crate::sockets::Sockets;

/// How often an app that is not running is looked for.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// The same, while a connection waits for it.
const SEARCH_INTERVAL_WANTED: Duration = Duration::from_millis(50);

/// A running tambat answers at once; one that hangs must not keep us from the others.
const ASK_LIMIT: Duration = Duration::from_millis(300);

/// At the start, other apps get this long to say how their handles are written.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// What is known of a provider in another app.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What it speaks, or spoke when it was last seen.
    pub(crate) protocol: Protocol,
    /// Where it is.
    pub(crate) service: ForeignService,
}

/// The providers in other apps that have been seen.
pub(crate) type Known = BTreeMap<Provider, Seen>;

/// How a handle to another app is written, and its clients are answered, until that app has been seen.
pub(crate) const PROTOCOL_UNSEEN: Protocol = Protocol::Http;

/// How long a connection waits for a provider in another app that is not running: as long as the most patient of its
/// consumers gives a process of this app (`ready.within`).
pub(crate) fn hold(plan: &Plan, provider: &Provider) -> Duration {
    let name = provider.to_string();
    plan.consumers_of(&name).map(|consumer| consumer.ready.within()).max().unwrap_or_default()
}

/// Follows every other app that a handle points at.
pub(crate) fn watch_all(app: &Arc<App>) -> (watch::Receiver<Known>, mpsc::UnboundedSender<ServicePort>) {
    let (known_out, known) = watch::channel(Known::new());
    let (waiting_out, mut waiting) = mpsc::unbounded_channel::<ServicePort>();
    let (wanted_out, wanted) = watch::channel(0_u64);
    let known_out = Arc::new(known_out);
    for provider in app.wiring().foreign.into_keys() {
        tokio::spawn(follow(Arc::clone(app), provider, Arc::clone(&known_out), wanted.clone()));
    }
    tokio::spawn(async move {
        // Kept here, so that whoever reads it is not told of an end where there is no other app to follow.
        let _known = known_out;
        while waiting.recv().await.is_some() {
            wanted_out.send_modify(|count| *count += 1);
        }
    });
    (known, waiting_out)
}

/// Before anything starts: other apps that run say how their handles are written.
pub(crate) async fn settle(app: &Arc<App>) {
    let providers: Vec<Provider> = app.wiring().foreign.into_keys().collect();
    let look = async {
        for provider in providers {
            if let Found::Port(_, port) = find(app, &provider).await {
                learn(app, &provider, &port);
            }
        }
    };
    // One that is slower is learned later, and its consumers are restarted if need be.
    let _ = tokio::time::timeout(SETTLE_LIMIT, look).await;
}

async fn follow(app: Arc<App>, provider: Provider, known: Arc<watch::Sender<Known>>, mut wanted: watch::Receiver<u64>) {
    let hold = hold(&app.plan, &provider);
    let mut eager_until = None;
    let mut protocol = PROTOCOL_UNSEEN;
    let see =
        |protocol, service| known.send_modify(|all| drop(all.insert(provider.clone(), Seen { protocol, service })));
    loop {
        match find(&app, &provider).await {
            Found::Port(client, port) => {
                protocol = port.protocol.parse().unwrap_or(Protocol::Tcp);
                see(protocol, ForeignService::At((Ipv4Addr::LOCALHOST, port.port).into(), Arc::default()));
                let changed = learn(&app, &provider, &port);
                app.sayer.say(format!("{provider} runs: connections go to port {}", port.port));
                if changed {
                    restart_consumers(&app, &provider);
                }
                until_gone(&client, &provider).await;
                see(protocol, ForeignService::NotRunning);
                app.sayer.say(format!("{provider} has ended: connections wait for it"));
            }
            Found::Missing(client, cause) => {
                see(protocol, ForeignService::Missing(cause.as_str().into()));
                app.sayer.say(cause);
                until_there(&client, &provider).await;
                see(protocol, ForeignService::NotRunning);
            }
            Found::NotRunning => {}
        }
        let now = tokio::time::Instant::now();
        let pause = if eager_until.is_some_and(|until| now < until) { SEARCH_INTERVAL_WANTED } else { SEARCH_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = wanted.changed() => match changed {
                Ok(()) => eager_until = Some(tokio::time::Instant::now() + hold),
                Err(_) => return,
            },
        }
    }
}

/// The handle is written as the other app has it. True if that is not what consumers were told.
fn learn(app: &App, provider: &Provider, port: &PortStatus) -> bool {
    let Ok(template) = port.template.parse::<UrlTemplate>() else { return false };
    let wiring = app.wiring();
    let Some(held) = wiring.foreign.get(provider).filter(|held| held.template != template) else { return false };
    let new = ForeignUrl { port: held.port, template };
    app.rewire(|wiring| drop(wiring.foreign.insert(provider.clone(), new)));
    true
}

fn restart_consumers(app: &App, provider: &Provider) {
    let name = provider.to_string();
    if app.wiring().attached.contains_key(&name) {
        return;
    }
    for consumer in app.restart_consumers(&name) {
        app.sayer.say(format!("{consumer} is restarted: its handle to {name} has changed"));
    }
}

/// Where a provider in another app of this user is served now, for whoever does not wait for it; else why it is not, in a
/// sentence.
pub(crate) async fn running(sockets: &Sockets, provider: &Provider) -> Result<ForeignUrl, String> {
    let not_so = |error: &dyn std::fmt::Display| format!("cannot use what {provider} says of its port: {error}");
    match find_among(sockets, provider).await {
        Found::Port(_, port) => Ok(ForeignUrl {
            port: ServicePort::try_from(port.port).map_err(|error| not_so(&error))?,
            template: port.template.parse().map_err(|error: tambat_model::TemplateError| not_so(&error))?,
        }),
        Found::Missing(_, cause) => Err(cause),
        Found::NotRunning => Err(format!(
            "{provider} does not run: `tambat start` in its directory starts it, `tambat attach {provider} URL` stands in for it"
        )),
    }
}

/// What a search for a provider in another app came to.
enum Found {
    /// It runs, and this is its port.
    Port(Client, Box<PortStatus>),
    /// The app runs and has no such process or port, in a sentence.
    Missing(Client, String),
    /// No app of that name runs.
    NotRunning,
}

/// The running app of that name and its port, asked over its socket. Where two apps have that name, the one with such
/// a port is meant.
async fn find(app: &App, provider: &Provider) -> Found {
    find_among(&app.sockets, provider).await
}

async fn find_among(sockets: &Sockets, provider: &Provider) -> Found {
    let Provider::Foreign { app: name, .. } = provider else { return Found::NotRunning };
    let mut found = Found::NotRunning;
    for socket in all_sockets(sockets) {
        let client = Client::new(socket);
        let asked = tokio::time::timeout(ASK_LIMIT, client.get::<AppStatus>("/apps?reveal=true")).await;
        let Ok(Ok(status)) = asked else { continue };
        if status.app != name.as_str() {
            continue;
        }
        match port_of(&status, provider) {
            Some(port) => return Found::Port(client, Box::new(port)),
            None => found = Found::Missing(client, missing(&status, provider)),
        }
    }
    found
}

fn port_of(status: &AppStatus, provider: &Provider) -> Option<PortStatus> {
    let Provider::Foreign { process, port, .. } = provider else { return None };
    let found = status.processes.iter().find(|p| p.name == process.as_str())?;
    let by_name = |p: &&PortStatus| port.as_ref().is_none_or(|name| p.name.as_deref() == Some(name.as_str()));
    found.ports.iter().find(by_name).cloned()
}

/// The app runs; what is not there?
fn missing(status: &AppStatus, provider: &Provider) -> String {
    let Provider::Foreign { process, port, .. } = provider else { return String::new() };
    let place = format!("{} in {}", status.app, status.dir);
    let Some(found) = status.processes.iter().find(|p| p.name == process.as_str()) else {
        let names: Vec<&str> = status.processes.iter().map(|p| p.name.as_str()).collect();
        return format!("{place} runs and has no process `{process}`; it has {}", names.join(", "));
    };
    let names: Vec<&str> = found.ports.iter().filter_map(|p| p.name.as_deref()).collect();
    match (port, names.as_slice()) {
        (Some(port), [_, ..]) => format!("`{process}` of {place} has no port `{port}`; it has {}", names.join(", ")),
        (Some(port), []) => format!("`{process}` of {place} has no port `{port}`, nor any other with a name"),
        (None, _) => format!("`{process}` of {place} exports no port (protocol = \"none\")"),
    }
}

/// Returns when the other app's socket has closed, or it has no such port any more.
async fn until_gone(client: &Client, provider: &Provider) {
    follow_while(client, provider, |port| port.is_some()).await;
}

/// Returns when the other app's socket has closed, or it has such a port.
async fn until_there(client: &Client, provider: &Provider) {
    follow_while(client, provider, |port| port.is_none()).await;
}

async fn follow_while(client: &Client, provider: &Provider, holds: impl Fn(Option<PortStatus>) -> bool) {
    let Provider::Foreign { app, .. } = provider else { return };
    let Ok(mut lines) = client.lines(&format!("/apps/{app}/watch")).await else { return };
    while let Some(Ok(status)) = lines.next::<AppStatus>().await {
        if !holds(port_of(&status, provider)) {
            return;
        }
    }
}
