//! The one mapping from [`Error`] to gRPC status, with the standard details: of what the layers refuse, and of what the
//! adapters behind them do.

use std::collections::HashMap;

use http::HeaderMap;
use seaworthy_client::rules::errors::{PUSHBACK, whole_millis};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt as _};
use tracing::error;

use super::ERROR_DOMAIN;
use crate::error::{Chain, Error, Kind, Obstacle};

/// What is said of an error is a header, and clients bound theirs: the narrowest take 8 KiB. There a text is spelled out
/// with up to three times its bytes, and once more in the details, which are in base64.
const MAX_TEXT: usize = 512;
/// Bytes of all texts in the details together.
const MAX_DETAILS: usize = 3 * 1024;
/// Wrong fields that are named at once, and as many dynamic parts of the message.
const MAX_NAMED: usize = 16;

/// The beginning of a text that is longer than so many bytes.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

/// Bytes that may still be said in details.
struct Left(usize);

impl Left {
    /// As much of a text as may be said.
    fn say(&mut self, text: &str) -> String {
        let said = cut(text, MAX_TEXT.min(self.0));
        self.0 = self.0.saturating_sub(said.len());
        said
    }
}

/// The status that a caller gets. Internal causes are logged here, and not sent.
pub fn status(error: &Error) -> Status {
    let code = code(error.kind());
    if error.kind() == Kind::Internal {
        error!(component = "api", error = %Chain(error), "internal error");
    }
    let mut left = Left(MAX_DETAILS);
    let metadata = error.metadata().iter().take(MAX_NAMED);
    let metadata: HashMap<String, String> =
        metadata.map(|(key, value)| ((*key).to_owned(), left.say(value))).collect();
    let mut details = ErrorDetails::with_error_info(error.reason().as_str(), ERROR_DOMAIN, metadata);
    match error.kind() {
        Kind::FailedPrecondition => {
            // Each thing that stands in the way is a violation of its own; of other errors there is one.
            let mut violations = Vec::new();
            for Obstacle { kind, subject, description } in error.obstacles().iter().take(MAX_NAMED) {
                if left.0 == 0 {
                    break;
                }
                let (subject, description) = (left.say(subject), left.say(description));
                violations.push(PreconditionViolation::new(*kind, subject, description));
            }
            if violations.is_empty() {
                let (subject, message) = (left.say(&subject(error)), left.say(error.message()));
                violations.push(PreconditionViolation::new(error.reason().as_str(), subject, message));
            }
            details.set_precondition_failure(violations);
        }
        Kind::ResourceExhausted => {
            let (subject, message) = (left.say(&subject(error)), left.say(error.message()));
            details.set_quota_failure(vec![QuotaViolation::new(subject, message)]);
        }
        _ => {}
    }
    if !error.violations().is_empty() {
        let mut named = Vec::new();
        for violation in error.violations().iter().take(MAX_NAMED) {
            if left.0 == 0 {
                break;
            }
            named.push(FieldViolation::new(left.say(&violation.field), left.say(&violation.description)));
        }
        details.set_bad_request(named);
    }
    if let Some(pause) = error.retry_pause() {
        details.set_retry_info(Some(pause));
    }
    let mut status = Status::with_error_details(code, cut(error.message(), MAX_TEXT), details);
    if let (Code::ResourceExhausted, Some(pause)) = (code, error.retry_pause()) {
        status.metadata_mut().insert(PUSHBACK, MetadataValue::from(whole_millis(pause)));
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
        (None, _) if value("caller").is_some() => value("caller").unwrap_or_default().to_owned(),
        _ => "control-plane".to_owned(),
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
    use std::time::Duration;

    use super::*;
    use crate::error::{FieldViolation as Wrong, Reason};

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

    /// What the narrowest clients take of headers: their names, their values, and 32 bytes for each.
    const HEADERS: usize = 8 * 1024;

    #[test]
    fn whatever_an_error_says_fits_a_header() {
        // In three bytes each, of which every one is spelled out as three.
        let long = "→".repeat(20_000);
        let wrong = Wrong { field: long.clone(), description: long.clone() };
        let kinds = [Kind::FailedPrecondition, Kind::ResourceExhausted, Kind::Aborted, Kind::InvalidArgument];
        for kind in kinds {
            let error = Error::new(kind, Reason::DependencyCycle, long.clone());
            let named = ["service", "instance_id", "circle", "needed", "a", "b", "c", "d", "e"];
            let error = named.into_iter().fold(error, |error, key| error.with(key, long.clone()));
            let error = (0..40).fold(error, |error, _| error.at(&wrong.field, &wrong.description));
            let error = error.retry_after(Duration::from_secs(5));
            let headers = trailers(&status(&error));
            let bytes: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!((HEADERS / 2..HEADERS).contains(&bytes), "{kind:?}: {bytes}");
            let sent = Status::from_header_map(&headers).expect("a status");
            assert_eq!(sent.get_error_details().error_info().unwrap().reason, "DEPENDENCY_CYCLE");
        }
    }

    #[test]
    fn each_thing_in_the_way_is_told_by_itself_as_far_as_there_is_room() {
        let guarded = |subject: &str, description: &str| {
            let error =
                Error::new(Kind::FailedPrecondition, Reason::RestoreGuarded, "guards stand in the way");
            (0..40).fold(error, |error, _| {
                let (subject, description) = (subject.to_owned(), description.to_owned());
                error.stands(Obstacle { kind: "not-empty", subject, description })
            })
        };
        let details = status(&guarded("a:b/i-1/x", "it holds 3 bytes")).get_error_details();
        let told = &details.precondition_failure().unwrap().violations;
        assert_eq!(told.len(), MAX_NAMED);
        let first = (told[0].r#type.as_str(), told[0].subject.as_str(), told[0].description.as_str());
        assert_eq!(first, ("not-empty", "a:b/i-1/x", "it holds 3 bytes"));
        assert!(details.bad_request().is_none());
        let long = "→".repeat(20_000);
        let headers = trailers(&status(&guarded(&long, &long)));
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!((HEADERS / 2..HEADERS).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_short_is_said_whole() {
        let wrong = (0..MAX_NAMED + 1).map(|at| Wrong {
            field: format!("registration.components[{at}].name"),
            description: "is empty; name the component with a DNS label of up to 63 characters".into(),
        });
        let wrong: Vec<_> = wrong.collect();
        let details = status(&Error::fields(wrong.clone(), 0)).get_error_details();
        let named = &details.bad_request().unwrap().field_violations;
        assert_eq!(named.len(), MAX_NAMED);
        for (named, wrong) in named.iter().zip(&wrong) {
            assert_eq!((&named.field, &named.description), (&wrong.field, &wrong.description));
        }
    }
}
