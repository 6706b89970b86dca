//! The session of an instance: what the stream that carries it needs from the registry.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{directives::Carrier, lease::Lease, registration::Registration, snapshot::Tombstone};
use crate::task::last_waker::LastWaker;

/// Why the registry ends a session.
#[derive(Clone, Debug)]
pub enum Closing {
    /// Another stream took it up.
    Superseded,
    /// A newer incarnation holds the id.
    StaleIncarnation,
    /// The instance was removed.
    Removed(Arc<Tombstone>),
}

/// How a session comes to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// With the registration: whether its answer arrives is not known.
    Registered,
    /// By somebody who has the token.
    Resumed,
}

/// An open session. The stream that holds it closes it by `Handle::close_session`.
#[derive(Debug)]
pub struct Session {
    /// Tells sessions of one instance apart.
    pub id: u64,
    /// Whose it is.
    pub instance: Incarnation,
    /// Its lease, to be touched at every message.
    pub lease: Arc<Lease>,
    /// What is asked of it. None: its client takes no directives.
    pub directives: Option<Carrier>,
    pub(super) closing: oneshot::Receiver<Closing>,
    /// Who is woken when the registry ends it.
    pub(super) last_waker: LastWaker,
}

impl Session {
    /// Why the registry ends the session, when it does; pending for ever where it let go of it without a word.
    ///
    /// A stream asks this with every message: so the channel is asked only if nobody would be woken by it, or the
    /// lease, which every message touches anyway, says that it is no longer held by this session.
    pub fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Closing> {
        if (self.last_waker.is(cx) && self.lease.is_held_by(self.id)) || self.closing.is_terminated() {
            return Poll::Pending;
        }
        let closing = Pin::new(&mut self.closing).poll(cx);
        self.last_waker.was_polled_by(cx);
        match closing {
            Poll::Ready(Ok(why)) => Poll::Ready(why),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// One that nobody registered, and its end.
    #[cfg(test)]
    pub(crate) fn alone() -> (Self, impl FnOnce(Closing)) {
        let mut fleet = super::testing::Fleet::default();
        let key = super::testing::key("orders", "i-1");
        let incarnation = fleet.register(&key);
        let (mut session, _) =
            fleet.state.open_session(fleet.now, &key, incarnation, false).expect("it is registered");
        let (close, closing) = oneshot::channel();
        session.closing = closing;
        let open = super::member::OpenSession::open(session.id, Arc::clone(&session.lease), close);
        (session, move |why| open.close(why))
    }
}

/// One life of an instance.
#[derive(Debug)]
pub struct Incarnation {
    /// What it registered.
    pub registration: Arc<Registration>,
    /// Which life of its id this is.
    pub incarnation: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::fleet::testing::{Fleet, key, remove};

    fn opened(fleet: &mut Fleet) -> Session {
        let key = key("orders", "i-1");
        fleet.state.open_session(fleet.now, &key, 1, false).unwrap().0
    }

    #[test]
    fn whoever_polled_last_is_woken_by_what_the_registry_says() {
        for removed in [true, false] {
            let mut fleet = Fleet::default();
            fleet.register(&key("orders", "i-1"));
            let mut session = opened(&mut fleet);
            let (mut first, mut second) = (task::spawn(()), task::spawn(()));
            for _ in 0..3 {
                first.enter(|cx, _| assert_pending!(session.poll_closing(cx)));
            }
            // Another task goes on with it.
            second.enter(|cx, _| assert_pending!(session.poll_closing(cx)));
            fleet.pass(Duration::from_secs(1));
            let newer = if removed {
                remove(&mut fleet.state, fleet.now, &key("orders", "i-1"), 1);
                None
            } else {
                Some(opened(&mut fleet))
            };
            assert!(second.is_woken() && !first.is_woken());
            let why = second.enter(|cx, _| assert_ready!(session.poll_closing(cx)));
            assert_eq!(matches!(why, Closing::Removed(_)), removed, "{why:?}");
            if let Some(mut newer) = newer {
                for _ in 0..3 {
                    first.enter(|cx, _| assert_pending!(newer.poll_closing(cx)));
                }
            }
        }
    }

    #[test]
    fn an_end_before_the_first_look_is_seen_and_a_registry_that_is_gone_ends_nothing() {
        let mut fleet = Fleet::default();
        fleet.register(&key("orders", "i-1"));
        let mut session = opened(&mut fleet);
        let mut newer = opened(&mut fleet);
        let mut look = task::spawn(());
        let why = look.enter(|cx, _| assert_ready!(session.poll_closing(cx)));
        assert!(matches!(why, Closing::Superseded), "{why:?}");
        drop(fleet);
        for _ in 0..3 {
            look.enter(|cx, _| assert_pending!(newer.poll_closing(cx)));
        }
    }
}
