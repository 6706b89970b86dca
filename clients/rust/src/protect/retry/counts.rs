//! How often was called, tried again, and given up: for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::plan::Why;

/// Counts what becomes of calls. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    retries: AtomicU64,
    given_up: [AtomicU64; Why::ALL.len()],
}

/// What was counted so far. The figures are read one after the other, while calls go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Totals {
    /// Calls that began.
    pub calls: u64,
    /// Attempts beyond the first of each call.
    pub retries: u64,
    /// Calls that failed, by what ended them, in the order of [`Why::ALL`]. A call that was dropped is not among them.
    pub given_up: [(Why, u64); Why::ALL.len()],
}

impl Counts {
    /// A call begins.
    pub(super) fn called(&self) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt beyond the first begins.
    pub(super) fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ends without success.
    pub(super) fn gave_up(&self, why: Why) {
        for (counter, it) in self.0.given_up.iter().zip(Why::ALL) {
            counter.fetch_add(u64::from(it == why), Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        let mut given_up = Why::ALL.map(|why| (why, 0));
        for ((_, total), counter) in given_up.iter_mut().zip(&self.0.given_up) {
            *total = counter.load(Ordering::Relaxed);
        }
        let (calls, retries) = (&self.0.calls, &self.0.retries);
        Totals { calls: calls.load(Ordering::Relaxed), retries: retries.load(Ordering::Relaxed), given_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_counted_under_its_own_name() {
        let counts = Counts::default();
        for (times, why) in Why::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| counts.clone().gave_up(why));
        }
        for (times, (why, total)) in counts.totals().given_up.into_iter().enumerate() {
            assert_eq!((why, total), (Why::ALL[times], times as u64));
        }
    }
}
