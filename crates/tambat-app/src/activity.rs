//! What happens on a connection, and how long nothing does.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    rt::{Read, ReadBufCursor, Write},
    service::Service,
};
use hyper_util::{
    rt::TokioIo,
    service::{TowerToHyperService, TowerToHyperServiceFuture},
};
use pin_project_lite::pin_project;
use tokio::{
    net::TcpStream,
    select,
    time::{Instant, sleep},
};

use crate::{Draining, HttpService};

/// How long a connection may take to bring the head of its next request, and so how long it may idle. Longer than
/// routers keep an idle connection (50 to 60 s), so that it is they who close it, and never under a request. It may be a
/// third more, since it is looked at so often only.
pub(crate) const HEAD_WAIT_MAX: Duration = Duration::from_secs(75);

/// How long a client may do nothing at all that was told to close, and that nothing is owed: packets that are lost three
/// times are sent again within it.
const STALL_MAX: Duration = Duration::from_secs(3);

/// How often somebody looks while nothing happens.
const LOOKS: u32 = 3;

/// Drives a connection to its end. Once the app drains, or nothing happened for [`HEAD_WAIT_MAX`], it is told to
/// `close`; a client that does not listen to that is left when `given_up` completes.
pub(crate) async fn drive<C: Future>(
    mut connection: Pin<&mut C>,
    close: fn(Pin<&mut C>),
    given_up: impl Future<Output = ()>,
    activity: &Activity,
    draining: &Draining,
) {
    if until_quiet(connection.as_mut(), activity, draining).await == Outcome::Ended {
        return;
    }
    close(connection.as_mut());
    select! {
        biased;
        _ = connection => {}
        () = given_up => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ended,
    /// It has idled for too long, or the app drains.
    Quiet,
}

/// This is polled a few times for every request. So whoever else can end it is asked for a wake-up once, and looked at
/// after that: to poll a timer and a `Notify` each time costs more than to route the request.
async fn until_quiet<C: Future>(mut connection: Pin<&mut C>, activity: &Activity, draining: &Draining) -> Outcome {
    let mut begun = pin!(draining.begun());
    let mut quiet = Quiet::of(activity.written());
    let mut look = pin!(sleep(HEAD_WAIT_MAX / LOOKS));
    let mut asked: Option<Waker> = None;
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Outcome::Ended);
        }
        let asked_already = asked.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if asked_already && !draining.has_begun() && !look.is_elapsed() {
            return Poll::Pending;
        }
        asked = Some(cx.waker().clone());
        if begun.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Outcome::Quiet);
        }
        while look.as_mut().poll(cx).is_ready() {
            if quiet.look(activity.is_owed(), activity.written()) == LOOKS {
                return Poll::Ready(Outcome::Quiet);
            }
            look.as_mut().reset(Instant::now() + HEAD_WAIT_MAX / LOOKS);
        }
        Poll::Pending
    })
    .await
}

/// How often in a row somebody looked and nothing had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quiet {
    moved: usize,
    looks: u32,
}

impl Quiet {
    fn of(moved: usize) -> Self {
        Self { moved, looks: 0 }
    }

    fn look(&mut self, owed: bool, moved: usize) -> u32 {
        let looks = if !owed && moved == self.moved { self.looks + 1 } else { 0 };
        *self = Self { moved, looks };
        looks
    }
}

/// What happens on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Requests whose answer is not handed over whole yet.
    open: AtomicUsize,
    /// 1 while the client does not read what is written to it, else 0.
    blocked: AtomicUsize,
    /// How often something was written, and read. They wrap. Only the connection's own task changes these three.
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Activity {
    /// Whether the client waits for something: an answer, or the rest of what it reads slowly.
    fn is_owed(&self) -> bool {
        self.0.open.load(Ordering::Acquire) > 0 || self.0.blocked.load(Ordering::Relaxed) > 0
    }

    /// What is read does not count: who sends a head byte by byte is as idle as who sends none.
    fn written(&self) -> usize {
        self.0.written.load(Ordering::Relaxed)
    }

    fn read(&self) -> usize {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Completes when nothing is owed, and no byte was moved for [`STALL_MAX`]: a head that is half there stays so.
    pub(crate) async fn stalled(&self) {
        let moved = || self.written().wrapping_add(self.read());
        let mut quiet = Quiet::of(moved());
        loop {
            sleep(STALL_MAX / LOOKS).await;
            if quiet.look(self.is_owed(), moved()) == LOOKS {
                return;
            }
        }
    }

    /// Completes when nothing is owed, and nothing was read since this was first polled, for [`STALL_MAX`]. Never, once
    /// something was read: whoever answers may read slowly, and what waits for the window of a stream is not seen here.
    #[cfg(feature = "http2")]
    pub(crate) async fn deaf(&self) {
        let before = self.read();
        let mut quiet = Quiet::of(before);
        while self.read() == before {
            sleep(STALL_MAX / LOOKS).await;
            if quiet.look(self.is_owed(), self.read()) == LOOKS {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    fn begin(&self) -> InFlight {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(&self.0))
    }
}

/// A request, until its answer is handed over or given up.
struct InFlight(Arc<Counts>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream whose reads and writes are counted.
pub(crate) struct CountedIo {
    stream: TokioIo<TcpStream>,
    counts: Arc<Counts>,
}

impl CountedIo {
    pub(crate) fn new(stream: TcpStream, activity: &Activity) -> Self {
        Self { stream: TokioIo::new(stream), counts: Arc::clone(&activity.0) }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TokioIo<TcpStream>> {
        Pin::new(&mut self.get_mut().stream)
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.counts.blocked.store(usize::from(written.is_pending()), Ordering::Relaxed);
        if written.is_ready() {
            add_one(&self.counts.written);
        }
        written
    }
}

/// Without a locked instruction: nobody else adds.
fn add_one(count: &AtomicUsize) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Read for CountedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = self.as_mut().stream().poll_read(cx, buffer);
        if read.is_ready() {
            add_one(&self.counts.read);
        }
        read
    }
}

impl Write for CountedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.as_mut().stream().poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().stream().poll_write_vectored(cx, parts);
        self.wrote(written)
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    service: TowerToHyperService<S>,
    activity: Activity,
}

impl<S> Counted<S> {
    pub(crate) fn new(service: S, activity: &Activity) -> Self {
        Self { service: TowerToHyperService::new(service), activity: activity.clone() }
    }
}

impl<S: HttpService> Service<Request<Incoming>> for Counted<S> {
    type Response = Response<CountedBody<S::Body>>;
    type Error = S::Error;
    type Future = CountedFuture<TowerToHyperServiceFuture<S, Request<Incoming>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        CountedFuture { in_flight: Some(self.activity.begin()), response: self.service.call(request) }
    }
}

pin_project! {
    pub(crate) struct CountedFuture<F> {
        in_flight: Option<InFlight>,
        #[pin]
        response: F,
    }
}

impl<F, B, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx))?;
        let in_flight = this.in_flight.take();
        Poll::Ready(Ok(response.map(|body| CountedBody { _in_flight: in_flight, body })))
    }
}

