//! The instances of a service that are not healthy, put together where they share one cause: of forty
//! that cannot reach one database a tired person wants one line. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::words::cut;
use crate::{
    fleet::{lifecycle::Lifecycle, names::InstanceId},
    health::{State, rollup::severity},
};

/// Most shares that are told.
pub(super) const SHARES: usize = 10;
/// How many of a share are named.
pub(super) const NAMED: usize = 3;

/// What is looked at of one instance: a copy, so that nothing is put together while the fleet is locked.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) id: InstanceId,
    pub(super) lifecycle: Lifecycle,
    pub(super) state: State,
    pub(super) confirmed: bool,
    pub(super) cause: String,
    pub(super) since: SystemTime,
}

/// Instances that are alike: of one state, in one lifecycle, for one cause.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Share {
    pub(super) state: State,
    pub(super) lifecycle: Lifecycle,
    pub(super) cause: String,
    pub(super) confirmed: bool,
    pub(super) count: u32,
    /// Since when the first of them is so.
    pub(super) since: SystemTime,
    /// The first of them by id.
    pub(super) first: BTreeSet<InstanceId>,
}

impl Share {
    /// Whether they can take work.
    pub(super) fn is_available(&self) -> bool {
        self.lifecycle == Lifecycle::Ready && self.state.serves()
    }

    /// Whether it is no wonder that nothing is known of them: they are starting, or the control plane is.
    pub(super) fn is_excused(&self) -> bool {
        self.state == State::Unknown
            && (self.lifecycle == Lifecycle::Starting || !self.confirmed)
            && self.lifecycle != Lifecycle::Lost
    }
}

/// Those that were looked at, and how many there are in all.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    shares: BTreeMap<(&'static str, &'static str, bool, String), Share>,
    /// Instances that are not healthy.
    pub(super) total: usize,
}

impl Crowd {
    /// Takes one in.
    pub(super) fn take(&mut self, look: Look) {
        let Look { id, lifecycle, state, confirmed, cause, since } = look;
        let cause = cut(&cause);
        let likeness = (state.as_str(), lifecycle.as_str(), confirmed, cause.clone());
        let share = self.shares.entry(likeness).or_insert_with(|| Share {
            state,
            lifecycle,
            cause,
            confirmed,
            count: 0,
            since,
            first: BTreeSet::new(),
        });
        share.count += 1;
        share.since = share.since.min(since);
        share.first.insert(id);
        if share.first.len() > NAMED {
            share.first.pop_last();
        }
    }

    /// The worst shares, at most [`SHARES`], and how many instances are in none of them.
    pub(super) fn worst(self) -> (Vec<Share>, usize) {
        let mut shares: Vec<Share> = self.shares.into_values().collect();
        shares.sort_by(|one, other| {
            let order =
                |share: &Share| (share.is_excused(), Reverse(severity(share.state)), Reverse(share.count));
            order(one).cmp(&order(other)).then_with(|| one.first.cmp(&other.first))
        });
        shares.truncate(SHARES);
        let told: usize = shares.iter().map(|share| share.count as usize).sum();
        (shares, self.total.saturating_sub(told))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn crowd(of: impl IntoIterator<Item = (usize, State, Lifecycle, String)>) -> Crowd {
        let mut crowd = Crowd::default();
        for (number, state, lifecycle, cause) in of {
            let id = InstanceId::parse(&format!("i-{number:03}")).unwrap();
            let since = at(1000 - number as u64);
            crowd.take(Look { id, lifecycle, state, confirmed: true, cause, since });
            crowd.total += 1;
        }
        crowd
    }

    #[test]
    fn those_that_share_a_cause_are_one_and_the_worst_come_first() {
        let refused = |number| (number, State::Unhealthy, Lifecycle::Ready, "refused".to_owned());
        let slow = |number| (number, State::Degraded, Lifecycle::Ready, "slow".to_owned());
        let lost = |number| (number, State::Unknown, Lifecycle::Lost, "lost".to_owned());
        let starting = |number| (number, State::Unknown, Lifecycle::Starting, "no report yet".to_owned());
        let all =
            (0..3).map(slow).chain((3..15).map(refused)).chain([lost(15)]).chain((16..40).map(starting));
        let (shares, more) = crowd(all).worst();
        let told: Vec<_> = shares.iter().map(|share| (share.cause.as_str(), share.count)).collect();
        assert_eq!(told, [("refused", 12), ("lost", 1), ("slow", 3), ("no report yet", 24)]);
        assert_eq!(more, 0);
        let first: Vec<_> = shares[0].first.iter().map(InstanceId::as_str).collect();
        assert_eq!((first, shares[0].since), (vec!["i-003", "i-004", "i-005"], at(986)));
    }

    #[test]
    fn ten_are_told_and_the_others_counted() {
        let each = |number| (number, State::Unhealthy, Lifecycle::Ready, format!("code {number}"));
        let mut crowd = crowd((0..40).map(each));
        // Those that were not even looked at count as well.
        crowd.total = 47;
        let (shares, more) = crowd.worst();
        assert_eq!((shares.len(), more), (10, 37));
    }
}
