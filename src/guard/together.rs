//! What several streams of a connection wait for, waited for once.
//!
//! A thousand watchers over a few connections would be woken one by one by whoever changes what they watch, wherever
//! they run. So each connection listens once for all of its streams, and tells them by itself. This knows numbers
//! that rise and names of what they are about; what they mean is up to who listens.

use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::watch::Receiver;

use crate::task::turns::Beside;

/// Listens for the streams of one connection. Cheap to clone.
#[derive(Clone)]
pub struct Together(Arc<Inner>);

struct Inner {
    beside: Beside,
    /// What is listened to, by what it is about.
    heard: Mutex<HashMap<String, Weak<Mutex<Heard>>>>,
}

impl Together {
    /// Listens beside the streams that run there.
    pub fn new(beside: Beside) -> Self {
        Self(Arc::new(Inner { beside, heard: Mutex::default() }))
    }

    /// What `source` says, which only rises, by way of one listener for all who ask for the same. It may say so a
    /// moment later than the source, and closes with it. For streams of this connection only.
    pub fn hear(&self, about: &str, source: impl FnOnce() -> Receiver<u64>) -> Hearing {
        let mut all = self.0.heard.lock();
        if let Some(heard) = all.get(about).and_then(Weak::upgrade) {
            return Hearing::of(heard);
        }
        let mut source = source();
        let newest = *source.borrow_and_update();
        let heard = Arc::new(Mutex::new(Heard { newest, open: true, waiting: Slab::new(), deserted: None }));
        all.insert(about.to_owned(), Arc::downgrade(&heard));
        let hearing = Hearing::of(Arc::clone(&heard));
        // What runs beside a connection must not hold what holds it.
        let (inner, about) = (Arc::downgrade(&self.0), about.to_owned());
        self.0.beside.run(async move {
            loop {
                tokio::select! {
                    biased;
                    changed = source.changed() => {
                        let open = changed.is_ok();
                        tell(&heard, *source.borrow_and_update(), open);
                        if !open {
                            break;
                        }
                    }
                    () = deserted(&heard) => {
                        let Some(inner) = inner.upgrade() else { return };
                        let mut all = inner.heard.lock();
                        // Somebody may have come in the meantime.
                        if heard.lock().waiting.is_empty() {
                            all.remove(&about);
                            return;
                        }
                    }
                }
            }
            if let Some(inner) = inner.upgrade() {
                inner.heard.lock().remove(&about);
            }
        });
        hearing
    }
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").field("heard", &self.0.heard.lock().len()).finish_non_exhaustive()
    }
}

/// What was heard of one thing.
#[derive(Debug)]
struct Heard {
    newest: u64,
    open: bool,
    /// Everybody who listens, and whom to wake of those who wait.
    waiting: Slab<Option<Waker>>,
    /// Whom to wake when nobody listens any more.
    deserted: Option<Waker>,
}

fn tell(heard: &Mutex<Heard>, newest: u64, open: bool) {
    let woken: Vec<Waker> = {
        let mut heard = heard.lock();
        (heard.newest, heard.open) = (newest, open);
        heard.waiting.iter_mut().filter_map(|(_, waiting)| waiting.take()).collect()
    };
    woken.into_iter().for_each(Waker::wake);
}

