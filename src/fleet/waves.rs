//! Losses that come in waves: whether so many are lost within one lease that it is rather the network, or
//! the control plane itself, than they.
//!
//! A loss counts for as long as the lease that ran out. When those that count are a large part of the
//! fleet, or all of a service, a wave begins: they are put under protection, also those that were lost a
//! little earlier, and stay registered and discovered until they are heard or a limit has passed. Who has
//! said that it leaves is no loss, and nobody to be expected either.
//!
//! Here it is counted and remembered which waves there are; `state` says who is lost and who is protected.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::names::{InstanceId, InstanceKey, ServiceName};

/// Per cent of the fleet whose loss within one lease is a wave (Eureka preserves itself at the same).
const WAVE_PERCENT: usize = 15;
/// Fewer losses than this are never a wave of the fleet, however small it is.
const WAVE_LEAST: usize = 3;
/// A service of fewer instances than this is lost whole by the loss of one: no wave.
const SERVICE_LEAST: usize = 2;
/// How long the protection of one instance lasts at the most.
pub const PROTECTION_LIMIT: Duration = Duration::from_secs(600);

/// How far a wave goes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Scope {
    /// A large part of the fleet.
    Fleet,
    /// All of one service.
    Service(ServiceName),
}

/// What happened to a wave, for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum News {
    Began(Scope),
    /// None of those that it protected is under protection any more.
    Ended(Scope),
}

/// Those that are expected and neither lost nor leaving, once the loss in question has happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) in_fleet: usize,
    pub(super) in_service: usize,
}

/// Recent losses and the waves that they make.
#[derive(Debug, Default)]
pub(super) struct Waves {
    // Each with whether it is part of a wave of the fleet.
    recent: BTreeMap<InstanceKey, bool>,
    recent_of_fleet: usize,
    recent_by_service: BTreeMap<ServiceName, usize>,
    // Of the recent ones those that are not protected: there was no wave when they were lost. Services
    // without any have no entry.
    unprotected: BTreeMap<ServiceName, BTreeSet<InstanceId>>,
    // To which of them protection still has to be extended.
    spreading: BTreeSet<Scope>,
    going: BTreeSet<Scope>,
    begun: u64,
    // At most one begin and one end of each service between two turns: a wave takes a whole lease.
    news: Vec<News>,
}

impl Waves {
    /// Takes note of a loss, and answers the wave that it is part of.
    pub(super) fn lose(&mut self, key: &InstanceKey, present: Present) -> Option<Scope> {
        if self.recent.insert(key.clone(), false).is_none() {
            *self.recent_by_service.entry(key.service.clone()).or_default() += 1;
        }
        let of_service = self.recent_by_service.get(&key.service).copied().unwrap_or_default();
        let scope = if is_wave(self.recent.len(), present.in_fleet) {
            Scope::Fleet
        } else if is_whole_service(of_service, present.in_service) {
            Scope::Service(key.service.clone())
        } else {
            self.unprotected.entry(key.service.clone()).or_default().insert(key.id.clone());
            return None;
        };
        // What is lost with a wave of the fleet, or within a lease of it, is not announced again for each
        // service; what comes later is another one, however long those from then are under protection.
        let is_told = self.going.contains(&Scope::Fleet) && self.recent_of_fleet > 0;
        if scope == Scope::Fleet {
            self.count_as_of_fleet(key);
        }
        if !is_told && self.going.insert(scope.clone()) {
            self.begun += 1;
            self.news.push(News::Began(scope.clone()));
        }
        self.spreading.insert(scope.clone());
        Some(scope)
    }

    fn count_as_of_fleet(&mut self, key: &InstanceKey) {
        if let Some(of_fleet) = self.recent.get_mut(key)
            && !*of_fleet
        {
            *of_fleet = true;
            self.recent_of_fleet += 1;
        }
    }

    /// Somebody who was lost before a wave, and is part of it all the same. To be asked again until it
    /// answers none.
    pub(super) fn next_to_protect(&mut self) -> Option<InstanceKey> {
        while let Some(scope) = self.spreading.first() {
            let is_of_fleet = *scope == Scope::Fleet;
            let found = match scope {
                Scope::Fleet => self.unprotected.first_key_value(),
                Scope::Service(service) => self.unprotected.get_key_value(service),
            };
            let key = found.and_then(|(service, ids)| {
                Some(InstanceKey { service: service.clone(), id: ids.first()?.clone() })
            });
            match key {
                Some(key) => {
                    if is_of_fleet {
                        self.count_as_of_fleet(&key);
                    }
                    self.take_unprotected(&key);
                    return Some(key);
                }
                None => drop(self.spreading.pop_first()),
            }
        }
        None
    }

    fn take_unprotected(&mut self, key: &InstanceKey) {
        if let Some(ids) = self.unprotected.get_mut(&key.service) {
            ids.remove(&key.id);
            if ids.is_empty() {
                self.unprotected.remove(&key.service);
            }
        }
    }

    /// Whether this loss still counts.
    pub(super) fn is_recent(&self, key: &InstanceKey) -> bool {
        self.recent.contains_key(key)
    }

    /// A loss counts no longer: it was a lease ago, or it is none any more.
    pub(super) fn forget(&mut self, key: &InstanceKey) {
        let Some(of_fleet) = self.recent.remove(key) else { return };
        self.recent_of_fleet -= usize::from(of_fleet);
        self.take_unprotected(key);
        if let Some(count) = self.recent_by_service.get_mut(&key.service) {
            *count -= 1;
            if *count == 0 {
                self.recent_by_service.remove(&key.service);
            }
        }
    }

