//! The errors of the store, each worded in one place.

use std::{error::Error as StdError, time::Duration};

use crate::error::{Error, Kind, Reason};

/// When to try again after the store was away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The store cannot do it now; `tried` continues "the store ...".
pub(super) fn unavailable(tried: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, format!("the store {tried}; try again later"))
        .retry_after(RETRY_AFTER)
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
