//! What a gRPC status allows: the one mapping from `tonic::Status` to [`Advice`].
//!
//! | status | advice |
//! |---|---|
//! | UNAVAILABLE, ABORTED | if safe |
//! | RESOURCE_EXHAUSTED that says when to come back | if safe |
//! | everything else, DEADLINE_EXCEEDED too: the caller's time is over | never |
//! | on this side: no connection could be opened, or the other end refused the stream or went away before it read it | always |
//! | on this side: the connection broke | if safe |
//! | on this side: the time limit of the call, a reset of its stream | never |
//!
//! Of what would be repeated, a control plane may say more: that nothing was done, which makes it "always", or that it
//! was done, which makes it "never".
//!
//! The pause is that of `grpc-retry-pushback-ms` ([gRFC A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md)),
//! which asks not to repeat it where it is negative or unreadable; without it that of `google.rpc.RetryInfo`.
//!
//! It speaks of the one call that failed. An operation of several calls, or that has done something before it calls, is not
//! "certainly not done" because its last call was not: it has to make less of this, or be idempotent.
//!
//! RESOURCE_EXHAUSTED with `RetryInfo` is what [OTLP](https://opentelemetry.io/docs/specs/otlp/) retries. It is not
//! "always" by itself: some limits are hit only after the work, as that of unread answers is here.

use std::{error::Error, time::Duration};

use tonic::{Code, ConnectError, Status, TimeoutExpired, transport};
use tonic_types::{ErrorInfo, StatusExt as _};

use super::plan::Advice;
use crate::rules::errors::{DOMAIN, PUSHBACK};

/// Reasons that are given before anything is done, and only then. One that is given later as well, as SERVER_DRAINING is,
/// does not belong here: whoever gives it says the outcome.
const NOTHING_DONE: &[&str] = &[
    "AUDIT_UNAVAILABLE",
    "AUTHENTICATION_LIMITED",
    "CHECKS_BUSY",
    "CIRCUIT_OPEN",
    "LOADING",
    "NOT_TAKING_WORK",
    "RATE_LIMITED",
    "RESOURCES_LOW",
    "TOO_MANY_IN_FLIGHT",
];
/// Where it says what came of it.
const OUTCOME: &str = "outcome";
/// Nothing, and nothing will.
const NOT_WRITTEN: &str = "not_written";
/// What was asked for; only something else failed.
const CHANGED: &str = "changed";

/// Whether to repeat what failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Repeat {
    Never,
    IfSafe,
    Always,
}

impl Repeat {
    fn after(self, pause: Option<Duration>) -> Advice {
        match self {
            Repeat::Never => Advice::Never,
            Repeat::IfSafe => Advice::IfSafe(pause),
            Repeat::Always => Advice::Always(pause),
        }
    }
}

/// What the failure of a call allows.
pub fn advice(status: &Status) -> Advice {
    match on_this_side(status) {
        // The code is not asked: which one tonic makes of it depends on its features.
        Some(repeat) => repeat.after(None),
        None => on_the_other_side(status),
    }
}

/// Of a status that was made here, by what it was made from. `None`: it was sent.
fn on_this_side(status: &Status) -> Option<Repeat> {
    let mut by_transport = false;
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return Some(Repeat::Always);
        }
        if error.is::<TimeoutExpired>() {
            return Some(Repeat::Never);
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Some(of_http2(error));
        }
        by_transport |= error.is::<transport::Error>();
        cause = error.source();
    }
    by_transport.then_some(Repeat::IfSafe)
}

fn of_http2(error: &h2::Error) -> Repeat {
    match error.reason() {
        // Said by ports that speak something else, each time.
        Some(h2::Reason::HTTP_1_1_REQUIRED | h2::Reason::INADEQUATE_SECURITY) => Repeat::Never,
        // RFC 9113, 8.7: not processed in any way.
        Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => Repeat::Always,
        // The same section: streams beyond the last that the other end names; those before it go on, and break later.
        Some(_) if error.is_go_away() && error.is_remote() => Repeat::Always,
        _ if error.is_io() || error.is_go_away() => Repeat::IfSafe,
        _ => Repeat::Never,
    }
}

fn on_the_other_side(status: &Status) -> Advice {
    if !matches!(status.code(), Code::Unavailable | Code::Aborted | Code::ResourceExhausted) {
        return Advice::Never;
    }
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let repeat = info.map_or(Repeat::IfSafe, |info| by_reason(&info));
    match (come_back(status), status.code()) {
        (Err(KeepAway), _) => Advice::Pushback,
        (Ok(None), Code::ResourceExhausted) => Advice::Never,
        (Ok(pause), _) => repeat.after(pause.flatten()),
    }
}

fn by_reason(info: &ErrorInfo) -> Repeat {
    match info.metadata.get(OUTCOME).map(String::as_str) {
        Some(CHANGED) => Repeat::Never,
        Some(NOT_WRITTEN) => Repeat::Always,
        _ if NOTHING_DONE.contains(&info.reason.as_str()) => Repeat::Always,
        _ => Repeat::IfSafe,
    }
}

/// The other end asks not to be called again.
struct KeepAway;

/// Whether the other end says to come back, and when if it does.
fn come_back(status: &Status) -> Result<Option<Option<Duration>>, KeepAway> {
    let mut pushbacks = status.metadata().get_all(PUSHBACK).iter();
    match (pushbacks.next(), pushbacks.next()) {
        (None, _) => Ok(status.get_details_retry_info().map(|info| info.retry_delay)),
        (Some(pushback), None) => {
            let millis = pushback.to_str().ok().and_then(milliseconds).ok_or(KeepAway)?;
            Ok(Some(Some(Duration::from_millis(millis))))
        }
        // Of several, none is to be believed.
        (Some(_), Some(_)) => Err(KeepAway),
    }
}

/// A signed 32-bit integer in ASCII, without a plus sign and leading zeros. `None`: it is none, or negative.
fn milliseconds(text: &str) -> Option<u64> {
    let is_plain = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    let number: i32 = text.parse().ok().filter(|_| is_plain)?;
    u64::try_from(number).ok()
}

#[cfg(test)]
mod tests;
