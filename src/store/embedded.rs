//! The embedded engine: one redb file, one thread that writes, readers that never wait for it.
//!
//! Commits queue up for the writer (`writer`), which takes all that wait as one group, decides each on
//! its own conditions, and makes the group durable by one redb commit: one `fdatasync`. Nothing waits
//! for a timer, so a lonely commit costs one sync and a crowd shares it.
//!
//! **What "durable" rests on.** A redb commit with `Durability::Immediate` writes new pages beside the
//! old ones, then the header with the other of its two commit slots, and syncs once. A power cut within
//! leaves a header whose newest slot may name pages that never arrived; they fail their checksums, and
//! redb goes back to the slot before, which is whole because its pages are not reused until the next
//! commit stands. An acknowledged commit is therefore never lost. Two-phase commit and quick repair are
//! off: they cost a second sync for each commit and save the check of all pages after a crash, which is
//! short for a store of this size.
//!
//! **When writing fails** the engine is read-only and tries again by itself (`keeper`). redb refuses all
//! further work on a database after one I/O error, reads included, so it is opened again; while the
//! medium takes no writes at all, through a copy-on-write view (`shadow`), so that reads go on.

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

mod disk;
#[cfg(test)]
pub(crate) mod faults;
mod keeper;
mod reader;
mod shadow;
mod shared;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::PAGE_BYTES;
pub(super) use shared::Shared;

/// Default of [`Options::cache_bytes`]: enough for the inner pages of a large fleet's tree.
pub const CACHE_BYTES: usize = 8 << 20;
/// Commits that may wait for the writer; further callers wait for a place.
const QUEUE: usize = 4096;
/// Name of the database in the data folder.
const FILE: &str = "store.redb";

/// How to open the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made if it is missing.
    pub dir: PathBuf,
    /// Most memory for pages of the database, in bytes.
    pub cache_bytes: usize,
    /// Tells the time.
    pub clock: Clock,
}

impl Options {
    /// The defaults for a data folder.
    pub fn new(dir: impl Into<PathBuf>, clock: Clock) -> Self {
        Self { dir: dir.into(), cache_bytes: CACHE_BYTES, clock }
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

/// Opens the store of a data folder and holds the folder until the engine is closed.
///
/// Must be called within a runtime. Blocks for as long as the file takes to open: milliseconds, or after
/// a crash the time to read it once.
///
/// # Errors
/// `DataDirInUse` and `DataDirUnusable`, see [`DataDir::hold`]; `StoreUnavailable`: the file cannot be
/// read or written; `RecordDamaged`: it is no store, or a damaged one; `RecordTooNew`: a newer release
/// wrote it.
pub fn open(options: Options) -> Result<(Store, Engine)> {
    let Options { dir, cache_bytes, clock } = options;
    let dir = DataDir::hold(&dir, &clock)?;
    let path = dir.path().join(FILE);
    let disk: disk::Opener = Box::new(move |access| disk::open_file(&path, access));
    open_on(disk::Medium::new(disk, cache_bytes), dir, clock)
}

fn open_on(medium: disk::Medium, dir: DataDir, clock: Clock) -> Result<(Store, Engine)> {
    let started = clock.elapsed();
    let opened = medium.open().map_err(|cause| open_error(dir.path(), cause))?;
    let (sender, queue) = mpsc::channel(QUEUE);
    let shared = Arc::new(Shared::new(opened, medium.size(), sender, clock));
    let work = writer::Writer::new(Arc::clone(&shared), medium, queue, dir);
    let writer = task::thread("store-writer", move || work.run())
        .map_err(|cause| problem::medium("got no thread from the system", cause))?;
    let keeper = task::spawn("store keeper", OnEnd::Fine, keeper::run(Arc::clone(&shared)));
    let status = shared.status();
    let took = clock.elapsed().saturating_sub(started);
    info!(revision = status.revision, keys = status.keys, bytes = status.size_bytes, ?took, "store opened");
    Ok((Store::embedded(Arc::clone(&shared)), Engine { shared, writer: Some(writer), _keeper: keeper }))
}

/// Says what a person can do about a store that does not open.
fn open_error(dir: &Path, cause: disk::OpenError) -> Error {
    let file = dir.join(FILE);
    match cause {
        disk::OpenError::TooNew { found } => Error::new(
            Kind::FailedPrecondition,
            Reason::RecordTooNew,
            format!(
                "{} has format {found}, and this program knows formats up to {}; \
                 run the release that wrote it or a newer one",
                file.display(),
                tables::FORMAT
            ),
        ),
        disk::OpenError::Redb(redb::Error::Io(cause)) if cause.kind() != std::io::ErrorKind::InvalidData => {
            problem::medium(&format!("cannot read or write {} ({cause})", file.display()), cause)
        }
        disk::OpenError::Redb(cause) => Error::new(
            Kind::Internal,
            Reason::RecordDamaged,
            format!("{} is not a store that can be read: {cause}; restore it from a backup", file.display()),
        )
        .because(cause),
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
