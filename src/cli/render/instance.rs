//! Instances: as rows of a table, in detail, and as lines of a watch.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{Instance, Tombstone};

use super::{when, words};
use crate::cli::output::{Text, table::Table};

/// How much of a cause a table shows; `wide` shows all of it.
const CAUSE: usize = 100;

/// `orders/i-1`.
pub(crate) fn name(instance: &Instance) -> String {
    match &instance.registration {
        Some(registration) => format!("{}/{}", registration.service, registration.instance_id),
        None => "-".to_owned(),
    }
}

/// Instances as a table.
pub(crate) fn table(instances: &[Instance], wide: bool, now: SystemTime) -> Table {
    let mut heading = vec!["INSTANCE", "LIFECYCLE", "HEALTH", "HEARD", "VERSION"];
    if wide {
        heading.extend(["ZONE", "ADDRESS", "INCARNATION", "AGE", "SESSION", "LABELS"]);
    }
    heading.push("CAUSE");
    let mut table = Table::new(heading);
    for instance in instances {
        let registration = instance.registration.clone().unwrap_or_default();
        let mut row: Vec<Text> = vec![
            name(instance).into(),
            lifecycle(instance).into(),
            words::health(instance.health()),
            when::ago(instance.last_heard_time.as_ref(), now).into(),
            dash(&registration.version).into(),
        ];
        if wide {
            row.push(dash(&registration.zone).into());
            row.push(dash(&registration.address).into());
            row.push(instance.incarnation.to_string().into());
            row.push(when::age(instance.register_time.as_ref(), now).as_deref().unwrap_or("-").into());
            row.push(if instance.attached { "open" } else { "-" }.into());
            row.push(labels(&registration.labels).into());
        }
        row.push(short(&instance.cause, wide).into());
        table.row(row);
    }
    table
}

/// Its lifecycle; whether it is protected while it is lost; after a restart of the control plane, whether it
/// was heard since.
pub(crate) fn lifecycle(instance: &Instance) -> String {
    let word = words::lifecycle(instance.lifecycle());
    match (instance.protection_end_time.is_some(), instance.confirmed) {
        (true, _) => format!("{word} (protected)"),
        (false, true) => word,
        (false, false) => format!("{word} (unconfirmed)"),
    }
}

/// What is known of one instance, but its components, as names and values.
pub(crate) fn facts(instance: &Instance, now: SystemTime) -> Table {
    let registration = instance.registration.clone().unwrap_or_default();
    let mut table = Table::new([]);
    let mut fact = |name: &str, value: Text| table.row([name.into(), value]);
    fact("instance", name(instance).into());
    fact("lifecycle", lifecycle(instance).into());
    fact("health", words::health(instance.health()));
    if !instance.cause.is_empty() {
        fact("cause", instance.cause.as_str().into());
    }
    if let Some(until) = &instance.protection_end_time {
        let until = when::stamp(Some(until));
        fact("protected", format!("until {until}, or until it is heard: many were lost at once").into());
    }
    fact("last heard", when::ago(instance.last_heard_time.as_ref(), now).into());
    fact("session", if instance.attached { "open" } else { "none" }.into());
    fact("incarnation", instance.incarnation.to_string().into());
    fact("registered", when::ago(instance.register_time.as_ref(), now).into());
    fact("version", dash(&registration.version).into());
    fact("zone", dash(&registration.zone).into());
    fact("address", dash(&registration.address).into());
    fact("peer", dash(&instance.peer).into());
    fact("labels", labels(&registration.labels).into());
    fact("lease", when::span(registration.lease_ttl.as_ref()).into());
    table
}

/// Removed instances as a table.
pub(crate) fn tombstones(removed: &[Tombstone], now: SystemTime) -> Table {
    let mut table = Table::new(["REMOVED", "WHEN", "WHY", "MESSAGE"]);
    for tombstone in removed {
        table.row([
            tombstone_name(tombstone).into(),
            when::ago(tombstone.remove_time.as_ref(), now).into(),
            words::removal(tombstone.reason()).into(),
            tombstone.message.as_str().into(),
        ]);
    }
    table
}

/// `orders/i-1`.
pub(crate) fn tombstone_name(tombstone: &Tombstone) -> String {
    match &tombstone.instance {
        Some(instance) => format!("{}/{}", instance.service, instance.instance_id),
        None => "-".to_owned(),
    }
}

/// The text, or a dash.
pub(crate) fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// A cause, cut where a table would become unreadable.
pub(crate) fn short(cause: &str, whole: bool) -> String {
    match cause.char_indices().nth(CAUSE) {
        Some((end, _)) if !whole => format!("{}…", &cause[..end]),
        _ => cause.to_owned(),
    }
}

fn labels(labels: &std::collections::HashMap<String, String>) -> String {
    let mut each: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    each.sort_unstable();
    dash(&each.join(",")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_causes_are_cut_at_a_character_unless_wide() {
        let cause = "ü".repeat(CAUSE + 1);
        assert_eq!(short(&cause, false), format!("{}…", "ü".repeat(CAUSE)));
        assert_eq!(short(&cause, true), cause);
        assert_eq!(short(&"ü".repeat(CAUSE), false).chars().count(), CAUSE);
    }
}
