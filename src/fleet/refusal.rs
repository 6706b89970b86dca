//! Why the registry refuses a message that names an instance, as errors for callers.

use std::{sync::Arc, time::Duration};

use super::{names::InstanceKey, snapshot::Tombstone};
use crate::error::{Error, Kind, Reason};

/// Why a message that names an instance is refused.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// Nobody of this name is registered.
    NotFound,
    /// It was removed.
    Removed(Arc<Tombstone>),
    /// A newer incarnation holds the id.
    Stale {
        /// The one that holds it.
        current: u64,
    },
    /// The session token is not the one of this incarnation.
    BadToken,
}

impl Refusal {
    /// The refusal as an error about the named instance.
    pub fn about(&self, service: &str, id: &str) -> Error {
        let error = match self {
            Refusal::NotFound => Error::new(
                Kind::NotFound,
                Reason::InstanceNotFound,
                format!("instance {service}/{id} is not registered"),
            ),
            Refusal::Removed(tombstone) => Error::new(
                Kind::FailedPrecondition,
                Reason::InstanceRemoved,
                format!("instance {service}/{id} was removed: {}", why_removed(tombstone)),
            )
            .with("incarnation", tombstone.incarnation.to_string())
            .with("removal", tombstone.removal.as_str())
            .with("message", tombstone.message.clone()),
            Refusal::Stale { current } => Error::new(
                Kind::FailedPrecondition,
                Reason::StaleIncarnation,
                format!("incarnation {current} holds {service}/{id} now, this message is from another one"),
            )
            .with("current_incarnation", current.to_string()),
            Refusal::BadToken => Error::new(
                Kind::Unauthenticated,
                Reason::SessionTokenInvalid,
                format!(
                    "the session token is not the one of {service}/{id}; use the token that its registration returned"
                ),
            ),
        };
        error.with("service", service).with("instance_id", id)
    }
}

/// For people: why and with what words it was removed.
pub fn why_removed(tombstone: &Tombstone) -> String {
    match tombstone.message.as_str() {
        "" => tombstone.removal.as_str().to_owned(),
        message => format!("{} ({message})", tombstone.removal.as_str()),
    }
}

/// The id is held by an instance whose lease lives.
pub(super) fn alive(key: &InstanceKey, incarnation: u64, remaining: Duration) -> Error {
    Error::new(
        Kind::AlreadyExists,
        Reason::InstanceAlive,
        format!(
            "instance {key} is registered and its lease lives; give its session token to take over, \
             use another id, or wait until the lease has run out"
        ),
    )
    .with("service", key.service.as_str())
    .with("instance_id", key.id.as_str())
    .with("incarnation", incarnation.to_string())
    .retry_after(remaining)
}
