//! What a breaker shows of itself.

use std::time::Duration;

use super::{
    forced::Override,
    history::Totals,
    state::{State, Transition},
};

/// A breaker at the moment it was looked at. Times are on its clock.
///
/// Never shows a state whose time is over: a breaker is [`HalfOpen`](State::HalfOpen) from the very nanosecond at
/// which its open time ends, whether a call came since or not.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state that calls meet.
    pub state: State,
    /// When that state began.
    pub since: Duration,
    /// What the rules say: [`Closed`](State::Closed), [`Open`](State::Open) or [`HalfOpen`](State::HalfOpen). The
    /// same as `state`, but in [`MetricsOnly`](State::MetricsOnly), where it is what would be; always closed while
    /// forced.
    pub judged: State,
    /// Goes up each time the rules reach another verdict or are forced.
    pub generation: u64,
    /// The override that is in force.
    pub overridden: Option<Override>,
    /// Calls in the window. While open or half-open the window stands still: it is what the breaker opened for.
    pub calls: u64,
    /// The share of those that failed. `None` of no calls.
    pub failure_rate: Option<f64>,
    /// The share of those that were slow. `None` of no calls.
    pub slow_call_rate: Option<f64>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// When the open time ends. `None` unless `judged` is [`Open`](State::Open).
    pub open_until: Option<Duration>,
    /// What a refused call would be told now. `None` if it would not be refused, or nobody knows.
    pub retry_after: Option<Duration>,
    /// In [`MetricsOnly`](State::MetricsOnly): whether a call would be refused now, were it up to the rules.
    pub would_refuse: bool,
    /// Probes that did not answer yet.
    pub probes_out: u32,
    /// Probes that succeeded.
    pub probes_succeeded: u32,
    /// How often it went into [`Open`](State::Open). Not in metrics only: see `shadow_totals`.
    pub opened: u64,
    /// Calls it refused, forced or not.
    pub refused: u64,
    /// Calls that it would have refused, had it not been in [`MetricsOnly`](State::MetricsOnly).
    pub would_have_refused: u64,
    /// The last transitions, oldest first; [`KEPT_TRANSITIONS`](super::KEPT_TRANSITIONS) at the most.
    pub transitions: Vec<Transition>,
    /// How often it went which way.
    pub totals: Totals,
    /// How often it would have gone which way, had it not been in [`MetricsOnly`](State::MetricsOnly).
    pub shadow_totals: Totals,
}
