//! The control API: JSON over HTTP/1.1 on a unix socket that only its user can open.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tambat_api::{Attach, Done, EnvironmentReport, ErrorBody, LogRecord, Scale, VariableReport};
use tambat_model::{Gate, INSTANCES_MAX, Manner, ProcessName, redact};
use tambat_supervisor::Command;
use tokio::sync::{broadcast, oneshot};

use super::attach::{self, Refusal};
use super::{App, logstore, seen, status};
use crate::control_socket::{Body, ControlSocket, json, line, streamed, text};
use crate::metrics;

/// A request is a name and a number; a URL is the longest thing in one.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// More lines of log than this are not sent at once.
const LOG_LINES_MAX: usize = 1_000_000;

type Answer = Result<Response<Body>, Trouble>;

/// An answer that says no.
struct Trouble {
    status: StatusCode,
    message: String,
}

impl Trouble {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Usage(message) => Self::new(StatusCode::BAD_REQUEST, message),
            Refusal::NotSo(message) => Self::new(StatusCode::CONFLICT, message),
        }
    }
}

/// Serves until it is aborted.
pub(crate) async fn serve(socket: ControlSocket, app: Arc<App>) {
    let answer = move |request| {
        let app = Arc::clone(&app);
        async move { answer(&app, request).await }
    };
    socket.serve(answer).await;
}

async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    dispatch(app, request).await.unwrap_or_else(|trouble| {
        let mut response = json(&ErrorBody { error: trouble.message });
        *response.status_mut() = trouble.status;
        response
    })
}

async fn dispatch(app: &Arc<App>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.get(1).is_some_and(|name| *name != app.plan.name().as_str()) {
        return Err(Trouble::new(
            StatusCode::NOT_FOUND,
            format!("`{}` does not run here, `{}` does", parts[1], app.plan.name()),
        ));
    }
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["apps"] | ["apps", _]) => Ok(json(&status::of(app, query.get("reveal") == Some("true")))),
        (&Method::GET, ["apps", _, "watch"]) => Ok(watch(app)),
        (&Method::GET, ["apps", _, "logs"]) => Ok(logs(app, &query)),
        (&Method::GET, ["apps", _, "routes"]) => Ok(json(&seen::routes(app))),
        (&Method::GET, ["apps", _, "metrics"]) => Ok(text(metrics::MEDIA_TYPE, seen::metrics(app))),
        (&Method::POST, ["apps", _, "stop"]) => {
            app.sayer.say("stopping: tambat stop");
            stop(app);
            Ok(done(format!("{} is stopping", app.plan.name())))
        }
        (&Method::POST, ["apps", _, "attachments"]) => {
            let Attach { name, url } = body(request).await?;
            Ok(done(attach::attach(app, &name, &url).await?))
        }
        (&Method::DELETE, ["apps", _, "attachments"]) => {
            Ok(done(attach::detach(app, query.get("name").unwrap_or_default())?))
        }
        (method, ["apps", _, "processes", process, verb]) => {
            let (method, verb, name) = (method.clone(), (*verb).to_owned(), process_name(app, process)?);
            of_process(app, &method, &verb, name, &query, request).await
        }
        _ => Err(unknown(&path)),
    }
}

/// Everything of the app. On a server it stays where it is: its user may start its processes again.
fn stop(app: &App) {
    match app.plan.manner() {
        Manner::Start => app.command(Command::Shutdown),
        Manner::Serve => app.plan.processes().iter().for_each(|p| app.command(Command::Stop(p.name.clone()))),
    }
}

async fn of_process(
    app: &Arc<App>,
    method: &Method,
    verb: &str,
    name: ProcessName,
    query: &Query,
    request: Request<Incoming>,
) -> Answer {
    let said = match (method, verb) {
        (&Method::GET, "env") => return environment(app, name, query).await,
        (&Method::POST, "restart") => {
            app.command(Command::Restart(name.clone()));
            format!("{name} is restarting")
        }
        (&Method::POST, "stop") => {
            app.command(Command::Stop(name.clone()));
            format!("{name} is stopping")
        }
        (&Method::POST, "pause") => {
            app.command(Command::Gate(name.clone(), Gate::Paused));
            format!("{name} is paused: new connections wait")
        }
        (&Method::POST, "resume") => {
            app.command(Command::Gate(name.clone(), Gate::Open));
            format!("{name} goes on")
        }
        (&Method::POST, "scale") => {
            let Scale { instances } = body(request).await?;
            if instances > INSTANCES_MAX {
                let why = format!("cannot scale {name} to {instances}: {INSTANCES_MAX} instances are the most");
                return Err(Trouble::new(StatusCode::BAD_REQUEST, why));
            }
            if instances > 1 && app.plan.process(&name).is_some_and(|p| p.stateful) {
                let why = format!(
                    "cannot scale {name} to {instances}: it is stateful, and two instances on its data would destroy it"
                );
                return Err(Trouble::new(StatusCode::BAD_REQUEST, why));
            }
            app.command(Command::Scale(name.clone(), instances));
            format!("{name} is going to have {instances} {}", if instances == 1 { "instance" } else { "instances" })
        }
        _ => return Err(unknown(verb)),
    };
    Ok(done(said))
}

