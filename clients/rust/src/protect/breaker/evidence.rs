//! What speaks against the protected thing while calls go through, and the three rules that judge it.

use std::time::Duration;

use super::{
    settings::{Options, SlidingWindow},
    state::Cause,
    window::{Call, Counts, Window},
};

#[derive(Clone, Debug)]
pub(super) struct Evidence {
    window: Window,
    consecutive_failures: u32,
}

impl Evidence {
    pub(super) fn new(form: SlidingWindow, now: Duration) -> Self {
        Self { window: Window::new(form, now), consecutive_failures: 0 }
    }

    /// Empties the window for another form of it. Failures in a row belong to no window, and stay.
    pub(super) fn reform(&mut self, form: SlidingWindow, now: Duration) {
        self.window = Window::new(form, now);
    }

    pub(super) fn record(&mut self, now: Duration, call: Call) {
        self.window.record(now, call);
        self.consecutive_failures = match call.failed {
            true => self.consecutive_failures.saturating_add(1),
            false => 0,
        };
    }

    /// Forgets what is too old by now.
    pub(super) fn advance(&mut self, now: Duration) {
        self.window.advance(now);
    }

    /// The rule that says to open, if one does.
    pub(super) fn verdict(&self, options: &Options) -> Option<Cause> {
        if options.consecutive_failures.is_some_and(|limit| self.consecutive_failures >= limit) {
            return Some(Cause::ConsecutiveFailures);
        }
        let counts = self.window.counts();
        // A window without a bad call breaks no rate; most calls end here.
        if (counts.failed == 0 && counts.slow == 0) || counts.calls < u64::from(options.minimum_calls) {
            return None;
        }
        let reaches = |rate: Option<f64>, limit: f64| rate.is_some_and(|rate| rate >= limit);
        if options.failure_rate.is_some_and(|limit| reaches(counts.failure_rate(), limit)) {
            return Some(Cause::FailureRate);
        }
        if options.slow_calls.is_some_and(|slow| reaches(counts.slow_call_rate(), slow.rate)) {
            return Some(Cause::SlowCallRate);
        }
        None
    }

    pub(super) fn counts(&self) -> Counts {
        self.window.counts()
    }

    pub(super) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protect::breaker::SlowCalls;

    const NOW: Duration = Duration::ZERO;

    /// `.` a good call, `s` a slow one, `f` a failed one, `b` one that failed slowly.
    fn verdict(options: &Options, calls: &str) -> Option<Cause> {
        let mut evidence = Evidence::new(options.window, NOW);
        for kind in calls.chars() {
            evidence.record(NOW, Call { failed: "fb".contains(kind), slow: "sb".contains(kind) });
        }
        evidence.verdict(options)
    }

    #[test]
    fn the_three_rules() {
        let consecutive = Options {
            consecutive_failures: Some(3),
            failure_rate: None,
            slow_calls: None,
            ..Options::default()
        };
        let failures = Options {
            consecutive_failures: None,
            failure_rate: Some(0.3),
            slow_calls: None,
            minimum_calls: 10,
            ..Options::default()
        };
        let slow = Options {
            failure_rate: None,
            slow_calls: Some(SlowCalls { rate: 0.7, ..SlowCalls::default() }),
            ..failures
        };
        let all = Options {
            consecutive_failures: Some(3),
            failure_rate: Some(0.3),
            slow_calls: slow.slow_calls,
            ..failures
        };
        let none = Options { failure_rate: None, ..failures };
        let cases: [(&str, &Options, &str, Option<Cause>); 20] = [
            ("nothing happened", &all, "", None),
            ("in a row", &consecutive, "fff", Some(Cause::ConsecutiveFailures)),
            ("more than enough", &consecutive, "ffff", Some(Cause::ConsecutiveFailures)),
            ("one short", &consecutive, "ff", None),
            ("a success between", &consecutive, "ff.ff", None),
            ("a slow success is one", &consecutive, "ffsff", None),
            ("a success at the end", &consecutive, "fff.", None),
            ("a slow failure is one", &consecutive, "fbf", Some(Cause::ConsecutiveFailures)),
            ("minimum not reached", &failures, "fffffffff", None),
            ("a success reaches the minimum", &failures, "fff......", None),
            ("just the rate", &failures, "fff.......", Some(Cause::FailureRate)),
            ("one below the rate", &failures, "ff........", None),
            ("slow failures are failures", &failures, "bbb.......", Some(Cause::FailureRate)),
            ("slow successes are none", &failures, "ssssssssss", None),
            ("just the slow rate", &slow, "sssssss...", Some(Cause::SlowCallRate)),
            ("one below the slow rate", &slow, "ssssss....", None),
            ("slow failures are slow", &slow, "bbbbbbb...", Some(Cause::SlowCallRate)),
            ("failures are not slow", &slow, "ffffffffff", None),
            ("failures speak first", &all, "bbssssss.f", Some(Cause::FailureRate)),
            ("all rules off", &none, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", None),
        ];
        for (name, options, calls, expected) in cases {
            assert_eq!(verdict(options, calls), expected, "{name}: {calls}");
        }
    }

    #[test]
    fn a_rate_is_met_by_its_very_decimal() {
        for percent in 1..=100_usize {
            let options = Options {
                consecutive_failures: None,
                failure_rate: Some(format!("{:.2}", percent as f64 / 100.0).parse().unwrap()),
                minimum_calls: 100,
                ..Options::default()
            };
            let calls = |failed: usize| ".".repeat(100 - failed) + &"f".repeat(failed);
            assert_eq!(verdict(&options, &calls(percent)), Some(Cause::FailureRate), "{percent}");
            assert_eq!(verdict(&options, &calls(percent - 1)), None, "{percent}");
        }
    }

    #[test]
    fn another_form_empties_the_window_and_keeps_the_row() {
        let mut evidence = Evidence::new(SlidingWindow::Count(5), NOW);
        evidence.record(NOW, Call { failed: true, slow: true });
        evidence.reform(SlidingWindow::Count(6), NOW);
        assert_eq!(evidence.counts(), Counts::default());
        assert_eq!(evidence.consecutive_failures(), 1);
    }
}
