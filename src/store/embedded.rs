//! The embedded engine: a log of commits with an index in memory, and one thread that writes.
//!
//! Commits queue up for the writer (`writer`), which takes all that wait as one group, decides each on
//! its own conditions (`group`), and makes the group durable by one frame (`frame`) at the end of the log
//! (`log`) and one `fdatasync`. Nothing waits for a timer, so a lonely commit costs one sync and a crowd
//! shares it. Only then does the index (`index`) change and are the callers answered.
//!
//! **Why a log.** Of everything stored, a server reads all when it starts and little afterwards; what it
//! does all day is write. A tree on the disk writes a page of 4 KiB and more for each small record, a log
//! writes the record. The index costs about 130 bytes of memory for each key; values stay in the file.
//!
//! **Why not a library.** redb 4.4 stood here first and passed the same suite; with 64 registrations in flight
//! it reached half of what the log does, and a page damaged by hand ended in a panic. fjall 3.1 does not pass: one
//! flipped bit in its journal can open as a store with a tenth of its keys, and a torn last batch often does not open.
//! Behind the contract either can come back.
//!
//! **What "durable" rests on.** One frame is on its way at any time. A power cut tears at most that one,
//! which nobody was told of; its checksum fails, and it is cut off when the store is opened (`recover`).
//! Whatever else does not fit is damage, and a damaged store does not open: it never starts as if less
//! had been written. The mark (`mark`) beside the log notices what a checksum cannot: missing parts.
//!
//! **When writing fails** the engine is read-only, says why, and tries again by itself (`keeper`): what
//! failed is cut off, room is made and synced, and work goes on. Reading goes on all the while.
//!
//! **What grows.** Overwritten and deleted records stay in the log until they are most of it; then the
//! log is written anew beside the work (`compact`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use tokio::sync::mpsc;
use tracing::info;

use super::{Store, lock::DataDir, problem};
use crate::{
    error::{Error, Kind, Reason, Result},
    task::{self, OnEnd, Task},
    time::Clock,
};

mod compact;
#[cfg(test)]
mod damage;
mod disk;
#[cfg(test)]
pub(crate) mod faults;
mod frame;
mod frames;
mod group;
mod index;
mod keeper;
mod log;
mod mark;
mod reader;
mod recover;
mod renewal;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::PAGE_BYTES;
pub(super) use shared::Shared;

/// Commits that may wait for the writer; further callers wait for a place.
const QUEUE: usize = 4096;
/// So many bytes of the log may be dead before it is written anew.
const DEAD_BYTES: u64 = 16 << 20;

/// The files that it may leave in the data folder.
pub(super) const FILES: &[&str] = &[log::FILE, log::NEW_FILE, mark::FILE, mark::NEW_FILE];

/// How to open the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made if it is missing.
    pub dir: PathBuf,
    /// Tells the time.
    pub clock: Clock,
    /// What it means if the engine's thread ends before the engine is closed.
    pub on_end: OnEnd,
}

impl Options {
    /// The defaults for a data folder.
    pub fn new(dir: impl Into<PathBuf>, clock: Clock) -> Self {
        Self { dir: dir.into(), clock, on_end: OnEnd::Fine }
    }
}

/// Owns the engine: its thread, its file and the hold on the data folder.
///
/// Dropping it stops the engine after the commits that were handed over, without waiting for that.
#[derive(Debug)]
#[must_use = "the engine stops when its owner is dropped"]
pub struct Engine {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    _keeper: Task<()>,
}

/// Whether a folder has a store, or a part of one.
pub fn is_in(dir: &Path) -> bool {
    FILES.iter().any(|file| dir.join(file).exists())
}

/// A data folder that is held, and whose store is yet to be opened.
#[derive(Debug)]
pub struct Held {
    dir: DataDir,
    clock: Clock,
    on_end: OnEnd,
}

/// Takes a data folder for this process, and makes it if it is missing. Blocks, briefly.
///
/// # Errors
/// `DataDirInUse` and `DataDirUnusable`, see [`DataDir::hold`].
pub fn hold(options: Options) -> Result<Held> {
    let Options { dir, clock, on_end } = options;
    Ok(Held { dir: DataDir::hold(&dir, &clock)?, clock, on_end })
}

/// Holds a data folder and opens its store.
///
/// # Errors
/// As [`hold`] and [`Held::open`].
pub fn open(options: Options) -> Result<(Store, Engine)> {
    hold(options)?.open()
}

