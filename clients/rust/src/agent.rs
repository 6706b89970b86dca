//! The owner of an attachment: made by the builder, leaves when it is dropped. What it does in the
//! background is in [`keeper`]; it is the only one that talks to the control plane.

pub(crate) mod keeper;

use std::ops::Deref;

use tokio::sync::oneshot;

use self::keeper::Leave;
use crate::{Builder, Handle, LeaveOutcome};

/// A service's attachment to the control plane. It connects, registers, reports and reconnects in the
/// background, and leaves when it is dropped. Everything that only looks or pushes is on the
/// [`Handle`], to which it dereferences.
#[derive(Debug)]
#[must_use = "the instance leaves when its agent is dropped"]
pub struct Agent {
    handle: Handle,
    stop: oneshot::Sender<Leave>,
}

impl Agent {
    /// Begins to describe an instance of `service`, to be attached to the control plane at this
    /// address, `http://host:port`.
    pub fn builder(control_plane: impl Into<String>, service: impl Into<String>) -> Builder {
        Builder::new(control_plane.into(), service.into())
    }

    pub(crate) fn new(handle: Handle, stop: oneshot::Sender<Leave>) -> Self {
        Self { handle, stop }
    }

    /// A cheap copy for the rest of the service.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Leaves for good, gracefully: what has not been sent yet is sent, the instance is removed from
    /// the fleet, and the message is kept for people. Takes two seconds at the most. Where the answer
    /// is not waited for, leaving goes on in the background.
    pub async fn leave(self, message: impl Into<String>) -> LeaveOutcome {
        let (done, outcome) = oneshot::channel();
        let leave = Leave { message: message.into(), done: Some(done) };
        // Neither fails while the runtime lives: the keeper waits for this, and answers.
        match self.stop.send(leave) {
            Ok(()) => outcome.await.unwrap_or(LeaveOutcome::Unconfirmed),
            Err(_) => LeaveOutcome::Unconfirmed,
        }
    }
}

impl Deref for Agent {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}
