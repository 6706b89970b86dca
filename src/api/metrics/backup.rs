//! Figures of backups, restores and verifications: since the first of them, whatever was restarted since. They are the vault's in
//! their names: `seaworthy_operation_*` are the calls of services.

use super::number;
use crate::{
    api::overview::Overview,
    telemetry::exposition::{Family, Labels},
};

/// What one sum gives to a family.
type Of = fn(&crate::backup::Sum) -> f64;

pub(super) fn families(overview: &Overview) -> Vec<Family> {
    let sums = overview.backups.sums();
    let by = |of: Of| {
        let each = sums.iter().map(|(kind, outcome, sum)| {
            (Labels::none().with("kind", kind.clone()).with("outcome", outcome.clone()), of(sum))
        });
        each.collect::<Vec<_>>()
    };
    let success = overview.backups.last_success();
    let success =
        success.into_iter().map(|(service, at)| (Labels::none().with("service", service), at.as_secs_f64()));
    let backups = sums.iter().filter(|(kind, ..)| kind == "backup").map(|(_, _, sum)| sum);
    let (bytes, new, stored) = backups.fold((0, 0, 0), |(bytes, new, stored), sum| {
        (bytes + sum.bytes, new + sum.new_bytes, stored + sum.stored_bytes)
    });
    let ratio = |whole: u64, part: u64| match part {
        0 => Vec::new(),
        part => vec![(Labels::none(), number(whole) / number(part))],
    };
    vec![
        Family::counter(
            "seaworthy_vault_operations",
            "Operations that ended, by kind and outcome.",
            by(|sum| number(sum.count)),
        ),
        Family::counter(
            "seaworthy_vault_operation_seconds",
            "How long operations took in all, by kind and outcome.",
            by(|sum| number(sum.millis) / 1000.0),
        ),
        Family::gauge(
            "seaworthy_vault_operations_under_way",
            "Operations that are under way.",
            vec![(Labels::none(), number(overview.operations.under_way() as u64))],
        ),
        Family::counter(
            "seaworthy_vault_component_bytes",
            "Bytes of the components that operations were about.",
            by(|sum| number(sum.bytes)),
        ),
        Family::counter(
            "seaworthy_vault_new_bytes",
            "Bytes of these that were new to the vault.",
            by(|sum| number(sum.new_bytes)),
        ),
        Family::counter(
            "seaworthy_vault_stored_bytes",
            "Bytes that the new ones take in the vault.",
            by(|sum| number(sum.stored_bytes)),
        ),
        Family::gauge(
            "seaworthy_vault_deduplication_ratio",
            "Bytes of all backups so far, over those that were new.",
            ratio(bytes, new),
        ),
        Family::gauge(
            "seaworthy_vault_compression_ratio",
            "Bytes that were new, over those that they take in the vault.",
            ratio(new, stored),
        ),
        Family::gauge(
            "seaworthy_backup_last_success_timestamp_seconds",
            "When a service was last backed up with success, in seconds since 1970.",
            success.collect::<Vec<_>>(),
        ),
    ]
}
