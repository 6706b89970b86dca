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

use crate::task::local::Spawner;

/// Listens for the streams of one connection. Cheap to clone.
#[derive(Clone)]
pub struct Subscriptions(Arc<Inner>);

struct Inner {
    spawner: Spawner,
    /// What is listened to, by name.
    topics: Mutex<HashMap<String, Weak<Mutex<Topic>>>>,
}

impl Subscriptions {
    /// Listens beside the streams that run there.
    pub fn new(spawner: Spawner) -> Self {
        Self(Arc::new(Inner { spawner, topics: Mutex::default() }))
    }

    /// What `source` says, which only rises, by way of one listener for all who ask for the same. It may say so a
    /// moment later than the source, and closes with it. For streams of this connection only.
    pub fn subscribe(&self, about: &str, source: impl FnOnce() -> Receiver<u64>) -> Subscription {
        let mut topics = self.0.topics.lock();
        if let Some(topic) = topics.get(about).and_then(Weak::upgrade) {
            return Subscription::of(topic);
        }
        let mut source = source();
        let newest = *source.borrow_and_update();
        let topic = Arc::new(Mutex::new(Topic { newest, open: true, waiting: Slab::new(), deserted: None }));
        topics.insert(about.to_owned(), Arc::downgrade(&topic));
        let subscription = Subscription::of(Arc::clone(&topic));
        // What runs beside a connection must not hold what holds it.
        let (inner, about) = (Arc::downgrade(&self.0), about.to_owned());
        self.0.spawner.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    changed = source.changed() => {
                        let open = changed.is_ok();
                        tell(&topic, *source.borrow_and_update(), open);
                        if !open {
                            break;
                        }
                    }
                    () = deserted(&topic) => {
                        let Some(inner) = inner.upgrade() else { return };
                        let mut topics = inner.topics.lock();
                        // Somebody may have come in the meantime.
                        if topic.lock().waiting.is_empty() {
                            topics.remove(&about);
                            return;
                        }
                    }
                }
            }
            if let Some(inner) = inner.upgrade() {
                inner.topics.lock().remove(&about);
            }
        });
        subscription
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions").field("topics", &self.0.topics.lock().len()).finish_non_exhaustive()
    }
}

/// What was said of one thing, and to whom it is told.
#[derive(Debug)]
struct Topic {
    newest: u64,
    open: bool,
    /// Everybody who listens, and whom to wake of those who wait.
    waiting: Slab<Option<Waker>>,
    /// Whom to wake when nobody listens any more.
    deserted: Option<Waker>,
}

fn tell(topic: &Mutex<Topic>, newest: u64, open: bool) {
    let woken: Vec<Waker> = {
        let mut topic = topic.lock();
        (topic.newest, topic.open) = (newest, open);
        topic.waiting.iter_mut().filter_map(|(_, waiting)| waiting.take()).collect()
    };
    woken.into_iter().for_each(Waker::wake);
}

/// Waits until nobody listens.
async fn deserted(topic: &Mutex<Topic>) {
    poll_fn(|cx| {
        let mut topic = topic.lock();
        if topic.waiting.is_empty() {
            return Poll::Ready(());
        }
        topic.deserted = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// That of one stream.
#[derive(Debug)]
pub struct Subscription {
    topic: Arc<Mutex<Topic>>,
    slot: usize,
    seen: u64,
}

/// Nobody is left who could say anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed;

impl Subscription {
    fn of(topic: Arc<Mutex<Topic>>) -> Self {
        let (slot, seen) = {
            let mut topic = topic.lock();
            (topic.waiting.insert(None), topic.newest)
        };
        Self { topic, slot, seen }
    }

    /// What was said last, which is then no news.
    pub fn newest(&mut self) -> u64 {
        self.seen = self.topic.lock().newest;
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

    /// The same for who polls.
    pub fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut topic = self.topic.lock();
        if topic.newest != self.seen {
            return Poll::Ready(Ok(()));
        }
        if !topic.open {
            return Poll::Ready(Err(Closed));
        }
        let waiting = &mut topic.waiting[self.slot];
        if waiting.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topic = self.topic.lock();
        let waker = topic.waiting.remove(self.slot);
        let deserted = topic.waiting.is_empty().then(|| topic.deserted.take()).flatten();
        drop(topic);
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
    use crate::{task::local::LocalTasks, time::Clock};

    #[test]
    fn one_listens_for_all_who_wait_for_the_same_and_goes_with_the_last() {
        let (source, changed) = watch::channel(7);
        let spawner = Spawner::default();
        let subscriptions = Subscriptions::new(spawner.clone());
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner, pending()));
        let mut subscribe = |about| {
            let subscription = subscriptions.subscribe(about, || changed.clone());
            assert_pending!(tasks.poll());
            (subscription, source.receiver_count())
        };
        let (mut one, _) = subscribe("orders");
        let (mut other, listeners) = subscribe("orders");
        assert_eq!(listeners, 2, "the first, and ours");
        let (third, listeners) = subscribe("payments");
        assert_eq!(listeners, 3);
        assert_eq!((one.news(), one.newest()), (None, 7));

        let (mut first, mut second) = (task::spawn(one.changed()), task::spawn(other.changed()));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        source.send_replace(8);
        assert!(!first.is_woken(), "the connection tells its own");
        assert!(tasks.is_woken());
        assert_pending!(tasks.poll());
        assert!(first.is_woken() && second.is_woken());
        assert_ready_eq!(first.poll(), Ok(()));
        drop((first, second));
        assert_eq!((one.news(), one.news(), other.news()), (Some(8), None, Some(8)));

        drop(one);
        assert_pending!(tasks.poll());
        assert_eq!(source.receiver_count(), 3, "somebody still listens");
        drop((other, third));
        assert!(tasks.is_woken());
        assert_pending!(tasks.poll());
        assert_eq!((source.receiver_count(), subscriptions.0.topics.lock().len()), (1, 0));
    }

    #[test]
    fn what_is_heard_closes_with_its_source_and_may_begin_again() {
        let spawner = Spawner::default();
        let subscriptions = Subscriptions::new(spawner.clone());
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner, pending()));
        let (source, changed) = watch::channel(1);
        let mut subscription = subscriptions.subscribe("orders", || changed);
        let mut waiting = task::spawn(subscription.changed());
        assert_pending!(waiting.poll());
        drop(source);
        assert_pending!(tasks.poll());
        assert!(waiting.is_woken());
        assert_ready_eq!(waiting.poll(), Err(Closed));
        let (_source, changed) = watch::channel(2);
        assert_eq!(subscriptions.subscribe("orders", || changed).newest(), 2);
    }

    #[test]
    fn whoever_polls_anew_is_woken_and_who_went_is_not() {
        let (source, changed) = watch::channel(1);
        let spawner = Spawner::default();
        let subscriptions = Subscriptions::new(spawner.clone());
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner, pending()));
        let mut one = subscriptions.subscribe("orders", || changed.clone());
        let mut other = subscriptions.subscribe("orders", || changed);
        assert_pending!(tasks.poll());
        let mut gone = task::spawn(());
        {
            let mut waiting = Box::pin(one.changed());
            gone.enter(|cx, _| assert_pending!(waiting.as_mut().poll(cx)));
            let mut moved = task::spawn(waiting);
            assert_pending!(moved.poll());
            source.send_replace(2);
            assert_pending!(tasks.poll());
            assert!(moved.is_woken() && !gone.is_woken());
        }
        let mut waiting = task::spawn(other.changed());
        assert_ready_eq!(waiting.poll(), Ok(()), "news from before it waited");
    }
}
