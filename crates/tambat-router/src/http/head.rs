//! Between two requests: the next head is read, its route is found, and what its target gets is written.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tambat_model::{Balance, ErrorCode, PathPrefix, Protocol, Route, RouteTable};
use tambat_wire::http1::{
    BodyRules, ClientFraming, Disposition, Exchange, FieldSlots, Forward, Head, Hop, RequestHead, Scheme,
    head_may_be_whole, request_head,
};
use tambat_wire::http2::PREFACE;
use tokio::task::yield_now;

use super::active::{Active, Noted, UNREAD, Upstream};
use super::connection::{Connection, Phase, Step};
use super::flow::{Unsent, WINDOW_BYTES};
use super::reply::{Reply, is_for_catalogue};
use crate::balance::{Choice, Mark, choose};
use crate::choice::Tried;
use crate::listener::ListenerKind;
use crate::pool::Own;
use crate::queue::Counted;
use crate::settings::RouterSettings;
use crate::socket::is_transient;
use crate::transport::Transport;
use crate::wanted;
use crate::worker::Worker;

/// What a connection that has not sent a request yet is given when the router drains: its request may be on its way.
const LAST_REQUEST_S: u64 = 1;

/// So many requests of a pipeline are answered here before others get their turn. Those that go to a target have theirs
/// between them.
const ANSWERS_MAX: u32 = 32;

/// So much of the first line of what is no request stands in the access log: enough to see what it was.
const REFUSED_BYTES_NOTED_MAX: usize = 128;

/// What became of the bytes at the beginning of which there may be a head.
enum Begun {
    /// More of them are needed.
    Incomplete,
    /// So many are used, and this follows.
    Request(usize, Step),
    /// So many are used, and the router itself has answered.
    Answered(usize),
    /// So many are used, and belong to nothing.
    Nothing(usize),
}

