//! hyper's timer for deadlines that are moved with every request and nearly never reached.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;
use tokio::time::{self, sleep_until};

/// A later deadline costs the runtime nothing: it is written down, and looked at when the earlier one is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LazyTimer;

impl Timer for LazyTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(LazySleep { deadline, asked: None, sleep: sleep_until(deadline.into()) })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<LazySleep>() {
            Some(sleep) => sleep.move_to(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }

    fn now(&self) -> Instant {
        time::Instant::now().into_std()
    }
}

pin_project! {
    struct LazySleep {
        deadline: Instant,
        // Who is woken when `sleep` is over.
        asked: Option<Waker>,
        // Over at the deadline, or before.
        #[pin]
        sleep: time::Sleep,
    }
}

impl LazySleep {
    fn move_to(self: Pin<&mut Self>, deadline: Instant) {
        let mut this = self.project();
        *this.deadline = deadline;
        if deadline < this.sleep.deadline().into_std() {
            this.sleep.as_mut().reset(deadline.into());
            *this.asked = None;
        }
    }
}

impl Sleep for LazySleep {}

impl Future for LazySleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let asked = this.asked.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if asked && !this.sleep.is_elapsed() {
                return Poll::Pending;
            }
            if this.sleep.as_mut().poll(cx).is_pending() {
                *this.asked = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if *this.deadline <= this.sleep.deadline().into_std() {
                return Poll::Ready(());
            }
            this.sleep.as_mut().reset((*this.deadline).into());
            *this.asked = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const STEP: Duration = Duration::from_secs(10);

    /// Whole steps until the sleep is over that was moved so often.
    async fn steps(moves: &[u32]) -> u64 {
        let begun = LazyTimer.now();
        let mut sleep = LazyTimer.sleep(STEP);
        for to in moves {
            assert!(timeout(Duration::ZERO, &mut sleep).await.is_err(), "it is not over yet");
            LazyTimer.reset(&mut sleep, begun + STEP * *to);
        }
        sleep.await;
        LazyTimer.now().duration_since(begun).as_secs() / STEP.as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_is_over_at_its_last_deadline() {
        for (moves, expected) in [(&[][..], 1), (&[3], 3), (&[2, 5, 9], 9), (&[9, 2], 2), (&[5, 5], 5), (&[9, 2, 4], 4)]
        {
            assert_eq!(steps(moves).await, expected, "{moves:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_moved_when_it_is_over() {
        let begun = LazyTimer.now();
        let mut sleep = LazyTimer.sleep(STEP);
        sleep.as_mut().await;
        LazyTimer.reset(&mut sleep, begun + STEP * 4);
        advance(STEP).await;
        assert!(timeout(Duration::ZERO, &mut sleep).await.is_err());
        sleep.await;
        assert_eq!(LazyTimer.now().duration_since(begun).as_secs(), STEP.as_secs() * 4);
    }
}
