//! How the attachment to the control plane stands, for whoever wants to watch it. A service need not:
//! it works the same in every one of these states.

use std::time::Duration;

/// How the attachment to the control plane stands.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// A connection is being opened.
    Connecting,
    /// Registered, and heard.
    Attached {
        /// Which life of the instance id this is.
        incarnation: u64,
    },
    /// Not attached; the next try comes by itself.
    Waiting {
        /// When it comes, from the moment at which this status was published.
        retry_in: Duration,
        /// Why the last try or session ended.
        last_error: String,
    },
    /// Another process took over the instance id. This one keeps serving its own health, and keeps
    /// asking, slowly, whether the id is free again.
    Superseded {
        /// When it asks next, from the moment at which this status was published.
        retry_in: Duration,
        /// What the control plane said.
        message: String,
    },
    /// The agent has left, or was dropped. Nothing follows.
    Left,
}

/// What became of a leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LeaveOutcome {
    /// The control plane confirmed it: the instance is removed.
    Deregistered,
    /// There was nothing to take back: it never registered, or is no longer registered.
    NotRegistered,
    /// Nobody can say: the control plane could not be asked within two seconds, or the answer to the
    /// registration was lost before there was a token to take it back with. The lease, if there is one,
    /// runs out by itself.
    Unconfirmed,
}
