//! The rules of both ends: how reports become the state of a component, how components add up to the
//! health of their instance, what may follow what in the life of it, what may be promised, what may be said at
//! a registration, what an active check may be, and what a port is.
//!
//! Pure: no clock, no network, no wire types. They exist once: this library judges the process by them for
//! the platform that probes it, and the control plane judges the fleet by them for the people who ask it,
//! so that both always see the same. What only a fleet has (silence, averages, services) is the control
//! plane's own.

pub mod checks;
pub mod errors;
mod lifecycle;
pub mod names;
mod objectives;
mod phase;
pub mod port;
pub mod quantity;
pub mod registration;
mod rollup;
mod streaks;

use std::fmt;

pub use self::{
    lifecycle::Lifecycle,
    objectives::availability,
    phase::Phase,
    rollup::{Part, instance, severity},
    streaks::{Streaks, Thresholds},
};

/// How well something works.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum HealthState {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Works.
    Healthy,
    /// Works, less well than it should.
    Degraded,
    /// Does not work.
    Unhealthy,
}

impl HealthState {
    /// All of them.
    pub const ALL: [HealthState; 4] =
        [HealthState::Healthy, HealthState::Degraded, HealthState::Unhealthy, HealthState::Unknown];

    /// The word for people, wherever they read it: `healthy`.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Unknown => "unknown",
            HealthState::Healthy => "healthy",
            HealthState::Degraded => "degraded",
            HealthState::Unhealthy => "unhealthy",
        }
    }

    /// Whether work may be sent to it: it works, well or less well.
    pub fn serves(self) -> bool {
        matches!(self, HealthState::Healthy | HealthState::Degraded)
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a component can report of itself: anything but that nobody knows. Worse is greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reported {
    /// Works.
    Healthy,
    /// Works, less well than it should.
    Degraded,
    /// Does not work.
    Unhealthy,
}

impl From<Reported> for HealthState {
    fn from(reported: Reported) -> Self {
        match reported {
            Reported::Healthy => HealthState::Healthy,
            Reported::Degraded => HealthState::Degraded,
            Reported::Unhealthy => HealthState::Unhealthy,
        }
    }
}

/// A state and why it is so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The state.
    pub state: HealthState,
    /// Why, in one sentence for people. Empty while it is healthy.
    pub cause: String,
}

impl Verdict {
    /// Healthy, for no cause.
    pub fn healthy() -> Self {
        Self { state: HealthState::Healthy, cause: String::new() }
    }

    /// This state for this cause.
    pub fn new(state: HealthState, cause: impl Into<String>) -> Self {
        Self { state, cause: cause.into() }
    }
}
