//! The phases in which a process ends.

use std::fmt;

/// The phases of a process, in order: it serves, ends in steps, and is gone. A service and the control plane itself go
/// through the same.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Serves.
    Running,
    /// Was asked to stop; still takes work while the world hears of it.
    InitiateShutdown,
    /// Takes nothing new.
    StopAcceptingRequests,
    /// Waits for the requests it has.
    FinishActiveRequests,
    /// Writes what is not yet written.
    SaveState,
    /// Closes what it holds: databases, caches, connections.
    CleanupResources,
    /// Done.
    Terminated,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 7] = [
        Phase::Running,
        Phase::InitiateShutdown,
        Phase::StopAcceptingRequests,
        Phase::FinishActiveRequests,
        Phase::SaveState,
        Phase::CleanupResources,
        Phase::Terminated,
    ];

    /// The name in reports: `StopAcceptingRequests`.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Running => "Running",
            Phase::InitiateShutdown => "InitiateShutdown",
            Phase::StopAcceptingRequests => "StopAcceptingRequests",
            Phase::FinishActiveRequests => "FinishActiveRequests",
            Phase::SaveState => "SaveState",
            Phase::CleanupResources => "CleanupResources",
            Phase::Terminated => "Terminated",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
