//! Where an instance is in its life, as it may say so itself.

use std::fmt;

use crate::{proto::seaworthy::v1 as wire, rules};

/// Where an instance is in its life. STOPPED and LOST are missing on purpose: the control plane finds
/// them out, an instance cannot say them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Lifecycle {
    /// Not yet able to take work.
    Starting,
    /// Able to take work.
    #[default]
    Ready,
    /// About to leave: still serves, wants no new work.
    LameDuck,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Saves state and closes.
    Stopping,
    /// Cannot go on.
    Failed,
}

impl Lifecycle {
    /// The name in lower case, as it appears in JSON: `lame_duck`.
    pub fn as_str(self) -> &'static str {
        self.in_fleet().as_str()
    }

    /// The same, among those that a fleet knows.
    pub(crate) fn in_fleet(self) -> rules::Lifecycle {
        match self {
            Lifecycle::Starting => rules::Lifecycle::Starting,
            Lifecycle::Ready => rules::Lifecycle::Ready,
            Lifecycle::LameDuck => rules::Lifecycle::LameDuck,
            Lifecycle::Draining => rules::Lifecycle::Draining,
            Lifecycle::Stopping => rules::Lifecycle::Stopping,
            Lifecycle::Failed => rules::Lifecycle::Failed,
        }
    }

    pub(crate) fn to_wire(self) -> wire::Lifecycle {
        match self {
            Lifecycle::Starting => wire::Lifecycle::Starting,
            Lifecycle::Ready => wire::Lifecycle::Ready,
            Lifecycle::LameDuck => wire::Lifecycle::LameDuck,
            Lifecycle::Draining => wire::Lifecycle::Draining,
            Lifecycle::Stopping => wire::Lifecycle::Stopping,
            Lifecycle::Failed => wire::Lifecycle::Failed,
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was said of the lifecycle cannot follow what it is. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot set the lifecycle: an instance that is {now} cannot become {wanted}")]
pub struct LifecycleOrder {
    /// What it is, and stays.
    pub now: Lifecycle,
    /// What it cannot become.
    pub wanted: Lifecycle,
}
