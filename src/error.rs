//! What can go wrong, as callers see it: one error type whose kinds each say what the caller should
//! do, with a stable reason, the fields that are wrong, and the internal cause kept apart.
//!
//! Knows nothing of gRPC or HTTP: `guard::status` is the one place that maps kinds to codes. The source
//! of an error is for the log and is never shown to a caller.

use std::{error::Error as StdError, fmt, time::Duration};

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Correct the named fields and call again.
    InvalidArgument,
    /// Prove who you are.
    Unauthenticated,
    /// Ask somebody who may.
    PermissionDenied,
    /// There is no such thing; create it, or stop asking.
    NotFound,
    /// Somebody else has it.
    AlreadyExists,
    /// Change the state of the system first; repeating alone does not help.
    FailedPrecondition,
    /// Somebody else changed it at the same time: read again, then repeat.
    Aborted,
    /// There is too much of it: come back later, or with less.
    ResourceExhausted,
    /// Repeat after a pause: something behind this is away.
    Unavailable,
    /// It took too long.
    DeadlineExceeded,
    /// A bug, or damage: tell the operators.
    Internal,
}

impl Kind {
    /// Its name, as gRPC has it: `INVALID_ARGUMENT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::InvalidArgument => "INVALID_ARGUMENT",
            Kind::Unauthenticated => "UNAUTHENTICATED",
            Kind::PermissionDenied => "PERMISSION_DENIED",
            Kind::NotFound => "NOT_FOUND",
            Kind::AlreadyExists => "ALREADY_EXISTS",
            Kind::FailedPrecondition => "FAILED_PRECONDITION",
            Kind::Aborted => "ABORTED",
            Kind::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Kind::Unavailable => "UNAVAILABLE",
            Kind::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Kind::Internal => "INTERNAL",
        }
    }
}

/// Why, as a stable name that programs may compare (`google.rpc.ErrorInfo.reason`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs)] // the names are the documentation; README.md explains each
pub enum Reason {
    InvalidField,
    InstanceNotFound,
    InstanceRemoved,
    ServiceNotFound,
    ComponentNotFound,
    InstanceAlive,
    StaleIncarnation,
    SessionTokenInvalid,
    RevisionMismatch,
    ServiceProtected,
    DependencyCycle,
    LifecycleOrder,
    FleetFull,
    NoActiveCheck,
    NotChecked,
    ChecksBusy,
    TooManyNames,
    MessageTooLarge,
    AnswersUnread,
    MessagesUnfinished,
    RequestTimeout,
    StoreUnavailable,
    StoreConflict,
    RecordTooNew,
    RecordDamaged,
    Loading,
    ServerDraining,
    SessionSilent,
    DirectivesNotTaken,
    TooManyDirectives,
    InstanceLost,
    Unauthenticated,
    AuthenticationLimited,
    PermissionDenied,
    TokenNotFound,
    TokenNameTaken,
    TooManyTokens,
    AuditUnavailable,
    PolicyNotFound,
    PolicyNotPut,
    TooManyPolicies,
    FlagNotFound,
    TooManyFlags,
    TooManyOverrides,
    OperationNotFound,
    OperationUnderWay,
    OperationCommits,
    OperationTakenOver,
    TooManyOperations,
    RateLimited,
    TooManyInFlight,
    ResourcesLow,
    CircuitOpen,
    TlsUnusable,
    RulesInvalid,
    ConfigInvalid,
    DataDirInUse,
    DataDirUnusable,
    AddressUnusable,
    NothingToCapture,
    TooManyCaptures,
    TicketInvalid,
    TransferEnded,
    TransferSilent,
    BackupNotFound,
    BackupNotRestorable,
    RestoreGuarded,
    NoRestoreTarget,
    VaultDamaged,
    VaultKey,
    VaultUnusable,
    VaultUnavailable,
    VaultConflict,
    Internal,
}

