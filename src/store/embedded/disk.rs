//! The medium under the log: a folder with files, as little of it as the log needs.
//!
//! Behind traits, because the tests put a folder in memory in its place that fails on demand.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::Arc,
};

/// A folder. What is made, renamed or removed in it is there after a power cut once it was synced.
pub(super) trait Folder: Debug + Send + Sync {
    /// Opens a file for reading and writing; none if there is no such file.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn Medium>>>;

    /// Makes an empty file, in place of any that there is.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Medium>>;

    /// Gives a file another name, in place of any that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. One that is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    fn sync(&self) -> io::Result<()>;
}

/// One file. What is written is there after a power cut once it was synced.
pub(super) trait Medium: Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;

    /// Reads as much as `out` holds.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes what is read from `offset` on come from the disk itself.
    ///
    /// After a failed sync, Linux calls the pages in its cache clean although they never arrived. Whoever
    /// built on what that cache shows would lose it to the next power cut.
    fn settle(&self, offset: u64) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    }
}

impl Folder for Directory {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn Medium>>> {
        match Self::options().open(self.0.join(name)) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Medium>> {
        let file = Self::options().create(true).truncate(true).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Medium for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn settle(&self, offset: u64) -> io::Result<()> {
        /// Whole pages are dropped, of whatever size the system has them.
        const PAGE: u64 = 2 << 20;
        self.sync_data()?;
        #[cfg(target_os = "linux")]
        if let Err(cause) =
            rustix::fs::fadvise(self, offset / PAGE * PAGE, None, rustix::fs::Advice::DontNeed)
        {
            tracing::debug!(%cause, "the file system cannot drop its cache of the store");
        }
        Ok(())
    }
}
