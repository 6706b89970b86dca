//! All chance of a simulation: one seed, one sequence.

use std::{ops::Range, time::Duration};

/// Dice that fall the same way for the same seed.
#[derive(Debug)]
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Dice of their own, for whoever rolls at times of his own.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// Whether something happens that does so in this many of a thousand cases.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.0.u32(0..1000) < per_mille
    }

    pub(super) fn fresh_seed(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub(super) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.0.u64(range))
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.usize(0..end)
    }
}
