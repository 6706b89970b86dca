//! The rules of health: how reports become a component's state, and how states roll up to an instance
//! and a service.
//!
//! Pure: no clock, no store, no locks. `fleet` owns the state that these rules work on, and decides
//! what a lost or unconfirmed instance is.

pub mod component;
pub mod rollup;

/// How well something works.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Works.
    Healthy,
    /// Works, less well than it should.
    Degraded,
    /// Does not work.
    Unhealthy,
    /// Nobody knows.
    Unknown,
}

impl State {
    /// The word for people, wherever they read it: `healthy`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Unhealthy => "unhealthy",
            State::Unknown => "unknown",
        }
    }

    /// Whether work may be sent to it.
    pub fn serves(self) -> bool {
        matches!(self, State::Healthy | State::Degraded)
    }
}

/// A state and why it is so; the cause is empty while it is healthy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Why, in one sentence for people.
    pub cause: String,
}

impl Verdict {
    /// Healthy, for no cause.
    pub fn healthy() -> Self {
        Self { state: State::Healthy, cause: String::new() }
    }

    /// This state for this cause.
    pub fn new(state: State, cause: impl Into<String>) -> Self {
        Self { state, cause: cause.into() }
    }
}
