//! The sequence of changes that watchers follow: bounded in number and in bytes, never blocking the
//! writer.
//!
//! A watcher holds a cursor, not a queue: it reads from the ring when it can. One that comes back too
//! late is told so, and starts over from full state.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    names::{InstanceId, ServiceName},
    snapshot::{Instance, Revision, Service, Tombstone},
};

/// Memory that the kept changes may take: what sixteen thousand ordinary ones never reach, and a bound
/// where instances have many components that say much.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Interests that are looked at in one turn.
const TIDIED: usize = 256;
/// Interests that are looked at for each that comes: those that nobody wants go faster than they come.
const TIDIED_FOR_ONE: usize = 4;

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

    /// The instance that it concerns; None where it is the service itself.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Change::Instance(instance) => Some(&instance.registration.key.id),
            Change::Removed(tombstone) => Some(&tombstone.key.id),
            Change::Service(_) | Change::ServiceRemoved(_) => None,
        }
    }

    /// Bytes that it holds, roughly. What it shares with others counts in full: they may let go first.
    fn weight(&self) -> usize {
        match self {
            Change::Instance(instance) => instance.weight(),
            Change::Removed(tombstone) => size_of::<Tombstone>() + tombstone.message.len(),
            Change::Service(service) => service.weight(),
            Change::ServiceRemoved(_) => size_of::<Change>(),
        }
    }
}

/// The last changes, and who wants to know of new ones.
#[derive(Debug)]
pub(super) struct Changes {
    ring: VecDeque<(Change, usize)>,
    capacity: usize,
    bytes: usize,
    max_bytes: usize,
    newest: watch::Sender<Revision>,
    interests: BTreeMap<ServiceName, watch::Sender<Revision>>,
    /// The last interest that was looked at.
    tidied: Option<ServiceName>,
}

/// The changes after a cursor are no longer all known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooFarBehind;

