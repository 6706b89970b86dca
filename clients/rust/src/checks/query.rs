//! A database that answers a query, and in time.

use std::time::Duration;

use tokio::time::timeout;

use crate::{Check, HealthState, IntoCheck, Report, rt};

/// A query that is slower than this share of its timeout is degraded, where nothing else was said.
const SLOW: u32 = 2;

/// Checks a database by a query. It brings no driver: `run` is an async function that asks through the
/// service's own, or a [`Check::blocking`] for a driver that blocks. `what` names the query for people.
/// Healthy when it answers, degraded when it takes longer than half of `patience`
/// ([`slow_after`](Query::slow_after) changes that), unhealthy when it fails or does not answer within
/// `patience`. The component's own timeout counts as well, where it is shorter.
///
/// Details: `query`, `slow_after_ms`, and those of the report that `run` answers.
///
/// ```
/// use std::time::Duration;
///
/// use seaworthy_client::{Component, checks};
///
/// # #[derive(Clone)] struct Pool;
/// # impl Pool { async fn execute(&self, _: &str) -> Result<(), std::io::Error> { Ok(()) } }
/// # let pool = Pool;
/// let asked = pool.clone();
/// let answers = checks::query("SELECT 1", Duration::from_secs(2), move || {
///     let pool = asked.clone();
///     async move { pool.execute("SELECT 1").await }
/// });
/// let database = Component::new("database").essential().check(answers.slow_after(Duration::from_millis(200)));
/// ```
pub fn query(what: impl Into<String>, patience: Duration, run: impl IntoCheck) -> Query {
    Query { what: what.into(), patience, slow_after: patience / SLOW, check: run.into_check() }
}

/// A check of a database by a query: made by [`query`].
#[derive(Clone, Debug)]
#[must_use = "a check counts when it is given to a component"]
pub struct Query {
    what: String,
    patience: Duration,
    slow_after: Duration,
    check: Check,
}

impl Query {
    /// How long the query may take until it is degraded. Default: half of its patience.
    pub fn slow_after(mut self, time: Duration) -> Self {
        self.slow_after = time;
        self
    }

    async fn run(self) -> Report {
        let started = rt::now();
        let answered = timeout(self.patience, self.check.run()).await.ok();
        self.judge(answered, rt::now().duration_since(started))
    }

    /// What an answer after this time says; None: there was none.
    fn judge(&self, answered: Option<Report>, taken: Duration) -> Report {
        let Self { what, patience, slow_after, check: _ } = self;
        let report = match answered {
            None => Report::unhealthy(format!("{what} did not answer within {patience:?}")),
            Some(report) if report.state() == HealthState::Healthy && taken > *slow_after => {
                let millis = Duration::from_millis(u64::try_from(taken.as_millis()).unwrap_or(u64::MAX));
                let slow = format!("{what} took {millis:?}, longer than {slow_after:?}");
                report
                    .details()
                    .iter()
                    .fold(Report::degraded(slow), |slow, (key, value)| slow.detail(key, value))
            }
            Some(report) => report,
        };
        report.response_time(taken).detail("query", what).detail("slow_after_ms", slow_after.as_millis())
    }
}

impl IntoCheck for Query {
    fn into_check(self) -> Check {
        if let Some(problem) = self.check.problem() {
            return Check::invalid(problem);
        }
        if self.patience.is_zero() || self.slow_after.is_zero() || self.slow_after > self.patience {
            let (slow, patience) = (self.slow_after, self.patience);
            return Check::invalid(format!(
                "is slow after {slow:?} and given up after {patience:?}; both must be above zero, in this order"
            ));
        }
        Check::new(move || self.clone().run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn answers_are_judged_as_a_table() {
        let query = query("SELECT 1", millis(1000), || async {});
        for (answered, taken, state, message) in [
            (Some(Report::healthy()), 500, HealthState::Healthy, ""),
            (Some(Report::healthy()), 501, HealthState::Degraded, "SELECT 1 took 501ms, longer than 500ms"),
            (Some(Report::degraded("replica lags")), 900, HealthState::Degraded, "replica lags"),
            (Some(Report::unhealthy("connection refused")), 1, HealthState::Unhealthy, "connection refused"),
            (None, 1000, HealthState::Unhealthy, "SELECT 1 did not answer within 1s"),
        ] {
            let report = query.judge(answered, millis(taken));
            assert_eq!((report.state(), report.message()), (state, message), "after {taken} ms");
            assert_eq!(report.measured(), Some(millis(taken)));
            assert_eq!(report.details()["slow_after_ms"], "500");
        }
        let counted = query.judge(Some(Report::healthy().detail("rows", 3)), millis(700));
        assert_eq!((counted.state(), counted.details()["rows"].as_str()), (HealthState::Degraded, "3"));
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_measured_and_patience_ends() {
        for (takes, state) in [
            (millis(10), HealthState::Healthy),
            (millis(600), HealthState::Degraded),
            (millis(5000), HealthState::Unhealthy),
        ] {
            let check = query("SELECT 1", millis(1000), move || tokio::time::sleep(takes)).into_check();
            let report = check.run().await;
            assert_eq!(report.state(), state, "{takes:?}: {}", report.message());
            assert_eq!(report.measured(), Some(takes.min(millis(1000))));
        }
        let failing =
            query("SELECT 1", millis(1000), || async { Err::<(), _>("no such table") }).into_check();
        assert_eq!(failing.run().await.message(), "no such table");
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        for (slow, patience, right) in
            [(1, 2, true), (2, 2, true), (3, 2, false), (0, 2, false), (0, 0, false)]
        {
            let check =
                query("SELECT 1", millis(patience), || async {}).slow_after(millis(slow)).into_check();
            assert_eq!(check.problem().is_none(), right, "{slow} of {patience}");
        }
        let inner = query("SELECT 1", millis(1), Check::invalid("is wrong")).into_check();
        assert_eq!(inner.problem(), Some("is wrong"));
    }
}
