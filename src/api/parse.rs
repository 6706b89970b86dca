//! From requests to checked domain values. Every message is destructured whole, so that a new field
//! does not compile until somebody decides what it means; every wrong field is named, all at once.

mod active_check;
pub mod audit;
pub mod backup;
pub mod directive;
pub mod operation;
pub mod past;
pub mod policy;
pub mod registration;
pub mod report;
pub mod spec;

use std::{error::Error as _, fmt::Display, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    error::{Error, FieldViolation, Kind, Reason, Result},
    fleet::{
        lifecycle::Lifecycle,
        names::{InstanceId, InstanceKey, Invalid, ServiceName},
    },
    guard::{ERROR_DOMAIN, caller::Caller, status::status},
    health::State,
    id::{Ordered, SessionToken, TokenHash},
    text::printable,
};

use super::{codec::UNREADABLE, proto::v1 as pb};

/// Longest words of a remover or leaver.
const MAX_MESSAGE: usize = 1024;

/// Longest duration that `google.protobuf.Duration` has: ten thousand years.
const LONGEST: Duration = Duration::from_secs(315_576_000_000);

/// Wrong fields of one request that are kept; the rest is counted. Four times what a status names.
const MOST_TOLD: usize = 64;

/// The fields of one request that are wrong.
#[derive(Debug, Default)]
pub struct Fields {
    told: Vec<FieldViolation>,
    untold: usize,
}

impl Fields {
    /// Says that a field is wrong.
    pub fn wrong(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.told.len() < MOST_TOLD {
            self.told.push(FieldViolation { field: field.into(), description: description.into() });
        } else {
            self.untold += 1;
        }
    }

    /// Keeps a parsed value, or says that its field is wrong.
    pub fn take<T, E: Display>(&mut self, field: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.wrong(field, invalid.to_string());
                None
            }
        }
    }

    /// An error that names all wrong fields, if there are any.
    ///
    /// # Errors
    /// There are.
    pub fn check(self) -> Result<()> {
        if self.told.is_empty() { Ok(()) } else { Err(Error::fields(self.told, self.untold)) }
    }

    /// The value, if no field was wrong.
    ///
    /// # Errors
    /// At least one was.
    pub fn finish<T>(self, value: Option<T>) -> Result<T> {
        self.check()?;
        value.ok_or_else(|| Error::internal("a value is missing although no field was wrong"))
    }
}

/// What to answer about a message of a stream that could not be read. None: nothing is wrong with it, but the stream
/// is broken or its caller gone.
pub fn unreadable(broken: Status) -> Option<Status> {
    // Whatever comes from the connection has its error as source; the decoder's own has none.
    if broken.source().is_some() {
        return None;
    }
    // The guard and our decoder say why by themselves, and when to come back; the rest is tonic's.
    if broken.get_error_details().error_info().is_some_and(|info| info.domain == ERROR_DOMAIN) {
        return Some(broken);
    }
    let message = format!("{UNREADABLE}{}", broken.message());
    Some(status(&match broken.code() {
        // Before and after it was uncompressed.
        Code::OutOfRange | Code::ResourceExhausted => {
            Error::new(Kind::ResourceExhausted, Reason::MessageTooLarge, format!("message {message}"))
        }
        _ => Error::field("message", message),
    }))
}

/// The id in a page token.
pub fn place(fields: &mut Fields, place: &str) -> Option<Ordered> {
    let wrong = "is not a token of this list; use next_page_token of the page before, or none";
    fields.take("page_token", Ordered::parse(place).map_err(|_| wrong))
}

