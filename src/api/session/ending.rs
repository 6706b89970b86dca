//! What ends a session from this side: the registry, or the connection.
//!
//! A session looks at this several times for each message, ten thousands of times a second over all
//! sessions: so both are asked only where something may be different. Not here: what is said then.

use std::task::{Context, Poll, ready};

use tokio::sync::watch;

use crate::{
    fleet::session::{Closing, Session},
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
    /// None: it is gone without a word, which ends nothing by itself.
    connection: Option<Goodbye>,
}

impl Endings {
    /// Listens to the connection.
    pub(super) fn new(closing: watch::Receiver<bool>) -> Self {
        Self { connection: Some(Goodbye::of(closing)) }
    }

    /// Whether the session ends. Not to be polled again after it said so.
    pub(super) fn poll(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Poll::Ready(why) = session.poll_closing(cx) {
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
            let (mut session, end) = Session::alone();
            let (connection, connection_says) = watch::channel(false);
            let mut endings = Endings::new(connection_says);
            let mut first = task::spawn(());
            first.enter(|cx, _| assert_pending!(endings.poll(&mut session, cx)));
            first.enter(|cx, _| assert_pending!(endings.poll(&mut session, cx)));
            // Another task goes on with it: it is the one to be woken.
            let mut second = task::spawn(());
            second.enter(|cx, _| assert_pending!(endings.poll(&mut session, cx)));
            assert!(!second.is_woken());
            if by_registry {
                end(Closing::Superseded);
            } else {
                connection.send_replace(true);
            }
            assert!(second.is_woken());
            let ending = second.enter(|cx, _| assert_ready!(endings.poll(&mut session, cx)));
            assert_eq!(matches!(ending, Ending::Registry(Closing::Superseded)), by_registry, "{ending:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_ends_nothing() {
        let (mut session, _end) = Session::alone();
        let mut endings = Endings::new(watch::channel(false).1);
        let mut task = task::spawn(());
        task.enter(|cx, _| assert_pending!(endings.poll(&mut session, cx)));
        task.enter(|cx, _| assert_pending!(endings.poll(&mut session, cx)));
    }
}
