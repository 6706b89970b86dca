//! What a service needs and promises, and how many available instances follow from it.

use std::{collections::BTreeMap, time::Duration};

use super::names::{ENTRY, ServiceName};

/// How much one service needs another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// It cannot do its work without.
    Hard,
    /// It works without, less well.
    Soft,
}

/// A number of instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quantity {
    /// Absolute.
    Count(u32),
    /// Percent of the registered ones, 0 to 100.
    Percent(u8),
}

/// The limit of a budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// At least this many stay available. A share rounds up.
    MinAvailable(Quantity),
    /// At most this many are unavailable. A share rounds down.
    MaxUnavailable(Quantity),
}

/// How many instances a service needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Budget {
    /// The limit; without one, at least one instance.
    pub limit: Option<Limit>,
    /// Members of a quorum of which n/2 + 1 stay available; 0: no quorum.
    pub quorum_size: u32,
}

impl Budget {
    /// How many instances must be available of `total` registered ones. Never more than there can
    /// be for shares; an absolute number stands as it is.
    pub fn required(&self, total: u32) -> u32 {
        let share_up = |percent: u8| (u64::from(total) * u64::from(percent)).div_ceil(100);
        let share_down = |percent: u8| u64::from(total) * u64::from(percent) / 100;
        let by_limit = match self.limit {
            None => 1,
            Some(Limit::MinAvailable(Quantity::Count(count))) => count,
            Some(Limit::MinAvailable(Quantity::Percent(percent))) => narrow(share_up(percent)),
            Some(Limit::MaxUnavailable(Quantity::Count(count))) => total.saturating_sub(count),
            Some(Limit::MaxUnavailable(Quantity::Percent(percent))) => total - narrow(share_down(percent)),
        };
        match self.quorum_size {
            0 => by_limit,
            members => by_limit.max(members / 2 + 1),
        }
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What the owners of a service promise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objectives {
    /// Share of time available, in percent.
    pub availability_percent: Option<f64>,
    /// How much time's worth of data may be lost.
    pub rpo: Option<Duration>,
    /// How long a recovery may take.
    pub rto: Option<Duration>,
}

/// What a service needs and promises.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// Services that it needs.
    pub depends_on: BTreeMap<ServiceName, Need>,
    /// How many instances it needs.
    pub budget: Budget,
    /// What its owners promise.
    pub objectives: Objectives,
    /// Whether deleting and removing are refused.
    pub protected: bool,
}

impl Spec {
    /// The services that it cannot do without.
    pub fn hard(&self) -> impl Iterator<Item = &ServiceName> {
        self.depends_on.iter().filter(|(_, need)| **need == Need::Hard).map(|(name, _)| name)
    }

    /// Bytes that it holds, roughly.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.depends_on.keys().map(|name| ENTRY + name.as_str().len()).sum::<usize>()
    }

    /// Names of the fields in which `declared` differs from this one. What the declaration leaves at
    /// its default says nothing and is no disagreement.
    pub fn disagreements(&self, declared: &Spec) -> Vec<&'static str> {
        let default = Spec::default();
        let mut fields = Vec::new();
        if declared.depends_on != default.depends_on && declared.depends_on != self.depends_on {
            fields.push("depends_on");
        }
        if declared.budget != default.budget && declared.budget != self.budget {
            fields.push("budget");
        }
        if declared.objectives != default.objectives && declared.objectives != self.objectives {
            fields.push("objectives");
        }
        if declared.protected && !self.protected {
            fields.push("protected");
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_as_a_table() {
        use Limit::{MaxUnavailable as Max, MinAvailable as Min};
        use Quantity::{Count, Percent};
        for (limit, quorum_size, total, required) in [
            (None, 0, 0, 1),
            (None, 0, 5, 1),
            (Some(Min(Count(2))), 0, 1, 2),
            (Some(Min(Percent(50))), 0, 5, 3),
            (Some(Min(Percent(100))), 0, 5, 5),
            (Some(Min(Percent(0))), 0, 5, 0),
            (Some(Max(Count(1))), 0, 5, 4),
            (Some(Max(Count(9))), 0, 5, 0),
            (Some(Max(Percent(50))), 0, 5, 3),
            (Some(Max(Percent(10))), 0, 5, 5),
            (Some(Min(Count(1))), 5, 5, 3),
            (None, 4, 4, 3),
        ] {
            assert_eq!(Budget { limit, quorum_size }.required(total), required, "{limit:?} of {total}");
        }
    }

    #[test]
    fn only_what_is_declared_can_disagree() {
        let operator = Spec { protected: true, ..Spec::default() };
        assert!(operator.disagreements(&Spec::default()).is_empty());
        let declared = Spec { budget: Budget { quorum_size: 3, ..Budget::default() }, ..Spec::default() };
        assert_eq!(operator.disagreements(&declared), ["budget"]);
    }
}
