//! How one component's reports become its state: thresholds, streaks and the average response time.

use std::{num::NonZeroU32, time::Duration};

use super::State;

/// Weight of the newest response time in the average.
const NEWEST_WEIGHT: f64 = 0.2;

/// Silence for this many report intervals makes a component UNKNOWN.
pub const SILENT_INTERVALS: u32 = 3;

/// What a component can report of itself. Worse is greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reported {
    /// Works.
    Healthy,
    /// Works, less well than it should.
    Degraded,
    /// Does not work.
    Unhealthy,
}

impl From<Reported> for State {
    fn from(reported: Reported) -> Self {
        match reported {
            Reported::Healthy => State::Healthy,
            Reported::Degraded => State::Degraded,
            Reported::Unhealthy => State::Unhealthy,
        }
    }
}

/// How many reports in a row it takes to change the state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    /// Bad reports until it counts as bad.
    pub fail: NonZeroU32,
    /// Good reports until it counts as good again.
    pub pass: NonZeroU32,
}

impl Thresholds {
    /// Three to fail, one to pass (as Kubernetes probes).
    pub const DEFAULT: Thresholds =
        Thresholds { fail: NonZeroU32::new(3).expect("3 is not zero"), pass: NonZeroU32::MIN };
}

/// The state of one component, from its reports.
#[derive(Clone, Debug)]
pub struct Tracker {
    thresholds: Thresholds,
    state: State,
    last: Option<Reported>,
    // Streaks: how many reports in a row were at least this bad, or at most this bad.
    at_least_degraded: u32,
    at_least_unhealthy: u32,
    at_most_healthy: u32,
    at_most_degraded: u32,
    average: Option<Duration>,
    count: u64,
}

impl Tracker {
    /// A component that has not reported yet: UNKNOWN.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: State::Unknown,
            last: None,
            at_least_degraded: 0,
            at_least_unhealthy: 0,
            at_most_healthy: 0,
            at_most_degraded: 0,
            average: None,
            count: 0,
        }
    }

    /// Takes a report, and answers the state after it.
    ///
    /// From UNKNOWN the first report counts at once: there is nothing to hold on to.
    pub fn report(&mut self, reported: Reported, response_time: Option<Duration>) -> State {
        let streak = |length: u32, goes_on: bool| if goes_on { length.saturating_add(1) } else { 0 };
        self.at_least_degraded = streak(self.at_least_degraded, reported >= Reported::Degraded);
        self.at_least_unhealthy = streak(self.at_least_unhealthy, reported >= Reported::Unhealthy);
        self.at_most_healthy = streak(self.at_most_healthy, reported <= Reported::Healthy);
        self.at_most_degraded = streak(self.at_most_degraded, reported <= Reported::Degraded);
        self.last = Some(reported);
        self.count += 1;
        if let Some(newest) = response_time {
            self.average = Some(match self.average {
                None => newest,
                Some(average) => average.mul_f64(1.0 - NEWEST_WEIGHT) + newest.mul_f64(NEWEST_WEIGHT),
            });
        }
        self.state = self.next(reported);
        self.state
    }

    fn next(&self, reported: Reported) -> State {
        let (fail, pass) = (self.thresholds.fail.get(), self.thresholds.pass.get());
        match self.state {
            State::Unknown => reported.into(),
            State::Healthy if self.at_least_unhealthy >= fail => State::Unhealthy,
            State::Healthy if self.at_least_degraded >= fail => State::Degraded,
            State::Degraded if self.at_least_unhealthy >= fail => State::Unhealthy,
            State::Degraded if self.at_most_healthy >= pass => State::Healthy,
            State::Unhealthy if self.at_most_healthy >= pass => State::Healthy,
            State::Unhealthy if self.at_most_degraded >= pass => State::Degraded,
            same => same,
        }
    }

    /// Nothing was heard for too long: nobody knows any more. The next report counts at once.
    pub fn forget(&mut self) {
        self.state = State::Unknown;
    }

    /// The state after thresholds.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the last report said.
    pub fn last(&self) -> Option<Reported> {
        self.last
    }

    /// How many reports in a row were not healthy.
    pub fn consecutive_failures(&self) -> u32 {
        self.at_least_degraded
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
    use proptest::prelude::*;

    fn thresholds(fail: u32, pass: u32) -> Thresholds {
        Thresholds { fail: NonZeroU32::new(fail).unwrap(), pass: NonZeroU32::new(pass).unwrap() }
    }

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
            (1, 2, "HUHH", "HUUH"),
            (1, 2, "HUDD", "HUUD"),
            (1, 2, "HUDH", "HUUD"),
            (2, 2, "HUUHUHH", "HHUUUUH"),
        ] {
            let mut tracker = Tracker::new(thresholds(fail, pass));
            let got: String = reports
                .chars()
                .map(|report| {
                    let reported = match report {
                        'H' => Reported::Healthy,
                        'D' => Reported::Degraded,
                        _ => Reported::Unhealthy,
                    };
                    tracker.report(reported, None).as_str().to_uppercase().chars().next().unwrap()
                })
                .collect();
            assert_eq!(got, states, "fail {fail}, pass {pass}, reports {reports}");
        }
    }

    #[test]
    fn silence_is_unknown_and_the_next_report_counts_at_once() {
        let mut tracker = Tracker::new(Thresholds::DEFAULT);
        tracker.report(Reported::Healthy, None);
        tracker.forget();
        assert_eq!(tracker.state(), State::Unknown);
        assert_eq!(tracker.report(Reported::Unhealthy, None), State::Unhealthy);
    }

    #[test]
    fn response_times_are_averaged() {
        let mut tracker = Tracker::new(Thresholds::DEFAULT);
        for millis in [100, 200] {
            tracker.report(Reported::Healthy, Some(Duration::from_millis(millis)));
        }
        assert_eq!(tracker.average_response_time(), Some(Duration::from_millis(120)));
    }

    proptest! {
        #[test]
        fn a_state_lasts_only_while_reports_allow_it(fail in 1u32..5, pass in 1u32..5, reports in prop::collection::vec(0u8..3, 1..60)) {
            let mut tracker = Tracker::new(thresholds(fail, pass));
            let reports: Vec<_> = reports.into_iter().map(|r| [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][usize::from(r)]).collect();
            for (at, reported) in reports.iter().enumerate() {
                let before = tracker.state();
                let after = tracker.report(*reported, None);
                let tail = |n: u32| reports[(at + 1).saturating_sub(n as usize)..=at].iter();
                // A change is always backed by a full streak that points the same way.
                if before != State::Unknown && after != before {
                    let worse = |s: State| match s { State::Healthy => 0, State::Degraded => 1, _ => 2 };
                    let after_report = [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][worse(after)];
                    if worse(after) > worse(before) {
                        prop_assert!(tail(fail).count() == fail as usize && tail(fail).all(|r| *r >= after_report));
                    } else {
                        prop_assert!(tail(pass).count() == pass as usize && tail(pass).all(|r| *r <= after_report));
                    }
                }
                // Enough of the same always arrives there.
                if tail(fail.max(pass)).count() == fail.max(pass) as usize && tail(fail.max(pass)).all(|r| r == reported) {
                    prop_assert_eq!(after, State::from(*reported));
                }
            }
        }
    }
}
