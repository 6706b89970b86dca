//! Bytes that are promised to operations.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::Exhausted;

/// Counts, and nothing else is read by what they say: relaxed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    reserved: AtomicU64,
    peak: AtomicU64,
}

impl Ledger {
    /// Reserves where `allowed` says so of what is reserved already. Of two at one moment the later one is asked
    /// again with the earlier one counted.
    pub(super) fn reserve(
        self: &Arc<Self>,
        bytes: u64,
        allowed: impl Fn(u64) -> Result<(), Exhausted>,
    ) -> Result<Reservation, Exhausted> {
        let mut reserved = self.reserved.load(Relaxed);
        loop {
            allowed(reserved)?;
            // Where nothing is measured any sum may be allowed; what does not fit is not reserved.
            let fits = bytes.min(u64::MAX - reserved);
            match self.reserved.compare_exchange_weak(reserved, reserved + fits, Relaxed, Relaxed) {
                Ok(_) => {
                    self.peak.fetch_max(reserved + fits, Relaxed);
                    return Ok(Reservation { ledger: Arc::clone(self), bytes: fits });
                }
                Err(meanwhile) => reserved = meanwhile,
            }
        }
    }

    /// Bytes that are reserved now, and the most that were at once.
    pub(super) fn figures(&self) -> (u64, u64) {
        (self.reserved.load(Relaxed), self.peak.load(Relaxed))
    }
}

/// Memory that is promised to one operation. It is given up when this is dropped.
#[derive(Debug)]
#[must_use = "the memory is given up when this is dropped: hold it for as long as the operation runs"]
pub struct Reservation {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Reservation {
    /// How many bytes are promised.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.reserved.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protect::resources::Resource;

    fn at_most(limit: u64, bytes: u64) -> impl Fn(u64) -> Result<(), Exhausted> {
        move |reserved| match reserved + bytes > limit {
            true => {
                let which = Resource::Free;
                Err(Exhausted { which, limit, now: reserved, asked: bytes, retry_after: Duration::ZERO })
            }
            false => Ok(()),
        }
    }

    #[test]
    fn what_is_reserved_is_given_back() {
        let ledger = Arc::new(Ledger::default());
        let first = ledger.reserve(60, at_most(100, 60)).expect("room");
        assert_eq!(first.bytes(), 60);
        assert_eq!(ledger.reserve(60, at_most(100, 60)).expect_err("no room").now, 60);
        drop(first);
        let second = ledger.reserve(40, at_most(100, 40)).expect("room again");
        assert_eq!(ledger.figures(), (40, 60));
        drop(second);
    }

    #[test]
    fn threads_never_reserve_more_than_there_is() {
        let ledger = Arc::new(Ledger::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        ledger.reserve(40, at_most(100, 40)).ok();
                    }
                });
            }
        });
        let (reserved, peak) = ledger.figures();
        assert_eq!(reserved, 0);
        assert!(peak == 40 || peak == 80, "{peak}");
    }

    #[test]
    fn sums_that_do_not_fit_do_not_wrap() {
        let ledger = Arc::new(Ledger::default());
        let first = ledger.reserve(u64::MAX, |_| Ok(())).expect("allowed");
        let second = ledger.reserve(5, |_| Ok(())).expect("allowed");
        assert_eq!((first.bytes(), second.bytes()), (u64::MAX, 0));
        drop(first);
        drop(second);
        assert_eq!(ledger.figures(), (0, u64::MAX));
    }
}
