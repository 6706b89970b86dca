//! How one component's reports become its state: a change needs a streak of reports that point the
//! same way, except from unknown, where the first report counts at once.

use crate::{Report, report::HealthState};

/// How many reports in a row it takes to change the state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Thresholds {
    /// Bad reports until it counts as bad.
    pub(crate) fail: u32,
    /// Good reports until it counts as good again.
    pub(crate) pass: u32,
}

/// The state of one component, from its reports.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    thresholds: Thresholds,
    state: HealthState,
    /// The message of the newest report that was not healthy.
    cause: String,
    // Streaks: how many reports in a row were at least this bad, or at most this bad.
    at_least_degraded: u32,
    at_least_unhealthy: u32,
    at_most_healthy: u32,
    at_most_degraded: u32,
}

impl Tracker {
    /// A component that has not reported yet: unknown.
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: HealthState::Unknown,
            cause: String::new(),
            at_least_degraded: 0,
            at_least_unhealthy: 0,
            at_most_healthy: 0,
            at_most_degraded: 0,
        }
    }

    /// Takes a report.
    pub(crate) fn report(&mut self, report: &Report) {
        let reported = report.state();
        let healthy = reported == HealthState::Healthy;
        let unhealthy = reported == HealthState::Unhealthy;
        let streak = |length: u32, goes_on: bool| if goes_on { length.saturating_add(1) } else { 0 };
        self.at_least_degraded = streak(self.at_least_degraded, !healthy);
        self.at_least_unhealthy = streak(self.at_least_unhealthy, unhealthy);
        self.at_most_healthy = streak(self.at_most_healthy, healthy);
        self.at_most_degraded = streak(self.at_most_degraded, !unhealthy);
        if !healthy {
            self.cause.clear();
            self.cause.push_str(report.message());
        }
        self.state = self.next(reported);
    }

    fn next(&self, reported: HealthState) -> HealthState {
        use HealthState::{Degraded, Healthy, Unhealthy, Unknown};
        let Thresholds { fail, pass } = self.thresholds;
        match self.state {
            Unknown => reported,
            Healthy if self.at_least_unhealthy >= fail => Unhealthy,
            Healthy if self.at_least_degraded >= fail => Degraded,
            Degraded if self.at_least_unhealthy >= fail => Unhealthy,
            Degraded if self.at_most_healthy >= pass => Healthy,
            Unhealthy if self.at_most_healthy >= pass => Healthy,
            Unhealthy if self.at_most_degraded >= pass => Degraded,
            same => same,
        }
    }

    /// The state after thresholds.
    pub(crate) fn state(&self) -> HealthState {
        self.state
    }

    /// What the newest bad report said.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    /// How many reports in a row were not healthy.
    pub(crate) fn consecutive_failures(&self) -> u32 {
        self.at_least_degraded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H, D and U are reports; the states expected after each stand beside them.
    #[test]
    fn thresholds_as_a_table() {
        for (fail, pass, reports, states) in [
            (3, 1, "HUUUH", "HHHUH"),
            (3, 1, "HUUHUU", "HHHHHH"),
            (3, 1, "HDDDH", "HHHDH"),
            (3, 1, "HUDU", "HHHD"),
            (3, 1, "HUDUUU", "HHHDDU"),
            (3, 1, "U", "U"),
            (3, 1, "D", "D"),
            (1, 1, "HUDH", "HUDH"),
            (1, 2, "HUHH", "HUUH"),
            (1, 2, "HUDD", "HUUD"),
            (1, 2, "HUDH", "HUUD"),
            (2, 2, "HUUHUHH", "HHUUUUH"),
        ] {
            let mut tracker = Tracker::new(Thresholds { fail, pass });
            let got: String = reports
                .chars()
                .map(|letter| {
                    tracker.report(&match letter {
                        'H' => Report::healthy(),
                        'D' => Report::degraded("slow"),
                        _ => Report::unhealthy("gone"),
                    });
                    tracker.state().as_str().to_uppercase().chars().next().expect("a name is not empty")
                })
                .collect();
            assert_eq!(got, states, "fail {fail}, pass {pass}, reports {reports}");
        }
    }

    #[test]
    fn failures_are_counted_until_a_good_report() {
        let mut tracker = Tracker::new(Thresholds { fail: 3, pass: 1 });
        for report in [Report::unhealthy("gone"), Report::degraded("slow")] {
            tracker.report(&report);
        }
        assert_eq!((tracker.consecutive_failures(), tracker.cause()), (2, "slow"));
        tracker.report(&Report::healthy());
        assert_eq!(tracker.consecutive_failures(), 0);
    }
}