/// What a request gets.
enum Verdict<'t> {
    /// A target of this route, without the prefix.
    Forward(&'t Arc<Route>, Option<&'t PathPrefix>),
    /// The list of what there is.
    Catalogue,
    /// What may be asked for (RFC 9110 §9.3.7).
    Options,
    /// The proof that an ACME CA asks for.
    Challenge(String),
    /// The same at this URL.
    Redirect(&'t Arc<Route>, String),
    /// An error, on behalf of this route where there is one.
    Refuse(Option<&'t Arc<Route>>, Reply),
}

impl Connection {
    /// Ready with what follows the next request's head; none: the connection is done for.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let worker = Rc::clone(&self.worker);
        let mut answered = 0;
        loop {
            if !self.outbox.is_clear() {
                std::task::ready!(self.poll_outbox(cx));
            }
            if self.phase.is_closing() {
                return Poll::Ready(None);
            }
            let begun = if self.inbox.has_news() {
                Some(self.begin_with_inbox(&worker))
            } else {
                std::task::ready!(self.poll_head(cx, &worker))
            };
            match begun {
                Some(Begun::Request(_, step)) => return Poll::Ready(Some(step)),
                Some(Begun::Answered(_)) => answered += 1,
                Some(Begun::Nothing(_)) => self.await_request(Instant::now()),
                Some(Begun::Incomplete) | None => {}
            }
            if answered == ANSWERS_MAX {
                // Woken once sockets have been looked at again, not before all others that are ready, too.
                let _ = pin!(yield_now()).poll(cx);
                return Poll::Pending;
            }
        }
    }

    /// From now on the client has so much time for its next request.
    pub(super) fn await_request(&mut self, now: Instant) {
        let settings = &self.worker.shared.settings;
        let limit = if self.inbox.is_empty() { settings.keep_alive_idle } else { settings.head_timeout };
        self.deadline.set(now, Some(limit));
    }

    /// Sends the rest of an answer of the router's own.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sent = self.outbox.poll_send(cx, &self.client);
        if matches!(sent, Poll::Ready(Err(_))) || (sent.is_pending() && self.deadline.is_reached()) {
            self.phase = Phase::Closed;
            self.outbox = Unsent::default();
            return Poll::Ready(());
        }
        std::task::ready!(sent).ok();
        self.outbox = Unsent::default();
        self.await_request(Instant::now());
        Poll::Ready(())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<Option<Begun>> {
        if self.inbox.has_ended() {
            self.phase = Phase::Closing;
            return Poll::Ready(None);
        }
        match self.client.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.phase = Phase::Closed;
                return Poll::Ready(None);
            }
            Poll::Pending => return self.wait_for_head(worker),
        }
        let mut tools = worker.tools.borrow_mut();
        let buffer = &mut tools.ready().buffer;
        match self.client.receive(&mut buffer[..WINDOW_BYTES]) {
            Ok(0) => {
                self.inbox.end();
                Poll::Ready(None)
            }
            Ok(received) if self.inbox.is_empty() => Poll::Ready(Some(self.begin_with(&buffer[..received], worker))),
            Ok(received) => {
                self.inbox.push(&buffer[..received]);
                Poll::Ready(None)
            }
            Err(error) if is_transient(&error) => Poll::Ready(None),
            Err(_) => {
                self.phase = Phase::Closed;
                Poll::Ready(None)
            }
        }
    }

    /// Nothing has come. Has the time for it passed?
    fn wait_for_head(&mut self, worker: &Worker) -> Poll<Option<Begun>> {
        if worker.dismisses(self.open.listener()) && self.phase == Phase::Idle {
            self.phase = Phase::Closing;
            return Poll::Ready(None);
        }
        if self.deadline.is_reached() {
            if self.phase == Phase::InHead {
                let cause = "the request's head did not arrive whole in time";
                let bytes = std::mem::take(&mut self.inbox);
                self.refuse(worker, &Reply::new(ErrorCode::HeadTimeout, cause), bytes.bytes());
                self.inbox = bytes;
            } else {
                self.phase = Phase::Closing;
            }
            return Poll::Ready(None);
        }
        if worker.dismisses(self.open.listener()) && self.phase == Phase::Fresh {
            self.phase = Phase::LastChance;
            self.deadline.set(Instant::now(), Some(Duration::from_secs(LAST_REQUEST_S)));
        }
        Poll::Pending
    }

    fn begin_with_inbox(&mut self, worker: &Worker) -> Begun {
        let mut inbox = std::mem::take(&mut self.inbox);
        let begun = if head_may_be_whole(inbox.bytes(), inbox.seen(), &worker.limits) {
            self.begin(inbox.bytes(), worker)
        } else {
            Begun::Incomplete
        };
        match &begun {
            Begun::Incomplete => inbox.mark_seen(),
            Begun::Request(used, _) | Begun::Answered(used) | Begun::Nothing(used) => inbox.take(*used),
        }
        self.inbox = inbox;
        begun
    }

    /// The same with bytes that have just come, where none were before.
    fn begin_with(&mut self, bytes: &[u8], worker: &Worker) -> Begun {
        let begun = self.begin(bytes, worker);
        match &begun {
            Begun::Incomplete => {
                self.inbox.push(bytes);
                self.inbox.mark_seen();
            }
            Begun::Request(used, _) | Begun::Answered(used) | Begun::Nothing(used) => {
                self.inbox.push(&bytes[*used..]);
            }
        }
        begun
    }

    fn begin(&mut self, bytes: &[u8], worker: &Worker) -> Begun {
        let mut slots = FieldSlots::new();
        match request_head(bytes, &mut slots, &worker.limits) {
            Head::Found(head) => {
                self.is_new = false;
                self.route(&head, bytes, worker)
            }
            // A version of HTTP/1 that there is not, or else the beginning of HTTP/2 (RFC 9113 §3.3).
            Head::Refused(_) if self.is_new && bytes.starts_with(PREFACE) => Begun::Request(0, Step::Http2),
            Head::Refused(_) if self.is_new && PREFACE.starts_with(bytes) => self.awaits_more(worker),
            // Some clients send an empty line behind a body (RFC 9112 §2.2): it begins nothing.
            Head::Incomplete if bytes == b"\r\n" && self.phase == Phase::Idle => Begun::Nothing(bytes.len()),
            Head::Incomplete => self.awaits_more(worker),
            Head::Refused(refusal) => {
                self.refuse(worker, &Reply::new(refusal.code, refusal.cause), bytes);
                Begun::Answered(bytes.len())
            }
        }
    }

    /// The rest of a head has so much time.
    fn awaits_more(&mut self, worker: &Worker) -> Begun {
        if self.phase != Phase::InHead {
            self.phase = Phase::InHead;
            self.deadline.set(Instant::now(), Some(worker.shared.settings.head_timeout));
        }
        Begun::Incomplete
    }

    /// Answers what is no request, and closes.
    fn refuse(&mut self, worker: &Worker, reply: &Reply, bytes: &[u8]) {
        let now = Instant::now();
        let mut active = worker.spare.take(UNREAD, worker.clock.request_id(now), now);
        active.up.received = bytes.len() as u64;
        active.notes.client = self.arrival.peer.ip().to_canonical();
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
        active.notes.write(Noted { asked: &line[..line.len().min(REFUSED_BYTES_NOTED_MAX)], ..Noted::default() });
        self.active = Some(active);
        self.reply(reply);
        // Nobody knows what else is coming.
        if self.phase == Phase::Closing {
            self.phase = Phase::ClosingPatiently;
        }
    }

    /// How the client speaks to us, or to whom it has dialled.
    pub(super) fn scheme(&self) -> Scheme {
        if self.client.secured().is_some() { Scheme::Https } else { self.arrival.scheme() }
    }

    /// Finds out what becomes of a request, and begins with it.
    fn route(&mut self, head: &RequestHead<'_, '_>, bytes: &[u8], worker: &Worker) -> Begun {
        let (now, facts, settings) = (Instant::now(), head.facts(), &worker.shared.settings);
        let mut hop = Hop {
            peer: self.arrival.peer.ip(),
            port: self.arrival.port(self.open.port()),
            scheme: self.scheme(),
            framing: if self.client.is_stream() { ClientFraming::Http2 } else { ClientFraming::Http1 },
            trusts_peer: self.trusts_peer || proves_itself(head, settings),
            trusted: &settings.trusted,
            via: "",
        };
        let id = head.request_id(&hop).unwrap_or_else(|| worker.clock.request_id(now));
        let mut active = worker.spare.take(facts, id, now);
        active.up.received = head.len() as u64;
        if worker.access.is_some() {
            active.notes.write(all_of(head));
            active.notes.client = head.client(&hop);
        } else if self.open.listener().kind.service_port().is_none() {
            active.notes.write(Noted { host: head.host(), path: head.path(), ..Noted::default() });
        }
        let table = worker.tables.newest();
        let verdict = self.verdict(&table, head, &hop, worker);
        let (route, strip) = match verdict {
            Verdict::Forward(route, strip) => (route, strip),
            other => {
                active.up.unsent.fresh().extend_from_slice(&bytes[..head.len()]);
                self.active = Some(active);
                self.answer(other, &table);
                return Begun::Answered(head.len());
            }
        };
        let pseudonym = worker.pseudonyms.of(route);
        hop.via = &pseudonym;
        let hop_token = route.http.hop_token.as_deref();
        let client_certificate = self.client.secured().and_then(|secured| secured.client.as_deref());
        let forward = Forward {
            hop: &hop,
            strip,
            request_id: &active.id,
            hop_token,
            continue_here: false,
            client_certificate,
            passes_te: route.protocol == Protocol::H2c,
        };
        head.write(&forward, active.up.unsent.fresh());
        if route.http.balance == Balance::SourceHash {
            active.notes.client = head.client(&hop);
        }
        active.belongs_to(route, head, worker);
        drop(table);
        self.active = Some(active);
        self.begin_exchange(head.len(), &bytes[head.len()..], worker)
    }

    /// What becomes of a request, by the table.
    fn verdict<'t>(
        &self,
        table: &'t RouteTable,
        head: &RequestHead<'_, '_>,
        hop: &Hop<'_>,
        worker: &Worker,
    ) -> Verdict<'t> {
        if head.disposition() == Disposition::AnswerOptions {
            return Verdict::Options;
        }
        if let Some(reply) = self.misdirected(head) {
            return Verdict::Refuse(None, reply);
        }
        if let Some(answer) = self.challenge(head, worker) {
            return Verdict::Challenge(answer);
        }
        let (kind, is_secured) = (self.open.listener().kind, self.client.secured().is_some());
        let Some((route, strip)) = wanted::of_request(table, kind, is_secured, head.host(), head.path()) else {
            let has_catalogue = kind == ListenerKind::Shared && self.is_of_this_machine() && is_for_catalogue(head);
            return if has_catalogue { Verdict::Catalogue } else { Verdict::Refuse(None, Reply::no_route(head)) };
        };
        if let Some(url) = self.https_url(head, hop, route, worker) {
            return Verdict::Redirect(route, url);
        }
        if let Some(told) = &self.told {
            return Verdict::Refuse(Some(route), Reply::new(ErrorCode::NoTarget, told.cause.clone()).closing());
        }
        if head.comes_from_itself(&worker.pseudonyms.of(route)) {
            let cause = "the request came back to this router: a target sends it here again";
            return Verdict::Refuse(Some(route), Reply::new(ErrorCode::Loop, cause));
        }
        let rules = BodyRules { request_bytes_max: route.http.body_bytes_max };
        match rules.refusal(head.facts().framing) {
            Some(refusal) => Verdict::Refuse(Some(route), Reply::new(refusal.code, refusal.cause)),
            None => Verdict::Forward(route, strip),
        }
    }

    /// Does it come from here, or from a proxy whose word is taken? What runs on this machine is nobody else's business.
    pub(super) fn is_of_this_machine(&self) -> bool {
        self.arrival.is_of_this_machine() || self.trusts_peer
    }

    fn answer(&mut self, verdict: Verdict<'_>, table: &RouteTable) {
        match verdict {
            Verdict::Forward(..) => {}
            Verdict::Options => self.reply_options(),
            Verdict::Challenge(answer) => self.reply_challenge(&answer),
            Verdict::Redirect(route, url) => {
                self.belongs_to(route);
                self.reply_redirect(&url);
            }
            Verdict::Catalogue => self.reply_catalogue(table),
            Verdict::Refuse(route, reply) => {
                if let Some(route) = route {
                    self.belongs_to(route);
                }
                self.reply(&reply);
            }
        }
    }

    /// The request that is answered here is counted with this route's.
    fn belongs_to(&mut self, route: &Arc<Route>) {
        if let Some(active) = &mut self.active {
            route.traffic.shard(self.worker.number).begin();
            active.route = Some(Arc::clone(route));
        }
    }

    /// The head is written: what has come of the body is put behind it, and a target is chosen.
    fn begin_exchange(&mut self, head_bytes: usize, rest: &[u8], worker: &Worker) -> Begun {
        let Some(active) = &mut self.active else {
            return Begun::Answered(head_bytes);
        };
        let mut used = head_bytes;
        if active.exchange.wants_client() && !rest.is_empty() {
            match active.exchange.from_client(rest, active.up.unsent.more()) {
                Ok(taken) => {
                    active.up.unsent.more().extend_from_slice(&rest[taken.raw]);
                    active.up.received += taken.used as u64;
                    used += taken.used;
                }
                Err(fault) => {
                    self.reply(&Reply::new(fault.code, fault.cause));
                    return Begun::Answered(head_bytes + rest.len());
                }
            }
        }
        Begun::Request(used, active.choose_kept(worker, self.own.as_ref()))
    }
}

