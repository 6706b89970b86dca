//! Health reports.

use std::collections::HashMap;

use super::{Fields, duration, within};
use crate::{
    api::proto::v1 as pb,
    error::Result,
    fleet::{
        Report,
        lifecycle::Lifecycle,
        pairs::Pairs,
        registration::{MAX_COMPONENTS, Registration},
    },
    health::component::Reported,
    text::printable,
};

/// Longest message of a report, in bytes; what is longer is cut.
const MAX_MESSAGE: usize = 4096;
/// Most entries of details.
const MAX_DETAILS: usize = 16;
/// Longest key of details.
const MAX_DETAIL_KEY: usize = 63;
/// Longest value of details.
const MAX_DETAIL_VALUE: usize = 256;

/// Reports of components that the instance declared.
///
/// # Errors
/// Names every field that is wrong, under `path`.
pub fn reports(
    path: &str,
    registration: &Registration,
    wire: Vec<pb::ComponentReport>,
) -> Result<Vec<Report>> {
    let mut fields = Fields::default();
    let path = within(path, "reports");
    if wire.len() > MAX_COMPONENTS {
        fields.wrong(&path, format!("has {} reports; {MAX_COMPONENTS} are the most", wire.len()));
        return fields.finish(None);
    }
    let mut found: Vec<Report> = Vec::with_capacity(wire.len());
    for (at, wire) in wire.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        if let Some(report) = report(&mut fields, &path, registration, wire) {
            if found.iter().any(|other| other.component == report.component) {
                fields.wrong(within(&path, "component"), "is reported twice");
            }
            found.push(report);
        }
    }
    fields.finish(Some(found))
}

fn report(
    fields: &mut Fields,
    path: &str,
    registration: &Registration,
    wire: pb::ComponentReport,
) -> Option<Report> {
    let pb::ComponentReport { component, state, message, response_time, details } = wire;
    let position = registration.component(&component);
    if position.is_none() {
        let named: String = component.chars().take(MAX_DETAIL_KEY).collect();
        fields
            .wrong(within(path, "component"), format!("{named:?} was not declared by {}", registration.key));
    }
    let checked =
        position.and_then(|at| registration.components.get(at)).is_some_and(|it| it.check.is_some());
    if checked {
        let named = within(path, "component");
        fields.wrong(
            named,
            format!("{component} has an active check: the control plane finds out itself how it is"),
        );
    }
    let state = match pb::HealthState::try_from(state) {
        Ok(pb::HealthState::Healthy) => Some(Reported::Healthy),
        Ok(pb::HealthState::Degraded) => Some(Reported::Degraded),
        Ok(pb::HealthState::Unhealthy) => Some(Reported::Unhealthy),
        Ok(pb::HealthState::Unspecified | pb::HealthState::Unknown) | Err(_) => {
            fields.wrong(within(path, "state"), "use HEALTHY, DEGRADED or UNHEALTHY");
            None
        }
    };
    let response_time = match response_time {
        None => None,
        Some(wire) => fields.take(within(path, "response_time"), duration(wire)),
    };
    let details = checked_details(fields, &within(path, "details"), details);
    Some(Report { component: position?, state: state?, message: cut(&message), response_time, details })
}

fn checked_details(fields: &mut Fields, path: &str, wire: HashMap<String, String>) -> Pairs {
    if wire.len() > MAX_DETAILS {
        fields.wrong(path, format!("has {} entries; {MAX_DETAILS} are the most", wire.len()));
        return Pairs::default();
    }
    let too_long = |(key, value): &(&String, &String)| {
        key.is_empty() || key.len() > MAX_DETAIL_KEY || value.len() > MAX_DETAIL_VALUE
    };
    if wire.iter().any(|entry| too_long(&entry)) {
        fields.wrong(path, format!("keys have 1 to {MAX_DETAIL_KEY} bytes, values up to {MAX_DETAIL_VALUE}"));
    }
    wire.into_iter().map(|(key, value)| (printable(&key), printable(&value))).collect()
}

/// The beginning of a message that is too long, cut between characters.
fn cut(message: &str) -> String {
    let end =
        (0..=message.len().min(MAX_MESSAGE)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    printable(&message[..end])
}

/// A lifecycle that an instance may say. None: unchanged.
pub fn lifecycle(fields: &mut Fields, field: &str, wire: i32) -> Option<Lifecycle> {
    match pb::Lifecycle::try_from(wire) {
        Ok(pb::Lifecycle::Unspecified) => None,
        Ok(pb::Lifecycle::Starting) => Some(Lifecycle::Starting),
        Ok(pb::Lifecycle::Ready) => Some(Lifecycle::Ready),
        Ok(pb::Lifecycle::LameDuck) => Some(Lifecycle::LameDuck),
        Ok(pb::Lifecycle::Draining) => Some(Lifecycle::Draining),
        Ok(pb::Lifecycle::Stopping) => Some(Lifecycle::Stopping),
        Ok(pb::Lifecycle::Failed) => Some(Lifecycle::Failed),
        Ok(pb::Lifecycle::Stopped | pb::Lifecycle::Lost) | Err(_) => {
            fields.wrong(
                field,
                "use STARTING, READY, LAME_DUCK, DRAINING, STOPPING or FAILED; to stop, deregister",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        let long = "é".repeat(MAX_MESSAGE);
        let kept = cut(&long);
        assert!(kept.len() <= MAX_MESSAGE && kept.chars().all(|c| c == 'é'));
        assert_eq!(cut("two\nlines\u{1b}[2J"), "two lines [2J");
    }
}
