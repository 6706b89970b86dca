//! The sequence of changes that watchers follow: bounded, never blocking the writer.
//!
//! A watcher holds a cursor, not a queue: it reads from the ring when it can. One that comes back too
//! late is told so, and starts over from full state.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    names::ServiceName,
    snapshot::{Instance, Revision, Service, Tombstone},
};

/// One change of the fleet.
#[derive(Clone, Debug)]
pub enum Change {
    /// An instance is new or different.
    Instance(Arc<Instance>),
    /// An instance is gone.
    Removed(Arc<Tombstone>),
    /// A service is new or different.
    Service(Arc<Service>),
    /// A service is gone: no specification, no instances.
    ServiceRemoved(ServiceName),
}

impl Change {
    /// The service that it concerns.
    pub fn service(&self) -> &ServiceName {
        match self {
            Change::Instance(instance) => &instance.registration.key.service,
            Change::Removed(tombstone) => &tombstone.key.service,
            Change::Service(service) => &service.name,
            Change::ServiceRemoved(name) => name,
        }
    }
}

/// The last changes, and who wants to know of new ones.
#[derive(Debug)]
pub(super) struct Changes {
    ring: VecDeque<Change>,
    capacity: usize,
    newest: watch::Sender<Revision>,
    interests: HashMap<ServiceName, watch::Sender<Revision>>,
}

/// The changes after a cursor are no longer all known.
#[derive(Debug)]
pub(super) struct TooFarBehind;

impl Changes {
    pub(super) fn new(capacity: usize) -> Self {
        Self { ring: VecDeque::new(), capacity, newest: watch::Sender::new(0), interests: HashMap::new() }
    }

    /// Revision of the last change.
    pub(super) fn revision(&self) -> Revision {
        *self.newest.borrow()
    }

    /// Adds a change and wakes whoever waits for it.
    pub(super) fn push(&mut self, change: Change) {
        let revision = self.revision() + 1;
        if let Some(interest) = self.interests.get(change.service()) {
            interest.send_replace(revision);
        }
        if self.ring.len() >= self.capacity {
            self.ring.pop_front();
        }
        self.ring.push_back(change);
        self.newest.send_replace(revision);
    }

    /// Up to `limit` changes after a revision, each with its own.
    pub(super) fn after(
        &self,
        revision: Revision,
        limit: usize,
    ) -> Result<Vec<(Revision, Change)>, TooFarBehind> {
        let newest = self.revision();
        let oldest = newest - self.ring.len() as u64;
        if revision < oldest || revision > newest {
            return Err(TooFarBehind);
        }
        let skip = usize::try_from(revision - oldest).map_err(|_| TooFarBehind)?;
        Ok((revision + 1..).zip(self.ring.iter().skip(skip).take(limit).cloned()).collect())
    }

    /// Wakes at every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Wakes at every change of one service, whether or not it exists yet.
    pub(super) fn subscribe_service(&mut self, service: &ServiceName) -> watch::Receiver<Revision> {
        let newest = self.revision();
        self.interests.entry(service.clone()).or_insert_with(|| watch::Sender::new(newest)).subscribe()
    }

    /// Lets go of services that nobody is interested in any more.
    pub(super) fn tidy(&mut self) {
        self.interests.retain(|_, interest| interest.receiver_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(name: &str) -> Change {
        Change::ServiceRemoved(ServiceName::parse(name).unwrap())
    }

    #[test]
    fn a_cursor_reads_on_where_it_was_or_is_told_that_it_cannot() {
        let mut changes = Changes::new(3);
        for name in ["a", "b", "c", "d"] {
            changes.push(gone(name));
        }
        let names = |revision, limit| -> Option<Vec<(u64, String)>> {
            let read = changes.after(revision, limit).ok()?;
            Some(read.iter().map(|(at, change)| (*at, change.service().to_string())).collect())
        };
        assert_eq!(names(0, 9), None);
        assert_eq!(names(1, 9).unwrap(), [(2, "b".into()), (3, "c".into()), (4, "d".into())]);
        assert_eq!(names(1, 1).unwrap(), [(2, "b".into())]);
        assert_eq!(names(4, 9).unwrap(), []);
        assert_eq!(names(5, 9), None, "a cursor from the future is of another run");
    }

    #[test]
    fn only_who_is_interested_is_woken_and_interest_is_let_go() {
        let mut changes = Changes::new(3);
        let orders = changes.subscribe_service(&ServiceName::parse("orders").unwrap());
        changes.push(gone("payments"));
        assert!(!orders.has_changed().unwrap());
        changes.push(gone("orders"));
        assert!(orders.has_changed().unwrap());
        drop(orders);
        changes.tidy();
        assert!(changes.interests.is_empty());
    }
}
