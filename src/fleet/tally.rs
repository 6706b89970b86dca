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