pin_project! {
    pub(crate) struct CountedBody<B> {
        _in_flight: Option<InFlight>,
        #[pin]
        body: B,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::drain::Drain;

    /// Seconds, by a clock that moves when nobody has anything to do, until an idle connection is left.
    async fn left_after(happens: impl AsyncFnOnce(&Activity)) -> u64 {
        let (_drain, draining) = Drain::new();
        let activity = Activity::default();
        let begun = Instant::now();
        let connection = pin!(std::future::pending::<()>());
        let (outcome, ()) = tokio::join!(until_quiet(connection, &activity, &draining), happens(&activity));
        assert_eq!(outcome, Outcome::Quiet);
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_left_when_nothing_happened_for_long_enough() {
        assert_eq!(left_after(async |_| ()).await, 75);
        // Something is written in the first third.
        let written = async |activity: &Activity| {
            sleep(Duration::from_secs(1)).await;
            add_one(&activity.0.written);
        };
        assert_eq!(left_after(written).await, 100);
        // What a client sends without ever sending a whole request does not count.
        let read = async |activity: &Activity| {
            for _ in 0..70 {
                sleep(Duration::from_secs(1)).await;
                add_one(&activity.0.read);
            }
        };
        assert_eq!(left_after(read).await, 75);
        let in_flight = async |activity: &Activity| {
            let request = activity.begin();
            sleep(Duration::from_secs(600)).await;
            drop(request);
        };
        assert_eq!(left_after(in_flight).await, 675);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_stalls_when_no_byte_is_moved() {
        let activity = Activity::default();
        let begun = Instant::now();
        let reads = async {
            let request = activity.begin();
            sleep(Duration::from_millis(9_500)).await;
            drop(request);
            for _ in 0..5 {
                sleep(Duration::from_secs(1)).await;
                add_one(&activity.0.read);
            }
        };
        tokio::join!(activity.stalled(), reads);
        assert_eq!(
            begun.elapsed().as_secs(),
            18,
            "9.5 s in flight, 5 s of reading, and then 3 whole seconds of nothing"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for() {
        let activity = Activity::default();
        let begun = Instant::now();
        activity.0.blocked.store(1, Ordering::Relaxed);
        let reads = async {
            sleep(Duration::from_secs(100)).await;
            activity.0.blocked.store(0, Ordering::Relaxed);
        };
        tokio::join!(activity.stalled(), reads);
        assert_eq!(begun.elapsed().as_secs(), 103);
    }

    #[cfg(feature = "http2")]
    #[tokio::test(start_paused = true)]
    async fn only_who_never_answers_is_deaf() {
        let activity = Activity::default();
        let begun = Instant::now();
        activity.deaf().await;
        assert_eq!(begun.elapsed(), STALL_MAX);
        let answers = async {
            sleep(Duration::from_secs(1)).await;
            add_one(&activity.0.read);
        };
        let deaf = timeout(Duration::from_secs(3_600), activity.deaf());
        assert!(tokio::join!(deaf, answers).0.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_it_at_once_and_so_does_the_connection() {
        let (drain, draining) = Drain::new();
        let activity = Activity::default();
        let begun = Instant::now();
        assert_eq!(until_quiet(pin!(sleep(STALL_MAX)), &activity, &draining).await, Outcome::Ended);
        let told = async {
            sleep(STALL_MAX).await;
            drain.begin();
        };
        let connection = pin!(std::future::pending::<()>());
        let (outcome, ()) = tokio::join!(until_quiet(connection, &activity, &draining), told);
        assert_eq!((outcome, begun.elapsed()), (Outcome::Quiet, STALL_MAX * 2));
    }
}
