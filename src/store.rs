//! What survives: revisioned keys behind one contract, whichever engine keeps them.
//!
//! A [`Store`] reads single keys and pages, commits atomically on conditions, tells of changes, and
//! knows leases and leadership. Every commit that changes something gets the next revision, and an
//! acknowledged commit survives the death of the process and a power cut. The contract is that of an
//! etcd cluster as much as that of a local file, so callers must expect every call to fail with
//! [`Reason::StoreUnavailable`](crate::error::Reason), and a failed commit to have happened all the
//! same. `store/conformance.rs` holds the laws that every engine keeps.
//!
//! It does not know what the values mean ([`record`] gives them their form), it caches nothing for
//! its callers, and it never retries on its own.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::error::Result;

pub mod commit;
#[cfg(test)]
pub(crate) mod conformance;
pub mod counters;
pub mod election;
pub mod embedded;
pub mod lease;
pub mod lock;
mod problem;
pub mod record;
#[cfg(test)]
pub(crate) mod simulated;
pub mod watch;

pub use commit::{Commit, Compare};
pub use counters::Counters;
pub use election::Leadership;
pub use lease::LeaseId;
pub use problem::{Trouble, outcome_is_open, refused};
pub use watch::{Event, Watch};

/// Counts the commits that changed something, since the store was made.
pub type Revision = u64;

/// One key with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, as it was put.
    pub value: Bytes,
    /// The revision of the key's last change.
    pub revision: Revision,
}

/// A part of a listing, in the order of the keys' bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// The entries; fewer than asked for when they are large.
    pub entries: Vec<Entry>,
    /// The key to continue after; none at the end of the listing.
    pub next: Option<String>,
    /// The store's revision at which this page was read.
    pub revision: Revision,
}

/// How the store is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// The engine's name.
    pub engine: &'static str,
    /// The newest revision.
    pub revision: Revision,
    /// How many keys there are.
    pub keys: u64,
    /// Size of the store on its medium, in bytes.
    pub size_bytes: u64,
    /// Whether commits are taken; reads go on without. Once it is true again after a commit has failed,
    /// the fate of that commit is settled, and reading shows it; before that, what is read may be gone
    /// with the next opening of the medium.
    pub writable: bool,
    /// Why none are taken, where the medium is the reason.
    pub trouble: Option<Trouble>,
}

/// The way to the store. Cheap to clone; whoever opened it owns the engine behind it.
#[derive(Clone, Debug)]
pub struct Store(Backing);

#[derive(Clone, Debug)]
enum Backing {
    Embedded(Arc<embedded::Shared>),
    #[cfg(test)]
    Simulated(Arc<simulated::Shared>),
}

impl Store {
    pub(in crate::store) fn embedded(shared: Arc<embedded::Shared>) -> Self {
        Self(Backing::Embedded(shared))
    }

    #[cfg(test)]
    pub(in crate::store) fn simulated(shared: Arc<simulated::Shared>) -> Self {
        Self(Backing::Simulated(shared))
    }

