//! The one mapping from [`Error`] to gRPC status, with the standard details: of what the layers refuse, and of what the
//! adapters behind them do.

use std::{collections::HashMap, time::Duration};

use http::HeaderMap;
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt as _};
use tracing::error;

use super::ERROR_DOMAIN;
use crate::error::{Chain, Error, Kind};

/// Metadata by which gRPC clients learn how long to wait before they retry, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Wrong fields that are named at once, and the length of each text: clients bound their headers.
const MAX_VIOLATIONS: usize = 16;
const MAX_TEXT: usize = 512;

/// The beginning of a text that is too long for a header.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The status that a caller gets. Internal causes are logged here, and not sent.
pub fn status(error: &Error) -> Status {
    let code = code(error.kind());
    if error.kind() == Kind::Internal {
        error!(component = "api", error = %Chain(error), "internal error");
    }
    let metadata: HashMap<String, String> =
        error.metadata().iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut details = ErrorDetails::with_error_info(error.reason().as_str(), ERROR_DOMAIN, metadata);
    if !error.violations().is_empty() {
        let violations = error.violations();
        details.set_bad_request(
            violations
                .iter()
                .take(MAX_VIOLATIONS)
                .map(|violation| FieldViolation::new(cut(&violation.field), cut(&violation.description)))
                .collect::<Vec<_>>(),
        );
    }
    match error.kind() {
        Kind::FailedPrecondition => {
            let violation =
                PreconditionViolation::new(error.reason().as_str(), subject(error), error.message());
            details.set_precondition_failure(vec![violation]);
        }
        Kind::ResourceExhausted => {
            details.set_quota_failure(vec![QuotaViolation::new(subject(error), error.message())]);
        }
        _ => {}
    }
    if let Some(pause) = error.retry_pause() {
        details.set_retry_info(Some(pause));
    }
    let mut status = Status::with_error_details(code, cut(error.message()), details);
    if let (Code::ResourceExhausted, Some(pause)) = (code, error.retry_pause()) {
        push_back(&mut status, pause);
    }
    status
}

/// The same at the end of an answer that has begun.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Only what cannot be a header is left out; all of this can.
    drop(status.add_header(&mut trailers));
    trailers
}

/// What the error is about, as far as it says.
fn subject(error: &Error) -> String {
    let value = |wanted: &str| {
        error.metadata().iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.as_str())
    };
    match (value("service"), value("instance_id")) {
        (Some(service), Some(id)) => format!("{service}/{id}"),
        (Some(service), None) => service.to_owned(),
        _ => "control-plane".to_owned(),
    }
}

fn push_back(status: &mut Status, pause: Duration) {
    if let Ok(value) = MetadataValue::try_from(pause.as_millis().to_string()) {
        status.metadata_mut().insert(PUSHBACK, value);
    }
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::Aborted => Code::Aborted,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn every_status_says_why_and_nothing_internal() {
        let sent = status(&Error::internal("sector 7"));
        assert_eq!(sent.code(), Code::Internal);
        assert!(!format!("{sent:?}").contains("sector"));
        assert_eq!(sent.get_error_details().error_info().unwrap().reason, "INTERNAL");
    }

    #[test]
    fn wrong_fields_are_named() {
        let details = status(&Error::field("registration.service", "is empty")).get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "registration.service");
    }

    #[test]
    fn exhaustion_says_when_to_come_back_in_both_ways() {
        let error = Error::new(Kind::ResourceExhausted, Reason::FleetFull, "full")
            .retry_after(Duration::from_millis(1500));
        let sent = status(&error);
        assert_eq!(sent.metadata().get(PUSHBACK).unwrap(), "1500");
        let details = sent.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
        assert!(details.quota_failure().is_some());
    }
}