impl Changes {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            capacity,
            bytes: 0,
            max_bytes: MAX_BYTES,
            newest: watch::Sender::new(0),
            interests: BTreeMap::new(),
            tidied: None,
        }
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
        let weight = change.weight();
        self.bytes += weight;
        self.ring.push_back((change, weight));
        // The newest stays, whatever it weighs: who keeps up misses nothing.
        while self.ring.len() > self.capacity || (self.bytes > self.max_bytes && self.ring.len() > 1) {
            let Some((_, weight)) = self.ring.pop_front() else { break };
            self.bytes -= weight;
        }
        self.newest.send_replace(revision);
    }

    /// The changes after a revision, each with its own.
    pub(super) fn after(
        &self,
        revision: Revision,
    ) -> Result<impl Iterator<Item = (Revision, &Change)>, TooFarBehind> {
        let newest = self.revision();
        let oldest = newest - self.ring.len() as u64;
        if revision < oldest || revision > newest {
            return Err(TooFarBehind);
        }
        let skip = usize::try_from(revision - oldest).map_err(|_| TooFarBehind)?;
        Ok((revision + 1..).zip(self.ring.range(skip..).map(|(change, _)| change)))
    }

    /// Whether nothing of a service has changed after a revision. Known only where somebody subscribed.
    pub(super) fn is_quiet_after(&self, revision: Revision, service: &ServiceName) -> bool {
        self.interests.get(service).is_some_and(|interest| *interest.borrow() <= revision)
    }

    /// Wakes at every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Wakes at every change of one service, whether or not it exists yet.
    pub(super) fn subscribe_service(&mut self, service: &ServiceName) -> watch::Receiver<Revision> {
        if !self.interests.contains_key(service) {
            self.tidy_some(TIDIED_FOR_ONE);
        }
        let newest = self.revision();
        self.interests.entry(service.clone()).or_insert_with(|| watch::Sender::new(newest)).subscribe()
    }

    /// Lets go of some services that nobody is interested in any more; of all, turn by turn.
    pub(super) fn tidy(&mut self) {
        self.tidy_some(TIDIED);
    }

    fn tidy_some(&mut self, limit: usize) {
        let from = self.tidied.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let looked: Vec<(ServiceName, bool)> = self
            .interests
            .range::<ServiceName, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(name, interest)| (name.clone(), interest.receiver_count() == 0))
            .collect();
        // The end was reached: the next turn begins anew.
        self.tidied = if looked.len() < limit { None } else { looked.last().map(|(name, _)| name.clone()) };
        for (name, unwanted) in looked {
            if unwanted {
                self.interests.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        fleet::{
            snapshot::Removal,
            testing::{Fleet, key, report},
        },
        health::component::Reported,
    };

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
            let read = changes.after(revision).ok()?.take(limit);
            Some(read.map(|(at, change)| (at, change.service().to_string())).collect())
        };
        assert_eq!(names(0, 9), None);
        assert_eq!(names(1, 9).unwrap(), [(2, "b".into()), (3, "c".into()), (4, "d".into())]);
        assert_eq!(names(1, 1).unwrap(), [(2, "b".into())]);
        assert_eq!(names(4, 9).unwrap(), []);
        assert_eq!(names(5, 9), None, "a cursor from the future is of another run");
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_newest_is_always_kept() {
        let mut changes = Changes::new(1000);
        changes.max_bytes = 10 * size_of::<Change>();
        for _ in 0..100 {
            changes.push(gone("orders"));
        }
        assert_eq!(changes.ring.len(), 10);
        assert!(changes.after(90).is_ok() && changes.after(89).is_err());
        let message = "x".repeat(100 * size_of::<Change>());
        let tombstone = Tombstone {
            key: key("orders", "i-1"),
            incarnation: 1,
            removal: Removal::Operator,
            message,
            removed: SystemTime::UNIX_EPOCH,
        };
        changes.push(Change::Removed(Arc::new(tombstone)));
        assert_eq!((changes.ring.len(), changes.after(100).unwrap().count()), (1, 1));
        changes.push(gone("orders"));
        assert_eq!(changes.bytes, size_of::<Change>(), "what is let go no longer counts");
    }

    #[test]
    fn an_instance_weighs_what_its_components_say() {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        fleet.register(&key);
        let mut said = report(Reported::Unhealthy);
        said[0].message = "x".repeat(4096);
        said[0].details = (0..16).map(|at| (format!("key-{at}"), "x".repeat(256))).collect();
        let instance = fleet.state.report(fleet.now, &key, 1, said, None).unwrap();
        // The message is the cause of the component as well, and in that of the instance.
        let least = 3 * 4096 + 16 * 256;
        let weight = Change::Instance(instance).weight();
        assert!((least..2 * least).contains(&weight), "{weight}");
    }

    #[test]
    fn only_who_is_interested_is_woken_and_interest_is_let_go() {
        let mut changes = Changes::new(3);
        let orders = changes.subscribe_service(&ServiceName::parse("orders").unwrap());
        changes.push(gone("payments"));
        let name = ServiceName::parse("orders").unwrap();
        assert!(!orders.has_changed().unwrap() && changes.is_quiet_after(0, &name));
        changes.push(gone("orders"));
        assert!(orders.has_changed().unwrap() && !changes.is_quiet_after(1, &name));
        assert!(changes.is_quiet_after(2, &name));
        drop(orders);
        changes.tidy();
        assert!(changes.interests.is_empty());
        let kept = changes.subscribe_service(&ServiceName::parse("s-700").unwrap());
        for number in 0..1000 {
            drop(changes.subscribe_service(&ServiceName::parse(&format!("s-{number}")).unwrap()));
        }
        for _ in 0..=1000 / TIDIED {
            changes.tidy();
        }
        assert_eq!(changes.interests.len(), 1);
        drop(kept);
    }

    #[test]
    fn interests_that_come_and_go_fast_do_not_pile_up() {
        let mut changes = Changes::new(3);
        let name = |number: usize| ServiceName::parse(&format!("s-{number:06}")).unwrap();
        let kept: Vec<_> = (0..100).map(|number| changes.subscribe_service(&name(number * 50))).collect();
        let mut most = 0;
        for number in 0..20_000 {
            // Ascending, then descending: neither way runs past what is looked at.
            let number = if number < 10_000 { number } else { 30_000 - number };
            drop(changes.subscribe_service(&name(number)));
            most = most.max(changes.interests.len());
        }
        assert!(most <= 2 * kept.len() + TIDIED, "{most} interests, {} of them wanted", kept.len());
    }
}
