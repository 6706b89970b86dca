//! The lock and the atomic word that a breaker is shared by. The only file that knows where they are from, so that
//! the tests of its races can put ones in that try out schedules.

#[cfg(not(test))]
pub(super) use parking_lot::Mutex;

#[cfg(test)]
pub(super) use self::scheduled::{AtomicU64, Mutex};
#[cfg(not(test))]
use std::sync::atomic::AtomicU64;

use std::sync::atomic::Ordering;

#[cfg(test)]
pub(super) mod scheduled;

/// A number that is read without the lock and written under it.
#[derive(Debug)]
pub(super) struct Gate(AtomicU64);

/// Zero, which no generation is.
const SHUT: u64 = 0;

impl Gate {
    pub(super) fn new(standing: Option<u64>) -> Self {
        Self(AtomicU64::new(standing.unwrap_or(SHUT)))
    }

    /// What was set last.
    pub(super) fn get(&self) -> Option<u64> {
        // Nothing else is published through it: a ticket is judged under the lock, by its generation.
        Some(self.0.load(Ordering::Relaxed)).filter(|generation| *generation != SHUT)
    }

    /// Writes only what changed: calls on other processors keep what they read.
    pub(super) fn set(&self, standing: Option<u64>) {
        if self.get() != standing {
            self.0.store(standing.unwrap_or(SHUT), Ordering::Relaxed);
        }
    }
}
