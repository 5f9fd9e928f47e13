//! What becomes of a request by the way its client came: at a listener with TLS, or without.

use tambat_model::{HttpsRedirect, Route};
use tambat_wire::http1::{Form, Hop, Media, MethodKind, RequestHead, write_challenge, write_redirect};

use super::connection::Connection;
use super::reply::Reply;
use crate::access::EndedBy;
use crate::listener::ListenerKind;
use crate::worker::Worker;

/// Where an ACME CA asks for the proof of a challenge (RFC 8555 §8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// A token has at least 22 characters; nobody makes one of more than this.
const TOKEN_BYTES_MAX: usize = 256;

impl Connection {
    /// A request for a host that the connection was not opened for.
    pub(super) fn misdirected(&self, head: &RequestHead<'_, '_>) -> Option<Reply> {
        let secured = self.client.secured()?;
        (!secured.is_for(head.host())).then(|| Reply::misdirected(head, secured))
    }

    /// The proof that an ACME CA asks for: at listeners without TLS that are no service ports, before any route.
    pub(super) fn challenge(&self, head: &RequestHead<'_, '_>, worker: &Worker) -> Option<String> {
        let challenges = worker.shared.settings.challenges.as_ref().filter(|_| self.is_public_and_plain())?;
        let token = head.path().strip_prefix(CHALLENGE_PATH)?;
        let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let is_read = matches!(head.facts().method, MethodKind::Get | MethodKind::Head);
        if is_token && is_read { challenges.answer(head.host(), token) } else { None }
    }

    /// Where this request is to be made: the same over https.
    pub(super) fn https_url(
        &self,
        head: &RequestHead<'_, '_>,
        hop: &Hop<'_>,
        route: &Route,
        worker: &Worker,
    ) -> Option<String> {
        if route.http.https_redirect == HttpsRedirect::Never || !self.is_shared_and_plain() {
            return None;
        }
        let (host, path) = (head.host(), head.path());
        let is_for_health = route.http.health_path.as_deref().is_some_and(|health| health == path);
        let port = worker.shared.https_port()?;
        if host.is_empty() || is_for_health || head.came_over_tls(hop) {
            return None;
        }
        let is_public = || worker.shared.settings.challenges.as_ref().is_some_and(|known| known.is_public(host));
        if route.http.https_redirect == HttpsRedirect::WherePublic && !is_public() {
            return None;
        }
        Some(if port == 443 { format!("https://{host}{path}") } else { format!("https://{host}:{port}{path}") })
    }

    fn is_public_and_plain(&self) -> bool {
        self.open.listener().kind.service_port().is_none() && self.client.secured().is_none()
    }

    fn is_shared_and_plain(&self) -> bool {
        self.open.listener().kind == ListenerKind::Shared && self.client.secured().is_none()
    }

    pub(super) fn reply_challenge(&mut self, answer: &str) {
        self.reply_with(200, |form, out| write_challenge(answer, form, out));
    }

    pub(super) fn reply_redirect(&mut self, url: &str) {
        self.reply_with(308, |form, out| write_redirect(url, form, out));
    }

    fn reply_with(&mut self, status: u16, write: impl FnOnce(Form<'_>, &mut Vec<u8>)) {
        let keeps = self.may_keep();
        let date = self.worker.clock.date(std::time::Instant::now());
        let head_only = self.active.as_ref().is_some_and(|active| active.facts.method == MethodKind::Head);
        write(Form { media: Media::Json, head_only, close: !keeps, date: Some(&date) }, self.outbox.fresh());
        self.send_reply(status, None, EndedBy::Router, keeps);
    }
}
