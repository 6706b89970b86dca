//! The whole fleet, counted as it changes, so that asking for a figure never looks at the instances.

use std::collections::BTreeMap;

use super::group::Standing;
use crate::health::{State, rollup::Counts};

/// Names of a lifecycle and a health, as figures carry them.
type Names = (&'static str, &'static str);

/// Every instance and every service, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Counts,
    instances: BTreeMap<Names, u64>,
    services: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Moves an instance: from what it was, to what it is.
    pub(super) fn instance(&mut self, before: Option<Standing>, after: Option<Standing>) {
        if before == after {
            return;
        }
        if let Some(standing) = before {
            standing.tally(&mut self.counts, |count| *count -= 1);
            take_one(&mut self.instances, &standing.names());
        }
        if let Some(standing) = after {
            standing.tally(&mut self.counts, |count| *count += 1);
            *self.instances.entry(standing.names()).or_default() += 1;
        }
    }

    /// Moves a service: from what it was, to what it is.
    pub(super) fn service(&mut self, before: Option<State>, after: Option<State>) {
        if before == after {
            return;
        }
        if let Some(state) = before {
            take_one(&mut self.services, &state.as_str());
        }
        if let Some(state) = after {
            *self.services.entry(state.as_str()).or_default() += 1;
        }
    }

    /// All instances together.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Instances by lifecycle and health; only those that occur.
    pub(super) fn instances(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.instances.iter().map(|((lifecycle, health), count)| (*lifecycle, *health, *count)).collect()
    }

    /// How many services are in this health.
    pub(super) fn services(&self, state: State) -> u64 {
        self.services.get(state.as_str()).copied().unwrap_or_default()
    }
}

/// Counts one less, and lets go of what no longer occurs.
fn take_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        fleet::{
            lifecycle::Lifecycle,
            testing::{Fleet, key, remove, report},
        },
        health::component::Reported,
    };

    /// What counting all of the fleet would answer.
    fn counted(fleet: &Fleet) -> (Tally, u64, u64) {
        let mut tally = Tally::default();
        let (mut available, mut lost) = (0, 0);
        for group in fleet.state.groups().values() {
            tally.service(None, Some(group.health().state));
            group.members.values().for_each(|member| tally.instance(None, Some(Standing::of(member))));
            available += u64::from(group.counts().available);
            lost += u64::from(group.counts().lost);
        }
        (tally, available, lost)
    }

    #[test]
    fn what_is_kept_is_what_counting_would_answer() {
        let mut fleet = Fleet::default();
        for step in 0..2000_u64 {
            // A walk through services, instances and what can happen, the same each time.
            let mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let key = key(&format!("s-{}", mixed % 5), &format!("i-{}", mixed / 5 % 7));
            let group = fleet.state.groups().get(&key.service);
            let known = group.and_then(|group| group.members.get(&key.id)).map(|member| member.incarnation);
            let now = fleet.now;
            match (mixed / 64 % 6, known) {
                (0, _) | (_, None) => drop(fleet.register(&key)),
                (1, Some(incarnation)) => remove(&mut fleet.state, now, &key, incarnation),
                (2, Some(_)) => {
                    fleet.pass(Duration::from_secs(2));
                    while fleet.state.tick(fleet.now, 64).more {}
                }
                (3, Some(incarnation)) => {
                    let lifecycle = Some(Lifecycle::Draining);
                    drop(fleet.state.report(now, &key, incarnation, vec![], lifecycle));
                }
                (what, Some(incarnation)) => {
                    let state = if what == 4 { Reported::Healthy } else { Reported::Unhealthy };
                    drop(fleet.state.report(now, &key, incarnation, report(state), None));
                }
            }
            let (expected, available, lost) = counted(&fleet);
            assert_eq!(format!("{:?}", fleet.state.tally()), format!("{expected:?}"), "after {step}");
            let totals = fleet.state.totals();
            assert_eq!((totals.available, totals.lost), (available, lost));
        }
        assert!(fleet.state.totals().lost > 0, "the walk came across losses");
    }
}
