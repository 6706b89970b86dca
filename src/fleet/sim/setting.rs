//! What a seed begins with: bounds, ids, watchers, and what operators put.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{dice::Dice, watcher::Watcher, world::Slot};
use crate::{
    fleet::{
        lifecycle::Lifecycle,
        names::ComponentName,
        registration::{Component, Registration},
        spec::{Budget, Limit, Quantity, Spec},
        state::Limits,
        testing,
    },
    health::component::{Reported, Thresholds},
};

pub(super) fn limits(dice: &mut Dice) -> Limits {
    Limits {
        max_instances: 1_000,
        max_services: 100,
        change_history: [8, 32, 256][dice.below(3)],
        lost_removal: Duration::from_secs([20, 60, 300][dice.below(3)]),
        tombstone_retention: Duration::from_secs([90, 86_400, 86_400][dice.below(3)]),
    }
}

pub(super) fn slots(dice: &mut Dice) -> Vec<Slot> {
    let (instances, services) = (5 + dice.below(16), 1 + dice.below(4));
    let ids = (0..instances).map(|number| (number % services, number));
    ids.map(|(service, number)| {
        let key = testing::key(&format!("s-{service}"), &format!("i-{number}"));
        let mut registration = testing::registration(&key);
        registration.lease_ttl = Duration::from_secs([4, 15, 30][dice.below(3)]);
        registration.lifecycle = Lifecycle::Starting;
        let interval = Duration::from_secs(3 + dice.below(18) as u64);
        let component = |name: &str, essential| Component {
            name: ComponentName::parse(name).unwrap(),
            essential,
            report_interval: interval,
            thresholds: Thresholds { fail: NonZeroU32::MIN, pass: NonZeroU32::MIN },
            ..registration.components[0].clone()
        };
        let all = [component("database", true), component("cache", false)];
        registration.components = all[..dice.below(3)].into();
        Slot { registration: Arc::new(registration), current: None }
    })
    .collect()
}

pub(super) fn watchers(dice: &mut Dice, slots: &[Slot]) -> Vec<Watcher> {
    let paces = [2_000, 6_000, 60_000];
    let watcher = |pace: &u64| {
        let slot = dice.below(2 * slots.len());
        let only = slots.get(slot).map(|slot: &Slot| service(&slot.registration));
        Watcher::new(only, *pace)
    };
    paces.iter().map(watcher).collect()
}

fn service(registration: &Registration) -> crate::fleet::names::ServiceName {
    registration.key.service.clone()
}

pub(super) fn spec(dice: &mut Dice) -> Spec {
    let budget = Budget {
        limit: Some(Limit::MinAvailable(Quantity::Count(u32::try_from(dice.below(4)).unwrap()))),
        quorum_size: 0,
    };
    Spec { budget, ..Spec::default() }
}

pub(super) fn truth(dice: &mut Dice) -> Reported {
    [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][dice.below(3)]
}
