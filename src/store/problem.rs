//! The errors of the store, each worded in one place.

use std::{error::Error as StdError, time::Duration};

use crate::error::{Error, Kind, Reason};

/// When to try again after the store was away.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Metadata of an error that says what became of the commit.
const OUTCOME: &str = "outcome";
/// Its value where nothing happened and nothing will.
const NOT_WRITTEN: &str = "not_written";

/// The store cannot do it now; `tried` continues "the store ...".
pub(super) fn unavailable(tried: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, format!("the store {tried}; try again later"))
        .retry_after(RETRY_AFTER)
}

/// The store takes no commit, so that nothing of it is written: it has not happened, and will not. `why`
/// continues "the store ...".
pub fn refused(why: impl std::fmt::Display) -> Error {
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
