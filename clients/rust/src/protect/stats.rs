//! What became of protected operations, as plain figures: what a service counts, and what the control plane shows.
//!
//! All are sums since the process began, so that a report that is lost or said twice changes nothing.

use std::time::Duration;

use super::{breaker::State, policy::Scope};

/// Upper bounds of the buckets of latency but the last, in milliseconds: those of OpenTelemetry's conventions for RPCs.
pub const BOUNDS_MS: [u64; 14] = [5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000];
/// Buckets of latency.
pub const BUCKETS: usize = BOUNDS_MS.len() + 1;

/// What an instance reports of what it protects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Its operations, by name.
    pub operations: Vec<OperationStats>,
    /// Its breakers, by the operation.
    pub breakers: Vec<BreakerStats>,
    /// Its pools, by name.
    pub pools: Vec<PoolStats>,
    /// What its limits and permits decided, by policy.
    pub parts: Vec<PartStats>,
}

/// What became of the calls of one operation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OperationStats {
    /// Its name.
    pub operation: String,
    /// Calls in all.
    pub calls: u64,
    /// Those that succeeded.
    pub successes: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that a rate limit refused.
    pub limited: u64,
    /// Those that found no place.
    pub full: u64,
    /// Those for which memory or processor time was lacking.
    pub exhausted: u64,
    /// Those that the breaker refused.
    pub broken: u64,
    /// Those that came while the service was shutting down, or was in a mode that does not take them.
    pub turned_away: u64,
    /// Those that were given up by who made them.
    pub cancelled: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// Those that a policy in shadow would have refused.
    pub shadow_refused: u64,
    /// Those that came when a limit was nearly used up.
    pub near_limit: u64,
    /// How long all that were let through took together.
    pub total_latency: Duration,
    /// The longest one.
    pub max_latency: Duration,
    /// Those that were let through, by latency.
    pub buckets: [u64; BUCKETS],
    /// How many are under way.
    pub in_flight: u32,
    /// How many were at the most.
    pub peak_in_flight: u32,
    /// How many may be. 0: as many as like.
    pub max_in_flight: u32,
}

/// A breaker at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerStats {
    /// What it protects.
    pub operation: String,
    /// Its state.
    pub state: State,
    /// For how long.
    pub age: Duration,
    /// Why it changed last, as on the wire: `CONSECUTIVE_FAILURES`. Empty: it never did.
    pub cause: String,
    /// Calls in the window.
    pub calls: u64,
    /// Share of them that failed.
    pub failure_rate: f64,
    /// Share of them that were slow.
    pub slow_call_rate: f64,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// How often it opened.
    pub opened: u64,
    /// Calls that it refused, or would have.
    pub refused: u64,
    /// When it lets calls through again. None: it does, or does not know.
    pub retry_after: Option<Duration>,
    /// How long an override still holds. None: there is none.
    pub override_ttl: Option<Duration>,
}

/// A pool at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolStats {
    /// Its name.
    pub name: String,
    /// How many there are.
    pub size: u32,
    /// How many are held.
    pub in_use: u32,
    /// How many were at the most.
    pub peak: u32,
    /// How many wait for one.
    pub waiting: u32,
    /// How often somebody got none in time.
    pub refused: u64,
}

/// What a part of a policy decided: rate limits or permits of one scope, wherever they are counted by themselves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartStats {
    /// Which.
    pub part: PartName,
    /// What it says, for people.
    pub summary: String,
    /// What was let through.
    pub allowed: u64,
    /// What was let through with the limit nearly used up.
    pub near: u64,
    /// What was refused, or would have been.
    pub refused: u64,
    /// Callers that are told apart now; of permits, how many are under way.
    pub in_use: u64,
    /// Of permits: how many were at the most.
    pub peak: u64,
    /// Who was refused last, the last one first.
    pub last_refused: Vec<String>,
}

/// By what parts of policies are told apart, and put in order.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PartName {
    /// Name of the policy.
    pub policy: String,
    /// Whether it is permits, and no rate limit.
    pub permits: bool,
    /// What is counted together.
    pub scope: Scope,
    /// Whether it only counts.
    pub shadow: bool,
}

/// The bucket of a latency.
pub fn bucket(latency: Duration) -> usize {
    BOUNDS_MS.iter().position(|bound| latency <= Duration::from_millis(*bound)).unwrap_or(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_end_at_their_bounds() {
        for (millis, expected) in [(0, 0), (5, 0), (6, 1), (10, 1), (10_000, 13), (10_001, 14)] {
            assert_eq!(bucket(Duration::from_millis(millis)), expected, "{millis}");
        }
        assert_eq!(bucket(Duration::from_micros(5001)), 1);
    }
}
