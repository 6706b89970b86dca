//! What can be wrong with a vault, and what to do about it.

use crate::error::{Error, Kind, Reason};

/// A result with [`Problem`].
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// Why something about the vault could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// An object that is needed is not there.
    #[error("{object} is not in the vault")]
    Missing {
        /// Its name in the bucket.
        object: String,
    },
    /// An object is there, and is not what was put.
    #[error("{object} is damaged: {what}")]
    Damaged {
        /// Its name in the bucket.
        object: String,
        /// How that shows.
        what: String,
    },
    /// An object asks for what this build does not know.
    #[error("{object} was written by a newer build: {what}")]
    TooNew {
        /// Its name in the bucket.
        object: String,
        /// What is not known.
        what: String,
    },
    /// Neither the key that was given nor any other opens it.
    #[error("the key does not open this vault: {what}")]
    WrongKey {
        /// Which wraps there are, and what was brought.
        what: String,
    },
    /// The key cannot be had from where it should come from.
    #[error("cannot read the key of the vault from {place}: {what}")]
    NoKey {
        /// Where it should come from.
        place: String,
        /// Why it cannot be had.
        what: String,
    },
    /// The bucket does not do what was asked of it.
    #[error("cannot {action} {object}: {source}")]
    Place {
        /// What was asked.
        action: &'static str,
        /// Of which object.
        object: String,
        /// What came back.
        #[source]
        source: object_store::Error,
    },
    /// Another object of the same name, with other bytes, is there already.
    #[error("{object} is there already, and is another one")]
    Taken {
        /// Its name in the bucket.
        object: String,
    },
    /// The work was given up by who asked for it.
    #[error("it was given up")]
    GivenUp,
    /// What was committed, or is about to be, may lean on packs that are going away.
    #[error("what it needs is about to be pruned, or was found to be damaged: {what}; take it again")]
    Condemned {
        /// Which packs.
        what: String,
    },
    /// The place of the vault is not one that can be used.
    #[error("cannot use {place:?} as the place of a vault: {what}")]
    BadPlace {
        /// As it was given.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A bug: an invariant of the engine does not hold.
    #[error("internal error of the vault: {0}")]
    Internal(String),
}

impl Problem {
    /// An object that is not what it should be.
    pub fn damaged(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged { object: object.into(), what: what.into() }
    }

    /// An object that is not there.
    pub fn missing(object: impl Into<String>) -> Self {
        Self::Missing { object: object.into() }
    }

    /// Whether trying again later may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Place { .. })
    }

    /// The same for somebody else whom it concerns as well.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Missing { object } => Self::missing(object),
            Self::Damaged { object, what } => Self::damaged(object, what),
            Self::TooNew { object, what } => Self::TooNew { object: object.clone(), what: what.clone() },
            Self::WrongKey { what } => Self::WrongKey { what: what.clone() },
            Self::NoKey { place, what } => Self::NoKey { place: place.clone(), what: what.clone() },
            Self::Place { action, object, source } => Self::Place {
                action,
                object: object.clone(),
                source: object_store::Error::Generic { store: "vault", source: source.to_string().into() },
            },
            Self::Taken { object } => Self::Taken { object: object.clone() },
            Self::GivenUp => Self::GivenUp,
            Self::Condemned { what } => Self::Condemned { what: what.clone() },
            Self::BadPlace { place, what } => Self::BadPlace { place: place.clone(), what: what.clone() },
            Self::Internal(what) => Self::Internal(what.clone()),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let words = problem.to_string();
        let (kind, reason) = match &problem {
            Problem::Missing { .. } | Problem::Damaged { .. } => (Kind::Internal, Reason::VaultDamaged),
            Problem::TooNew { .. } => (Kind::FailedPrecondition, Reason::RecordTooNew),
            Problem::WrongKey { .. } | Problem::NoKey { .. } => (Kind::FailedPrecondition, Reason::VaultKey),
            Problem::BadPlace { .. } => (Kind::FailedPrecondition, Reason::VaultUnusable),
            Problem::Place { .. } => (Kind::Unavailable, Reason::VaultUnavailable),
            Problem::Condemned { .. } | Problem::GivenUp => (Kind::Aborted, Reason::VaultConflict),
            Problem::Taken { .. } => (Kind::Internal, Reason::VaultDamaged),
            Problem::Internal(_) => return Error::internal(words),
        };
        Error::new(kind, reason, words)
    }
}