impl Active {
    /// Its route is found.
    fn belongs_to(&mut self, route: &Arc<Route>, head: &RequestHead<'_, '_>, worker: &Worker) {
        let rules = &route.http;
        route.traffic.shard(worker.number).begin();
        if rules.body_bytes_max.is_some() {
            self.exchange = Exchange::new(self.facts, BodyRules { request_bytes_max: rules.body_bytes_max });
        }
        self.queue = worker.queues.of(route, &worker.shared.queues);
        self.mark = rules.sticky.as_ref().and_then(|sticky| Mark::parse(head.cookie(&sticky.cookie)?));
        self.route = Some(Arc::clone(route));
    }

    /// A target with a kept connection, if that is to be had at once; others are sought.
    fn choose_kept(&mut self, worker: &Worker, own: Option<&Own>) -> Step {
        let Some(route) = &self.route else {
            return Step::Seek(None);
        };
        if self.queue.as_ref().is_some_and(|queue| queue.is_waited_in()) {
            return Step::Seek(None);
        }
        let Choice::Serve(target, admitted) = choose(route, &Tried::default(), self.mark, self.notes.client) else {
            return Step::Seek(None);
        };
        let counted = Counted::new(admitted, self.queue.as_ref());
        let kept = if route.protocol == Protocol::H2c {
            worker.links.take(&target).map(|stream| Transport::H2c(Box::new(stream)))
        } else {
            worker.kept(&target, route.proxy_protocol, own).map(Transport::Tcp)
        };
        match kept {
            Some(stream) => {
                self.goes_to(Upstream { stream, target, counted, is_reused: true });
                Step::Exchange
            }
            None => Step::Seek(Some((target, counted))),
        }
    }
}

