//! Remembers who is woken by something that was polled, so that it need not be polled again by the same one for nothing.

use std::task::{Context, Waker};

use tokio::task::coop;

/// Who polled something last, and is woken by it.
#[derive(Debug, Default)]
pub struct LastWaker(Option<Waker>);

impl LastWaker {
    /// Whether it is whoever asks.
    pub fn is(&self, cx: &Context<'_>) -> bool {
        self.0.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// To be called when it was polled. Out of the runtime's budget for a task nothing was looked at: it was pending all
    /// the same, and nobody is woken by it.
    pub fn was_polled_by(&mut self, cx: &Context<'_>) {
        self.0 = coop::has_budget_remaining().then(|| cx.waker().clone());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future as _, poll_fn},
        pin::pin,
        task::Poll,
    };

    use tokio_test::task;

    use super::*;

    #[test]
    fn it_is_whoever_polled_last() {
        let (mut last_waker, mut first, mut second) =
            (LastWaker::default(), task::spawn(()), task::spawn(()));
        first.enter(|cx, _| {
            assert!(!last_waker.is(cx));
            last_waker.was_polled_by(cx);
            assert!(last_waker.is(cx));
        });
        second.enter(|cx, _| {
            assert!(!last_waker.is(cx));
            last_waker.was_polled_by(cx);
        });
        first.enter(|cx, _| assert!(!last_waker.is(cx)));
    }

    #[tokio::test]
    async fn out_of_budget_it_is_nobody() {
        poll_fn(|cx| {
            let mut last_waker = LastWaker::default();
            last_waker.was_polled_by(cx);
            assert!(last_waker.is(cx));
            while coop::has_budget_remaining() {
                assert!(pin!(tokio::task::consume_budget()).poll(cx).is_ready());
            }
            last_waker.was_polled_by(cx);
            assert!(!last_waker.is(cx));
            Poll::Ready(())
        })
        .await;
    }
}