impl Held {
    /// Opens the store, and holds the folder until the engine is closed.
    ///
    /// Must be called within a runtime. Blocks for as long as it takes to read the store once. A folder that
    /// was made for this is removed again if the store cannot be made in it.
    ///
    /// # Errors
    /// `StoreUnavailable`: the files cannot be read or written; `RecordDamaged`: they are no store, a
    /// damaged one, or a part of one; `RecordTooNew`: a newer release wrote it.
    pub fn open(self) -> Result<(Store, Engine)> {
        let Self { dir, clock, on_end } = self;
        let folder = Arc::new(disk::Directory(dir.path().to_owned()));
        open_on(folder, dir, clock, on_end, DEAD_BYTES)
    }

    /// Moves a closed store from another folder of the same file system into this one, which has none. The mark goes first: a
    /// folder that has it alone has lost its store, and is never taken for an empty one.
    ///
    /// The two moves are not one. Where the second does not come about (an error, a kill, a loss of power) this folder has the mark alone,
    /// and is refused from then on by whoever opens a store in it or restores into it: its mark is removed by hand, or another folder is
    /// taken, and the restore is done again.
    ///
    /// # Errors
    /// A file cannot be moved. The first may have been.
    pub fn take_in(self, from: &Path) -> std::io::Result<()> {
        let to = self.dir.path();
        for file in [mark::FILE, log::FILE] {
            std::fs::rename(from.join(file), to.join(file))?;
        }
        std::fs::File::open(to)?.sync_all()
    }

    /// Lets go of the folder, and removes it if it was made for this.
    pub fn undo(self) {
        self.dir.undo();
    }
}

fn open_on(
    folder: Arc<dyn disk::Folder>,
    dir: DataDir,
    clock: Clock,
    on_end: OnEnd,
    dead_bytes: u64,
) -> Result<(Store, Engine)> {
    let started = clock.elapsed();
    let opened = match recover::open(&folder) {
        Ok(opened) => opened,
        Err(cause) => {
            let error = open_error(dir.path(), cause);
            dir.undo();
            return Err(error);
        }
    };
    let (sender, queue) = mpsc::channel(QUEUE);
    let (shared, log) = Shared::new(opened, sender, clock);
    let shared = Arc::new(shared);
    let work = writer::Writer::new(Arc::clone(&shared), folder, log, queue, dir, dead_bytes);
    let writer = task::thread("store-writer", on_end, move || work.run())
        .map_err(|cause| problem::medium("got no thread from the system", cause))?;
    let keeper = task::spawn("store keeper", OnEnd::Fine, keeper::run(Arc::clone(&shared)));
    let status = shared.status();
    let took = clock.elapsed().saturating_sub(started);
    info!(
        component = "store",
        revision = status.revision,
        keys = status.keys,
        bytes = status.size_bytes,
        ?took,
        "store opened"
    );
    Ok((Store::embedded(Arc::clone(&shared)), Engine { shared, writer: Some(writer), _keeper: keeper }))
}

/// Says what a person can do about a store that does not open.
fn open_error(dir: &Path, cause: recover::OpenError) -> Error {
    match cause {
        recover::OpenError::TooNew { found } => Error::new(
            Kind::FailedPrecondition,
            Reason::RecordTooNew,
            format!(
                "{} has format {found}, and this program knows formats up to {}; \
                 run the release that wrote it or a newer one",
                dir.join(log::FILE).display(),
                frame::FORMAT
            ),
        ),
        recover::OpenError::Io(cause) => problem::not_opened(dir, cause),
        recover::OpenError::Damaged { file, how } => Error::new(
            Kind::Internal,
            Reason::RecordDamaged,
            format!(
                "{} {how}; restore the whole data folder from a copy, or move it aside to start with an \
                 empty fleet",
                dir.join(file).display()
            ),
        ),
    }
}

impl Engine {
    /// Refuses new commits, waits for those handed over, closes the file and lets go of the folder.
    ///
    /// # Errors
    /// `Internal`: the writer ended by a panic; what it acknowledged is durable.
    pub async fn close(mut self) -> Result<()> {
        self.stop();
        let Some(writer) = self.writer.take() else { return Ok(()) };
        task::blocking("store close", move || writer.join())
            .await
            .map_err(Error::internal)?
            .map_err(|_| Error::internal("the store's writer panicked"))
    }

    /// Closes it, and removes a data folder that was made by opening it and that holds nothing yet.
    ///
    /// # Errors
    /// As [`Engine::close`].
    pub async fn undo(self) -> Result<()> {
        self.shared.undone.store(true, Ordering::Release);
        self.close().await
    }

    fn stop(&self) {
        self.shared.closing.store(true, Ordering::Release);
        // Wakes the writer. If the queue is full it is awake and looks at `closing` by itself.
        drop(self.shared.queue.try_send(writer::Request::wake()));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