/// All that is noted of a request.
fn all_of<'a>(head: &'a RequestHead<'_, '_>) -> Noted<'a> {
    Noted {
        host: head.host(),
        path: head.path(),
        method: head.method(),
        asked: head.asked(),
        traceparent: head.traceparent(),
    }
}

/// Does the request come from another router of this user? The comparison takes as long whatever is sent.
fn proves_itself(head: &RequestHead<'_, '_>, settings: &RouterSettings) -> bool {
    let (Some(sent), Some(token)) = (head.hop_token(), settings.hop_token.as_deref()) else {
        return false;
    };
    let differ = sent.iter().zip(token.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    sent.len() == token.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{IpAddr, Ipv4Addr};

    use tambat_model::{Admission, Site};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::arrival::Arrival;
    use crate::listener::ListenerState;
    use crate::transport::Transport;

    const ASK: &str = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";

    async fn connection() -> (Connection, TcpStream) {
        connection_of(Ipv4Addr::LOCALHOST.into(), Arc::default()).await
    }

    async fn connection_of(peer: IpAddr, table: Arc<RouteTable>) -> (Connection, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let open = Arc::new(ListenerState::new(ListenerKind::Shared, Arc::default())).opened(80, None);
        let worker = Worker::with(table);
        (Connection::new(Transport::Tcp(accepted), Arrival::of((peer, 4711).into()), open, worker, None), client)
    }

    /// What a client at this address is answered that asks for this host.
    async fn answered(peer: &str, host: &str) -> String {
        let mut table = RouteTable::default();
        let admission =
            Admission::Refuse { cause: "shop/10.0.0.3:3000 said s3cret".into(), mend: Some("mend it".into()) };
        let route = Arc::new(Route::new("shop", Protocol::Http, admission));
        let site = Site { path: PathPrefix::default(), strip: false, route };
        table.hosts_mut().insert("shop.example".parse().unwrap(), site).unwrap();
        let (mut connection, mut client) = connection_of(peer.parse().unwrap(), Arc::new(table)).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        if poll_fn(|cx| connection.poll_request(cx)).await.is_some() {
            assert!(!connection.seek(None).await);
        }
        drop(connection);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn strangers_are_not_told_what_runs_here() {
        for here in ["127.0.0.1", "::1"] {
            assert!(answered(here, "localhost").await.contains("shop.example"));
            let refused = answered(here, "shop.example").await;
            assert!(refused.contains("s3cret") && refused.contains("mend it"), "{refused}");
        }
        let catalogue = answered("192.0.2.1", "localhost").await;
        assert!(catalogue.starts_with("HTTP/1.1 404 ") && !catalogue.contains("shop.example"), "{catalogue}");
        let refused = answered("192.0.2.1", "shop.example").await;
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Tambat-Error: no-target"), "{refused}");
        assert!(refused.contains(ErrorCode::NoTarget.doc()), "{refused}");
        for secret in ["s3cret", "10.0.0.3", "mend it"] {
            assert!(!refused.contains(secret), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_pipeline_gives_its_turn_away_after_so_many_answers() {
        let (mut connection, mut client) = connection().await;
        let (turns, last) = (5, 7);
        let requests = turns * ANSWERS_MAX as usize + last;
        client.write_all(ASK.repeat(requests).as_bytes()).await.unwrap();
        // All of it has come, so that nothing but the limit ends a turn.
        while !connection.client.has_unread() {
            poll_fn(|cx| connection.client.poll_read_ready(cx)).await.unwrap();
        }
        let mut answers_before = Vec::new();
        for _ in 0..turns {
            let turn = poll_fn(|cx| Poll::Ready(connection.poll_request(cx).is_pending())).await;
            assert!(turn, "it is not over");
            answers_before.push(connection.inbox.len() / ASK.len());
        }
        let left: Vec<usize> = (0..turns).rev().map(|turn| turn * ANSWERS_MAX as usize + last).collect();
        assert_eq!(answers_before, left);
        // What was answered is there, and no more.
        let mut answers = vec![0; 256 * 1024];
        let (mut seen, mut len) = (0, 0);
        while seen < turns * ANSWERS_MAX as usize {
            len += client.read(&mut answers[len..]).await.unwrap();
            seen = answers[..len].windows(4).filter(|end| end == b"\r\n\r\n").count();
        }
        assert_eq!(seen, turns * ANSWERS_MAX as usize);
    }
}
