//! What an algorithm is to those who keep its states.

use std::{fmt, num::NonZeroU32};

use super::decision::{Decision, Usage};

/// The arithmetic of one algorithm: pure, without clock, key or lock.
///
/// `now` is in nanoseconds of one clock. A caller reads the clock before it has the lock on a state, so that `now` may
/// lie a little behind what the state has already seen. That never lets more through.
pub(super) trait Meter: fmt::Debug + Send + Sync + 'static {
    /// What is remembered of one key; the default is that of a key never seen.
    type State: fmt::Debug + Default + Send + 'static;

    /// Decides on a call of so many permits, all or nothing, and remembers what it uses up.
    fn decide(&self, state: &mut Self::State, now: u64, permits: NonZeroU32) -> Decision;

    /// Takes back one permit that was given at `now`, as if it had not been asked for. Where that cannot be told from what
    /// others were given since, nothing is taken back: too little rather than too much.
    fn give_back(&self, state: &mut Self::State, now: u64);

    /// How much is used, with nothing used up by asking.
    fn usage(&self, state: &Self::State, now: u64) -> Usage;

    /// Whether no decision from now on can differ from that for a key never seen.
    fn is_idle(&self, state: &Self::State, now: u64) -> bool;
}
