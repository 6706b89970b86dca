//! The errors of the store, each worded in one place.

use std::{error::Error as StdError, fmt, io, path::Path, time::Duration};

use crate::error::{Error, Kind, Reason};

/// When to try again after the store was away.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Metadata of an error that says what became of the commit.
const OUTCOME: &str = "outcome";
/// Its value where nothing happened and nothing will.
const NOT_WRITTEN: &str = "not_written";

/// Why the store takes no writes. It tries again by itself, and goes on when that succeeds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// There is no space left.
    DiskFull,
    /// The quota of the user or the project is used up.
    QuotaUsedUp,
    /// The system lets the file grow no further.
    FileTooLarge,
    /// The file system takes no writes.
    ReadOnly,
    /// The files belong to somebody else.
    NotPermitted,
    /// Something else; the log has it.
    DiskFails,
}

impl Trouble {
    /// What is wrong and what to do, for a person.
    pub fn advice(self) -> String {
        format!("{self}: {}", self.remedy())
    }

    /// What to do about it, as a request.
    pub fn remedy(self) -> &'static str {
        match self {
            Trouble::DiskFull => "free space on the disk of the data folder",
            Trouble::QuotaUsedUp => "raise the quota, or free space within it",
            Trouble::FileTooLarge => "raise the limit on the size of files (ulimit -f)",
            Trouble::ReadOnly => "mount the file system of the data folder for writing",
            Trouble::NotPermitted => "let the user of this process write to the data folder and its files",
            Trouble::DiskFails => "look at the server's log, and at the disk of the data folder",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::DiskFull => "the disk is full",
            Trouble::QuotaUsedUp => "the disk quota is used up",
            Trouble::FileTooLarge => "the file may grow no further",
            Trouble::ReadOnly => "the file system is read-only",
            Trouble::NotPermitted => "the files may not be written to",
            Trouble::DiskFails => "the disk fails",
        })
    }
}

impl From<&io::Error> for Trouble {
    fn from(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull => Trouble::DiskFull,
            io::ErrorKind::QuotaExceeded => Trouble::QuotaUsedUp,
            io::ErrorKind::FileTooLarge => Trouble::FileTooLarge,
            io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            io::ErrorKind::PermissionDenied => Trouble::NotPermitted,
            _ => Trouble::DiskFails,
        }
    }
}

/// The store cannot do it now; `tried` continues "the store ...".
pub(super) fn unavailable(tried: impl fmt::Display) -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, format!("the store {tried}; try again later"))
        .retry_after(RETRY_AFTER)
}

/// The store takes no commit, so that nothing of it is written: it has not happened, and will not. `why`
/// continues "the store ...".
pub fn refused(why: impl fmt::Display) -> Error {
    unavailable(why).with(OUTCOME, NOT_WRITTEN)
}

/// Whether a commit that failed so may have happened all the same.
pub fn outcome_is_open(error: &Error) -> bool {
    let refused =
        error.metadata().iter().any(|(key, value)| (*key, value.as_str()) == (OUTCOME, NOT_WRITTEN));
    !refused && !matches!(error.reason(), Reason::StoreConflict | Reason::InvalidField)
}

/// Reading or writing failed on the medium.
pub(super) fn medium(tried: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    unavailable(tried).because(cause)
}

/// Nothing was written, and the store takes no writes.
pub(super) fn read_only(trouble: Trouble) -> Error {
    troubled("takes no writes now and has written nothing of this", trouble).with(OUTCOME, NOT_WRITTEN)
}

/// The store's files cannot be opened; `cause` is shown, to whoever starts the process.
pub(super) fn not_opened(dir: &Path, cause: io::Error) -> Error {
    let remedy = Trouble::from(&cause).remedy();
    let dir = dir.display();
    let message = format!("cannot read or write the store in {dir}: {cause}; {remedy}, then start again");
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message).because(cause)
}

/// A write was begun, failed, and was taken back.
pub(super) fn not_written(trouble: Trouble) -> Error {
    troubled("could not write this and has taken it back", trouble).with(OUTCOME, NOT_WRITTEN)
}

/// A write was begun and failed, and the medium does not let it be taken back yet.
pub(super) fn outcome_unknown(trouble: Trouble) -> Error {
    troubled("could not finish writing this, and the outcome is unknown", trouble)
}

fn troubled(tried: &str, trouble: Trouble) -> Error {
    let remedy = trouble.remedy();
    let message =
        format!("the store {tried}: {trouble}; {remedy}, then try again: writing resumes by itself");
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message).retry_after(RETRY_AFTER)
}

/// A condition on a key does not hold.
pub(super) fn conflict(key: &str, found: &str) -> Error {
    Error::new(
        Kind::Aborted,
        Reason::StoreConflict,
        format!("key {key:?} {found}: somebody else changed it; read it again, then repeat"),
    )
    .with("key", key)
}

/// A lease that was named is no more.
pub(super) fn lease_gone(lease: u64) -> Error {
    Error::new(
        Kind::Aborted,
        Reason::StoreConflict,
        format!("lease {lease} has run out or was revoked; grant a new one, then repeat"),
    )
    .with("lease", lease.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_certainly_not_written_is_no_open_outcome() {
        for (error, open) in [
            (unavailable("went away"), true),
            (medium("could not write", "sector 7"), true),
            (Error::internal("a bug"), true),
            (refused("is read-only"), false),
            (refused("is read-only").again(), false),
            (conflict("a", "is there"), false),
            (lease_gone(7), false),
            (Error::field("key", "is too long"), false),
        ] {
            assert_eq!(outcome_is_open(&error), open, "{error}");
        }
    }
}
