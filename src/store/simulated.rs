//! An engine in memory for simulations: the same contract, on injected time, with faults by the dice.
//!
//! One task writes, in the order in which commits were handed over, and what is to become of each is
//! asked of the simulation: how long it takes, whether the medium refuses it, or whether its outcome
//! stays open for a while. A [`Medium`] outlives the engine, as a disk does: a crash loses what was not
//! acknowledged, or keeps some of it. No bytes, no files, no torn frames: those are `embedded`'s to test.

use std::{collections::VecDeque, fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, sleep_until, timeout},
};

use super::{
    Commit, Counters, Entry, LeaseId, Page, Revision, Status, Store, Trouble, Watch, counters::Counting,
    embedded::PAGE_BYTES, lease::Leases, problem, watch::Ring,
};
use crate::{
    error::Result,
    task::{OnEnd, Task, spawn},
    time::Clock,
};

mod disk;
mod tests;

use disk::Disk;

/// How long a caller waits for a commit.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);
/// Commits that may wait.
const QUEUE: usize = 1024;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It is durable after so long.
    Written(Duration),
    /// It is not written, and for a while nothing is.
    Refused { after: Duration, lasts: Duration },
    /// It is cut short. Until the medium has recovered nobody can tell what became of it, and reading
    /// may show it or not.
    Open { after: Duration, lasts: Duration, shown: bool, written: bool },
}

/// Decides what becomes of each commit, in their order.
pub(crate) type Fates = Box<dyn FnMut() -> Fate + Send>;

/// What survives the engine. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium(Arc<Mutex<Disk>>);

/// Owns the engine; dropping it stops the writing.
#[derive(Debug)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    _writer: Task<()>,
}

/// The engine, as its callers see it.
pub(in crate::store) struct Shared {
    medium: Medium,
    inner: Mutex<Inner>,
    ring: Arc<Ring>,
    leases: Leases,
    counting: Counting,
    attention: Notify,
    clock: Clock,
}

#[derive(Default)]
struct Inner {
    /// Handed over and not yet durable; the first one is being written.
    queue: VecDeque<Request>,
    /// Cut short while the medium was in trouble.
    open: Option<Cut>,
    trouble: bool,
    dead: bool,
}

struct Request {
    commit: Commit,
    answer: oneshot::Sender<Result<Revision>>,
}

struct Cut {
    commit: Commit,
    /// What reading shows meanwhile.
    shown: Option<Disk>,
    written: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated engine")
    }
}

impl Medium {
    /// Starts an engine on it.
    pub(crate) fn open(&self, clock: Clock, fates: Fates) -> (Store, Engine) {
        let revision = self.0.lock().revision;
        let shared = Arc::new(Shared {
            medium: self.clone(),
            inner: Mutex::default(),
            ring: Arc::new(Ring::new(revision)),
            leases: Leases::default(),
            counting: Counting::default(),
            attention: Notify::new(),
            clock,
        });
        let now = clock.mono();
        self.0.lock().leases.iter().for_each(|(id, ttl)| shared.leases.insert(*id, *ttl, now));
        let writer = spawn("simulated store", OnEnd::Fine, write(Arc::clone(&shared), fates));
        (Store::simulated(Arc::clone(&shared)), Engine { shared, _writer: writer })
    }

    /// What is on it under a prefix.
    pub(crate) fn entries(&self, prefix: &str) -> Vec<Entry> {
        self.0.lock().page(prefix, None, usize::MAX, usize::MAX).entries
    }
}

impl Engine {
    /// The process dies. Of what was handed over and not acknowledged, the first `keep` are on the medium
    /// all the same.
    pub(crate) fn crash(self, keep: usize) {
        let mut inner = self.shared.inner.lock();
        inner.dead = true;
        let mut disk = self.shared.medium.0.lock();
        if let Some(cut) = inner.open.take().filter(|cut| cut.written) {
            drop(disk.commit(&cut.commit));
        }
        if !inner.trouble {
            inner.queue.drain(..).take(keep).for_each(|request| drop(disk.commit(&request.commit)));
        }
    }

    /// Whether nothing is on its way and all is well.
    pub(crate) fn is_quiet(&self) -> bool {
        let inner = self.shared.inner.lock();
        inner.queue.is_empty() && !inner.trouble
    }
}

