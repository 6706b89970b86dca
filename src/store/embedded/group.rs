//! What one group of requests does: each is decided on what the index holds and what those before it in
//! the group did, and becomes changes in one frame. Nothing here is seen by anybody before it is durable.

use std::collections::HashMap;

use super::{
    frame::Frame,
    index::{Index, Row},
};
use crate::{
    error::Error,
    store::{Commit, Compare, Entry, Event, LeaseId, Revision, commit::Change, problem},
};

/// A group that is being decided.
#[derive(Debug)]
pub(super) struct Group<'i> {
    index: &'i Index,
    /// Keys that the group has changed; none: deleted.
    changed: HashMap<String, Option<Touched>>,
    /// Leases that the group has made (true) or ended (false).
    leases: HashMap<u64, bool>,
    revision: Revision,
    last_lease: u64,
    done: Done,
}

/// What matters of a key that the group has put.
#[derive(Clone, Copy, Debug)]
struct Touched {
    revision: Revision,
    lease: u64,
}

impl From<&Row> for Touched {
    fn from(row: &Row) -> Self {
        Self { revision: row.revision, lease: row.lease }
    }
}

/// What was decided: the frame to write, and what to tell once it is durable.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) frame: Frame,
    pub(super) events: Vec<Event>,
    pub(super) puts: u64,
    pub(super) deletes: u64,
}

impl<'i> Group<'i> {
    pub(super) fn new(index: &'i Index) -> Self {
        Self {
            index,
            changed: HashMap::new(),
            leases: HashMap::new(),
            revision: index.revision,
            last_lease: index.last_lease,
            done: Done { frame: Frame::new(), events: Vec::new(), puts: 0, deletes: 0 },
        }
    }

    pub(super) fn done(self) -> Done {
        self.done
    }

    /// The revision so far.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Applies one commit if its conditions hold.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Revision, Error> {
        // Everything is looked at before anything is changed: a refused commit leaves no trace.
        for compare in &commit.compares {
            self.compare(compare)?;
        }
        for change in &commit.changes {
            if let Change::Put { lease: Some(lease), .. } = change
                && !self.lives(lease.0)
            {
                return Err(problem::lease_gone(lease.0));
            }
        }
        let revision = self.revision + 1;
        for change in &commit.changes {
            match change {
                Change::Put { key, value, lease } => {
                    let lease = lease.map_or(0, |lease| lease.0);
                    self.done.frame.put(key, revision, lease, value);
                    self.done.puts += 1;
                    self.touch(key, Some(Touched { revision, lease }));
                    self.tell(Event::Put(Entry { key: key.clone(), value: value.clone(), revision }));
                }
                Change::Delete { key } => self.delete(key, revision),
            }
        }
        Ok(self.revision)
    }

    /// Makes a lease.
    pub(super) fn grant(&mut self, ttl_millis: u64) -> LeaseId {
        self.last_lease += 1;
        self.done.frame.grant(self.last_lease, ttl_millis);
        self.leases.insert(self.last_lease, true);
        LeaseId(self.last_lease)
    }

    /// Ends a lease and deletes its keys, all at one revision.
    pub(super) fn end_lease(&mut self, lease: LeaseId) {
        if !self.lives(lease.0) {
            return;
        }
        let before = self.index.leases.get(&lease.0).into_iter().flat_map(|lease| &lease.keys);
        let mut keys: Vec<String> = before.map(|key| key.to_string()).collect();
        keys.extend(self.changed.keys().cloned());
        keys.sort_unstable();
        keys.dedup();
        let revision = self.revision + 1;
        for key in keys {
            if self.find(&key).is_some_and(|found| found.lease == lease.0) {
                self.delete(&key, revision);
            }
        }
        self.done.frame.end_lease(lease.0);
        self.leases.insert(lease.0, false);
    }

    fn lives(&self, lease: u64) -> bool {
        self.leases.get(&lease).copied().unwrap_or_else(|| self.index.leases.contains_key(&lease))
    }

    fn find(&self, key: &str) -> Option<Touched> {
        match self.changed.get(key) {
            Some(changed) => *changed,
            None => self.index.rows.get(key).map(Touched::from),
        }
    }

    fn compare(&self, compare: &Compare) -> Result<(), Error> {
        let found = self.find(compare.key()).map(|found| found.revision);
        match (compare, found) {
            (Compare::Absent(_), None) => Ok(()),
            (Compare::Unchanged { revision, .. }, Some(found)) if found == *revision => Ok(()),
            (Compare::Absent(key), Some(_)) => Err(problem::conflict(key, "exists already")),
            (Compare::Unchanged { key, .. }, None) => Err(problem::conflict(key, "does not exist")),
            (Compare::Unchanged { key, revision }, Some(found)) => Err(problem::conflict(
                key,
                &format!("was last changed at revision {found}, not at {revision}"),
            )),
        }
    }

    fn delete(&mut self, key: &str, revision: Revision) {
        if self.find(key).is_none() {
            return;
        }
        self.done.frame.delete(key, revision);
        self.done.deletes += 1;
        self.touch(key, None);
        self.tell(Event::Delete { key: key.to_owned(), revision });
    }

    fn touch(&mut self, key: &str, to: Option<Touched>) {
        match self.changed.get_mut(key) {
            Some(place) => *place = to,
            None => drop(self.changed.insert(key.to_owned(), to)),
        }
    }

    fn tell(&mut self, event: Event) {
        self.revision = event.revision();
        self.done.events.push(event);
    }
}
