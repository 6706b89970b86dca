//! The errors of operations, each worded in one place.

use std::time::Duration;

use super::{ANSWER_DEADLINE, QUEUE, Slot};
use crate::{
    error::{Error, Kind, Reason},
    id::Ordered,
    store,
};

/// When to come back where something else has to end first.
const LATER: Duration = Duration::from_secs(5);

/// There is no operation of this id, or none that the caller may know of.
pub fn not_found(id: Ordered) -> Error {
    let message = format!("there is no operation {id}; list them, those that ended are kept for 30 days");
    Error::new(Kind::NotFound, Reason::OperationNotFound, message).with("operation", id.to_string())
}

/// Another one of the same scope is under way.
pub(super) fn under_way(running: &Slot) -> Error {
    let told = running.told();
    let message = format!(
        "operation {} ({} of {}) is under way, and there can be one at a time; wait for its end, or cancel it",
        told.id,
        told.kind.as_str(),
        told.service
    );
    Error::new(Kind::FailedPrecondition, Reason::OperationUnderWay, message)
        .with("operation", told.id.to_string())
        .with("scope", running.scope())
}

/// The caller has used this request id for something else.
pub(super) fn request_id_used(id: Ordered) -> Error {
    let what = format!(
        "was used before for a call that asked for something else, operation {id}; take a new one for each"
    );
    Error::field("request_id", what).with("operation", id.to_string())
}

/// It has gone too far to be cancelled.
pub(super) fn commits(id: Ordered) -> Error {
    let message = format!("operation {id} has gone too far to be cancelled: its last step commits");
    Error::new(Kind::FailedPrecondition, Reason::OperationCommits, message).with("operation", id.to_string())
}

/// As many are under way as may be.
pub(super) fn too_many(most: usize) -> Error {
    let message = format!("{most} operations are under way, which is the most; wait until some have ended");
    Error::new(Kind::ResourceExhausted, Reason::TooManyOperations, message).retry_after(LATER)
}

/// As many wait to be taken up as may: `what` are they, in the plural.
pub fn too_many_wait(most: usize, what: &str) -> Error {
    let message = format!("{most} {what} wait already; try again when some have ended");
    Error::new(Kind::ResourceExhausted, Reason::TooManyOperations, message)
        .retry_after(Duration::from_secs(30))
}

/// An operation has as many steps as it may.
pub(super) fn too_many_steps(id: Ordered, most: usize) -> Error {
    let message = format!("operation {id} has {most} steps, which is the most; put several into one");
    Error::new(Kind::ResourceExhausted, Reason::TooManyOperations, message).with("operation", id.to_string())
}

/// Another run carries it out now.
pub(super) fn taken_over(id: Ordered) -> Error {
    let message = format!("operation {id} was taken over; whoever carried it out before must stop");
    Error::new(Kind::Aborted, Reason::OperationTakenOver, message).with("operation", id.to_string())
}

/// Something was said of an operation after its end: a bug of whoever carries it out.
pub(super) fn has_ended(id: Ordered) -> Error {
    Error::internal(format!("operation {id} has ended, and something more was said of it"))
}

/// Too much waits to be written.
pub(super) fn busy() -> Error {
    store::refused(format_args!("has {QUEUE} changes of operations waiting already"))
}

/// It was not written in time.
pub(super) fn late() -> Error {
    let message = format!(
        "the change was not written within {ANSWER_DEADLINE:?}; look at the operation before you repeat it"
    );
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message).retry_after(Duration::from_secs(1))
}

/// Nobody writes any more.
pub(super) fn stopping() -> Error {
    let message = "the control plane is stopping; retry on another one or later";
    Error::new(Kind::Unavailable, Reason::ServerDraining, message).retry_after(Duration::from_secs(1))
}
