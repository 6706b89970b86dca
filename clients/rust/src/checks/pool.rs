//! A pool of connections that runs short before it is empty.

use std::{fmt, sync::Arc};

use crate::{Check, IntoCheck, Report};

/// Degraded from this share in use, where nothing else was said.
const DEGRADED_FROM: u8 = 80;
/// Unhealthy from this share in use, if somebody waits, where nothing else was said.
const UNHEALTHY_FROM: u8 = 100;

/// How a pool is used at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolUse {
    in_use: u64,
    max: u64,
    waiting: u64,
}

impl PoolUse {
    /// So many connections are in use, of at most so many. Nobody waits for one.
    pub fn new(in_use: u64, max: u64) -> Self {
        Self { in_use, max, waiting: 0 }
    }

    /// Callers that wait for a connection. Leave it out where the pool does not say: then it is degraded
    /// at worst.
    pub fn waiting(mut self, callers: u64) -> Self {
        self.waiting = callers;
        self
    }

    /// In percent, rounded down; more than 100 where a pool may exceed its size.
    fn percent(self) -> u64 {
        let percent = u128::from(self.in_use) * 100 / u128::from(self.max.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

/// Checks how much of a pool is in use, of connections, threads or whatever else is lent and given back:
/// `read` asks the pool and must not block. Degraded from 80 % in use, unhealthy when all is in use and
/// somebody waits; [`degraded_from`](Pool::degraded_from) and [`unhealthy_from`](Pool::unhealthy_from)
/// change that. A pool of size zero is unhealthy.
///
/// Details: `in_use`, `max`, `waiting`, `used_percent`.
///
/// ```
/// use seaworthy_client::{Component, checks::{self, PoolUse}};
///
/// # #[derive(Clone)] struct Pool;
/// # impl Pool { fn in_use(&self) -> u64 { 3 } fn size(&self) -> u64 { 10 } fn waiting(&self) -> u64 { 0 } }
/// # let pool = Pool;
/// let read = move || PoolUse::new(pool.in_use(), pool.size()).waiting(pool.waiting());
/// let connections = Component::new("pool").check(checks::pool(read).degraded_from(90));
/// ```
pub fn pool(read: impl Fn() -> PoolUse + Send + Sync + 'static) -> Pool {
    Pool { read: Arc::new(read), degraded_from: DEGRADED_FROM, unhealthy_from: UNHEALTHY_FROM }
}

/// A check of a pool: made by [`pool`].
#[derive(Clone)]
#[must_use = "a check counts when it is given to a component"]
pub struct Pool {
    read: Arc<dyn Fn() -> PoolUse + Send + Sync>,
    degraded_from: u8,
    unhealthy_from: u8,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read: _, degraded_from, unhealthy_from } = self;
        f.debug_struct("Pool")
            .field("degraded_from", degraded_from)
            .field("unhealthy_from", unhealthy_from)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// From which share in use it is degraded, in percent. Default 80; 1 to 100.
    pub fn degraded_from(mut self, percent: u8) -> Self {
        self.degraded_from = percent;
        self
    }

    /// From which share in use it is unhealthy while somebody waits, in percent. Default 100; not below
    /// that of degraded, up to 100.
    pub fn unhealthy_from(mut self, percent: u8) -> Self {
        self.unhealthy_from = percent;
        self
    }

    fn judge(&self, found: PoolUse) -> Report {
        let PoolUse { in_use, max, waiting } = found;
        let used = found.percent();
        let report = match used {
            _ if max == 0 => Report::unhealthy("the pool has no room for anything: its size is 0"),
            _ if used >= u64::from(self.unhealthy_from) && waiting > 0 => {
                Report::unhealthy(format!("{in_use} of {max} in use, and {waiting} waiting"))
            }
            _ if used >= u64::from(self.degraded_from) => {
                Report::degraded(format!("{in_use} of {max} in use, close to all"))
            }
            _ => Report::healthy(),
        };
        report
            .detail("in_use", in_use)
            .detail("max", max)
            .detail("waiting", waiting)
            .detail("used_percent", used)
    }
}

impl IntoCheck for Pool {
    fn into_check(self) -> Check {
        let (degraded, unhealthy) = (self.degraded_from, self.unhealthy_from);
        if degraded == 0 || degraded > unhealthy || unhealthy > 100 {
            return Check::invalid(format!(
                "is degraded from {degraded} and unhealthy from {unhealthy} percent; they must be between 1 and \
                 100, in this order"
            ));
        }
        Check::new(move || {
            let pool = self.clone();
            async move { pool.judge((pool.read)()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthState::{Degraded, Healthy, Unhealthy};

    #[tokio::test]
    async fn use_is_judged_as_a_table() {
        for (in_use, max, waiting, state) in [
            (0, 10, 0, Healthy),
            (7, 10, 0, Healthy),
            // Somebody may wait for a moment while there is room.
            (7, 10, 3, Healthy),
            (8, 10, 0, Degraded),
            (10, 10, 0, Degraded),
            (10, 10, 1, Unhealthy),
            (12, 10, 1, Unhealthy),
            (0, 0, 0, Unhealthy),
            (79, 100, 0, Healthy),
            (799, 1000, 0, Healthy),
            (u64::MAX, 1, 0, Degraded),
        ] {
            let found = pool(move || PoolUse::new(in_use, max).waiting(waiting)).into_check().run().await;
            assert_eq!(found.state(), state, "{in_use} of {max}, {waiting} waiting");
        }
        let found = pool(|| PoolUse::new(9, 10).waiting(2)).unhealthy_from(90).into_check().run().await;
        assert_eq!((found.state(), found.message()), (Unhealthy, "9 of 10 in use, and 2 waiting"));
        assert_eq!(
            (found.details()["used_percent"].as_str(), found.details()["waiting"].as_str()),
            ("90", "2")
        );
    }

    #[test]
    fn shares_that_make_no_sense_are_refused() {
        for (degraded, unhealthy, right) in
            [(80, 100, true), (1, 1, true), (0, 100, false), (90, 80, false), (80, 101, false)]
        {
            let pool = pool(PoolUse::default).degraded_from(degraded).unhealthy_from(unhealthy);
            assert_eq!(pool.into_check().problem().is_none(), right, "{degraded}, {unhealthy}");
        }
    }
}
