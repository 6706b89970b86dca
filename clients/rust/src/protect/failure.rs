//! What a failure says of the operation that failed: whose fault it is, and whether to try again.

use std::{error::Error, fmt};

use super::{refusal::Refusal, retry::Advice};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fault {
    /// Of what was called: its breaker counts it.
    #[default]
    Own,
    /// Of who called: what was asked for is wrong, or not there. To the breaker that is a success.
    Callers,
    /// Nothing can be learnt from it: it was refused before anything was done.
    Nobodys,
}

/// An error of a protected operation. By default every one is the operation's own, and may be tried again where that is
/// safe.
///
/// ```
/// use seaworthy_client::protect::{Failure, Fault};
///
/// #[derive(Debug)]
/// enum ChargeError { CardExpired, BankIsDown }
///
/// impl Failure for ChargeError {
///     fn fault(&self) -> Fault {
///         match self {
///             ChargeError::CardExpired => Fault::Callers,
///             ChargeError::BankIsDown => Fault::Own,
///         }
///     }
/// }
/// ```
pub trait Failure {
    /// Whose fault it is.
    fn fault(&self) -> Fault {
        Fault::Own
    }

    /// Whether it may be tried again.
    fn advice(&self) -> Advice {
        match self.fault() {
            Fault::Own => Advice::IfSafe(None),
            Fault::Callers | Fault::Nobodys => Advice::Never,
        }
    }
}

impl Failure for std::io::Error {}
impl Failure for String {}
impl Failure for Box<dyn Error + Send + Sync> {}

impl Failure for tonic::Status {
    fn fault(&self) -> Fault {
        use tonic::Code;
        match self.code() {
            Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss => {
                Fault::Own
            }
            // Whoever answers so is well, and has had enough; or has no such method, which says nothing of those it has.
            Code::ResourceExhausted | Code::Cancelled | Code::Unimplemented => Fault::Nobodys,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unauthenticated => Fault::Callers,
        }
    }

    fn advice(&self) -> Advice {
        match super::retry::status::advice(self) {
            // It speaks of this call alone; an operation may have made others before.
            Advice::Always(pause) => Advice::IfSafe(pause),
            advice => advice,
        }
    }
}

/// Why a protected operation did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub enum ProtectError<E> {
    /// It was not let through. Nothing was done.
    Refused(Refusal),
    /// It failed, and is not tried again.
    Failed(E),
    /// It did not end within the time that all tries have together.
    TimedOut,
}

impl<E: fmt::Display> fmt::Display for ProtectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtectError::Refused(refusal) => write!(f, "refused: {refusal}"),
            ProtectError::Failed(error) => error.fmt(f),
            ProtectError::TimedOut => f.write_str("did not end within the time that all tries have together"),
        }
    }
}

impl<E: Error + 'static> Error for ProtectError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ProtectError::Refused(refusal) => Some(refusal),
            ProtectError::Failed(error) => error.source(),
            ProtectError::TimedOut => None,
        }
    }
}
