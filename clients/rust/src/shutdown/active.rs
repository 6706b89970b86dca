//! What is under way: requests that are counted while they run, and long-lived streams that are told when it ends.
//!
//! Counting costs a few atomic operations for each request. It knows no phases: whether something new is let in is what it
//! was told last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::rt;

/// What is counted. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Active(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kinds: [Count; 2],
    /// Nothing new is let in.
    shut: AtomicBool,
    /// Whether it matters when the last one came.
    ends: AtomicBool,
    /// When the last one came, in nanoseconds since `epoch`, while it matters; 0: none has.
    last: AtomicU64,
    epoch: Instant,
    /// Something has come to nothing.
    idle: Notify,
}

#[derive(Debug, Default)]
struct Count {
    now: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
}

/// What is counted by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Ends by itself, soon.
    Request,
    /// Ends when it is told to.
    LongLived,
}

/// It ends, and takes nothing new.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this instance is shutting down; ask another one")]
pub struct ShuttingDown;

/// Something that is under way until this is dropped.
#[derive(Debug)]
#[must_use = "it counts as over when this is dropped"]
pub(crate) struct Counted {
    active: Active,
    kind: Kind,
}

/// Sums of one kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sums {
    pub(crate) now: u64,
    pub(crate) ended: u64,
    pub(crate) refused: u64,
}

impl Active {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            kinds: [Count::default(), Count::default()],
            shut: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            last: AtomicU64::new(0),
            epoch: rt::now(),
            idle: Notify::new(),
        }))
    }

    fn count(&self, kind: Kind) -> &Count {
        let [requests, long_lived] = &self.0.kinds;
        match kind {
            Kind::Request => requests,
            Kind::LongLived => long_lived,
        }
    }

    /// Counts one more, unless nothing new is let in.
    pub(crate) fn enter(&self, kind: Kind) -> Result<Counted, ShuttingDown> {
        // Counted first: whoever shuts and then sees nothing has overlooked nobody.
        let count = self.count(kind);
        count.now.fetch_add(1, Ordering::SeqCst);
        let counted = Counted { active: self.clone(), kind };
        if self.is_ending() {
            let since = u64::try_from(self.0.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
            self.0.last.fetch_max(since, Ordering::Relaxed);
        }
        if self.0.shut.load(Ordering::SeqCst) {
            count.refused.fetch_add(1, Ordering::Relaxed);
            // It has not run.
            count.ended.fetch_sub(1, Ordering::Relaxed);
            return Err(ShuttingDown);
        }
        Ok(counted)
    }

    /// From now on it matters when something comes.
    pub(crate) fn ends(&self) {
        self.0.ends.store(true, Ordering::SeqCst);
    }

    /// Whether the end has begun.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.ends.load(Ordering::Relaxed)
    }

    /// Lets nothing new in.
    pub(crate) fn shut(&self) {
        self.0.shut.store(true, Ordering::SeqCst);
    }

    /// Takes both back.
    pub(crate) fn open(&self) {
        self.0.shut.store(false, Ordering::SeqCst);
        self.0.ends.store(false, Ordering::SeqCst);
    }

    pub(crate) fn sums(&self, kind: Kind) -> Sums {
        let count = self.count(kind);
        Sums {
            now: count.now.load(Ordering::SeqCst),
            ended: count.ended.load(Ordering::Relaxed),
            refused: count.refused.load(Ordering::Relaxed),
        }
    }

    /// Waits until nothing of this kind is under way. Cancel safe.
    pub(crate) async fn idle(&self, kind: Kind) {
        loop {
            let idle = self.0.idle.notified();
            tokio::pin!(idle);
            // Whoever becomes idle after this look is heard.
            idle.as_mut().enable();
            if self.count(kind).now.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Waits until no request is under way and none has come for so long, as far as it was noted since
    /// [`ends`](Self::ends). Cancel safe.
    pub(crate) async fn quiet(&self, quiet: Duration) {
        let began = rt::now();
        loop {
            self.idle(Kind::Request).await;
            let until = self.last().unwrap_or(began).max(began) + quiet;
            if rt::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Waits until nobody has come for so long, not even to be turned away; at once where that is so already. Cancel safe.
    pub(crate) async fn deserted(&self, quiet: Duration) {
        while let Some(until) = self.last().map(|last| last + quiet).filter(|until| rt::now() < *until) {
            sleep_until(until).await;
        }
    }

    /// When the last one came since the end has begun.
    fn last(&self) -> Option<Instant> {
        let nanos = self.0.last.load(Ordering::Relaxed);
        (nanos > 0).then(|| self.0.epoch + Duration::from_nanos(nanos))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = self.active.count(self.kind);
        count.ended.fetch_add(1, Ordering::Relaxed);
        if count.now.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.active.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quiet_begins_anew_with_each_that_comes_and_waits_for_those_that_run() {
        let active = Active::new();
        let began = rt::now();
        active.ends();
        let come = async {
            let long = active.enter(Kind::Request).unwrap();
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(700)).await;
                drop(active.enter(Kind::Request));
            }
            tokio::time::sleep(Duration::from_millis(1500)).await;
            drop(long);
        };
        let quiet = async {
            active.quiet(Duration::from_secs(1)).await;
            began.elapsed()
        };
        // The last came at 2.1 s, the first ended at 3.6 s: it has been quiet for long enough then.
        assert_eq!(tokio::join!(quiet, come).0, Duration::from_millis(3600));
        let again = rt::now();
        active.quiet(Duration::from_secs(1)).await;
        assert_eq!(again.elapsed(), Duration::from_secs(1), "what was before does not count");
    }

    #[tokio::test]
    async fn what_is_shut_lets_nothing_in_and_counts_it() {
        let active = Active::new();
        let inside = active.enter(Kind::Request).unwrap();
        active.shut();
        assert!(active.enter(Kind::Request).is_err() && active.enter(Kind::LongLived).is_err());
        assert_eq!(active.sums(Kind::Request), Sums { now: 1, ended: 0, refused: 1 });
        drop(inside);
        active.idle(Kind::Request).await;
        assert_eq!(active.sums(Kind::Request), Sums { now: 0, ended: 1, refused: 1 });
        active.open();
        drop(active.enter(Kind::Request).unwrap());
    }
}