/// Waits until nobody listens.
async fn deserted(heard: &Mutex<Heard>) {
    poll_fn(|cx| {
        let mut heard = heard.lock();
        if heard.waiting.is_empty() {
            return Poll::Ready(());
        }
        heard.deserted = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// One stream's ear.
#[derive(Debug)]
pub struct Hearing {
    heard: Arc<Mutex<Heard>>,
    seat: usize,
    seen: u64,
}

/// Nobody is left who could say anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed;

impl Hearing {
    fn of(heard: Arc<Mutex<Heard>>) -> Self {
        let (seat, seen) = {
            let mut heard = heard.lock();
            (heard.waiting.insert(None), heard.newest)
        };
        Self { heard, seat, seen }
    }

    /// What was said last, which is then no news.
    pub fn newest(&mut self) -> u64 {
        self.seen = self.heard.lock().newest;
        self.seen
    }

    /// What was said last, if it is news: once.
    pub fn news(&mut self) -> Option<u64> {
        let seen = self.seen;
        Some(self.newest()).filter(|newest| *newest != seen)
    }

    /// Waits until there is news. Cancel safe: it is news until it is asked for.
    ///
    /// # Errors
    /// There will be none.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut heard = self.heard.lock();
        if heard.newest != self.seen {
            return Poll::Ready(Ok(()));
        }
        if !heard.open {
            return Poll::Ready(Err(Closed));
        }
        let waiting = &mut heard.waiting[self.seat];
        if waiting.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut heard = self.heard.lock();
        let waker = heard.waiting.remove(self.seat);
        let deserted = heard.waiting.is_empty().then(|| heard.deserted.take()).flatten();
        drop(heard);
        drop(waker);
        if let Some(listener) = deserted {
            listener.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::watch;
    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;
    use crate::{task::turns::Turns, time::Clock};

    #[test]
    fn one_listens_for_all_who_wait_for_the_same_and_goes_with_the_last() {
        let (source, changed) = watch::channel(7);
        let beside = Beside::default();
        let together = Together::new(beside.clone());
        let mut turns = task::spawn(Turns::new(Clock::start(), beside, pending()));
        let mut hear = |about| {
            let hearing = together.hear(about, || changed.clone());
            assert_pending!(turns.poll());
            (hearing, source.receiver_count())
        };
        let (mut one, _) = hear("orders");
        let (mut other, listeners) = hear("orders");
        assert_eq!(listeners, 2, "the first, and ours");
        let (third, listeners) = hear("payments");
        assert_eq!(listeners, 3);
        assert_eq!((one.news(), one.newest()), (None, 7));

        let (mut first, mut second) = (task::spawn(one.changed()), task::spawn(other.changed()));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        source.send_replace(8);
        assert!(!first.is_woken(), "the connection tells its own");
        assert!(turns.is_woken());
        assert_pending!(turns.poll());
        assert!(first.is_woken() && second.is_woken());
        assert_ready_eq!(first.poll(), Ok(()));
        drop((first, second));
        assert_eq!((one.news(), one.news(), other.news()), (Some(8), None, Some(8)));

        drop(one);
        assert_pending!(turns.poll());
        assert_eq!(source.receiver_count(), 3, "somebody still listens");
        drop((other, third));
        assert!(turns.is_woken());
        assert_pending!(turns.poll());
        assert_eq!((source.receiver_count(), together.0.heard.lock().len()), (1, 0));
    }

    #[test]
    fn what_is_heard_closes_with_its_source_and_may_begin_again() {
        let beside = Beside::default();
        let together = Together::new(beside.clone());
        let mut turns = task::spawn(Turns::new(Clock::start(), beside, pending()));
        let (source, changed) = watch::channel(1);
        let mut hearing = together.hear("orders", || changed);
        let mut waiting = task::spawn(hearing.changed());
        assert_pending!(waiting.poll());
        drop(source);
        assert_pending!(turns.poll());
        assert!(waiting.is_woken());
        assert_ready_eq!(waiting.poll(), Err(Closed));
        let (_source, changed) = watch::channel(2);
        assert_eq!(together.hear("orders", || changed).newest(), 2);
    }

    #[test]
    fn whoever_polls_anew_is_woken_and_who_went_is_not() {
        let (source, changed) = watch::channel(1);
        let beside = Beside::default();
        let together = Together::new(beside.clone());
        let mut turns = task::spawn(Turns::new(Clock::start(), beside, pending()));
        let mut one = together.hear("orders", || changed.clone());
        let mut other = together.hear("orders", || changed);
        assert_pending!(turns.poll());
        let mut gone = task::spawn(());
        {
            let mut waiting = Box::pin(one.changed());
            gone.enter(|cx, _| assert_pending!(waiting.as_mut().poll(cx)));
            let mut moved = task::spawn(waiting);
            assert_pending!(moved.poll());
            source.send_replace(2);
            assert_pending!(turns.poll());
            assert!(moved.is_woken() && !gone.is_woken());
        }
        let mut waiting = task::spawn(other.changed());
        assert_ready_eq!(waiting.poll(), Ok(()), "news from before it waited");
    }
}
