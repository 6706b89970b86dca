//! Verification as an operation: what the vault finds becomes a report, and a note about the backup.

use std::sync::Arc;

use super::{Shared, Subject};
use crate::{
    error::Result,
    id::Ordered,
    operation::{Outcome, Run},
    text,
    vault::{Depth, Domain, Finding},
};

/// Findings that are told one by one.
const TOLD: usize = 50;

pub(super) async fn verify(
    shared: &Arc<Shared>,
    run: &Run,
    subject: &Subject,
    backup: Ordered,
    depth: Depth,
) -> Result<(Outcome, Vec<String>)> {
    let step = run.add_step(&format!("verify {}", depth.as_str()), 0)?;
    step.start()?;
    let domain = Domain::of_service(subject.as_str())?;
    let progress = |done, total| step.progress(done, total);
    let by = run.operation().created_by.clone();
    let verified = shared.vault.look(&domain, backup, depth, run.id(), &by, progress).await?;
    shared.catalog_changed();
    let mut report =
        vec![format!("{} packs looked at, {} read", verified.packs, text::bytes(verified.bytes))];
    report.extend(verified.broken.iter().take(TOLD).map(|name| format!("cannot be restored: {name}")));
    report.extend(verified.findings.iter().take(TOLD).map(|one| format!("{}: {}", one.object, one.what)));
    let remark = |one: &Finding| format!("found beside it: {}: {}", one.object, one.what);
    report.extend(verified.remarks.iter().take(TOLD).map(remark));
    match verified.cause() {
        None => {
            step.succeed()?;
            Ok((Outcome::Succeeded, report))
        }
        Some(cause) => {
            step.fail(&cause)?;
            Ok((Outcome::Failed { cause }, report))
        }
    }
}