async fn environment(app: &App, name: ProcessName, query: &Query) -> Answer {
    let (ask, answer) = oneshot::channel();
    app.command(Command::Environment(name.clone(), ask));
    let environment = answer.await.ok().flatten();
    let environment = environment.ok_or_else(|| Trouble::new(StatusCode::CONFLICT, format!("{name} has ended")))?;
    let reveal = query.get("reveal") == Some("true");
    let variables = environment.iter().map(|(name, setting)| VariableReport {
        name: name.to_owned(),
        value: if reveal { setting.value.clone() } else { redact(&setting.value) },
        source: setting.source.to_string(),
        lost: setting.lost.iter().map(ToString::to_string).collect(),
    });
    Ok(json(&EnvironmentReport { process: name.to_string(), variables: variables.collect() }))
}

/// The status now and after every change, until the client or the app ends.
fn watch(app: &Arc<App>) -> Response<Body> {
    let app = Arc::clone(app);
    streamed(|pieces| async move {
        let mut world = app.world.clone();
        let mut rewired = app.rewired.subscribe();
        loop {
            world.mark_unchanged();
            rewired.mark_unchanged();
            if pieces.send(line(&status::of(&app, false))).await.is_err() {
                return;
            }
            tokio::select! {
                changed = world.changed() => if changed.is_err() { return },
                changed = rewired.changed() => if changed.is_err() { return },
            }
        }
    })
}

/// The last lines, and with `follow` those that come.
fn logs(app: &Arc<App>, query: &Query) -> Response<Body> {
    let of = query.get("process").map(str::to_owned);
    let lines = query.get("lines").and_then(|n| n.parse().ok()).unwrap_or(200).min(LOG_LINES_MAX);
    // The journal writes a line and tells it to those who follow in one turn of this thread: what has been written by now
    // is in the past, and nothing else is.
    let mut followed = (query.get("follow") == Some("true")).then(|| app.sayer.follow());
    let past = app.state.as_ref().map(|state| logstore::Past::open(state.path()));
    let wanted = move |record: &LogRecord| of.as_deref().is_none_or(|of| is_of(record, of));
    let (hand_over, past_lines) = oneshot::channel();
    if let Some(past) = past {
        let wanted = wanted.clone();
        // Ten mebibytes take their time: a thread for this one answer, so that the daemon goes on meanwhile.
        let read = move || drop(hand_over.send(past.tail(lines, &wanted)));
        let _ = std::thread::Builder::new().name("log reader".to_owned()).spawn(read);
    }
    streamed(|pieces| async move {
        for record in past_lines.await.unwrap_or_default() {
            if pieces.send(line(&record)).await.is_err() {
                return;
            }
        }
        while let Some(receiver) = &mut followed {
            let record = match receiver.recv().await {
                Ok(record) => record,
                Err(broadcast::error::RecvError::Lagged(missed)) => Arc::new(missed_lines(missed)),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if wanted(&record) && pieces.send(line(&*record)).await.is_err() {
                return;
            }
        }
    })
}

/// `web` means all its instances, `web.1` one of them.
pub(crate) fn is_of(record: &LogRecord, of: &str) -> bool {
    record.source == of || record.source.split_once('.').is_some_and(|(process, _)| process == of)
}

fn missed_lines(missed: u64) -> LogRecord {
    let text = format!("{missed} lines were left out here: this reader was too slow; `tambat logs -n` has them");
    LogRecord { at_ms: 0, source: "tambat".to_owned(), stream: "system".to_owned(), text }
}

fn process_name(app: &App, name: &str) -> Result<ProcessName, Trouble> {
    let known = || app.plan.processes().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = app.plan.processes().iter().find(|p| p.name.as_str() == name).map(|p| p.name.clone());
    found.ok_or_else(|| {
        Trouble::new(
            StatusCode::BAD_REQUEST,
            format!("there is no process `{name}` in {}; it has {}", app.plan.name(), known()),
        )
    })
}

fn unknown(path: &str) -> Trouble {
    Trouble::new(StatusCode::NOT_FOUND, format!("this tambat ({}) does not know {path}", env!("CARGO_PKG_VERSION")))
}

async fn body<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Trouble> {
    let bad = |why: String| Trouble::new(StatusCode::BAD_REQUEST, format!("cannot read the request: {why}"));
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let bytes = limited.collect().await.map_err(|error| bad(error.to_string()))?.to_bytes();
    // serde's message may quote the value, which may be a secret.
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("line {}, column {}", error.line(), error.column())))
}

fn done(said: String) -> Response<Body> {
    json(&Done { done: said })
}

/// A query string: `a=b&c=d`, percent-decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs =
            text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// RFC 3986 §2.1; what is no escape stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let escaped = (byte == b'%').then(|| {
            let digits = [ahead.next()?, ahead.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        });
        match escaped.flatten() {
            Some(value) => {
                out.push(value);
                rest = ahead;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse("name=billing%2Fapi&x&follow=true&bad=%zz");
        assert_eq!(query.get("name"), Some("billing/api"));
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.get("bad"), Some("%zz"));
        assert_eq!(query.get("none"), None);
    }
}