impl Reason {
    /// Every reason, for the test that each is documented.
    pub const ALL: &'static [Reason] = &[
        Reason::InvalidField,
        Reason::InstanceNotFound,
        Reason::InstanceRemoved,
        Reason::ServiceNotFound,
        Reason::ComponentNotFound,
        Reason::InstanceAlive,
        Reason::StaleIncarnation,
        Reason::SessionTokenInvalid,
        Reason::RevisionMismatch,
        Reason::ServiceProtected,
        Reason::DependencyCycle,
        Reason::LifecycleOrder,
        Reason::FleetFull,
        Reason::NoActiveCheck,
        Reason::NotChecked,
        Reason::ChecksBusy,
        Reason::TooManyNames,
        Reason::MessageTooLarge,
        Reason::AnswersUnread,
        Reason::MessagesUnfinished,
        Reason::RequestTimeout,
        Reason::StoreUnavailable,
        Reason::StoreConflict,
        Reason::RecordTooNew,
        Reason::RecordDamaged,
        Reason::Loading,
        Reason::ServerDraining,
        Reason::SessionSilent,
        Reason::DirectivesNotTaken,
        Reason::TooManyDirectives,
        Reason::InstanceLost,
        Reason::Unauthenticated,
        Reason::AuthenticationLimited,
        Reason::PermissionDenied,
        Reason::TokenNotFound,
        Reason::TokenNameTaken,
        Reason::TooManyTokens,
        Reason::AuditUnavailable,
        Reason::PolicyNotFound,
        Reason::PolicyNotPut,
        Reason::TooManyPolicies,
        Reason::FlagNotFound,
        Reason::TooManyFlags,
        Reason::TooManyOverrides,
        Reason::OperationNotFound,
        Reason::OperationUnderWay,
        Reason::OperationCommits,
        Reason::OperationTakenOver,
        Reason::TooManyOperations,
        Reason::RateLimited,
        Reason::TooManyInFlight,
        Reason::ResourcesLow,
        Reason::CircuitOpen,
        Reason::TlsUnusable,
        Reason::RulesInvalid,
        Reason::ConfigInvalid,
        Reason::DataDirInUse,
        Reason::DataDirUnusable,
        Reason::AddressUnusable,
        Reason::NothingToCapture,
        Reason::TooManyCaptures,
        Reason::TicketInvalid,
        Reason::TransferEnded,
        Reason::TransferSilent,
        Reason::BackupNotFound,
        Reason::BackupNotRestorable,
        Reason::RestoreGuarded,
        Reason::NoRestoreTarget,
        Reason::VaultDamaged,
        Reason::VaultKey,
        Reason::VaultUnusable,
        Reason::VaultUnavailable,
        Reason::VaultConflict,
        Reason::Internal,
    ];

    /// The name on the wire: `UPPER_SNAKE_CASE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InvalidField => "INVALID_FIELD",
            Reason::InstanceNotFound => "INSTANCE_NOT_FOUND",
            Reason::InstanceRemoved => "INSTANCE_REMOVED",
            Reason::ServiceNotFound => "SERVICE_NOT_FOUND",
            Reason::ComponentNotFound => "COMPONENT_NOT_FOUND",
            Reason::InstanceAlive => "INSTANCE_ALIVE",
            Reason::StaleIncarnation => "STALE_INCARNATION",
            Reason::SessionTokenInvalid => "SESSION_TOKEN_INVALID",
            Reason::RevisionMismatch => "REVISION_MISMATCH",
            Reason::ServiceProtected => "SERVICE_PROTECTED",
            Reason::DependencyCycle => "DEPENDENCY_CYCLE",
            Reason::LifecycleOrder => "LIFECYCLE_ORDER",
            Reason::FleetFull => "FLEET_FULL",
            Reason::NoActiveCheck => "NO_ACTIVE_CHECK",
            Reason::NotChecked => "NOT_CHECKED",
            Reason::ChecksBusy => "CHECKS_BUSY",
            Reason::TooManyNames => "TOO_MANY_NAMES",
            Reason::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Reason::AnswersUnread => "ANSWERS_UNREAD",
            Reason::MessagesUnfinished => "MESSAGES_UNFINISHED",
            Reason::RequestTimeout => "REQUEST_TIMEOUT",
            Reason::StoreUnavailable => "STORE_UNAVAILABLE",
            Reason::StoreConflict => "STORE_CONFLICT",
            Reason::RecordTooNew => "RECORD_TOO_NEW",
            Reason::RecordDamaged => "RECORD_DAMAGED",
            Reason::Loading => "LOADING",
            Reason::ServerDraining => "SERVER_DRAINING",
            Reason::SessionSilent => "SESSION_SILENT",
            Reason::DirectivesNotTaken => "DIRECTIVES_NOT_TAKEN",
            Reason::TooManyDirectives => "TOO_MANY_DIRECTIVES",
            Reason::InstanceLost => "INSTANCE_LOST",
            Reason::Unauthenticated => "UNAUTHENTICATED",
            Reason::AuthenticationLimited => "AUTHENTICATION_LIMITED",
            Reason::PermissionDenied => "PERMISSION_DENIED",
            Reason::TokenNotFound => "TOKEN_NOT_FOUND",
            Reason::TokenNameTaken => "TOKEN_NAME_TAKEN",
            Reason::TooManyTokens => "TOO_MANY_TOKENS",
            Reason::AuditUnavailable => "AUDIT_UNAVAILABLE",
            Reason::PolicyNotFound => "POLICY_NOT_FOUND",
            Reason::PolicyNotPut => "POLICY_NOT_PUT",
            Reason::TooManyPolicies => "TOO_MANY_POLICIES",
            Reason::FlagNotFound => "FLAG_NOT_FOUND",
            Reason::TooManyFlags => "TOO_MANY_FLAGS",
            Reason::TooManyOverrides => "TOO_MANY_OVERRIDES",
            Reason::OperationNotFound => "OPERATION_NOT_FOUND",
            Reason::OperationUnderWay => "OPERATION_UNDER_WAY",
            Reason::OperationCommits => "OPERATION_COMMITS",
            Reason::OperationTakenOver => "OPERATION_TAKEN_OVER",
            Reason::TooManyOperations => "TOO_MANY_OPERATIONS",
            Reason::RateLimited => "RATE_LIMITED",
            Reason::TooManyInFlight => "TOO_MANY_IN_FLIGHT",
            Reason::ResourcesLow => "RESOURCES_LOW",
            Reason::CircuitOpen => "CIRCUIT_OPEN",
            Reason::TlsUnusable => "TLS_UNUSABLE",
            Reason::RulesInvalid => "RULES_INVALID",
            Reason::ConfigInvalid => "CONFIG_INVALID",
            Reason::DataDirInUse => "DATA_DIR_IN_USE",
            Reason::DataDirUnusable => "DATA_DIR_UNUSABLE",
            Reason::AddressUnusable => "ADDRESS_UNUSABLE",
            Reason::NothingToCapture => "NOTHING_TO_CAPTURE",
            Reason::TooManyCaptures => "TOO_MANY_CAPTURES",
            Reason::TicketInvalid => "TICKET_INVALID",
            Reason::TransferEnded => "TRANSFER_ENDED",
            Reason::TransferSilent => "TRANSFER_SILENT",
            Reason::BackupNotFound => "BACKUP_NOT_FOUND",
            Reason::BackupNotRestorable => "BACKUP_NOT_RESTORABLE",
            Reason::RestoreGuarded => "RESTORE_GUARDED",
            Reason::NoRestoreTarget => "NO_RESTORE_TARGET",
            Reason::VaultDamaged => "VAULT_DAMAGED",
            Reason::VaultKey => "VAULT_KEY",
            Reason::VaultUnusable => "VAULT_UNUSABLE",
            Reason::VaultUnavailable => "VAULT_UNAVAILABLE",
            Reason::VaultConflict => "VAULT_CONFLICT",
            Reason::Internal => "INTERNAL",
        }
    }
}

