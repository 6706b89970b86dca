//! What the operating system says of the data folder: how much is free there, and whether it is in memory.
//!
//! A file system that hangs, such as one of a network that is gone, never answers. So it is asked beside the
//! runtime, one question at a time, and no answer is waited for any longer than is said here.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::{system::readiness::Disk, task};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks about the data folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Folder {
    ask: fn(&Path) -> Disk,
    patience: Duration,
    /// One place: a question that is not answered takes no second thread.
    place: Arc<Semaphore>,
}

impl Folder {
    /// Asks the operating system.
    pub fn new() -> Self {
        Self::asked_by(ask, PATIENCE)
    }

    fn asked_by(ask: fn(&Path) -> Disk, patience: Duration) -> Self {
        Self { ask, patience, place: Arc::new(Semaphore::new(1)) }
    }

    /// How the file system of this folder is. None: there was no answer in time. Cancel safe.
    pub async fn disk(&self, dir: &Path) -> Option<Disk> {
        let (ask, dir) = (self.ask, dir.to_owned());
        let asking = async {
            let place = Arc::clone(&self.place).acquire_owned().await.ok()?;
            let asked = task::blocking("data folder", move || {
                // Given back when there is an answer, whoever waits for it.
                let _place = place;
                ask(&dir)
            });
            asked.await.ok()
        };
        timeout(self.patience, asking).await.ok().flatten()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
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
    use std::{
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    static HANGS: AtomicBool = AtomicBool::new(true);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    const FOUND: Disk = Disk { free: Some(7), volatile: Some(false) };

    #[allow(clippy::disallowed_methods)] // blocking is what it is for
    fn hangs(_: &Path) -> Disk {
        ASKED.fetch_add(1, Ordering::Relaxed);
        while HANGS.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        FOUND
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_up_nobody_and_one_thread() {
        let folder = Folder::asked_by(hangs, Duration::from_millis(20));
        for _ in 0..3 {
            assert_eq!(folder.disk(Path::new("data")).await, None);
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        HANGS.store(false, Ordering::Relaxed);
        let answered = async {
            loop {
                if let Some(found) = folder.disk(Path::new("data")).await {
                    return found;
                }
            }
        };
        assert_eq!(timeout(Duration::from_secs(20), answered).await, Ok(FOUND));
    }

    #[tokio::test]
    async fn a_real_folder_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let found = Folder::new().disk(dir.path()).await.unwrap();
        assert!(found.free.is_some() && found.volatile.is_some(), "{found:?}");
        let nowhere = Folder::new().disk(&dir.path().join("nowhere")).await.unwrap();
        assert_eq!(nowhere, Disk { free: None, volatile: None });
    }
}
