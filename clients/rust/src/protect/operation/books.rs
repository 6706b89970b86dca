//! What became of the calls of one operation, counted as they end.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::protect::{
    clock::whole_nanos,
    entry::Noticed,
    refusal::RefusalKind,
    stats::{BUCKETS, OperationStats, bucket},
};

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// It was done, or what was asked for was wrong.
    Succeeded,
    /// It failed.
    Failed,
    /// It was not let through.
    Refused(RefusalKind),
    /// Who made it gave it up.
    Cancelled,
}

/// The sums.
#[derive(Debug, Default)]
pub(crate) struct Books {
    calls: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    cancelled: AtomicU64,
    refused: [AtomicU64; RefusalKind::ALL.len()],
    retries: AtomicU64,
    shadow_refused: AtomicU64,
    near: AtomicU64,
    total_nanos: AtomicU64,
    max_nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
    in_flight: AtomicU32,
    peak: AtomicU32,
}

/// A call that has begun. Dropped before its end was said, it was given up.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    books: &'a Books,
    is_settled: bool,
}

impl Books {
    /// A call begins.
    pub(crate) fn begin(&self) -> Begun<'_> {
        add(&self.calls);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(now, Ordering::Relaxed);
        Begun { books: self, is_settled: false }
    }

    /// A call that went on by itself has ended.
    pub(crate) fn ended(&self, ended: Ended, latency: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match ended {
            Ended::Succeeded => add(&self.successes),
            Ended::Failed => add(&self.failures),
            Ended::Cancelled => return add(&self.cancelled),
            Ended::Refused(kind) => {
                for (counter, it) in self.refused.iter().zip(RefusalKind::ALL) {
                    counter.fetch_add(u64::from(it == kind), Ordering::Relaxed);
                }
                return;
            }
        }
        let nanos = whole_nanos(latency);
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        self.buckets.get(bucket(latency)).into_iter().for_each(add);
    }

    /// A try beyond the first begins.
    pub(crate) fn retried(&self) {
        add(&self.retries);
    }

    /// Something was noticed of a call on its way in.
    pub(crate) fn noticed(&self, Noticed { near, shadow_refused }: Noticed) {
        if near {
            add(&self.near);
        }
        if shadow_refused {
            add(&self.shadow_refused);
        }
    }

    /// All of them. The name and how many may be under way are left out.
    pub(crate) fn stats(&self) -> OperationStats {
        let [limited, full, exhausted, broken, turned_away] = self.refused.each_ref().map(read);
        OperationStats {
            operation: String::new(),
            calls: read(&self.calls),
            successes: read(&self.successes),
            failures: read(&self.failures),
            limited,
            full,
            exhausted,
            broken,
            turned_away,
            cancelled: read(&self.cancelled),
            retries: read(&self.retries),
            shadow_refused: read(&self.shadow_refused),
            near_limit: read(&self.near),
            total_latency: Duration::from_nanos(read(&self.total_nanos)),
            max_latency: Duration::from_nanos(read(&self.max_nanos)),
            buckets: self.buckets.each_ref().map(read),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            peak_in_flight: self.peak.load(Ordering::Relaxed),
            max_in_flight: 0,
        }
    }
}

impl Begun<'_> {
    /// It ends here.
    pub(crate) fn ended(mut self, ended: Ended, latency: Duration) {
        self.is_settled = true;
        self.books.ended(ended, latency);
    }

    /// It goes on, and its end is said to the books.
    pub(crate) fn goes_on(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.books.ended(Ended::Cancelled, Duration::ZERO);
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_once_whatever_becomes_of_it() {
        let books = Books::default();
        let milli = Duration::from_millis(1);
        books.begin().ended(Ended::Succeeded, milli);
        books.begin().ended(Ended::Failed, 7 * milli);
        for kind in RefusalKind::ALL {
            books.begin().ended(Ended::Refused(kind), Duration::ZERO);
        }
        drop(books.begin());
        books.begin().goes_on();
        let stats = books.stats();
        assert_eq!((stats.calls, stats.successes, stats.failures, stats.cancelled), (9, 1, 1, 1));
        let refused = [stats.limited, stats.full, stats.exhausted, stats.broken, stats.turned_away];
        assert_eq!(refused, [1; 5]);
        assert_eq!((stats.in_flight, stats.peak_in_flight), (1, 1));
        assert_eq!((stats.total_latency, stats.max_latency), (8 * milli, 7 * milli));
        assert_eq!((stats.buckets[0], stats.buckets[1]), (1, 1));
    }
}
