//! Reads why the control plane refused or ended something, from a gRPC status or a `closing` message.
//! The stable reason counts before the code, for several reasons share a code. A status without one is not
//! the control plane's, but that of a proxy before it, mostly: it says nothing of a registration.

use std::error::Error as _;

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

use super::plan::{End, Why};
use crate::{
    proto::{
        self,
        seaworthy::v1::{CloseReason, SessionClosing},
    },
    rt,
    rules::errors::DOMAIN,
    transport::Trouble,
};

/// What the control plane adds where nothing came of it: key and value.
const NOTHING_DONE: (&str, &str) = ("outcome", "not_written");

/// What a refusal means for the next try.
pub(super) fn of_status(status: &Status) -> End {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let why = info.as_ref().map_or(Why::Broken, |info| why(info, status.code()));
    let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let reason = info.map(|info| info.reason).unwrap_or_default();
    End { why, message: words(status, &reason), retry_after }
}

fn why(info: &ErrorInfo, code: Code) -> Why {
    let (key, value) = NOTHING_DONE;
    match (info.reason.as_str(), code) {
        ("STALE_INCARNATION", _) => Why::Superseded,
        ("INSTANCE_NOT_FOUND" | "INSTANCE_REMOVED" | "SESSION_TOKEN_INVALID", _) => Why::Gone,
        ("INSTANCE_ALIVE", _) => Why::Held,
        ("REGISTRATION_IN_PROGRESS", _) => Why::Broken,
        ("UNAUTHENTICATED" | "AUTHENTICATION_LIMITED" | "PERMISSION_DENIED", _) => Why::Unproven,
        ("FLEET_FULL" | "LOADING" | "MESSAGE_TOO_LARGE", _) => Why::Busy,
        _ if info.metadata.get(key).is_some_and(|outcome| outcome == value) => Why::Busy,
        (_, Code::NotFound | Code::Unauthenticated | Code::FailedPrecondition) => Why::Gone,
        (_, Code::AlreadyExists) => Why::Held,
        (_, Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented) => Why::Refused,
        // The others say that the control plane has a problem now; what was asked may have been done.
        _ => Why::Broken,
    }
}

/// For people: why the connection broke, or what the control plane said and the reason that can be looked
/// up.
fn words(status: &Status, reason: &str) -> String {
    match (status.source(), reason) {
        (Some(cause), _) => format!("the connection broke: {}", rt::innermost(cause)),
        (None, "") => {
            let (code, message) = (status.code(), status.message());
            format!("{code:?}, without a reason of the control plane's (a proxy before it?): {message}")
        }
        (None, reason) => {
            let what_to_do = hint(reason).map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("the control plane answered: {} [{reason}]{what_to_do}", status.message())
        }
    }
}

/// What helps where who we are is in doubt.
fn hint(reason: &str) -> Option<&'static str> {
    match reason {
        "UNAUTHENTICATED" => Some(
            "give the agent a token of its service or a certificate that counts (Builder::token, Builder::tls); a file \
             that is corrected in place is enough",
        ),
        "PERMISSION_DENIED" => Some(
            "the token or certificate has to be one of this service: seaworthy token create NAME --role service \
             --service SERVICE",
        ),
        "AUTHENTICATION_LIMITED" => Some("too many wrong tokens came from here; correct what sends them"),
        _ => None,
    }
}

/// The same, where more is known of the connection that it came over.
pub(super) fn over(status: &Status, trouble: &Trouble) -> End {
    let end = of_status(status);
    match (status.source(), trouble.words()) {
        // Who never said anything has not heard anything either.
        (Some(_), Some(words)) if trouble.is_unheard() => {
            End { why: Why::Unreachable, message: words, ..end }
        }
        (Some(_), Some(words)) => End { message: words, ..end },
        _ => end,
    }
}

