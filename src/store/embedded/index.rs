//! What the store holds, in memory: for each key its revision, its lease, and where its value is.
//!
//! Values stay in the log. There is one way in which the index changes, [`Index::apply`], and it is the
//! same whether a frame was just made durable or is read again when the store is opened.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::{self, Change, Malformed, Value};
use crate::store::Revision;

/// Bytes that a change takes in the log besides key and value, roughly.
const OVERHEAD: u64 = 28;

/// One key, without its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) revision: Revision,
    /// 0: none.
    pub(super) lease: u64,
    /// Its place in the file.
    pub(super) value: Value,
}

/// A lease and the keys that end with it.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Lease {
    pub(super) ttl_millis: u64,
    pub(super) keys: BTreeSet<Box<str>>,
}

/// Everything that the store holds.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) rows: BTreeMap<Box<str>, Row>,
    pub(super) leases: BTreeMap<u64, Lease>,
    pub(super) revision: Revision,
    pub(super) last_lease: u64,
    live_bytes: u64,
}

impl Index {
    /// Makes the changes of a body whose frame begins at `offset` of the file.
    pub(super) fn apply(&mut self, body: &[u8], offset: u64) -> Result<(), Malformed> {
        for change in frame::changes(body) {
            match change? {
                Change::Put { key, revision, lease, value } => {
                    let value = Value { at: value.at + offset, ..value };
                    self.put(key, Row { revision, lease, value });
                }
                Change::Delete { key, revision } => self.delete(key, revision),
                Change::Grant { lease, ttl_millis } => {
                    self.leases.entry(lease).or_default().ttl_millis = ttl_millis;
                    self.last_lease = self.last_lease.max(lease);
                }
                Change::EndLease { lease } => drop(self.leases.remove(&lease)),
                Change::Counters { revision, last_lease } => {
                    self.revision = self.revision.max(revision);
                    self.last_lease = self.last_lease.max(last_lease);
                }
            }
        }
        Ok(())
    }

    /// How much of the log is needed for what is there, in bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    fn put(&mut self, key: &str, row: Row) {
        self.revision = self.revision.max(row.revision);
        self.live_bytes += size(key, &row);
        let before = match self.rows.get_mut(key) {
            Some(place) => Some(std::mem::replace(place, row)),
            None => self.rows.insert(key.into(), row),
        };
        if let Some(before) = before {
            self.live_bytes -= size(key, &before);
            if before.lease != row.lease {
                self.leave(before.lease, key);
            }
        }
        if row.lease != 0 {
            // While a log is written anew, a key can come before its lease.
            self.leases.entry(row.lease).or_default().keys.insert(key.into());
        }
    }

    fn delete(&mut self, key: &str, revision: Revision) {
        self.revision = self.revision.max(revision);
        if let Some(before) = self.rows.remove(key) {
            self.live_bytes -= size(key, &before);
            self.leave(before.lease, key);
        }
    }

    fn leave(&mut self, lease: u64, key: &str) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.remove(key);
        }
    }
}

fn size(key: &str, row: &Row) -> u64 {
    OVERHEAD + key.len() as u64 + u64::from(row.value.len)
}
