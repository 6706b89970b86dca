//! A component that is one file, read and replaced as a whole.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;

use super::{
    Backup, CaptureWriter, Error, Evidence, Inspection, PIECE_BYTES, RestoreReader, Restored, window::length,
};
use crate::rt;

/// Links that are followed one after the other: as many as Linux follows.
const MOST_LINKS: usize = 40;

/// Bytes after which a restored file is written down, beside what still comes.
const SYNCED_EVERY: usize = 64 << 20;

/// Backs up one file: for what is written beside its place and renamed, or not while it is captured. A file that changed in the
/// meantime fails the capture. A database that is written in place needs its own way, as `examples/orders` has one for SQLite.
///
/// A restore writes beside the file, waits until that is on the disk, and then renames it over the file: whoever opens it
/// finds the old one or the new one, and never a part. A new file can be read by its owner alone, one that replaces
/// another has the permissions of that.
///
/// Where the path is a symbolic link, a restore leaves the link as it is and replaces, in the same way, the file that it points to; one that
/// was lost is made anew there. It is refused, and nothing is touched, where the path or what it points to is anything but a file, where
/// links lead in a circle, and where the link points elsewhere by the end of the restore.
///
/// ```
/// use seaworthy_client::{Component, backup};
///
/// let rules = Component::new("rules").backup(backup::File::new("/var/lib/orders/rules.json"));
/// ```
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
}

impl File {
    /// The file at this path. It need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error with the name of the file.
    fn named(&self, error: impl std::fmt::Display) -> Error {
        format!("{}: {error}", self.path.display()).into()
    }
}

/// What tells that a file was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    length: u64,
    modified: Option<SystemTime>,
}

impl Backup for File {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, Error> {
        let path = self.path.clone();
        let opened = off_the_runtime(move || {
            let file = fs::File::open(path)?;
            let seen = seen(&file)?;
            Ok((file, seen))
        });
        let (mut file, before) = opened.await.map_err(|error| self.named(error))?;
        into.expect_bytes(before.length);
        let mut left = before.length;
        loop {
            // No more than there is, so that a small file takes a small buffer, and its end none.
            let room = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let read = off_the_runtime(move || {
                let mut piece = Vec::with_capacity(room);
                (&file).take(length(PIECE_BYTES)).read_to_end(&mut piece)?;
                Ok((file, piece))
            });
            let (back, piece) = read.await.map_err(|error| self.named(error))?;
            file = back;
            if piece.is_empty() {
                break;
            }
            left = left.saturating_sub(length(piece.len()));
            into.write_bytes(Bytes::from(piece)).await?;
        }
        let after = off_the_runtime(move || seen(&file)).await.map_err(|error| self.named(error))?;
        if after != before {
            return Err(self.named("was changed while it was captured"));
        }
        Ok(Evidence::new().with("bytes", after.length))
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), Error> {
        let path = self.path.clone();
        let mut staged =
            off_the_runtime(move || Staged::beside(&path)).await.map_err(|error| self.named(error))?;
        let mut syncing = Syncing::default();
        while let Some(piece) = from.read_bytes().await? {
            let bytes = piece.len();
            let written = off_the_runtime(move || {
                staged.file.write_all(&piece)?;
                Ok(staged)
            });
            staged = written.await.map_err(|error| self.named(error))?;
            let file = &staged.file;
            let begun = syncing.wrote(bytes, || {
                let file = file.try_clone()?;
                Ok(move || file.sync_data())
            });
            begun.await.map_err(|error| self.named(error))?;
        }
        syncing.ended().await.map_err(|error| self.named(error))?;
        let path = self.path.clone();
        off_the_runtime(move || staged.publish(&path)).await.map_err(|error| self.named(error))
    }

    async fn inspect(&self) -> Result<Inspection, Error> {
        let path = self.path.clone();
        let found = off_the_runtime(move || fs::metadata(path)).await;
        match found {
            Ok(found) if found.len() > 0 => Ok(Inspection::holds(found.len())),
            Ok(_) => Ok(Inspection::empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Inspection::empty()),
            Err(error) => Err(self.named(error)),
        }
    }