/// What the last message of a session means. `None`: it confirms that we left.
pub(super) fn of_closing(closing: &SessionClosing) -> Option<End> {
    let why = match closing.reason() {
        CloseReason::Left => return None,
        CloseReason::Superseded | CloseReason::StaleIncarnation => Why::Superseded,
        CloseReason::Removed => Why::Removed,
        // A reason that is newer than this library says at least when to come back.
        CloseReason::Draining | CloseReason::Unspecified => Why::Broken,
    };
    let retry_after = proto::time(closing.retry_after);
    let message = match closing.message.as_str() {
        "" => format!("the control plane closed the session: {}", closing.reason().as_str_name()),
        said => format!("the control plane closed the session: {said}"),
    };
    Some(End { why, message, retry_after })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_refusals_mean_as_a_table() {
        for (code, reason, why) in [
            (Code::FailedPrecondition, "STALE_INCARNATION", Why::Superseded),
            (Code::FailedPrecondition, "INSTANCE_REMOVED", Why::Gone),
            (Code::FailedPrecondition, "OF_A_NEWER_RELEASE", Why::Gone),
            (Code::NotFound, "INSTANCE_NOT_FOUND", Why::Gone),
            (Code::NotFound, "OF_A_NEWER_RELEASE", Why::Gone),
            (Code::Unauthenticated, "SESSION_TOKEN_INVALID", Why::Gone),
            (Code::Unauthenticated, "UNAUTHENTICATED", Why::Unproven),
            (Code::ResourceExhausted, "AUTHENTICATION_LIMITED", Why::Unproven),
            (Code::PermissionDenied, "PERMISSION_DENIED", Why::Unproven),
            (Code::AlreadyExists, "INSTANCE_ALIVE", Why::Held),
            (Code::AlreadyExists, "REGISTRATION_IN_PROGRESS", Why::Broken),
            (Code::AlreadyExists, "OF_A_NEWER_RELEASE", Why::Held),
            (Code::InvalidArgument, "INVALID_FIELD", Why::Refused),
            (Code::PermissionDenied, "OF_A_NEWER_RELEASE", Why::Refused),
            // A change that was under way may still be made, or have been.
            (Code::Unavailable, "SERVER_DRAINING", Why::Broken),
            (Code::Unavailable, "STORE_UNAVAILABLE", Why::Broken),
            (Code::DeadlineExceeded, "REQUEST_TIMEOUT", Why::Broken),
            (Code::DeadlineExceeded, "SESSION_SILENT", Why::Broken),
            (Code::Unavailable, "LOADING", Why::Busy),
            (Code::ResourceExhausted, "FLEET_FULL", Why::Busy),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE", Why::Busy),
            // What a proxy makes of its own refusals, and tonic of HTTP's.
            (Code::Unauthenticated, "", Why::Broken),
            (Code::PermissionDenied, "", Why::Broken),
            (Code::Unimplemented, "", Why::Broken),
            (Code::NotFound, "", Why::Broken),
            (Code::FailedPrecondition, "", Why::Broken),
            (Code::AlreadyExists, "", Why::Broken),
            (Code::InvalidArgument, "", Why::Broken),
            (Code::Unknown, "", Why::Broken),
        ] {
            let mut details = ErrorDetails::new();
            if !reason.is_empty() {
                details.set_error_info(reason, DOMAIN, HashMap::new());
            }
            details.set_retry_info(Some(Duration::from_secs(4)));
            let end = of_status(&Status::with_error_details(code, "words", details));
            assert_eq!((end.why, end.retry_after), (why, Some(Duration::from_secs(4))), "{code:?} {reason}");
        }
    }

    #[test]
    fn reasons_of_other_domains_and_damaged_details_are_not_believed() {
        let foreign = ErrorDetails::with_error_info("STALE_INCARNATION", "elsewhere.example", HashMap::new());
        let end = of_status(&Status::with_error_details(Code::NotFound, "words", foreign));
        assert_eq!(end.why, Why::Broken);
        let damaged = Status::with_details(Code::NotFound, "words", vec![0xff; 40].into());
        assert_eq!(of_status(&damaged).why, Why::Broken);
    }

    #[test]
    fn what_was_not_written_leaves_nothing_open() {
        for (outcome, why) in [("not_written", Why::Busy), ("unknown", Why::Broken)] {
            let said = HashMap::from([("outcome".to_owned(), outcome.to_owned())]);
            let details = ErrorDetails::with_error_info("STORE_UNAVAILABLE", DOMAIN, said);
            let end = of_status(&Status::with_error_details(Code::Unavailable, "words", details));
            assert_eq!(end.why, why, "{outcome}");
        }
    }

    #[test]
    fn people_read_the_cause_and_no_layers_of_it() {
        let refused = ErrorDetails::with_error_info("INSTANCE_ALIVE", DOMAIN, HashMap::new());
        let refused = Status::with_error_details(Code::AlreadyExists, "orders/i-1 is held", refused);
        assert_eq!(
            of_status(&refused).message,
            "the control plane answered: orders/i-1 is held [INSTANCE_ALIVE]"
        );
        let unnamed = Status::unavailable("busy");
        assert_eq!(
            of_status(&unnamed).message,
            "Unavailable, without a reason of the control plane's (a proxy before it?): busy"
        );
        let cause = std::io::Error::other(std::io::Error::other("broken pipe"));
        assert_eq!(
            of_status(&Status::from_error(Box::new(cause))).message,
            "the connection broke: broken pipe"
        );
        let closing = SessionClosing { message: "it stops".to_owned(), ..SessionClosing::default() };
        let closed = of_closing(&closing).map(|end| end.message);
        assert_eq!(closed.as_deref(), Some("the control plane closed the session: it stops"));
    }

    #[test]
    fn what_closings_mean_as_a_table() {
        for (reason, why) in [
            (CloseReason::Unspecified, Some(Why::Broken)),
            (CloseReason::Draining, Some(Why::Broken)),
            (CloseReason::Superseded, Some(Why::Superseded)),
            (CloseReason::StaleIncarnation, Some(Why::Superseded)),
            (CloseReason::Removed, Some(Why::Removed)),
            (CloseReason::Left, None),
        ] {
            let closing = SessionClosing { reason: reason.into(), ..SessionClosing::default() };
            assert_eq!(of_closing(&closing).map(|end| end.why), why, "{reason:?}");
        }
        let negative = prost_types::Duration { seconds: -5, nanos: 0 };
        let closing = SessionClosing { retry_after: Some(negative), ..SessionClosing::default() };
        assert_eq!(of_closing(&closing).and_then(|end| end.retry_after), None);
    }
}
