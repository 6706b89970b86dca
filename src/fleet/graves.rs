//! Who was removed, by name and by age: the newest are shown, the oldest are let go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use super::{
    names::{InstanceKey, ServiceName},
    snapshot::Tombstone,
};
use crate::id::TokenHash;

/// A removed instance, and the hash that its late messages prove themselves by.
#[derive(Clone, Debug)]
pub(super) struct Grave {
    pub(super) tombstone: Arc<Tombstone>,
    pub(super) token: TokenHash,
}

/// A place among tombstones by age.
pub(super) type Place = (SystemTime, InstanceKey);

/// All graves.
#[derive(Debug, Default)]
pub(super) struct Graves {
    by_key: BTreeMap<InstanceKey, Grave>,
    by_age: BTreeSet<Place>,
}

impl Graves {
    pub(super) fn get(&self, key: &InstanceKey) -> Option<&Grave> {
        self.by_key.get(key)
    }

    /// By name.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Grave> {
        self.by_key.values()
    }

    pub(super) fn insert(&mut self, grave: Grave) {
        let key = grave.tombstone.key.clone();
        self.remove(&key);
        self.by_age.insert((grave.tombstone.removed, key.clone()));
        self.by_key.insert(key, grave);
    }

    pub(super) fn remove(&mut self, key: &InstanceKey) {
        if let Some(grave) = self.by_key.remove(key) {
            self.by_age.remove(&(grave.tombstone.removed, key.clone()));
        }
    }

    /// Looks at up to `looks` tombstones older than a place, newest first, and answers those of the
    /// service, and where to go on; None: there are no more.
    pub(super) fn older_than(
        &self,
        place: Option<&Place>,
        service: Option<&ServiceName>,
        looks: usize,
    ) -> (Vec<Arc<Tombstone>>, Option<Place>) {
        let mut rest = match place {
            None => self.by_age.range(..),
            Some(place) => self.by_age.range(..place),
        };
        let mut last = None;
        let mut found = Vec::new();
        for place in rest.by_ref().rev().take(looks) {
            last = Some(place);
            let wanted = service.is_none_or(|wanted| *wanted == place.1.service);
            if let Some(grave) = self.by_key.get(&place.1).filter(|_| wanted) {
                found.push(Arc::clone(&grave.tombstone));
            }
        }
        let next = if rest.next().is_some() { last.cloned() } else { None };
        (found, next)
    }

    /// Takes away up to `limit` of the oldest: those from before `oldest`, and those beyond `most`.
    pub(super) fn expire(
        &mut self,
        oldest: Option<SystemTime>,
        most: usize,
        limit: usize,
    ) -> Vec<InstanceKey> {
        let mut expired = Vec::new();
        while expired.len() < limit {
            let too_old = |place: &Place| oldest.is_some_and(|oldest| place.0 < oldest);
            let too_many = self.by_age.len() > most;
            match self.by_age.first() {
                Some(first) if too_many || too_old(first) => {}
                _ => break,
            }
            let Some((_, key)) = self.by_age.pop_first() else { break };
            self.by_key.remove(&key);
            expired.push(key);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        fleet::{names::InstanceId, snapshot::Removal},
        id::SessionToken,
    };

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn key(service: &str, id: u64) -> InstanceKey {
        InstanceKey {
            service: ServiceName::parse(service).unwrap(),
            id: InstanceId::parse(&format!("i-{id}")).unwrap(),
        }
    }

    fn bury(graves: &mut Graves, service: &str, id: u64, second: u64) {
        let tombstone = Tombstone {
            key: key(service, id),
            incarnation: 1,
            removal: Removal::Lost,
            message: String::new(),
            removed: at(second),
        };
        graves
            .insert(Grave { tombstone: Arc::new(tombstone), token: SessionToken::from_wire("sws_x").hash() });
    }

    #[test]
    fn the_newest_come_first_piece_by_piece() {
        let mut graves = Graves::default();
        for second in 0..10 {
            bury(&mut graves, if second % 2 == 0 { "orders" } else { "payments" }, second, second);
        }
        // Buried again, later: it is in one place only.
        bury(&mut graves, "orders", 0, 20);
        let mut seen = Vec::new();
        let mut place = None;
        loop {
            let orders = ServiceName::parse("orders").unwrap();
            let (found, next) = graves.older_than(place.as_ref(), Some(&orders), 3);
            seen.extend(found.iter().map(|tombstone| tombstone.key.id.to_string()));
            match next {
                None => break,
                next => place = next,
            }
        }
        assert_eq!(seen, ["i-0", "i-8", "i-6", "i-4", "i-2"]);
    }

    #[test]
    fn the_oldest_go_by_age_and_by_number_a_bounded_number_at_once() {
        let mut graves = Graves::default();
        for second in 0..10 {
            bury(&mut graves, "orders", second, second);
        }
        assert_eq!(graves.expire(Some(at(3)), 100, 2), [key("orders", 0), key("orders", 1)]);
        assert_eq!(graves.expire(Some(at(3)), 100, 2), [key("orders", 2)]);
        assert_eq!(graves.expire(None, 5, 100), [key("orders", 3), key("orders", 4)]);
        assert!(graves.get(&key("orders", 4)).is_none() && graves.get(&key("orders", 5)).is_some());
        assert_eq!(graves.expire(None, 5, 100), []);
    }
}
