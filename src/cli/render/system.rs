//! The control plane itself: its status, its readiness report, its configuration.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{CheckOutcome, GetReadinessResponse, GetStatusResponse};

use super::{when, words};
use crate::{
    cli::output::{Looks, Text, clean, table::Table},
    text::counted,
};

/// The status, as names and values.
pub(crate) fn status(status: &GetStatusResponse, wide: bool, now: SystemTime) -> Table {
    let mut table = Table::new([]);
    let mut fact = |name: &str, value: String| table.row([name.into(), Text::new(&value)]);
    fact("version", status.version.clone());
    fact("phase", words::phase(status.phase()).to_owned());
    fact(
        "up",
        when::age(status.start_time.as_ref(), now).unwrap_or_else(|| when::span(status.uptime.as_ref())),
    );
    fact("services", status.services.to_string());
    let protected = match status.protected_instances {
        0 => String::new(),
        some => format!(", {some} of them protected"),
    };
    fact(
        "instances",
        format!(
            "{} ({} available, {} lost{protected})",
            status.instances, status.available_instances, status.lost_instances
        ),
    );
    fact("sessions", status.sessions.to_string());
    fact("watchers", status.watchers.to_string());
    fact("connections", status.connections.to_string());
    fact("active requests", status.active_requests.to_string());
    if let Some(store) = &status.store {
        let writes = if store.writable { "takes writes" } else { "takes NO writes" };
        fact(
            "store",
            format!(
                "{}, {writes}, {}, {}",
                store.engine,
                counted(store.keys, "key"),
                bytes(store.size_bytes)
            ),
        );
        if !store.trouble.is_empty() {
            fact("store trouble", store.trouble.clone());
        }
    }
    if wide {
        fact("started", when::stamp(status.start_time.as_ref()));
        fact("boot epoch", status.boot_epoch.clone());
        fact("fleet revision", status.fleet_revision.to_string());
        if let Some(store) = &status.store {
            fact("store revision", store.revision.to_string());
        }
    }
    table
}

/// The readiness report: checks grouped by the first part of their ids, in the server's order.
pub(crate) fn readiness(report: &GetReadinessResponse, looks: Looks) -> Vec<String> {
    let mut lines = Vec::new();
    let mut group = None;
    for check in &report.checks {
        let of = check.id.split('.').next().unwrap_or_default();
        if group != Some(of) {
            if group.is_some() {
                lines.push(String::new());
            }
            lines.push(clean(of));
            group = Some(of);
        }
        let mark = looks.paint(&looks.mark(words::outcome(check.outcome())));
        let message =
            if check.message.is_empty() { String::new() } else { format!(": {}", clean(&check.message)) };
        lines.push(format!("  {mark} {}{message}", clean(&check.title)));
        if !check.hint.is_empty() {
            lines.push(format!("    hint: {}", clean(&check.hint)));
        }
    }
    let count = |outcome| report.checks.iter().filter(|check| check.outcome() == outcome).count();
    lines.push(String::new());
    lines.push(format!(
        "{} passed, {} warned, {} failed",
        count(CheckOutcome::Pass),
        count(CheckOutcome::Warn),
        count(CheckOutcome::Fail)
    ));
    lines
}

pub(crate) use crate::text::bytes;

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::ReadinessCheck;

    use super::*;

    #[test]
    fn the_report_is_grouped_and_hints_stand_below() {
        let check = |id: &str, outcome: CheckOutcome, hint: &str| ReadinessCheck {
            id: id.into(),
            title: format!("title of {id}"),
            outcome: outcome.into(),
            message: String::new(),
            hint: hint.into(),
        };
        let report = GetReadinessResponse {
            outcome: CheckOutcome::Fail.into(),
            checks: vec![
                check("store.writable", CheckOutcome::Pass, ""),
                check("store.space", CheckOutcome::Fail, "free some"),
                check("listen.tls", CheckOutcome::Warn, "turn it on"),
            ],
            check_time: None,
        };
        assert_eq!(
            readiness(&report, Looks { colour: false, unicode: false }).join("\n"),
            "store\n  + title of store.writable\n  x title of store.space\n    hint: free some\n\nlisten\n  \
             ! title of listen.tls\n    hint: turn it on\n\n1 passed, 1 warned, 1 failed"
        );
    }
}
