//! What callers, the writer and the keeper share, and the callers' side of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use redb::Database;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use super::{
    disk::Opened,
    tables::State,
    writer::{Request, Work},
};
use crate::{
    error::Result,
    store::{
        Commit, Counters, LeaseId, Revision, Status, Watch, counters::Counting, lease::Leases, problem,
        watch::Ring,
    },
    time::{Clock, Mono},
};

/// How long a caller waits for a commit. A disk that needs longer is as good as away.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);

/// The engine, as its callers see it.
#[derive(Debug)]
pub(in crate::store) struct Shared {
    /// None while it is opened anew and nothing can be read. Readers hold it for one short reading.
    pub(super) database: RwLock<Option<Database>>,
    pub(super) queue: mpsc::Sender<Request>,
    pub(super) ring: Arc<Ring>,
    pub(super) leases: Leases,
    pub(super) counting: Counting,
    pub(super) writable: AtomicBool,
    pub(super) closing: AtomicBool,
    /// Wakes the keeper: a lease was granted, or something failed.
    pub(super) attention: Notify,
    pub(super) clock: Clock,
    keys: AtomicU64,
    size: Arc<AtomicU64>,
    #[cfg(test)]
    still: still::Still,
}

impl Shared {
    pub(super) fn new(
        opened: Opened,
        size: Arc<AtomicU64>,
        queue: mpsc::Sender<Request>,
        clock: Clock,
    ) -> Self {
        let Opened { database, state } = opened;
        let shared = Self {
            database: RwLock::new(Some(database)),
            queue,
            ring: Arc::new(Ring::new(state.revision)),
            leases: Leases::default(),
            counting: Counting::default(),
            writable: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            attention: Notify::new(),
            clock,
            keys: AtomicU64::new(0),
            size,
            #[cfg(test)]
            still: still::Still::default(),
        };
        shared.take_state(&state, clock.mono());
        shared
    }

    /// Learns what a database says of itself when it is opened, again or for the first time.
    pub(super) fn take_state(&self, state: &State, now: Mono) {
        self.set_keys(state.keys);
        for (id, ttl_millis) in &state.leases {
            self.leases.insert(*id, Duration::from_millis(*ttl_millis), now);
        }
        if self.ring.head() != state.revision {
            self.ring.restart(state.revision);
        }
    }

    pub(super) fn set_keys(&self, keys: u64) {
        self.keys.store(keys, Ordering::Relaxed);
    }

    /// Notes that the medium failed: nothing is written until the keeper has had it opened anew.
    pub(super) fn medium_failed(&self) {
        self.writable.store(false, Ordering::Release);
        self.attention.notify_one();
    }

    pub(in crate::store) async fn commit(&self, commit: Commit) -> Result<Revision> {
        self.measured(self.ask(Work::Commit(commit))).await
    }

    pub(in crate::store) async fn commit_settled(&self, commit: Commit) -> Result<Revision> {
        self.measured(self.hand_over(Work::Commit(commit))).await
    }

    async fn measured(&self, work: impl Future<Output = Result<Revision>>) -> Result<Revision> {
        let started = self.clock.elapsed();
        let outcome = work.await;
        match &outcome {
            Ok(_) => self.counting.committed(self.clock.elapsed().saturating_sub(started)),
            Err(_) => self.counting.failed(),
        }
        outcome
    }

    pub(in crate::store) async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        let lease = LeaseId(self.ask(Work::Grant { ttl }).await?);
        // Its time began when it was asked for; it shall be whole for whoever has just got it.
        self.keep_alive(lease)?;
        Ok(lease)
    }

    pub(in crate::store) fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.leases.renew(lease, self.clock.mono()).ok_or_else(|| problem::lease_gone(lease.0))
    }

    pub(in crate::store) async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.ask(Work::Revoke(lease)).await.map(drop)
    }

    pub(in crate::store) fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        self.ring.watch(prefix, from)
    }

    pub(in crate::store) fn status(&self) -> Status {
        Status {
            engine: "embedded",
            revision: self.ring.head(),
            keys: self.keys.load(Ordering::Relaxed),
            size_bytes: self.size.load(Ordering::Relaxed),
            writable: self.writable.load(Ordering::Acquire) && !self.closing.load(Ordering::Acquire),
        }
    }

    pub(in crate::store) fn counters(&self) -> Counters {
        self.counting.snapshot()
    }

    /// Gives work to the writer and waits for its answer, within a deadline.
    pub(super) async fn ask(&self, work: Work) -> Result<u64> {
        timeout(COMMIT_DEADLINE, self.hand_over(work)).await.unwrap_or_else(|_| {
            Err(problem::unavailable(format_args!(
                "did not finish within {COMMIT_DEADLINE:?}; the outcome is unknown"
            )))
        })
    }

    /// Gives work to the writer and waits for its answer, however long that takes.
    async fn hand_over(&self, work: Work) -> Result<u64> {
        if self.closing.load(Ordering::Acquire) {
            return Err(problem::refused("is closed"));
        }
        if !self.writable.load(Ordering::Acquire) && !matches!(work, Work::Reopen) {
            return Err(problem::refused("is read-only, because writing failed"));
        }
        #[cfg(test)]
        let _still = self.still.hold();
        let at = self.clock.mono();
        let (answer, answered) = oneshot::channel();
        let request = Request { work, at, answer: Some(answer) };
        self.queue.send(request).await.map_err(|_| problem::refused("is closed"))?;
        let closed = || Err(problem::unavailable("was closed meanwhile; the outcome is unknown"));
        answered.await.unwrap_or_else(|_| closed())
    }
}

/// Keeps a test's paused time from running on while the writer's thread works.
#[cfg(test)]
mod still {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use parking_lot::Mutex;

    /// How many callers wait for the writer, and what holds the time for them.
    ///
    /// tokio moves paused time on when its tasks are idle, and cannot see a thread of our own. A
    /// blocking task it does see: one runs for as long as anybody waits.
    #[derive(Debug, Default)]
    pub(super) struct Still(Mutex<(usize, Option<SyncSender<()>>)>);

    pub(super) struct Held<'s>(&'s Still);

    impl Still {
        #[allow(clippy::disallowed_methods)]
        pub(super) fn hold(&self) -> Held<'_> {
            let mut waiting = self.0.lock();
            waiting.0 += 1;
            waiting.1.get_or_insert_with(|| {
                let (hold, held) = sync_channel(0);
                drop(tokio::task::spawn_blocking(move || held.recv().is_ok()));
                hold
            });
            Held(self)
        }
    }

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            let mut waiting = self.0.0.lock();
            waiting.0 -= 1;
            if waiting.0 == 0 {
                waiting.1 = None;
            }
        }
    }
}
