//! A commit: conditions and changes that happen together or not at all.
//!
//! The limits are those that every engine can promise (etcd's request size and operation count among
//! them), so that a caller that works with one engine works with all.

use bytes::Bytes;

use super::{LeaseId, Revision};
use crate::error::{Error, Result};

/// Longest key, in bytes.
pub const KEY_BYTES: usize = 512;
/// Largest value, and largest sum of a commit's keys and values, in bytes.
pub const VALUE_BYTES: usize = 1 << 20;
/// Most conditions and changes of one commit, counted together.
pub const OPERATIONS: usize = 1024;

/// What must hold for a commit to happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists, and its last change was at this revision.
    Unchanged {
        /// The key.
        key: String,
        /// The revision of its last change.
        revision: Revision,
    },
}

impl Compare {
    /// The key that is looked at.
    pub fn key(&self) -> &str {
        match self {
            Compare::Absent(key) | Compare::Unchanged { key, .. } => key,
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Put { key: String, value: Bytes, lease: Option<LeaseId> },
    Delete { key: String },
}

impl Change {
    fn key(&self) -> &str {
        match self {
            Change::Put { key, .. } | Change::Delete { key } => key,
        }
    }

    fn size(&self) -> usize {
        match self {
            Change::Put { key, value, .. } => key.len() + value.len(),
            Change::Delete { key } => key.len(),
        }
    }
}

/// Conditions and changes that happen together or not at all. Built by chaining.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "a commit does nothing until it is given to Store::commit"]
pub struct Commit {
    pub(super) compares: Vec<Compare>,
    pub(super) changes: Vec<Change>,
}

impl Commit {
    /// A commit without conditions or changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    pub fn require(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Sets a key to a value. A lease that the key was under lets go of it.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.changes.push(Change::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Sets a key to a value and lets it end with the lease. The lease must be alive.
    pub fn put_under(mut self, key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.changes.push(Change::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Deletes a key. One that is absent stays so.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.changes.push(Change::Delete { key: key.into() });
        self
    }

    /// How many bytes it brings to the store.
    pub(super) fn size(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }

    /// Refuses what no engine would take.
    pub(super) fn check(&self) -> Result<()> {
        let operations = self.compares.len() + self.changes.len();
        if operations > OPERATIONS {
            return Err(Error::field("commit", format!("has {operations} operations; at most {OPERATIONS}")));
        }
        let size = self.size();
        if size > VALUE_BYTES {
            return Err(Error::field("commit", format!("has {size} bytes; at most {VALUE_BYTES}")));
        }
        let conditions = self.compares.iter().map(Compare::key);
        if let Some(key) = conditions.chain(self.changes.iter().map(Change::key)).find(|key| bad_key(key)) {
            let length = key.len();
            return Err(Error::field("key", format!("has {length} bytes; 1 to {KEY_BYTES} are allowed")));
        }
        let mut changed: Vec<&str> = self.changes.iter().map(Change::key).collect();
        changed.sort_unstable();
        match changed.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::field("commit", format!("changes key {:?} twice", pair[0]))),
            None => Ok(()),
        }
    }
}

fn bad_key(key: &str) -> bool {
    key.is_empty() || key.len() > KEY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_the_limits_is_refused_and_named() {
        let long = "k".repeat(KEY_BYTES + 1);
        let many = (0..=OPERATIONS).fold(Commit::new(), |commit, n| commit.delete(n.to_string()));
        let table = [
            (Commit::new(), None),
            (Commit::new().put("a", "1").delete("b"), None),
            (Commit::new().put("a", vec![0; VALUE_BYTES - 1]), None),
            (Commit::new().put("a", vec![0; VALUE_BYTES]), Some("commit: has 1048577 bytes")),
            (Commit::new().put("", "1"), Some("key: has 0 bytes")),
            (Commit::new().delete(long.clone()), Some("key: has 513 bytes")),
            (Commit::new().require(Compare::Absent(long)), Some("key: has 513 bytes")),
            (Commit::new().put("a", "1").delete("a"), Some("commit: changes key \"a\" twice")),
            (many, Some("commit: has 1025 operations")),
        ];
        for (commit, expected) in table {
            match (commit.check(), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(start)) => assert!(error.message().starts_with(start), "{error}"),
                (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
            }
        }
    }
}
