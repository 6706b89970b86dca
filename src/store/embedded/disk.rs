//! The medium under the database: a file, opened so that nothing in it is taken for durable that is not.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _},
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use redb::{BackendError, Builder, Database, Durability, StorageBackend, backends::FileBackend};

use super::{
    shadow::Shadow,
    tables::{self, State},
};

/// Longest growth that is filled at once: what one commit can wait for. redb doubles a small file.
const FILL_BYTES: u64 = 32 << 20;

/// What a medium is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Opens what the database is kept on, as often as it is needed.
pub(super) type Opener = Box<dyn Fn(Access) -> io::Result<Arc<dyn StorageBackend>> + Send>;

/// A database that was opened, and what it says of itself.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) state: State,
}

/// Why a database does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Redb(redb::Error),
    #[error("the file has format {found}")]
    TooNew { found: u64 },
}

impl<E: Into<redb::Error>> From<E> for OpenError {
    fn from(cause: E) -> Self {
        Self::Redb(cause.into())
    }
}

/// Where the database is kept.
pub(super) struct Medium {
    disk: Opener,
    cache_bytes: usize,
    size: Arc<AtomicU64>,
}

impl Medium {
    pub(super) fn new(disk: Opener, cache_bytes: usize) -> Self {
        Self { disk, cache_bytes, size: Arc::default() }
    }

    /// The medium's length in bytes, kept up to date.
    pub(super) fn size(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.size)
    }

    /// Opens the database for reading and writing; makes its tables if it is new.
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        let backend = Direct { disk: (self.disk)(Access::Write)?, size: Arc::clone(&self.size) };
        let database = self.builder().create_with_backend(backend)?;
        let state = tables::prepare(&database)?;
        Ok(Opened { database, state })
    }

    /// Opens the database, and proves that it takes writes before it is used.
    pub(super) fn open_and_probe(&self) -> Result<Opened, OpenError> {
        let opened = self.open()?;
        for probe in [tables::write_probe, tables::remove_probe] {
            let mut transaction = opened.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            probe(&transaction)?;
            transaction.commit()?;
        }
        Ok(opened)
    }

    /// Opens the database for reading alone, while the medium takes no writes.
    pub(super) fn open_shadow(&self) -> Result<Opened, OpenError> {
        let database = self.builder().create_with_backend(Shadow::over((self.disk)(Access::Read)?)?)?;
        let state = tables::read_state(&database)?;
        Ok(Opened { database, state })
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }
}

/// Opens the database's file, for its owner alone, and makes the folder remember it.
pub(super) fn open_file(path: &Path, access: Access) -> io::Result<Arc<dyn StorageBackend>> {
    if access == Access::Read {
        // Nothing else is asked of the medium: it may be mounted read-only by now.
        return backend(File::open(path)?);
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if file.metadata()?.len() == 0 {
        // A new file is only there after a power cut if its folder was synced, before it has content.
        #[cfg(unix)]
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
    } else if !was_closed(&file) {
        forget_cached(&file)?;
    }
    backend(file)
}

fn backend(file: File) -> io::Result<Arc<dyn StorageBackend>> {
    Ok(Arc::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// Whether whoever wrote the file last closed it, so that all of it was synced.
///
/// Read from redb's header: nine bytes of magic, then flags of which one says that the file was not
/// closed. A header that looks different counts as not closed.
fn was_closed(mut file: &File) -> bool {
    const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
    const NOT_CLOSED: u8 = 2;
    let mut start = [0; 10];
    let read = file.rewind().and_then(|()| file.read_exact(&mut start));
    read.is_ok() && start.starts_with(MAGIC) && start[9] & NOT_CLOSED == 0
}

/// Makes the next reads come from the disk itself.
///
/// After a failed sync, Linux calls the pages in its cache clean although they never arrived. A database
/// opened from that cache would build on pages that a power cut takes away, so the cache is dropped and
/// the checksums decide about what the disk really holds.
fn forget_cached(file: &File) -> io::Result<()> {
    file.sync_data()?;
    #[cfg(target_os = "linux")]
    if let Err(cause) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::debug!(%cause, "the file system cannot drop its cache of the store");
    }
    Ok(())
}

/// Writes zeros where a file has grown.
///
/// A file that was only made longer has holes, and each first write into one makes the next sync write
/// the file system's journal too: a fifth of a commit's time on ext4. It also moves the failure of a full
/// disk to where the file grows.
fn fill(disk: &dyn StorageBackend, from: u64, to: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 256 << 10];
    let mut at = from;
    while at < to {
        let part = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        disk.write(at, &ZEROS[..part])?;
        at += part as u64;
    }
    Ok(())
}

/// The medium as it is, with its length noted.
#[derive(Debug)]
struct Direct {
    disk: Arc<dyn StorageBackend>,
    size: Arc<AtomicU64>,
}

impl StorageBackend for Direct {
    fn len(&self) -> io::Result<u64> {
        let len = self.disk.len()?;
        self.size.store(len, Relaxed);
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let old = self.disk.len()?;
        self.disk.set_len(len)?;
        self.size.store(len, Relaxed);
        if (1..=FILL_BYTES).contains(&len.saturating_sub(old)) {
            fill(self.disk.as_ref(), old, len)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_closed_is_told_from_one_that_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let opener = path.clone();
        let medium = Medium::new(Box::new(move |access| open_file(&opener, access)), 1 << 20);
        let closed = || was_closed(&File::open(&path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(!closed(), "an empty file");
        let opened = medium.open().unwrap();
        assert!(!closed(), "while it is open, as after a crash");
        drop(opened);
        assert!(closed());
        drop(medium.open_and_probe().unwrap());
        assert!(closed());
    }
}
