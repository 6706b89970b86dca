//! What a caller by gRPC is told that a service does not let through: the status with the standard details.

use std::collections::HashMap;

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt as _};

use super::refusal::{Refusal, RefusalKind};
use crate::rules::errors::{DOMAIN, PUSHBACK, whole_millis};

/// The status of a refusal: RESOURCE_EXHAUSTED with `QuotaFailure`, `RetryInfo` and `grpc-retry-pushback-ms`, or UNAVAILABLE
/// with `RetryInfo` where the breaker is open or the service takes no work.
pub fn status(refusal: &Refusal) -> Status {
    let code = match refusal.kind() {
        RefusalKind::Limited | RefusalKind::Full | RefusalKind::Exhausted => Code::ResourceExhausted,
        RefusalKind::Broken | RefusalKind::TurnedAway => Code::Unavailable,
    };
    let policy = refusal.policy().map(|policy| ("policy".to_owned(), policy.to_owned()));
    let metadata: HashMap<String, String> = policy.into_iter().collect();
    let mut details = ErrorDetails::with_error_info(refusal.kind().reason(), DOMAIN, metadata);
    if code == Code::ResourceExhausted {
        let subject = refusal.policy().unwrap_or_default();
        details.set_quota_failure(vec![QuotaViolation::new(subject, refusal.to_string())]);
    }
    let pause = refusal.retry_after();
    details.set_retry_info(pause);
    let mut status = Status::with_error_details(code, refusal.to_string(), details);
    if let (Code::ResourceExhausted, Some(pause)) = (code, pause) {
        status.metadata_mut().insert(PUSHBACK, MetadataValue::from(whole_millis(pause)));
    }
    status
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protect::policy::Scope;

    #[test]
    fn a_refusal_says_all_that_helps() {
        let refusal = Refusal::Limited {
            policy: "charges".into(),
            scope: Scope::Caller,
            limit: "1 in 1s".into(),
            retry_after: Some(Duration::from_micros(1500)),
        };
        let status = status(&refusal);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "2");
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_micros(1500)));
        assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "charges");
        let away = super::status(&Refusal::TurnedAway { message: "stopping".into() });
        assert_eq!((away.code(), away.message()), (Code::Unavailable, "stopping"));
    }
}
