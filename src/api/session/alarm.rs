//! A timer that is asked with every message and has almost never run out: it is looked at only when it is due, or
//! when nobody would be woken by it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::{
    task::last_waker::LastWaker,
    time::{Clock, Mono},
};

/// Runs out once.
pub(super) struct Alarm {
    due: Mono,
    timer: Pin<Box<Sleep>>,
    /// Who is woken when it runs out.
    last_waker: LastWaker,
}

impl Alarm {
    /// Runs out when this has passed.
    pub(super) fn after(clock: Clock, time: Duration) -> Self {
        // In whole milliseconds, rounded down: never after the timer.
        Self { due: clock.mono() + time, timer: Box::pin(sleep(time)), last_waker: LastWaker::default() }
    }

    /// Whether it has run out.
    pub(super) fn poll(&mut self, clock: Clock, cx: &mut Context<'_>) -> Poll<()> {
        if self.last_waker.is(cx) && clock.mono() < self.due {
            return Poll::Pending;
        }
        let over = self.timer.as_mut().poll(cx);
        self.last_waker.was_polled_by(cx);
        over
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_runs_out_in_time_and_wakes_whoever_polled_last() {
        let clock = Clock::start();
        let mut alarm = Alarm::after(clock, TIME);
        let (mut first, mut second) = (task::spawn(()), task::spawn(()));
        for _ in 0..3 {
            first.enter(|cx, _| assert_pending!(alarm.poll(clock, cx)));
        }
        advance(TIME / 2).await;
        second.enter(|cx, _| assert_pending!(alarm.poll(clock, cx)));
        advance(TIME / 2 + Duration::from_millis(1)).await;
        assert!(second.is_woken() && !first.is_woken());
        second.enter(|cx, _| assert_ready!(alarm.poll(clock, cx)));
    }
}