async fn write(shared: Arc<Shared>, mut fates: Fates) {
    loop {
        shared.end_leases();
        if shared.inner.lock().queue.is_empty() {
            let due = shared.leases.next_deadline().map(|at| shared.clock.instant(at));
            let next = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.attention.notified() => {}
                () = next => {}
            }
            continue;
        }
        match fates() {
            Fate::Written(after) => {
                pause(after).await;
                shared.write_first();
            }
            Fate::Refused { after, lasts } => {
                pause(after).await;
                shared.fail_first(|_| None);
                shared.recover(lasts).await;
            }
            Fate::Open { after, lasts, shown, written } => {
                pause(after).await;
                shared.fail_first(|commit| {
                    let mut disk = shared.medium.0.lock().clone();
                    // One that a condition forbids has no open outcome.
                    disk.commit(&commit).ok()?;
                    Some(Cut { commit, shown: shown.then_some(disk), written })
                });
                shared.recover(lasts).await;
            }
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

impl Shared {
    /// Makes the first commit that waits durable, tells of it, and answers.
    fn write_first(&self) {
        let mut inner = self.inner.lock();
        if inner.dead {
            return;
        }
        let Some(Request { commit, answer }) = inner.queue.pop_front() else { return };
        drop(answer.send(self.apply(&commit)));
    }

    fn apply(&self, commit: &Commit) -> Result<Revision> {
        let mut disk = self.medium.0.lock();
        let events = disk.commit(commit)?;
        self.ring.publish(events, disk.revision);
        Ok(disk.revision)
    }

    /// Fails the first commit that waits, and all others with it: nothing is taken until it has recovered.
    fn fail_first(&self, cut: impl FnOnce(Commit) -> Option<Cut>) {
        let mut inner = self.inner.lock();
        if inner.dead {
            return;
        }
        inner.trouble = true;
        if let Some(Request { commit, answer }) = inner.queue.pop_front() {
            inner.open = cut(commit);
            let error = match inner.open {
                Some(_) => problem::outcome_unknown(Trouble::DiskFails),
                None => problem::not_written(Trouble::DiskFails),
            };
            drop(answer.send(Err(error)));
        }
        for Request { answer, .. } in inner.queue.drain(..) {
            drop(answer.send(Err(problem::read_only(Trouble::DiskFails))));
        }
    }

    async fn recover(&self, lasts: Duration) {
        sleep(lasts).await;
        let mut inner = self.inner.lock();
        if inner.dead {
            return;
        }
        if let Some(cut) = inner.open.take().filter(|cut| cut.written) {
            drop(self.apply(&cut.commit));
        }
        inner.trouble = false;
    }

    fn end_leases(&self) {
        for lease in self.leases.due(self.clock.mono()) {
            if self.leases.remove_if_due(lease, self.clock.mono()) {
                self.end_lease(lease);
            }
        }
    }

    fn end_lease(&self, lease: LeaseId) {
        let mut disk = self.medium.0.lock();
        let events = disk.end_lease(lease);
        self.ring.publish(events, disk.revision);
    }

    fn read<T>(&self, what: impl FnOnce(&Disk) -> T) -> Result<T> {
        let inner = self.inner.lock();
        if inner.dead {
            return Err(problem::unavailable("is closed"));
        }
        self.counting.read(1);
        Ok(match inner.open.as_ref().and_then(|cut| cut.shown.as_ref()) {
            Some(shown) => what(shown),
            None => what(&self.medium.0.lock()),
        })
    }

    pub(in crate::store) fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.read(|disk| disk.get(key))
    }

    pub(in crate::store) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: NonZeroUsize,
    ) -> Result<Page> {
        self.read(|disk| disk.page(prefix, after, limit.get(), PAGE_BYTES))
    }

    pub(in crate::store) async fn commit(&self, commit: Commit) -> Result<Revision> {
        timeout(COMMIT_DEADLINE, self.commit_settled(commit))
            .await
            .unwrap_or_else(|_| Err(problem::unavailable("did not answer in time")))
    }

    pub(in crate::store) async fn commit_settled(&self, commit: Commit) -> Result<Revision> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            if inner.dead {
                return Err(problem::unavailable("is closed"));
            }
            if inner.trouble {
                return Err(problem::read_only(Trouble::DiskFails));
            }
            if inner.queue.len() >= QUEUE {
                return Err(problem::refused("has too many commits waiting"));
            }
            inner.queue.push_back(Request { commit, answer });
        }
        self.attention.notify_one();
        answered.await.unwrap_or_else(|_| Err(problem::unavailable("is closed")))
    }

    pub(in crate::store) fn grant(&self, ttl: Duration) -> LeaseId {
        let lease = self.medium.0.lock().grant(ttl);
        self.leases.insert(lease, ttl, self.clock.mono());
        self.attention.notify_one();
        lease
    }

    pub(in crate::store) fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.leases.renew(lease, self.clock.mono()).ok_or_else(|| problem::lease_gone(lease.0))
    }

    pub(in crate::store) fn revoke(&self, lease: LeaseId) {
        self.leases.remove(lease);
        self.end_lease(lease);
    }

    pub(in crate::store) fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        self.ring.watch(prefix, from)
    }

    pub(in crate::store) fn status(&self) -> Status {
        let trouble = self.inner.lock().trouble;
        let disk = self.medium.0.lock();
        Status {
            engine: "simulated",
            revision: disk.revision,
            keys: disk.rows.len() as u64,
            size_bytes: 0,
            writable: !trouble,
            trouble: trouble.then_some(Trouble::DiskFails),
        }
    }

    pub(in crate::store) fn counters(&self) -> Counters {
        self.counting.snapshot()
    }
}
