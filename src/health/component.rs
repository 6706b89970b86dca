//! What is kept of one component: its state after thresholds, by the rules that the client library shares,
//! the last report, and the average response time.

use std::time::Duration;

use seaworthy_client::rules::Streaks;
pub use seaworthy_client::rules::{Reported, Thresholds};

use super::State;

/// Weight of the newest response time in the average.
const NEWEST_WEIGHT: f64 = 0.2;

/// Silence for this many report intervals makes a component unknown.
pub const SILENT_INTERVALS: u32 = 3;

/// A check that waits for its turn this many intervals makes a component unknown, and not before
/// [`LEAST_WAIT`].
const WAITING_INTERVALS: u32 = 30;
/// What a busy control plane may take for its checks, however short their intervals are.
const LEAST_WAIT: Duration = Duration::from_secs(300);

/// How long what a check found holds while the next one waits for its turn: that is the control plane's lateness,
/// so far longer than silence would, and not for ever.
pub fn longest_wait(interval: Duration) -> Duration {
    interval.saturating_mul(WAITING_INTERVALS).max(LEAST_WAIT)
}

/// A component, from its reports.
#[derive(Clone, Debug)]
pub struct Tracker {
    streaks: Streaks,
    last: Option<Reported>,
    average: Option<Duration>,
    count: u64,
}

impl Tracker {
    /// A component that has not reported yet: unknown.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { streaks: Streaks::new(thresholds), last: None, average: None, count: 0 }
    }

    /// Takes a report, and answers the state after it.
    pub fn report(&mut self, reported: Reported, response_time: Option<Duration>) -> State {
        self.last = Some(reported);
        self.count += 1;
        if let Some(newest) = response_time {
            self.average = Some(match self.average {
                None => newest,
                Some(average) => average.mul_f64(1.0 - NEWEST_WEIGHT) + newest.mul_f64(NEWEST_WEIGHT),
            });
        }
        self.streaks.report(reported)
    }

    /// Nothing was heard for too long: nobody knows any more. The next report counts at once.
    pub fn forget(&mut self) {
        self.streaks.forget();
    }

    /// The state after thresholds.
    pub fn state(&self) -> State {
        self.streaks.state()
    }

    /// What the last report said.
    pub fn last(&self) -> Option<Reported> {
        self.last
    }

    /// How many reports in a row were not healthy.
    pub fn consecutive_failures(&self) -> u32 {
        self.streaks.consecutive_failures()
    }

    /// What the bad reports in a row make of it where they go on. None: the last one was good.
    pub fn leads_to(&self) -> Option<Reported> {
        self.streaks.leads_to()
    }

    /// Whether its state goes back and forth.
    pub fn is_flapping(&self) -> bool {
        self.streaks.is_flapping()
    }

    /// Why it is not healthy, from what was reported: with that it is flapping, while it is.
    pub fn cause(&self, message: &str) -> String {
        self.streaks.cause(message)
    }

    /// Average of the response times, exponentially weighted.
    pub fn average_response_time(&self) -> Option<Duration> {
        self.average
    }

    /// How many reports came.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_times_are_averaged() {
        let mut tracker = Tracker::new(Thresholds::DEFAULT);
        for millis in [100, 200] {
            tracker.report(Reported::Healthy, Some(Duration::from_millis(millis)));
        }
        assert_eq!(tracker.average_response_time(), Some(Duration::from_millis(120)));
    }
}
