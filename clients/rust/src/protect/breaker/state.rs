//! The words for how a breaker stands, and for what moved it.

use std::{fmt, time::Duration};

/// How a breaker stands towards the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Lets calls through and judges them.
    Closed,
    /// Refuses calls until its open time is over.
    Open,
    /// Lets a few probes through and refuses the rest.
    HalfOpen,
    /// Refuses calls because somebody said so.
    ForcedOpen,
    /// Lets calls through because somebody said so; counts them and does not judge.
    ForcedClosed,
    /// Lets calls through, and says what it would have done.
    MetricsOnly,
}

impl State {
    /// All of them, for metrics that show every state.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed, Self::MetricsOnly];

    /// Its name in metrics and logs: `half_open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a breaker went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// So many failures came with no success between them.
    ConsecutiveFailures,
    /// Too large a share of the window failed.
    FailureRate,
    /// Too large a share of the window was slow.
    SlowCallRate,
    /// The open time is over.
    OpenTimeOver,
    /// A probe failed.
    ProbeFailed,
    /// Too large a share of the probes was slow.
    ProbesSlow,
    /// All probes succeeded.
    ProbesSucceeded,
    /// An operator's override began, or took the place of another.
    Forced,
    /// An operator took the override back.
    Released,
    /// The override's time was over.
    OverrideExpired,
    /// The mode in the settings changed.
    ModeChanged,
}

impl Cause {
    /// Its name in metrics and logs: `failure_rate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::OpenTimeOver => "open_time_over",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSlow => "probes_slow",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Forced => "forced",
            Self::Released => "released",
            Self::OverrideExpired => "override_expired",
            Self::ModeChanged => "mode_changed",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One step from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// When, on the breaker's clock: the very moment at which a time was over, not when somebody noticed.
    pub at: Duration,
    /// Why.
    pub cause: Cause,
    /// Whether calls felt it.
    pub effect: Effect,
}

/// Whether a transition had a say over calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It had.
    Enforced,
    /// It is what the breaker would have done, had it not been in [`MetricsOnly`](State::MetricsOnly).
    Shadow,
}
