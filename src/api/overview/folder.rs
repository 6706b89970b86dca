//! What the operating system says of the data folder: how much is free there, and whether it is in memory.
//!
//! A file system that hangs, such as one of a network that is gone, never answers. So it is asked beside the
//! runtime, one question at a time, and no answer is waited for any longer than is said here. Whoever comes while a
//! question is under way shares its answer: behind one that is slow nobody waits for a turn.

use std::{fmt, future::Future, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    system::readiness::Disk,
    task::{self, EndedEarly},
    time::Clock,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says how a folder is; may take for ever.
type Ask = Arc<dyn Fn(&Path) -> Disk + Send + Sync>;

/// Asks about the data folder. Cheap to clone.
#[derive(Clone)]
pub struct Folder {
    ask: Ask,
    patience: Duration,
    clock: Clock,
    /// The newest: one that is not answered takes no second thread.
    question: Arc<Mutex<Option<Question>>>,
}

/// A question about the folder, for all who wait for its answer.
#[derive(Clone, Debug)]
struct Question {
    until: Instant,
    answer: watch::Receiver<Option<Disk>>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Folder {
    /// Asks the operating system.
    pub fn new(clock: Clock) -> Self {
        Self::asked_by(Arc::new(ask), PATIENCE, clock)
    }

    fn asked_by(ask: Ask, patience: Duration, clock: Clock) -> Self {
        Self { ask, patience, clock, question: Arc::default() }
    }

    /// How the file system of this folder is; always of the same one. None: there was no answer in time. Cancel safe.
    pub async fn disk(&self, dir: &Path) -> Option<Disk> {
        let (Question { until, mut answer }, asking) = self.question(dir);
        let answered = async {
            if let Some(asking) = asking {
                asking.await.ok()?;
            }
            *answer.wait_for(Option::is_some).await.ok()?
        };
        timeout_at(until, answered).await.ok().flatten()
    }

    /// The question that is under way, or a new one, with what asks it once it is polled: from then on it goes on,
    /// whoever waits for it.
    fn question(
        &self,
        dir: &Path,
    ) -> (Question, Option<impl Future<Output = Result<(), EndedEarly>> + use<>>) {
        let mut newest = self.question.lock();
        if let Some(question) = newest.as_ref().filter(|question| question.is_under_way()) {
            return (question.clone(), None);
        }
        let (sender, answer) = watch::channel(None);
        let until = self.clock.instant(self.clock.mono() + self.patience);
        let question = newest.insert(Question { until, answer }).clone();
        let (ask, dir) = (Arc::clone(&self.ask), dir.to_owned());
        let asking = task::blocking("data folder", move || {
            sender.send_replace(Some(ask(&dir)));
        });
        (question, Some(asking))
    }
}

impl Question {
    /// Who asks it holds the other end, and lets go of it without an answer only if that panics.
    fn is_under_way(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_ok()
    }
}

fn ask(dir: &Path) -> Disk {
    let stats = rustix::fs::statvfs(dir).ok();
    Disk {
        free: stats.map(|stats| stats.f_bavail.saturating_mul(stats.f_frsize)),
        volatile: is_volatile(dir),
    }
}

/// Whether a folder is on a file system that lives in memory.
#[cfg(target_os = "linux")]
fn is_volatile(dir: &Path) -> Option<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    rustix::fs::statfs(dir).ok().map(|stats| [TMPFS, RAMFS].contains(&stats.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_volatile(_: &Path) -> Option<bool> {
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::{sync, time::timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A file system that does not answer while somebody holds it. What is free on it is how often it was asked.
    #[derive(Default)]
    struct Slow {
        asked: AtomicU64,
        held: sync::Mutex<()>,
    }

    impl Slow {
        fn folder(self: &Arc<Self>, patience: Duration) -> Folder {
            let slow = Arc::clone(self);
            let ask = move |_: &Path| {
                let nth = 1 + slow.asked.fetch_add(1, Ordering::Relaxed);
                drop(slow.held.blocking_lock());
                Disk { free: Some(nth), volatile: None }
            };
            Folder::asked_by(Arc::new(ask), patience, Clock::start())
        }
    }

    async fn free(folder: &Folder) -> Option<u64> {
        folder.disk(Path::new("data")).await.and_then(|disk| disk.free)
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_up_nobody_and_one_thread() {
        let slow = Arc::new(Slow::default());
        let folder = slow.folder(Duration::from_millis(20));
        // Whatever fails below lets go of it: the runtime waits for whom it asked.
        let held = slow.held.lock().await;
        for _ in 0..3 {
            assert_eq!(free(&folder).await, None);
        }
        assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
        drop(held);
        let answered = async {
            loop {
                if let Some(free) = free(&folder).await {
                    return free;
                }
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(LONG, answered).await.is_ok());
    }

    #[tokio::test]
    async fn all_who_wait_share_the_answer_under_way() {
        let slow = Arc::new(Slow::default());
        let folder = slow.folder(LONG);
        let held = slow.held.lock().await;
        let all_ask = async { drop(held) };
        let found = tokio::join!(free(&folder), free(&folder), free(&folder), all_ask);
        assert_eq!(found, (Some(1), Some(1), Some(1), ()));
        assert_eq!(free(&folder).await, Some(2));
    }

    #[tokio::test]
    async fn who_asked_may_go_and_others_are_answered() {
        let slow = Arc::new(Slow::default());
        let folder = slow.folder(LONG);
        let held = slow.held.lock().await;
        assert_eq!(timeout(Duration::ZERO, free(&folder)).await.ok(), None);
        let (found, ()) = tokio::join!(free(&folder), async { drop(held) });
        assert_eq!(found, Some(1));
    }

    #[tokio::test]
    async fn a_question_that_panics_is_asked_again() {
        let folder = Folder::asked_by(Arc::new(|_| panic!("out of cheese")), LONG, Clock::start());
        for _ in 0..2 {
            assert_eq!(free(&folder).await, None);
        }
    }

    #[tokio::test]
    async fn a_real_folder_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(Clock::start());
        let found = folder.disk(dir.path()).await.unwrap();
        assert!(found.free.is_some() && found.volatile.is_some(), "{found:?}");
        let nowhere = folder.disk(&dir.path().join("nowhere")).await.unwrap();
        assert_eq!(nowhere, Disk { free: None, volatile: None });
    }
}
