//! What a call is told that is not let through.

use std::time::Duration;

use super::State;
use crate::rules::errors::try_again_in;

/// A call that a breaker did not let through. Nothing was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker is {state}: {}", advice(*retry_after))]
pub struct Refused {
    /// How the breaker stands: [`Open`](State::Open), [`HalfOpen`](State::HalfOpen) with all probes out, or
    /// [`ForcedOpen`](State::ForcedOpen).
    pub state: State,
    /// How long to wait before it is worth trying again, never zero: until the open time or an override ends, one
    /// second (or less, if a probe is given up before) while probes are out. `None` where nobody knows: the
    /// settings force it open.
    pub retry_after: Option<Duration>,
}

fn advice(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(wait) => try_again_in(wait).to_string(),
        None => "it stays so until its settings change".to_owned(),
    }
}
