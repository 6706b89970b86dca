//! Futures that belong together, run in turns by one task: a connection and its streams.
//!
//! Spawned each by itself, the streams of a connection run beside each other and wait for the one lock that their
//! connection has; and each one that has something to send wakes the connection for a write of its own. Here whoever
//! was woken first has the first turn: a connection that its streams woke writes at once what all of them said. What
//! one connection asks is therefore worked out by one thread at a time; other connections have other threads.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;
use tracing::error;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Takes what is to run beside a connection. Cheap to clone.
///
/// For those who run there themselves: what others hand over waits until somebody there is woken.
#[derive(Clone, Default)]
pub struct Beside(Arc<Mutex<Begun>>);

/// What was handed over and has not had a turn.
#[derive(Default)]
enum Begun {
    #[default]
    Nothing,
    Some(Vec<BoxFuture<Turn>>),
    /// The connection has ended: nothing is taken any more.
    Ended,
}

impl Beside {
    /// Runs a future until it or the connection has ended. One that panics is logged and ends alone.
    pub fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        // Outside of the runtime's budget for a task, which a connection with many streams would use up in the midst
        // of them: how often it is their turn is bounded by how many they are.
        let future = unconstrained(AssertUnwindSafe(future).catch_unwind()).map(|ended| {
            if ended.is_err() {
                error!(task = "stream", "task panicked");
            }
            Turn::Beside
        });
        let begun = &mut *self.0.lock();
        match begun {
            Begun::Nothing => *begun = Begun::Some(vec![Box::pin(future)]),
            Begun::Some(futures) => futures.push(Box::pin(future)),
            Begun::Ended => {}
        }
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").finish_non_exhaustive()
    }
}

/// Whose last turn it was.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Connection,
    Beside,
}

/// Runs a connection and all that was handed over beside it. Ends with the connection, and ends what is left.
#[derive(Debug)]
pub struct Turns {
    running: FuturesUnordered<BoxFuture<Turn>>,
    begun: Beside,
}

impl Turns {
    /// `connection` hands to `beside` what is to run beside it.
    pub fn new(beside: Beside, connection: impl Future<Output = ()> + Send + 'static) -> Self {
        let running = FuturesUnordered::new();
        let connection: BoxFuture<Turn> = Box::pin(connection.map(|()| Turn::Connection));
        running.push(connection);
        Self { running, begun: beside }
    }
}

impl Drop for Turns {
    /// What has not had a turn may hold what holds it: the streams know their connection.
    fn drop(&mut self) {
        let begun = std::mem::replace(&mut *self.begun.0.lock(), Begun::Ended);
        drop(begun);
    }
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Goes round all who are woken, and lets other tasks have their turn when it has been round.
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(Turn::Connection) | None) => return Poll::Ready(()),
                Poll::Ready(Some(Turn::Beside)) => {}
                Poll::Pending => {
                    let begun = std::mem::take(&mut *self.begun.0.lock());
                    let Begun::Some(begun) = begun else { return Poll::Pending };
                    self.running.extend(begun);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use tokio::sync::{Notify, oneshot, watch};
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[test]
    fn a_connection_has_its_turn_after_all_streams_that_are_woken() {
        let beside = Beside::default();
        let (change, changed) = watch::channel(0);
        let said = Arc::new((AtomicUsize::new(0), Notify::new()));
        let written = Arc::new(Mutex::new(Vec::new()));
        let connection = {
            let (beside, said, written) = (beside.clone(), Arc::clone(&said), Arc::clone(&written));
            async move {
                for _ in 0..100 {
                    let (mut changed, said) = (changed.clone(), Arc::clone(&said));
                    beside.run(async move {
                        while changed.changed().await.is_ok() {
                            said.0.fetch_add(1, Relaxed);
                            said.1.notify_one();
                        }
                    });
                }
                drop(changed);
                loop {
                    said.1.notified().await;
                    // It is notified once more by those after the first.
                    let all = said.0.swap(0, Relaxed);
                    if all > 0 {
                        written.lock().push(all);
                    }
                }
            }
        };
        let mut turns = task::spawn(Turns::new(beside, connection));
        assert_pending!(turns.poll());
        for _ in 0..3 {
            change.send_modify(|number| *number += 1);
            while turns.is_woken() {
                assert_pending!(turns.poll());
            }
        }
        assert_eq!(*written.lock(), [100, 100, 100]);
    }

    #[test]
    fn a_stream_that_panics_ends_alone() {
        let beside = Beside::default();
        let (end, ends) = oneshot::channel::<()>();
        let (other, mut alive) = oneshot::channel::<()>();
        beside.run(async { panic!("a stream") });
        beside.run(async move {
            let _other = other;
            pending::<()>().await;
        });
        let mut turns = task::spawn(Turns::new(beside, ends.map(drop)));
        assert_pending!(turns.poll());
        assert_pending!(turns.poll());
        assert!(alive.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        end.send(()).unwrap();
        assert_ready!(turns.poll());
        drop(turns);
        assert!(
            alive.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Closed),
            "ends with it"
        );
    }

    #[test]
    fn what_never_had_a_turn_goes_with_the_connection() {
        let beside = Beside::default();
        let held = Arc::new(());
        let connection = {
            let (beside, held) = (beside.clone(), Arc::clone(&held));
            async move {
                let within = beside.clone();
                beside.run(async move {
                    let _held = (held, within);
                    pending::<()>().await;
                });
            }
        };
        let mut turns = task::spawn(Turns::new(beside.clone(), connection));
        assert_ready!(turns.poll());
        drop(turns);
        let late = Arc::clone(&held);
        beside.run(async move { drop(late) });
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn streams_may_begin_others_and_nobody_keeps_the_thread() {
        let beside = Beside::default();
        let (deep, mut reached) = oneshot::channel();
        let within = beside.clone();
        beside.run(async move {
            let further = within.clone();
            within.run(async move { further.run(async move { deep.send(()).unwrap() }) });
        });
        beside.run(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let mut turns = task::spawn(Turns::new(beside, pending()));
        for _ in 0..10 {
            assert_pending!(turns.poll());
        }
        assert!(reached.try_recv().is_ok());
    }
}
