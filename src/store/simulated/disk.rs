//! What is on the medium: rows with their revisions, and leases.

use std::{collections::BTreeMap, ops::Bound, time::Duration};

use bytes::Bytes;

use crate::{
    error::Result,
    store::{Commit, Compare, Entry, Event, LeaseId, Page, Revision, commit::Change, problem},
};

#[derive(Clone, Debug)]
pub(super) struct Row {
    value: Bytes,
    revision: Revision,
    lease: Option<LeaseId>,
}

/// A plain value: a clone of it is another disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) rows: BTreeMap<String, Row>,
    pub(super) revision: Revision,
    pub(super) leases: BTreeMap<LeaseId, Duration>,
    last_lease: u64,
}

impl Disk {
    /// Applies a commit as a whole or not at all, and answers what it changed.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Vec<Event>> {
        for compare in &commit.compares {
            match (compare, self.rows.get(compare.key())) {
                (Compare::Absent(_), None) => {}
                (Compare::Unchanged { revision, .. }, Some(row)) if row.revision == *revision => {}
                (_, found) => {
                    let found = if found.is_some() { "is there" } else { "is not there" };
                    return Err(problem::conflict(compare.key(), found));
                }
            }
        }
        for change in &commit.changes {
            if let Change::Put { lease: Some(lease), .. } = change
                && !self.leases.contains_key(lease)
            {
                return Err(problem::lease_gone(lease.0));
            }
        }
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for change in &commit.changes {
            match change {
                Change::Put { key, value, lease } => {
                    let row = Row { value: value.clone(), revision, lease: *lease };
                    self.rows.insert(key.clone(), row);
                    events.push(Event::Put(Entry { key: key.clone(), value: value.clone(), revision }));
                }
                Change::Delete { key } => {
                    if self.rows.remove(key).is_some() {
                        events.push(Event::Delete { key: key.clone(), revision });
                    }
                }
            }
        }
        if !events.is_empty() {
            self.revision = revision;
        }
        Ok(events)
    }

    pub(super) fn grant(&mut self, ttl: Duration) -> LeaseId {
        self.last_lease += 1;
        self.leases.insert(LeaseId(self.last_lease), ttl);
        LeaseId(self.last_lease)
    }

    /// Ends a lease and deletes its keys, all at one revision.
    pub(super) fn end_lease(&mut self, lease: LeaseId) -> Vec<Event> {
        self.leases.remove(&lease);
        let under = self.rows.iter().filter(|(_, row)| row.lease == Some(lease));
        let keys: Vec<String> = under.map(|(key, _)| key.clone()).collect();
        self.revision += u64::from(!keys.is_empty());
        let revision = self.revision;
        let gone = keys.into_iter().map(|key| {
            self.rows.remove(&key);
            Event::Delete { key, revision }
        });
        gone.collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.rows.get(key).map(|row| entry(key, row))
    }

    pub(super) fn page(&self, prefix: &str, after: Option<&str>, limit: usize, most: usize) -> Page {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut page = Page { entries: Vec::new(), next: None, revision: self.revision };
        let mut bytes = 0;
        let rows = self.rows.range::<str, _>((start, Bound::Unbounded));
        for (key, row) in rows.take_while(|(key, _)| key.starts_with(prefix)) {
            bytes += key.len() + row.value.len();
            if page.entries.len() == limit || (bytes > most && !page.entries.is_empty()) {
                page.next = page.entries.last().map(|entry| entry.key.clone());
                break;
            }
            page.entries.push(entry(key, row));
        }
        page
    }
}

fn entry(key: &str, row: &Row) -> Entry {
    Entry { key: key.to_owned(), value: row.value.clone(), revision: row.revision }
}