    /// Reads one key, as of the newest acknowledged commit or later.
    ///
    /// # Errors
    /// [`Reason::StoreUnavailable`](crate::error::Reason): the medium cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>> {
        match &self.0 {
            Backing::Embedded(shared) => shared.get(key).await,
            #[cfg(test)]
            Backing::Simulated(shared) => shared.get(key),
        }
    }

    /// Reads the keys that start with `prefix`, from the first one greater than `after`.
    ///
    /// Each page is one consistent reading; two pages of one listing may differ in revision. Only
    /// `next` says whether there is more: a page also ends at [`embedded::PAGE_BYTES`].
    ///
    /// # Errors
    /// [`Reason::StoreUnavailable`](crate::error::Reason): the medium cannot be read.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: NonZeroUsize) -> Result<Page> {
        match &self.0 {
            Backing::Embedded(shared) => shared.list(prefix, after, limit).await,
            #[cfg(test)]
            Backing::Simulated(shared) => shared.list(prefix, after, limit),
        }
    }

    /// Applies a commit as a whole or not at all, and answers the revision at which it is durable.
    ///
    /// A commit that changes nothing (conditions alone, or deletes of absent keys) makes no revision.
    /// A commit that was handed over goes on when the caller stops waiting.
    ///
    /// # Errors
    /// - `StoreConflict` (`Aborted`): a condition does not hold, or a lease is gone; nothing was changed.
    /// - `InvalidField`: a key, a value or the whole is outside the limits of [`commit`].
    /// - `StoreUnavailable`: it was not written, or its outcome is unknown: [`outcome_is_open`] tells.
    pub async fn commit(&self, commit: Commit) -> Result<Revision> {
        commit.check()?;
        match &self.0 {
            Backing::Embedded(shared) => shared.commit(commit).await,
            #[cfg(test)]
            Backing::Simulated(shared) => shared.commit(commit).await,
        }
    }

    /// As [`commit`](Self::commit), but waits for the engine to be done with it, however long that takes.
    ///
    /// For the one whose own picture must agree with the store: what it is answered is final for a
    /// commit that is done, and no open outcome changes any more once the store is writable.
    ///
    /// # Errors
    /// As `commit`, except that a deadline is never the reason.
    pub async fn commit_settled(&self, commit: Commit) -> Result<Revision> {
        commit.check()?;
        match &self.0 {
            Backing::Embedded(shared) => shared.commit_settled(commit).await,
            #[cfg(test)]
            Backing::Simulated(shared) => shared.commit_settled(commit).await,
        }
    }

    /// Follows the keys that start with `prefix`: every change after revision `from`, in order.
    ///
    /// Without `from`, every change from now on. To follow a listing without a gap, pass the
    /// revision of its *first* page: later pages may then repeat changes, never miss one.
    pub fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        match &self.0 {
            Backing::Embedded(shared) => shared.watch(prefix, from),
            #[cfg(test)]
            Backing::Simulated(shared) => shared.watch(prefix, from),
        }
    }

    /// Makes a lease that ends when it is not renewed for `ttl`; the keys under it end with it.
    ///
    /// # Errors
    /// `InvalidField`: `ttl` is outside [`lease::TTL_MIN`] to [`lease::TTL_MAX`]. `StoreUnavailable`.
    pub async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        lease::check_ttl(ttl)?;
        match &self.0 {
            Backing::Embedded(shared) => shared.grant(ttl).await,
            #[cfg(test)]
            Backing::Simulated(shared) => Ok(shared.grant(ttl)),
        }
    }

    /// Renews a lease for its whole TTL from now, and answers that TTL.
    ///
    /// # Errors
    /// `StoreConflict`: the lease has run out or was revoked. `StoreUnavailable`.
    #[allow(clippy::unused_async)] // another engine asks over the network
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        match &self.0 {
            Backing::Embedded(shared) => shared.keep_alive(lease),
            #[cfg(test)]
            Backing::Simulated(shared) => shared.keep_alive(lease),
        }
    }

    /// Ends a lease and deletes the keys under it. A lease that is gone already is no error.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn revoke(&self, lease: LeaseId) -> Result<()> {
        match &self.0 {
            Backing::Embedded(shared) => shared.revoke(lease).await,
            #[cfg(test)]
            Backing::Simulated(shared) => {
                shared.revoke(lease);
                Ok(())
            }
        }
    }

    /// Waits until `candidate` leads `name`, and answers the leadership, which renews itself.
    ///
    /// Waits for as long as somebody else leads: the caller sets the deadline. Cancel safe: giving up
    /// while waiting leaves at most a lease that runs out after `ttl`.
    ///
    /// # Errors
    /// `InvalidField`: `ttl` is outside the limits of a lease. `StoreUnavailable`.
    pub async fn elect(&self, name: &str, candidate: &str, ttl: Duration) -> Result<Leadership> {
        election::elect(self.clone(), name, candidate, ttl).await
    }

    /// How the store is now. Reads memory only.
    pub fn status(&self) -> Status {
        match &self.0 {
            Backing::Embedded(shared) => shared.status(),
            #[cfg(test)]
            Backing::Simulated(shared) => shared.status(),
        }
    }

    /// What the store has done since it was opened.
    pub fn counters(&self) -> Counters {
        match &self.0 {
            Backing::Embedded(shared) => shared.counters(),
            #[cfg(test)]
            Backing::Simulated(shared) => shared.counters(),
        }
    }
}
