//! How the reports of one component become its state: a change needs a streak of reports that point the
//! same way, except from unknown, where the first report counts at once.

use std::num::NonZeroU32;

use super::{HealthState, Reported};

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
pub struct Streaks {
    thresholds: Thresholds,
    state: HealthState,
    // How many reports in a row were at least this bad, or at most this bad.
    at_least_degraded: u32,
    at_least_unhealthy: u32,
    at_most_healthy: u32,
    at_most_degraded: u32,
}

impl Streaks {
    /// A component that has not reported yet: unknown.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: HealthState::Unknown,
            at_least_degraded: 0,
            at_least_unhealthy: 0,
            at_most_healthy: 0,
            at_most_degraded: 0,
        }
    }

    /// Takes a report, and answers the state after it.
    ///
    /// From unknown the first report counts at once: there is nothing to hold on to.
    pub fn report(&mut self, reported: Reported) -> HealthState {
        let streak = |length: u32, goes_on: bool| if goes_on { length.saturating_add(1) } else { 0 };
        self.at_least_degraded = streak(self.at_least_degraded, reported >= Reported::Degraded);
        self.at_least_unhealthy = streak(self.at_least_unhealthy, reported >= Reported::Unhealthy);
        self.at_most_healthy = streak(self.at_most_healthy, reported <= Reported::Healthy);
        self.at_most_degraded = streak(self.at_most_degraded, reported <= Reported::Degraded);
        self.state = self.next(reported);
        self.state
    }

    fn next(&self, reported: Reported) -> HealthState {
        use HealthState::{Degraded, Healthy, Unhealthy, Unknown};
        let (fail, pass) = (self.thresholds.fail.get(), self.thresholds.pass.get());
        match self.state {
            Unknown => reported.into(),
            Healthy if self.at_least_unhealthy >= fail => Unhealthy,
            Healthy if self.at_least_degraded >= fail => Degraded,
            Degraded if self.at_least_unhealthy >= fail => Unhealthy,
            Degraded if self.at_most_healthy >= pass => Healthy,
            Unhealthy if self.at_most_healthy >= pass => Healthy,
            Unhealthy if self.at_most_degraded >= pass => Degraded,
            same => same,
        }
    }

    /// Nothing was heard for too long: nobody knows any more. The next report counts at once.
    pub fn forget(&mut self) {
        self.state = HealthState::Unknown;
    }

    /// The state after thresholds.
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// How many reports in a row were not healthy.
    pub fn consecutive_failures(&self) -> u32 {
        self.at_least_degraded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            (1, 1, "HUDH", "HUDH"),
            (1, 2, "HUHH", "HUUH"),
            (1, 2, "HUDD", "HUUD"),
            (1, 2, "HUDH", "HUUD"),
            (2, 2, "HUUHUHH", "HHUUUUH"),
        ] {
            let mut streaks = Streaks::new(thresholds(fail, pass));
            let got: String = reports
                .chars()
                .map(|report| {
                    let reported = match report {
                        'H' => Reported::Healthy,
                        'D' => Reported::Degraded,
                        _ => Reported::Unhealthy,
                    };
                    streaks.report(reported).as_str().to_uppercase().chars().next().unwrap()
                })
                .collect();
            assert_eq!(got, states, "fail {fail}, pass {pass}, reports {reports}");
        }
    }

    #[test]
    fn silence_is_unknown_and_the_next_report_counts_at_once() {
        let mut streaks = Streaks::new(Thresholds::DEFAULT);
        streaks.report(Reported::Healthy);
        streaks.forget();
        assert_eq!(streaks.state(), HealthState::Unknown);
        assert_eq!(streaks.report(Reported::Unhealthy), HealthState::Unhealthy);
    }

    #[test]
    fn failures_are_counted_until_a_good_report() {
        let mut streaks = Streaks::new(Thresholds::DEFAULT);
        for reported in [Reported::Unhealthy, Reported::Degraded] {
            streaks.report(reported);
        }
        assert_eq!(streaks.consecutive_failures(), 2);
        streaks.report(Reported::Healthy);
        assert_eq!(streaks.consecutive_failures(), 0);
    }

    proptest! {
        #[test]
        fn a_state_lasts_only_while_reports_allow_it(fail in 1u32..5, pass in 1u32..5, reports in prop::collection::vec(0u8..3, 1..60)) {
            let mut streaks = Streaks::new(thresholds(fail, pass));
            let reports: Vec<_> = reports.into_iter().map(|r| [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][usize::from(r)]).collect();
            for (at, reported) in reports.iter().enumerate() {
                let before = streaks.state();
                let after = streaks.report(*reported);
                let tail = |n: u32| reports[(at + 1).saturating_sub(n as usize)..=at].iter();
                // A change is always backed by a full streak that points the same way.
                if before != HealthState::Unknown && after != before {
                    let worse = |s: HealthState| match s { HealthState::Healthy => 0, HealthState::Degraded => 1, _ => 2 };
                    let after_report = [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][worse(after)];
                    if worse(after) > worse(before) {
                        prop_assert!(tail(fail).count() == fail as usize && tail(fail).all(|r| *r >= after_report));
                    } else {
                        prop_assert!(tail(pass).count() == pass as usize && tail(pass).all(|r| *r <= after_report));
                    }
                }
                // Enough of the same always arrives there.
                if tail(fail.max(pass)).count() == fail.max(pass) as usize && tail(fail.max(pass)).all(|r| r == reported) {
                    prop_assert_eq!(after, HealthState::from(*reported));
                }
            }
        }
    }
}
