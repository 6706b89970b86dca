//! The calls that the two rates are taken from. Bounded whatever the traffic: by count it keeps two bits of
//! knowledge for each call, by time ten sums.

mod count;
mod time;

use std::time::Duration;

use self::{count::CountWindow, time::TimeWindow};
use super::settings::SlidingWindow;

/// What a window keeps of a call. A call can be both, and fail slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// How many calls there were, and of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Counts {
    /// The share of the calls that failed; `None` of no calls.
    pub(super) fn failure_rate(self) -> Option<f64> {
        share(self.failed, self.calls)
    }

    /// The share of the calls that were slow; `None` of no calls.
    pub(super) fn slow_call_rate(self) -> Option<f64> {
        share(self.slow, self.calls)
    }

    fn add(&mut self, call: Call) {
        self.calls += 1;
        self.failed += u64::from(call.failed);
        self.slow += u64::from(call.slow);
    }

    fn remove(&mut self, gone: Self) {
        self.calls -= gone.calls;
        self.failed -= gone.failed;
        self.slow -= gone.slow;
    }
}

/// A quotient and not a product with the limit: one call of ten is then the very number that `0.1` reads as.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    // Exact for all that can be counted: 2^53 calls.
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A window of either form.
#[derive(Clone, Debug)]
pub(super) enum Window {
    Count(CountWindow),
    Time(TimeWindow),
}

impl Window {
    /// An empty one.
    pub(super) fn new(form: SlidingWindow, now: Duration) -> Self {
        match form {
            SlidingWindow::Count(calls) => Self::Count(CountWindow::new(calls)),
            SlidingWindow::Time(span) => Self::Time(TimeWindow::new(span, now)),
        }
    }

    /// Counts a call that ended now.
    pub(super) fn record(&mut self, now: Duration, call: Call) {
        match self {
            Self::Count(window) => window.record(call),
            Self::Time(window) => window.record(now, call),
        }
    }

    /// Forgets what is too old by now.
    pub(super) fn advance(&mut self, now: Duration) {
        match self {
            Self::Count(_) => {}
            Self::Time(window) => window.advance(now),
        }
    }

    /// The sums as of the last call or [`advance`](Self::advance).
    pub(super) fn counts(&self) -> Counts {
        match self {
            Self::Count(window) => window.counts(),
            Self::Time(window) => window.counts(),
        }
    }
}
