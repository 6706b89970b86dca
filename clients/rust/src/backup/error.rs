//! Why the bytes of a component did not get where they should.

use std::{io, time::Duration};

/// Why an upload or a download ended before all was there. Found as the inner error of the [`io::Error`] that a
/// [`CaptureWriter`](super::CaptureWriter) or a [`RestoreReader`](super::RestoreReader) answers.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The control plane does not want it, and will not want it later either.
    #[error("the control plane refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// Nothing got through for too long.
    #[error("nothing got through for {after:?}; the last try: {message}")]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// Why the last try failed.
        message: String,
    },
    /// The control plane wants bytes again that are not kept any more. It takes a new capture.
    #[error("the control plane wants bytes from {wanted} on again, and those before {kept} are not kept")]
    TooFarBack {
        /// Where it wants to go on.
        wanted: u64,
        /// The first byte that is kept.
        kept: u64,
    },
    /// What came is not what was sent.
    #[error("what came is not what was sent: {problem}")]
    Damaged {
        /// What differs.
        problem: String,
    },
    /// The control plane said something that makes no sense here.
    #[error("the control plane made no sense: {problem}")]
    Nonsense {
        /// What it was.
        problem: String,
    },
    /// Nobody waits for it any more: it was cancelled, or the agent is gone.
    #[error("it was stopped")]
    Stopped,
}

impl From<TransferError> for io::Error {
    fn from(error: TransferError) -> Self {
        let kind = match &error {
            TransferError::Refused { .. } => io::ErrorKind::PermissionDenied,
            TransferError::GaveUp { .. } => io::ErrorKind::TimedOut,
            TransferError::TooFarBack { .. } | TransferError::Stopped => io::ErrorKind::BrokenPipe,
            TransferError::Damaged { .. } | TransferError::Nonsense { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
