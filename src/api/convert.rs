//! From domain values to messages. Cannot fail. Domain values are destructured whole, so that a new
//! field does not compile until somebody decides whether it is shown.

pub mod audit;
pub mod backup;
pub mod directive;
pub mod explain;
pub mod instance;
pub mod operation;
pub mod policy;
pub mod service;
pub mod system;

use std::time::{Duration, SystemTime};

use super::proto::v1 as pb;
use crate::health::{State, component::Reported};

/// A point in time.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// A span of time; one that is longer than the wire can carry is the longest that it can.
pub fn duration(span: Duration) -> prost_types::Duration {
    const LONGEST: prost_types::Duration = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    span.try_into().unwrap_or(LONGEST)
}

/// A state of health.
pub fn health_state(state: State) -> pb::HealthState {
    match state {
        State::Healthy => pb::HealthState::Healthy,
        State::Degraded => pb::HealthState::Degraded,
        State::Unhealthy => pb::HealthState::Unhealthy,
        State::Unknown => pb::HealthState::Unknown,
    }
}

/// What was reported last.
pub fn reported(reported: Option<Reported>) -> pb::HealthState {
    reported.map_or(pb::HealthState::Unspecified, |reported| health_state(reported.into()))
}