/// A path within a request: `registration.components[2].name`.
pub fn within(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// A name of a service.
pub fn service_name(fields: &mut Fields, field: &str, text: &str) -> Option<ServiceName> {
    fields.take(field, ServiceName::parse(text))
}

/// The name of an instance in two fields of one message.
pub fn instance_key(fields: &mut Fields, path: &str, service: &str, id: &str) -> Option<InstanceKey> {
    let service = fields.take(within(path, "service"), ServiceName::parse(service));
    let id = fields.take(within(path, "instance_id"), InstanceId::parse(id));
    Some(InstanceKey { service: service?, id: id? })
}

/// An incarnation of an instance, which must be named.
pub fn incarnation(
    fields: &mut Fields,
    path: &str,
    wire: Option<pb::InstanceRef>,
) -> Option<(InstanceKey, u64)> {
    let Some(pb::InstanceRef { service, instance_id, incarnation }) = wire else {
        fields.wrong(path, "is missing; name the service, the instance and its incarnation");
        return None;
    };
    let key = instance_key(fields, path, &service, &instance_id);
    if incarnation == 0 {
        fields.wrong(within(path, "incarnation"), "is missing; use the one that the registration returned");
    }
    Some((key?, incarnation))
}

/// The token of a message, or the one in the call's metadata.
///
/// # Errors
/// There is neither.
pub fn session_token(fields: &mut Fields, field: &str, text: &str, caller: &Caller) -> Option<TokenHash> {
    if !text.is_empty() {
        return Some(SessionToken::from_wire(text).hash());
    }
    if caller.session.is_none() {
        fields.wrong(field, "is missing; use the token that the registration returned");
    }
    caller.session
}

/// Words for people: bounded, without control characters.
pub fn message(fields: &mut Fields, field: &str, text: &str) -> String {
    if text.chars().count() > MAX_MESSAGE {
        fields.wrong(field, format!("is longer than {MAX_MESSAGE} characters"));
    }
    printable(text)
}

/// A duration from the wire.
///
/// # Errors
/// It is negative or out of range.
pub fn duration(wire: prost_types::Duration) -> Result<Duration, Invalid> {
    // Not by prost's own conversion, which overflows at the ends of what can be sent.
    let (seconds, nanos) = (u64::try_from(wire.seconds), u64::try_from(wire.nanos));
    let sum = seconds
        .ok()
        .zip(nanos.ok())
        .and_then(|(seconds, nanos)| Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos)));
    sum.filter(|sum| *sum <= LONGEST).ok_or_else(|| Invalid("is negative or too long".to_owned()))
}

/// A duration within bounds, or the default where none is given.
pub fn bounded_duration(
    fields: &mut Fields,
    field: &str,
    wire: Option<prost_types::Duration>,
    default: Duration,
    bounds: (Duration, Duration),
) -> Duration {
    let Some(wire) = wire else { return default };
    match fields.take(field, duration(wire)) {
        Some(asked) if asked >= bounds.0 && asked <= bounds.1 => asked,
        Some(asked) => {
            fields.wrong(field, format!("is {asked:?}; use {:?} to {:?}", bounds.0, bounds.1));
            default
        }
        None => default,
    }
}

/// A lifecycle to filter by. None: any.
pub fn filter_lifecycle(fields: &mut Fields, field: &str, wire: i32) -> Option<Lifecycle> {
    match pb::Lifecycle::try_from(wire) {
        Ok(pb::Lifecycle::Unspecified) => None,
        Ok(pb::Lifecycle::Starting) => Some(Lifecycle::Starting),
        Ok(pb::Lifecycle::Ready) => Some(Lifecycle::Ready),
        Ok(pb::Lifecycle::LameDuck) => Some(Lifecycle::LameDuck),
        Ok(pb::Lifecycle::Draining) => Some(Lifecycle::Draining),
        Ok(pb::Lifecycle::Stopping) => Some(Lifecycle::Stopping),
        Ok(pb::Lifecycle::Stopped) => Some(Lifecycle::Stopped),
        Ok(pb::Lifecycle::Failed) => Some(Lifecycle::Failed),
        Ok(pb::Lifecycle::Lost) => Some(Lifecycle::Lost),
        Err(_) => {
            fields.wrong(field, format!("{wire} is not a lifecycle"));
            None
        }
    }
}

/// A state of health to filter by. None: any.
pub fn filter_health(fields: &mut Fields, field: &str, wire: i32) -> Option<State> {
    match pb::HealthState::try_from(wire) {
        Ok(pb::HealthState::Unspecified) => None,
        Ok(pb::HealthState::Healthy) => Some(State::Healthy),
        Ok(pb::HealthState::Degraded) => Some(State::Degraded),
        Ok(pb::HealthState::Unhealthy) => Some(State::Unhealthy),
        Ok(pb::HealthState::Unknown) => Some(State::Unknown),
        Err(_) => {
            fields.wrong(field, format!("{wire} is not a state of health"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_of_the_wire_is_taken_or_refused() {
        let read = |seconds, nanos| duration(prost_types::Duration { seconds, nanos }).ok();
        assert_eq!(read(1, 500_000_000), Some(Duration::from_millis(1500)));
        assert_eq!(read(315_576_000_000, 0), Some(LONGEST));
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (i64::MIN, 0),
            (i64::MIN, i32::MIN),
            (i64::MAX, i32::MAX),
            (315_576_000_000, 1),
        ] {
            assert_eq!(read(seconds, nanos), None, "{seconds} s and {nanos} ns");
        }
    }

    #[test]
    fn wrong_fields_are_kept_up_to_a_number_and_counted_beyond() {
        let mut fields = Fields::default();
        (0..MOST_TOLD + 36).for_each(|at| fields.wrong(format!("labels[{at}]"), "is empty"));
        let error = fields.check().unwrap_err();
        assert_eq!(error.violations().len(), MOST_TOLD);
        assert_eq!(error.message(), "labels[0]: is empty (and 99 more)");
    }
}
