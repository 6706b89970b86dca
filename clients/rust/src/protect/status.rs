//! What a caller by gRPC is told that a service does not let through: the status with the standard details.

use std::collections::HashMap;

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt as _};

use super::refusal::{Refusal, RefusalKind};
use crate::rules::errors::{DOMAIN, PUSHBACK, whole_millis};

/// The status of a refusal: RESOURCE_EXHAUSTED with `QuotaFailure`, `RetryInfo` and `grpc-retry-pushback-ms`, or UNAVAILABLE
/// with `RetryInfo` where the breaker is open or the service takes no work. `caller`: as whom limits know who is told; empty
/// where nobody is named.
pub fn status(refusal: &Refusal, caller: &str) -> Status {
    let code = match refusal.kind() {
        RefusalKind::Limited | RefusalKind::Full | RefusalKind::Exhausted => Code::ResourceExhausted,
        RefusalKind::Broken | RefusalKind::TurnedAway => Code::Unavailable,
    };
    let mut metadata: HashMap<String, String> =
        refusal.details().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if let Refusal::Broken { protects, .. } = refusal {
        metadata.insert("operation".to_owned(), protects.to_string());
    }
    if !caller.is_empty() {
        metadata.insert("caller".to_owned(), caller.to_owned());
    }
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
    use crate::protect::{
        breaker::{Refused, State},
        policy::Scope,
    };

    #[test]
    fn a_refusal_says_all_that_helps() {
        let refusal = Refusal::Limited {
            policy: "charges".into(),
            scope: Scope::Caller,
            limit: "1 in 1s".into(),
            retry_after: Some(Duration::from_micros(1500)),
        };
        let status = status(&refusal, "shop");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "2");
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_micros(1500)));
        let info = details.error_info().unwrap();
        assert_eq!(info.reason, "RATE_LIMITED");
        let told = |name: &str| info.metadata[name].as_str();
        assert_eq!(
            ["policy", "scope", "limit", "caller"].map(told),
            ["charges", "CALLER", "1 in 1s", "shop"]
        );
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "charges");
        let refused = Refused { state: State::Open, retry_after: None };
        let broken = super::status(&Refusal::Broken { protects: "charge-card".into(), refused }, "");
        let details = broken.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((metadata["state"].as_str(), metadata["operation"].as_str()), ("OPEN", "charge-card"));
        assert!(!metadata.contains_key("caller"));
        let away = super::status(&Refusal::TurnedAway { message: "stopping".into() }, "shop");
        assert_eq!((away.code(), away.message()), (Code::Unavailable, "stopping"));
    }
}
