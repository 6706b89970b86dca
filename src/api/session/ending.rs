//! What ends a session from this side: the registry, or the connection.
//!
//! A session looks at this several times for each message, ten thousands of times a second over all
//! sessions, and almost always nothing has changed. So it asks the two channels only when one of them
//! changed, or when nobody would be woken by a change. Not here: what is said then.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{sync::watch, task::coop};

use crate::fleet::session::Closing;

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
    waiting: Pin<Box<dyn Future<Output = Ending> + Send>>,
    registry: watch::Receiver<Option<Closing>>,
    connection: Option<watch::Receiver<bool>>,
    /// Who is woken by a change.
    woken: Option<Waker>,
}

impl Endings {
    /// Listens to the registry and, where there is one, to the connection.
    pub(super) fn new(
        registry: watch::Receiver<Option<Closing>>,
        connection: Option<watch::Receiver<bool>>,
    ) -> Self {
        let waiting = Box::pin(wait(registry.clone(), connection.clone()));
        Self { waiting, registry, connection, woken: None }
    }

    /// Whether the session ends. Not to be polled again after it said so.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if self.woken.as_ref().is_some_and(|woken| woken.will_wake(cx.waker())) && !self.changed() {
            return Poll::Pending;
        }
        let ending = self.waiting.as_mut().poll(cx);
        // Out of budget it is pending without having looked, and nobody would be woken.
        self.woken = coop::has_budget_remaining().then(|| cx.waker().clone());
        ending
    }

    fn changed(&self) -> bool {
        // A channel without a sender has to be looked at as well.
        self.registry.has_changed().unwrap_or(true)
            || self.connection.as_ref().is_some_and(|closing| closing.has_changed().unwrap_or(true))
    }
}

async fn wait(
    mut registry: watch::Receiver<Option<Closing>>,
    connection: Option<watch::Receiver<bool>>,
) -> Ending {
    let registry = async {
        match registry.wait_for(Option::is_some).await {
            Ok(closing) => closing.clone(),
            Err(_) => None,
        }
    };
    let connection = async {
        match connection {
            Some(mut closing) => closing.wait_for(|closing| *closing).await.is_ok(),
            None => false,
        }
    };
    tokio::select! {
        biased;
        Some(why) = registry => Ending::Registry(why),
        true = connection => Ending::Connection,
        // Nobody is left who could end it.
        else => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn each_end_is_heard_by_whoever_polled_last() {
        for by_registry in [true, false] {
            let (registry, registry_says) = watch::channel(None);
            let (connection, connection_says) = watch::channel(false);
            let mut endings = Endings::new(registry_says, Some(connection_says));
            let mut first = task::spawn(());
            first.enter(|cx, _| assert_pending!(endings.poll(cx)));
            first.enter(|cx, _| assert_pending!(endings.poll(cx)));
            // Another task goes on with it: it is the one to be woken.
            let mut second = task::spawn(());
            second.enter(|cx, _| assert_pending!(endings.poll(cx)));
            assert!(!second.is_woken());
            if by_registry {
                registry.send_replace(Some(Closing::Superseded));
            } else {
                connection.send_replace(true);
            }
            assert!(second.is_woken());
            let ending = second.enter(|cx, _| assert_ready!(endings.poll(cx)));
            assert_eq!(matches!(ending, Ending::Registry(Closing::Superseded)), by_registry, "{ending:?}");
        }
    }

    #[tokio::test]
    async fn an_end_before_the_first_look_is_seen() {
        let (_registry, registry_says) = watch::channel(Some(Closing::StaleIncarnation));
        let mut endings = Endings::new(registry_says, None);
        let mut task = task::spawn(());
        task.enter(|cx, _| {
            assert!(matches!(endings.poll(cx), Poll::Ready(Ending::Registry(Closing::StaleIncarnation))));
        });
    }

    #[tokio::test]
    async fn channels_that_are_gone_end_nothing() {
        let mut endings = Endings::new(watch::channel(None).1, Some(watch::channel(false).1));
        let mut task = task::spawn(());
        task.enter(|cx, _| assert_pending!(endings.poll(cx)));
        task.enter(|cx, _| assert_pending!(endings.poll(cx)));
    }
}
