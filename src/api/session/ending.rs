//! What ends a session from this side: the registry, or the connection.
//!
//! A session looks at this several times for each message, ten thousands of times a second over all
//! sessions. The registry has a channel for each session, which costs next to nothing to ask; the connection
//! is asked as [`Goodbye`] does. Not here: what is said then.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::{oneshot, watch};

use crate::{
    fleet::session::Closing,
    guard::goodbye::{ConnectionEnd, Goodbye},
};

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The registry ends it.
    Registry(Closing),
    /// The connection is to end.
    Connection,
}

/// Waits for the end of a session.
pub(super) struct Endings {
    /// None: there is no connection to wait for, or it is gone without a word, which ends nothing by itself.
    connection: Option<Goodbye>,
}

impl Endings {
    /// Listens to the connection, where there is one.
    pub(super) fn new(connection: Option<watch::Receiver<bool>>) -> Self {
        Self { connection: connection.map(|closing| Goodbye::of(Some(closing))) }
    }

    /// Whether the session ends. Not to be polled again after it said so.
    pub(super) fn poll(
        &mut self,
        registry: &mut oneshot::Receiver<Closing>,
        cx: &mut Context<'_>,
    ) -> Poll<Ending> {
        // A registry that let go of the session without a word ends nothing.
        if !registry.is_terminated()
            && let Poll::Ready(Ok(why)) = Pin::new(registry).poll(cx)
        {
            return Poll::Ready(Ending::Registry(why));
        }
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        match ready!(connection.poll(cx)) {
            ConnectionEnd::Asked => Poll::Ready(Ending::Connection),
            ConnectionEnd::Gone => {
                self.connection = None;
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn each_end_is_heard_by_whoever_polled_last() {
        for by_registry in [true, false] {
            let (registry, mut registry_says) = oneshot::channel();
            let (connection, connection_says) = watch::channel(false);
            let mut endings = Endings::new(Some(connection_says));
            let mut first = task::spawn(());
            first.enter(|cx, _| assert_pending!(endings.poll(&mut registry_says, cx)));
            first.enter(|cx, _| assert_pending!(endings.poll(&mut registry_says, cx)));
            // Another task goes on with it: it is the one to be woken.
            let mut second = task::spawn(());
            second.enter(|cx, _| assert_pending!(endings.poll(&mut registry_says, cx)));
            assert!(!second.is_woken());
            if by_registry {
                registry.send(Closing::Superseded).unwrap();
            } else {
                connection.send_replace(true);
            }
            assert!(second.is_woken());
            let ending = second.enter(|cx, _| assert_ready!(endings.poll(&mut registry_says, cx)));
            assert_eq!(matches!(ending, Ending::Registry(Closing::Superseded)), by_registry, "{ending:?}");
        }
    }

    #[tokio::test]
    async fn an_end_before_the_first_look_is_seen() {
        let (registry, mut registry_says) = oneshot::channel();
        registry.send(Closing::StaleIncarnation).unwrap();
        let mut endings = Endings::new(None);
        let mut task = task::spawn(());
        task.enter(|cx, _| {
            let ending = assert_ready!(endings.poll(&mut registry_says, cx));
            assert!(matches!(ending, Ending::Registry(Closing::StaleIncarnation)));
        });
    }

    #[tokio::test]
    async fn channels_that_are_gone_end_nothing() {
        let mut registry_says = oneshot::channel().1;
        let mut endings = Endings::new(Some(watch::channel(false).1));
        let mut task = task::spawn(());
        task.enter(|cx, _| assert_pending!(endings.poll(&mut registry_says, cx)));
        task.enter(|cx, _| assert_pending!(endings.poll(&mut registry_says, cx)));
    }
}
