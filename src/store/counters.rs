//! What the store has done, as plain numbers; the metrics page renders them.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the commit time's buckets, in seconds; one more bucket holds what is above.
pub const COMMIT_SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Keys asked for by `get` and entries answered by `list`.
    pub reads: u64,
    /// Keys put.
    pub writes: u64,
    /// Keys deleted, by commits and by the end of leases.
    pub deletes: u64,
    /// Commits acknowledged.
    pub commits: u64,
    /// Commits refused or failed.
    pub failed_commits: u64,
    /// Time from handing over to acknowledgement, summed over acknowledged commits, in seconds.
    pub commit_seconds_sum: f64,
    /// Acknowledged commits by their time: not cumulative, bounds in [`COMMIT_SECONDS`].
    pub commit_seconds: [u64; COMMIT_SECONDS.len() + 1],
}

/// Counts while others read.
#[derive(Debug, Default)]
pub(super) struct Counting {
    reads: AtomicU64,
    writes: AtomicU64,
    deletes: AtomicU64,
    commits: AtomicU64,
    failed_commits: AtomicU64,
    commit_micros: AtomicU64,
    buckets: [AtomicU64; COMMIT_SECONDS.len() + 1],
}

impl Counting {
    pub(super) fn read(&self, entries: usize) {
        self.reads.fetch_add(entries as u64, Relaxed);
    }

    pub(super) fn changed(&self, puts: u64, deletes: u64) {
        self.writes.fetch_add(puts, Relaxed);
        self.deletes.fetch_add(deletes, Relaxed);
    }

    pub(super) fn committed(&self, took: Duration) {
        self.commits.fetch_add(1, Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = COMMIT_SECONDS.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(COMMIT_SECONDS.len())].fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed_commits.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Counters {
        Counters {
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            deletes: self.deletes.load(Relaxed),
            commits: self.commits.load(Relaxed),
            failed_commits: self.failed_commits.load(Relaxed),
            commit_seconds_sum: Duration::from_micros(self.commit_micros.load(Relaxed)).as_secs_f64(),
            commit_seconds: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let counting = Counting::default();
        for millis in [1, 2, 5000] {
            counting.committed(Duration::from_millis(millis));
        }
        let counters = counting.snapshot();
        assert_eq!(counters.commit_seconds, [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(counters.commits, 3);
        assert!((counters.commit_seconds_sum - 5.003).abs() < 1e-9);
    }
}
