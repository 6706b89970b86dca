//! Services: as rows of a table, and in detail.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{Protection, Service};

use super::{instance::short, spec, when, words};
use crate::{
    cli::output::{Text, table::Table},
    text::counted,
};

/// Services as a table.
pub(crate) fn table(services: &[Service], wide: bool, now: SystemTime) -> Table {
    let mut heading = vec!["SERVICE", "HEALTH", "AVAILABLE", "NEEDED"];
    if wide {
        heading.extend(["SINCE", "SPEC", "DEPENDS ON", "PROTECTED"]);
    }
    heading.push("CAUSE");
    let mut table = Table::new(heading);
    for service in services {
        let counts = service.counts.unwrap_or_default();
        let mut row: Vec<Text> = vec![
            service.name.as_str().into(),
            words::health(service.health()),
            format!("{}/{}", counts.available, counts.total).into(),
            service.required_available.to_string().into(),
        ];
        if wide {
            let needs = service.spec.clone().unwrap_or_default();
            row.push(when::ago(service.health_change_time.as_ref(), now).into());
            row.push(words::source(service.spec_source()).into());
            row.push(spec::dependencies(&needs).into());
            row.push(if needs.protected { "yes" } else { "no" }.into());
        }
        row.push(short(&service.cause, wide).into());
        table.row(row);
    }
    table
}

/// What is known of one service, as names and values.
pub(crate) fn facts(service: &Service, now: SystemTime) -> Table {
    let needs = service.spec.clone().unwrap_or_default();
    let mut table = Table::new([]);
    let mut fact = |name: &str, value: Text| table.row([name.into(), value]);
    fact("service", service.name.as_str().into());
    fact("health", words::health(service.health()));
    if !service.cause.is_empty() {
        fact("cause", service.cause.as_str().into());
    }
    fact("instances", counts(service).into());
    if let Some(protection) = &service.protection {
        fact("lost at once", lost_at_once(protection, now).into());
    }
    fact("needed", format!("{} available now", service.required_available).into());
    fact("budget", spec::budget(&needs).into());
    fact("depends on", spec::dependencies(&needs).into());
    fact("objectives", spec::objectives(&needs).into());
    fact("protected", if needs.protected { "yes" } else { "no" }.into());
    fact("specification", origin(service, now).into());
    if !service.disagreements.is_empty() {
        fact("disagreements", service.disagreements.join(", ").into());
    }
    if !service.dependency_circle.is_empty() {
        let circle = service.dependency_circle.join(", ");
        fact("circle", format!("{circle} cannot do without each other; make one dependency soft").into());
    }
    table
}

/// `3 in all: 1 available, 2 unhealthy, 1 lost`; what is zero is left out.
pub(crate) fn counts(service: &Service) -> String {
    let counts = service.counts.unwrap_or_default();
    let parts = [
        (counts.healthy, "healthy"),
        (counts.degraded, "degraded"),
        (counts.unhealthy, "unhealthy"),
        (counts.unknown, "unknown"),
        (counts.lost, "lost"),
        (counts.starting, "starting"),
        (counts.leaving, "leaving"),
    ];
    let mut text = format!("{} in all: {} available", counts.total, counts.available);
    for (count, word) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {word}"));
    }
    text
}

/// `2 instances, 3m ago; protected from removal until they are heard, to 2026-01-01T12:00:00Z at the latest`.
pub(crate) fn lost_at_once(protection: &Protection, now: SystemTime) -> String {
    let began = when::ago(protection.start_time.as_ref(), now);
    let ends = when::stamp(protection.end_time.as_ref());
    let instances = counted(protection.protected_instances.into(), "instance");
    format!("{instances}, {began}; protected from removal until they are heard, to {ends} at the latest")
}

fn origin(service: &Service, now: SystemTime) -> String {
    let source = words::source(service.spec_source());
    match service.spec_update_time {
        Some(time) => {
            format!("{source}, revision {}, put {}", service.spec_revision, when::ago(Some(&time), now))
        }
        None => source,
    }
}
