//! What a call holds that was let through.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    pass::{Outcome, Pass, Role},
    shared::Shared,
};
use crate::protect::clock::{Clock, Monotonic};

/// Lets one call through, and takes in how it ended.
///
/// Dropped without a word it says nothing: the call counts neither for nor against the protected thing, and a
/// probe's place goes to another call. A cancelled call is therefore safe, and needs no care.
///
/// A breaker that meanwhile opened, closed or was forced ignores what the ticket says.
#[must_use = "say how the call ended; dropping the ticket says that nothing can be learnt from it"]
pub struct Ticket<C: Clock = Monotonic> {
    shared: Arc<Shared<C>>,
    pass: Pass,
}

impl<C: Clock> Ticket<C> {
    pub(super) fn new(shared: Arc<Shared<C>>, pass: Pass) -> Self {
        Self { shared, pass }
    }

    /// The protected thing did its work, in this time. Counts as slow if it took longer than the settings say.
    pub fn success(self, latency: Duration) {
        self.shared.report(self.pass, Outcome::Success, latency);
    }

    /// The protected thing failed, after this time.
    ///
    /// Only for failures of its own: it broke, was not there, or took too long. Never for a request that it rightly
    /// refused as invalid, not allowed, not found or already there, nor for one that was refused before it got there.
    pub fn failure(self, latency: Duration) {
        self.shared.report(self.pass, Outcome::Failure, latency);
    }

    /// The call was given up after this time, by who made it. If it had been slow by then it counts as a slow one: a protected
    /// thing that never answers would otherwise never be found out. Otherwise nothing is learnt.
    pub fn given_up(self, latency: Duration) {
        if self.shared.with(|machine, _| machine.is_slow(latency)) {
            self.success(latency);
        }
    }

    /// The breaker's generation when the call was let through.
    pub fn generation(&self) -> u64 {
        self.pass.generation
    }

    /// Whether the call tries out if the breaker may close.
    pub fn is_probe(&self) -> bool {
        matches!(self.pass.role, Role::Probe(_))
    }

    /// Whether the call would have been refused, were the breaker not in
    /// [`MetricsOnly`](super::State::MetricsOnly). What such a ticket says counts for nothing.
    pub fn would_refuse(&self) -> bool {
        self.pass.role == Role::Shadow
    }
}

impl<C: Clock> Drop for Ticket<C> {
    fn drop(&mut self) {
        // Only a probe has a place to give back; one that said something has none any more, and this does nothing.
        if self.is_probe() {
            self.shared.with(|machine, _| machine.release(self.pass));
        }
    }
}

impl<C: Clock> fmt::Debug for Ticket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pass", &self.pass).finish_non_exhaustive()
    }
}