    async fn verify(&self) -> Result<String, Error> {
        let path = self.path.clone();
        let found = off_the_runtime(move || fs::metadata(path)).await.map_err(|error| self.named(error))?;
        Ok(format!("{} has {} bytes", self.path.display(), found.len()))
    }
}

/// What is written to a file goes to the disk while the rest still comes, so that little is left to do at the end.
///
/// How each of these ended is asked for: a disk that fails says so once, and whoever syncs after that is told that all is well.
#[derive(Default)]
struct Syncing {
    running: Option<rt::Task<io::Result<()>>>,
    unsynced: usize,
}

impl Syncing {
    /// So much more was written. `sync` makes what is run where it is time for that, and nothing is under way.
    async fn wrote<S>(&mut self, bytes: usize, sync: impl FnOnce() -> io::Result<S>) -> io::Result<()>
    where
        S: FnOnce() -> io::Result<()> + Send + 'static,
    {
        self.unsynced += bytes;
        if self.unsynced >= SYNCED_EVERY && self.running.as_ref().is_none_or(rt::Task::is_finished) {
            self.ended().await?;
            self.unsynced = 0;
            self.running = Some(rt::spawn(off_the_runtime(sync()?)));
        }
        Ok(())
    }

    /// Waits for what is under way.
    async fn ended(&mut self) -> io::Result<()> {
        match self.running.take() {
            Some(mut running) => running.join().await.unwrap_or_else(|_| Err(stopped())),
            None => Ok(()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("it was stopped: the runtime ends")
}

fn seen(file: &fs::File) -> io::Result<Seen> {
    let found = file.metadata()?;
    // Not every system tells when.
    Ok(Seen { length: found.len(), modified: found.modified().ok() })
}

/// A file beside the place that it is for. Gone when it is dropped, unless it was published.
struct Staged {
    file: fs::File,
    target: PathBuf,
    path: Option<PathBuf>,
}

impl Staged {
    /// Beside what this path leads to.
    fn beside(path: &Path) -> io::Result<Self> {
        let nothing = || io::Error::other("is no name of a file");
        let target = at_the_end_of(path)?;
        let unique = rt::random_hex::<8>().ok_or_else(|| io::Error::other("the system has no randomness"))?;
        let mut name = OsString::from(".");
        name.push(target.file_name().ok_or_else(nothing)?);
        name.push(format!(".{unique}.restoring"));
        let path = target.with_file_name(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Self { file, target, path: Some(path) })
    }

    /// Puts it in place, where the path still leads there.
    fn publish(mut self, path: &Path) -> io::Result<()> {
        if at_the_end_of(path)? != self.target {
            return Err(io::Error::other("points elsewhere than when the restore began; restore it again"));
        }
        match fs::symlink_metadata(&self.target) {
            Ok(replaced) => self.file.set_permissions(replaced.permissions())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.file.sync_all()?;
        if let Some(staged) = &self.path {
            fs::rename(staged, &self.target)?;
        }
        self.path = None;
        sync_folder(&self.target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed is an unused file, and has a name that says so.
            fs::remove_file(path).ok();
        }
    }
}

/// The file that this path leads to, over as many links as there are; it need not be there.
fn at_the_end_of(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..=MOST_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                // What a link says counts from its own folder.
                path = path.with_file_name("").join(fs::read_link(&path)?);
            }
            Ok(found) if !found.is_file() => {
                let what = format!("`{}` is no file, and a restore replaces nothing else", path.display());
                return Err(io::Error::other(what));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("links lead in a circle; point it to a file"))
}

/// Makes a rename last.
#[cfg(unix)]
fn sync_folder(of: &Path) -> io::Result<()> {
    let folder =
        of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened; the system writes it in its own time.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    rt::blocking(work).await.unwrap_or_else(|_| Err(stopped()))
}

#[cfg(test)]
mod tests;