    /// Ends the waves of which nobody is protected any more: as many are, in the fleet and in a service.
    pub(super) fn settle(&mut self, protected: u32, service: &ServiceName, of_service: u32) {
        if self.going.is_empty() {
            return;
        }
        if of_service == 0 {
            self.end(&Scope::Service(service.clone()));
        }
        if protected == 0 {
            self.end(&Scope::Fleet);
        }
    }

    fn end(&mut self, scope: &Scope) {
        if let Some(ended) = self.going.take(scope) {
            self.news.push(News::Ended(ended));
        }
    }

    /// How many waves have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// What happened since it was last asked, in order.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }
}

/// Whether so many losses are a large part of the fleet, of which so many others are still there.
fn is_wave(lost: usize, present: usize) -> bool {
    lost >= WAVE_LEAST && lost * 100 >= (lost + present) * WAVE_PERCENT
}

/// Whether so many losses are all of a service, of which so many others are still there.
fn is_whole_service(lost: usize, present: usize) -> bool {
    lost >= SERVICE_LEAST && present == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::testing::key;

    #[test]
    fn what_is_a_wave_as_a_table() {
        for (lost, present, wave) in [
            (0, 0, false),
            (1, 0, false),
            (2, 0, false),
            (3, 0, true),
            (2, 10, false),
            (3, 17, true),
            (3, 18, false),
            (15, 85, true),
            (14, 85, false),
            (15_000, 85_000, true),
            (14_999, 85_001, false),
        ] {
            assert_eq!(is_wave(lost, present), wave, "{lost} lost, {present} present");
        }
        for (lost, present, whole) in
            [(1, 0, false), (2, 0, true), (2, 1, false), (1, 1, false), (9, 0, true)]
        {
            assert_eq!(is_whole_service(lost, present), whole, "{lost} lost, {present} present");
        }
    }

    #[test]
    fn a_wave_reaches_back_to_its_own_and_no_further() {
        let mut waves = Waves::default();
        let many = |in_service| Present { in_fleet: 1000, in_service };
        let (a1, a2, b1) = (key("a", "i-1"), key("a", "i-2"), key("b", "i-1"));
        assert_eq!(waves.lose(&b1, many(4)), None);
        assert_eq!(waves.lose(&a1, many(1)), None);
        assert_eq!(waves.lose(&a2, many(0)), Some(Scope::Service(a1.service.clone())));
        assert_eq!((waves.next_to_protect(), waves.next_to_protect()), (Some(a1.clone()), None));
        // The whole fleet, and whoever is left.
        let few = Present { in_fleet: 3, in_service: 3 };
        assert_eq!(waves.lose(&key("c", "i-1"), few), Some(Scope::Fleet));
        assert_eq!((waves.next_to_protect(), waves.next_to_protect()), (Some(b1), None));
        let of_a = || Scope::Service(a1.service.clone());
        assert_eq!(waves.take_news(), [News::Began(of_a()), News::Began(Scope::Fleet)]);
        waves.settle(2, &a1.service, 0);
        waves.settle(0, &key("c", "i-1").service, 0);
        assert_eq!(waves.take_news(), [News::Ended(of_a()), News::Ended(Scope::Fleet)]);
        assert_eq!(waves.begun(), 2);
    }

    #[test]
    fn a_service_that_is_lost_long_after_a_wave_of_the_fleet_is_news() {
        let mut waves = Waves::default();
        let of = |service: &str, id| key(service, ["i-1", "i-2", "i-3"][id]);
        let few = Present { in_fleet: 3, in_service: 3 };
        let whole = |in_service| Present { in_fleet: 1000, in_service };
        let lose_whole = |waves: &mut Waves, service: &str| {
            assert_eq!(waves.lose(&of(service, 0), whole(1)), None);
            assert_eq!(waves.lose(&of(service, 1), whole(0)), Some(Scope::Service(of(service, 0).service)));
            while waves.next_to_protect().is_some() {}
        };
        // The first is part of it by reaching back alone.
        for (id, wave) in [(0, None), (1, None), (2, Some(Scope::Fleet))] {
            assert_eq!(waves.lose(&of("a", id), few), wave);
        }
        while waves.next_to_protect().is_some() {}
        assert_eq!(waves.take_news(), [News::Began(Scope::Fleet)]);
        lose_whole(&mut waves, "with");
        waves.forget(&of("a", 1));
        waves.forget(&of("a", 2));
        lose_whole(&mut waves, "behind");
        assert_eq!((waves.take_news(), waves.begun()), (vec![], 1), "within a lease of the fleet's");
        // Those of the fleet are protected still; their losses count no longer.
        waves.forget(&of("a", 0));
        lose_whole(&mut waves, "later");
        let later = || Scope::Service(of("later", 0).service);
        assert_eq!((waves.take_news(), waves.begun()), (vec![News::Began(later())], 2));
        waves.settle(3, &of("later", 0).service, 0);
        waves.settle(0, &of("a", 0).service, 0);
        assert_eq!(waves.take_news(), [News::Ended(later()), News::Ended(Scope::Fleet)]);
    }

    #[test]
    fn a_loss_that_counts_no_longer_makes_no_wave() {
        let mut waves = Waves::default();
        let (one, two) = (key("a", "i-1"), key("a", "i-2"));
        let alone = |in_service| Present { in_fleet: 1, in_service };
        assert_eq!(waves.lose(&one, alone(1)), None);
        waves.forget(&one);
        assert_eq!(waves.lose(&two, alone(0)), None, "one of two");
        assert!(waves.is_recent(&two) && !waves.is_recent(&one));
    }
}
