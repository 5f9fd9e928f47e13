use std::{
    convert::Infallible,
    fmt::Display,
    future::{self, Future, Ready},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use pin_project_lite::pin_project;
use tokio::time::{Timeout, timeout};
use tower_service::Service;

/// The path that [`healthz`] answers.
pub const HEALTHZ_PATH: &str = "/healthz";

/// How long a check may take: whoever asks gives up after a few seconds, and asks again.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(3);

/// The check of an app that is healthy when it answers at all.
pub type AlwaysHealthy = fn() -> Ready<Result<(), Infallible>>;

/// Answers `GET` and `HEAD` of `/healthz` in front of a service: 200 and `ok`. All else goes to the service.
///
/// Whoever runs the app asks there whether it is ready: `ready = { path = "/healthz" }` in tambat.toml, a load balancer, an
/// engine's probe. [`Healthz::check`] adds what else must be well.
///
/// ```
/// use axum::{Router, routing::get};
///
/// let app = Router::new().route("/", get(|| async { "moored" }));
/// let app = tambat_app::healthz(app).check(|| async {
///     // The database, say. An error becomes a 503 that says it.
///     Ok::<(), std::io::Error>(())
/// });
/// # fn serves(_: impl tambat_app::HttpService) {}
/// # serves(app);
/// ```
pub fn healthz<S>(service: S) -> Healthz<S> {
    Healthz { service, check: || future::ready(Ok(())) }
}

/// A service with [`healthz`] in front of it.
#[derive(Clone, Debug)]
pub struct Healthz<S, C = AlwaysHealthy> {
    service: S,
    check: C,
}

impl<S, C> Healthz<S, C> {
    /// Asks this, each time that somebody asks. An error, or no answer within 3 s, is a 503 with the error as its text: it
    /// is read by whoever can reach the app, so it must not hold a password.
    #[must_use]
    pub fn check<N, F, E>(self, check: N) -> Healthz<S, N>
    where
        N: Fn() -> F,
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        Healthz { service: self.service, check }
    }
}

impl<S, C, R, B, F, E> Service<Request<R>> for Healthz<S, C>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    C: Fn() -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    type Response = Response<HealthzBody<B>>;
    type Error = S::Error;
    type Future = HealthzFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let asks = request.uri().path() == HEALTHZ_PATH && [Method::GET, Method::HEAD].contains(request.method());
        let answer = if asks {
            Answer::Check { check: timeout(CHECK_WAIT_MAX, (self.check)()) }
        } else {
            Answer::Service { response: self.service.call(request) }
        };
        HealthzFuture { answer }
    }
}

pin_project! {
    /// What [`Healthz`] answers.
    pub struct HealthzFuture<S, C> {
        #[pin]
        answer: Answer<S, C>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<S, C> {
        Service { #[pin] response: S },
        Check { #[pin] check: Timeout<C> },
    }
}

impl<S, C, B, E, H> Future for HealthzFuture<S, C>
where
    S: Future<Output = Result<Response<B>, E>>,
    C: Future<Output = Result<(), H>>,
    H: Display,
{
    type Output = Result<Response<HealthzBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().answer.project() {
            AnswerProjection::Service { response } => ready!(response.poll(cx))
                .map(|response| response.map(|body| HealthzBody { part: Part::Service { body } })),
            AnswerProjection::Check { check } => Ok(match ready!(check.poll(cx)) {
                Ok(Ok(())) => answer(StatusCode::OK, "ok\n".to_owned()),
                Ok(Err(error)) => answer(StatusCode::SERVICE_UNAVAILABLE, format!("not healthy: {error}\n")),
                Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "not healthy: the check took too long\n".to_owned()),
            }),
        })
    }
}

fn answer<B>(status: StatusCode, text: String) -> Response<HealthzBody<B>> {
    let mut response = Response::new(HealthzBody { part: Part::Own { text: Some(Bytes::from(text)) } });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pin_project! {
    /// The body of what [`Healthz`] answers.
    pub struct HealthzBody<B> {
        #[pin]
        part: Part<B>,
    }
}

pin_project! {
    #[project = PartProjection]
    enum Part<B> {
        Service { #[pin] body: B },
        // How the app is; none once it was sent.
        Own { text: Option<Bytes> },
    }
}

impl<B: Body<Data = Bytes>> Body for HealthzBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().part.project() {
            PartProjection::Service { body } => body.poll_frame(cx),
            PartProjection::Own { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.part {
            Part::Service { body } => body.is_end_stream(),
            Part::Own { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.part {
            Part::Service { body } => body.size_hint(),
            Part::Own { text } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use http_body_util::{BodyExt, Empty};

    use super::*;

    async fn ask<C, F, E>(mut app: Healthz<Router, C>, method: Method, path: &str) -> (StatusCode, String)
    where
        C: Fn() -> F,
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        let response = app.call(request).await.expect("infallible");
        let status = response.status();
        let hint = response.body().size_hint().exact();
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        assert!(hint.is_none_or(|hint| hint == body.len() as u64), "{hint:?}");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    fn router() -> Router {
        Router::new().route("/", get(|| async { "page" })).route("/healthz", axum::routing::post(|| async { "posted" }))
    }

    #[tokio::test]
    async fn it_answers_its_path_and_nothing_else() {
        let app = || healthz(router());
        assert_eq!(ask(app(), Method::GET, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
        assert_eq!(ask(app(), Method::HEAD, "/healthz?deep").await.0, StatusCode::OK);
        assert_eq!(ask(app(), Method::GET, "/").await, (StatusCode::OK, "page".to_owned()));
        assert_eq!(ask(app(), Method::POST, "/healthz").await.1, "posted");
        assert_eq!(ask(app(), Method::GET, "/healthz/").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn what_is_not_well_is_said() {
        let app = healthz(router()).check(|| async { Err("the database is away") });
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "not healthy: the database is away\n".to_owned());
        assert_eq!(ask(app, Method::GET, "/healthz").await, expected);
        let app = healthz(router()).check(|| async { Ok::<_, Infallible>(()) });
        assert_eq!(ask(app, Method::GET, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_not_waited_for() {
        let app = healthz(router()).check(future::pending::<Result<(), Infallible>>);
        let (status, text) = ask(app, Method::GET, "/healthz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("too long"), "{text}");
    }
}
