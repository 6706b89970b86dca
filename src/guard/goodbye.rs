//! Hears when a connection is to end.
//!
//! A stream looks several times for each message, and almost always nothing has changed: so the channel is asked
//! only when it changed, or when nobody would be woken by a change. What is said at the end is up to who listens.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::watch::Receiver;

use crate::task::last_waker::LastWaker;

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionEnd {
    /// It is to end, and words can still be said on it.
    Asked,
    /// It is gone: nobody is left who could have asked.
    Gone,
}

/// Waits for the end of a connection.
pub struct Goodbye {
    waiting: Pin<Box<dyn Future<Output = ConnectionEnd> + Send>>,
    closing: Receiver<bool>,
    /// Who is woken by a change.
    last_waker: LastWaker,
}

impl Goodbye {
    /// Listens to a connection.
    pub fn of(closing: Receiver<bool>) -> Self {
        let mut waits = closing.clone();
        let waiting = Box::pin(async move {
            match waits.wait_for(|closing| *closing).await {
                Ok(_) => ConnectionEnd::Asked,
                Err(_) => ConnectionEnd::Gone,
            }
        });
        Self { waiting, closing, last_waker: LastWaker::default() }
    }

    /// Waits for the end. Cancel safe; not to be called again after it was heard.
    pub async fn heard(&mut self) -> ConnectionEnd {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether the connection is to end. Not to be polled again after it said so.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        if self.last_waker.is(cx) && !self.has_changed() {
            return Poll::Pending;
        }
        let ending = self.waiting.as_mut().poll(cx);
        self.last_waker.was_polled_by(cx);
        ending
    }

    fn has_changed(&self) -> bool {
        // A channel without a sender has to be looked at as well.
        self.closing.has_changed().unwrap_or(true)
    }
}

impl fmt::Debug for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Goodbye").field("closing", &self.closing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn it_is_heard_by_whoever_polled_last() {
        let (close, closing) = watch::channel(false);
        let mut goodbye = Goodbye::of(closing);
        let mut first = task::spawn(());
        first.enter(|cx, _| assert_pending!(goodbye.poll(cx)));
        first.enter(|cx, _| assert_pending!(goodbye.poll(cx)));
        let mut second = task::spawn(());
        second.enter(|cx, _| assert_pending!(goodbye.poll(cx)));
        close.send_replace(true);
        assert!(second.is_woken());
        let end = second.enter(|cx, _| assert_ready!(goodbye.poll(cx)));
        assert_eq!(end, ConnectionEnd::Asked);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_has_ended() {
        let mut goodbye = Goodbye::of(watch::channel(false).1);
        let end = task::spawn(()).enter(|cx, _| assert_ready!(goodbye.poll(cx)));
        assert_eq!(end, ConnectionEnd::Gone);
    }
}
