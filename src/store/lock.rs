//! The data folder: made if it is missing, checked, and held by one process at a time.
//!
//! The lock is the operating system's advisory lock on the file `lock` in the folder. It ends with the
//! process, however that ends, so there is no stale lock to clear. What is written in the file only
//! tells people who holds it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::embedded::FILES;
use crate::{
    error::{Error, Kind, Reason, Result},
    time::Clock,
};

/// Name of the lock's file in the folder.
const LOCK_FILE: &str = "lock";

/// A data folder that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

/// Who holds a folder, as the file tells it.
#[derive(Debug, Deserialize, Serialize)]
struct Holder {
    pid: u32,
    host: String,
    since: String,
}

impl DataDir {
    /// Makes the folder if it is missing (for its owner alone), and takes it for this process.
    ///
    /// # Errors
    /// - `DataDirInUse`: another process holds it; the message says which.
    /// - `DataDirUnusable`: it cannot be made, entered or written to.
    pub fn hold(path: &Path, clock: &Clock) -> Result<Self> {
        let made = missing(path);
        let undo = |tried, cause| {
            remove(path, &made);
            unusable(path, tried, cause)
        };
        create(path).map_err(|cause| undo("make", cause))?;
        let mut lock = open_lock(path).map_err(|cause| undo("write to", cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut lock)),
            Err(TryLockError::Error(cause)) => return Err(undo("lock", cause)),
        }
        write_holder(&mut lock, clock).map_err(|cause| undo("write to", cause))?;
        Ok(Self { path: path.to_owned(), made, _lock: lock })
    }

    /// Removes the folder again if it was made by [`DataDir::hold`], with the store's files in it. Only for
    /// a folder that holds nothing of anybody: a start that failed leaves nothing behind.
    pub(super) fn undo(self) {
        remove(&self.path, &self.made);
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folders of a path that are not there, the innermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let absent = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    path.ancestors().take_while(absent).map(Path::to_owned).collect()
}

/// Removes folders that were made, and from the innermost our own files. Whatever else is in one stays.
fn remove(path: &Path, made: &[PathBuf]) {
    if made.is_empty() {
        return;
    }
    for file in [FILES, &[LOCK_FILE]].concat() {
        // One that is not there is as good as removed, and one that stays keeps its folder.
        drop(fs::remove_file(path.join(file)));
    }
    for folder in made {
        if let Err(cause) = fs::remove_dir(folder) {
            tracing::debug!(%cause, folder = %folder.display(), "a folder that was made stays");
        }
    }
}

fn create(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Not truncated: until the lock is ours, the content is the other holder's.
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path.join(LOCK_FILE))
}

fn write_holder(lock: &mut File, clock: &Clock) -> io::Result<()> {
    let since = jiff::Timestamp::try_from(clock.now().wall).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let holder = Holder {
        pid: std::process::id(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        since: format!("{since:.0}"),
    };
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(&serde_json::to_vec(&holder)?)
}

fn in_use(path: &Path, lock: &mut File) -> Error {
    let mut text = String::new();
    let read = lock.read_to_string(&mut text).ok();
    let holder: Option<Holder> = read.and_then(|_| serde_json::from_str(&text).ok());
    let by = match &holder {
        Some(Holder { pid, host, since }) => format!("process {pid} on {host} (since {since})"),
        // It holds the lock and has not written its name yet.
        None => "another process".to_owned(),
    };
    let message = format!(
        "data folder {} is in use by {by}; stop it, or choose another folder with --data-dir",
        path.display()
    );
    let error = Error::new(Kind::FailedPrecondition, Reason::DataDirInUse, message);
    match holder {
        Some(holder) => error.with("pid", holder.pid.to_string()),
        None => error,
    }
}

/// The folder cannot be used; `tried` continues "cannot".
pub(super) fn unusable(path: &Path, tried: &str, cause: io::Error) -> Error {
    Error::new(
        Kind::FailedPrecondition,
        Reason::DataDirUnusable,
        format!(
            "cannot {tried} data folder {}: {cause}; make it a folder that this user may write to, \
             or choose another with --data-dir",
            path.display()
        ),
    )
    .because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(path: &Path) -> Result<DataDir> {
        DataDir::hold(path, &Clock::start())
    }

    #[test]
    fn the_second_to_come_is_told_who_was_first() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/data");
        let first = hold(&path).unwrap();
        let error = hold(&path).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::FailedPrecondition, Reason::DataDirInUse));
        let by = format!("is in use by process {} on ", std::process::id());
        assert!(error.message().contains(&by), "{error}");
        drop(first);
        hold(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let _held = hold(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_folders_place_is_unusable() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        fs::write(&path, "").unwrap();
        for path in [path.clone(), path.join("below")] {
            let error = hold(&path).unwrap_err();
            assert_eq!(error.reason(), Reason::DataDirUnusable);
            assert!(error.message().contains("--data-dir"), "{error}");
        }
    }
}