/// One field that is wrong, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldViolation {
    /// Path of the field as the caller wrote it: `registration.components[2].name`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// One thing that stands in the way of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// Which, by the name under which it is forced: `not-empty`.
    pub kind: &'static str,
    /// What it is about: `orders/i-1/database`.
    pub subject: String,
    /// Why it stands there, for people.
    pub description: String,
}

/// An error with everything that a caller needs to act on it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    reason: Reason,
    message: String,
    fields: Vec<FieldViolation>,
    obstacles: Vec<Obstacle>,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind; `message` is shown to callers.
    pub fn new(kind: Kind, reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            reason,
            message: message.into(),
            fields: Vec::new(),
            obstacles: Vec::new(),
            metadata: Vec::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// A field is wrong.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::fields(vec![FieldViolation { field: field.into(), description: description.into() }], 0)
    }

    /// Several fields are wrong, and `untold` more that are not in the list. An empty list is a bug of the caller and
    /// says so.
    pub fn fields(fields: Vec<FieldViolation>, untold: usize) -> Self {
        let message = match fields.as_slice() {
            [] => "invalid argument".to_owned(),
            [only] if untold == 0 => format!("{}: {}", only.field, only.description),
            [first, others @ ..] => {
                format!("{}: {} (and {} more)", first.field, first.description, others.len() + untold)
            }
        };
        let mut error = Self::new(Kind::InvalidArgument, Reason::InvalidField, message);
        error.0.fields = fields;
        error
    }

    /// A bug or damage; `detail` is logged and never shown.
    pub fn internal(detail: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, Reason::Internal, "internal error, see the server's log").because(detail)
    }

    /// Keeps the internal cause, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds a dynamic part of the message under a name of its own.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.metadata.push((key, value.into()));
        self
    }

    /// Names a field that has a part in it, whatever its kind.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.fields.push(FieldViolation { field: field.into(), description: description.into() });
        self
    }

    /// Names one thing that stands in the way.
    #[must_use]
    pub fn stands(mut self, obstacle: Obstacle) -> Self {
        self.0.obstacles.push(obstacle);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// The same error for another caller that it concerns as well, without the internal cause.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            reason: self.0.reason,
            message: self.0.message.clone(),
            fields: self.0.fields.clone(),
            obstacles: self.0.obstacles.clone(),
            metadata: self.0.metadata.clone(),
            retry_after: self.0.retry_after,
            source: None,
        }))
    }

    /// What the caller should do.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Why, for programs.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Why, for people. Safe to show.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields that are wrong.
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.fields
    }

    /// What stands in the way.
    pub fn obstacles(&self) -> &[Obstacle] {
        &self.0.obstacles
    }

    /// The dynamic parts of the message.
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    /// When to try again, where that helps.
    pub fn retry_pause(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("reason", &self.0.reason.as_str())
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An error and all its causes in one line, for the log. A cause that was said already is not said again.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !said.contains(&words) {
                said.push_str(": ");
                said.push_str(&words);
            }
            cause = error.source();
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_distinct_and_in_the_form_of_the_wire() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        for name in &names {
            assert!(name.len() <= 63 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn internal_detail_is_in_the_chain_and_not_in_the_message() {
        let error = Error::internal("disk sector 7 is gone");
        assert!(!error.to_string().contains("sector"));
        assert!(Chain(&error).to_string().ends_with("disk sector 7 is gone"));
    }

    #[test]
    fn a_cause_is_in_the_chain_once() {
        let named = Error::new(Kind::Unavailable, Reason::StoreUnavailable, "cannot write: disk full, go on");
        assert_eq!(Chain(&named.because("disk full")).to_string(), "cannot write: disk full, go on");
        let inner = Error::new(Kind::Internal, Reason::Internal, "cannot sync").because("input/output error");
        assert_eq!(
            Chain(&Error::new(Kind::Internal, Reason::Internal, "cannot save").because(inner)).to_string(),
            "cannot save: cannot sync: input/output error"
        );
    }

    #[test]
    fn several_fields_are_counted_in_the_message() {
        let wrong = |field: &str| FieldViolation { field: field.into(), description: "is empty".into() };
        let three = [wrong("name"), wrong("zone"), wrong("version")];
        for (told, untold, message) in [
            (1, 0, "name: is empty"),
            (3, 0, "name: is empty (and 2 more)"),
            (1, 1, "name: is empty (and 1 more)"),
            (3, 40, "name: is empty (and 42 more)"),
        ] {
            let error = Error::fields(three[..told].to_vec(), untold);
            assert_eq!(error.message(), message);
            assert_eq!(error.violations().len(), told);
        }
    }
}
