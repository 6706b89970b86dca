//! Verification as an operation: what the vault finds becomes a report, and where all is sound a note that says so.

use std::sync::Arc;

use super::{Shared, Subject};
use crate::{
    error::Result,
    id::Ordered,
    operation::{Outcome, Run},
    text,
    vault::{Decision, Depth, Domain},
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
    let verified = shared.vault.verify(&domain, Some(backup), depth, run.id(), progress).await?;
    let mut report =
        vec![format!("{} packs looked at, {} read", verified.packs, text::bytes(verified.bytes))];
    report.extend(verified.broken.iter().take(TOLD).map(|name| format!("cannot be restored: {name}")));
    report.extend(verified.findings.iter().take(TOLD).map(|one| format!("{}: {}", one.object, one.what)));
    if !verified.is_sound() {
        let cause = match (verified.broken.first(), verified.findings.first()) {
            (Some(broken), _) => format!("{broken} cannot be restored"),
            (None, Some(finding)) => finding.what.clone(),
            (None, None) => "something is wrong".to_owned(),
        };
        step.fail(&cause)?;
        return Ok((Outcome::Failed { cause }, report));
    }
    let by = run.operation().created_by.clone();
    shared.vault.decide(&domain, backup, Decision::Verified, &by, depth.as_str()).await?;
    shared.catalog_changed();
    step.succeed()?;
    Ok((Outcome::Succeeded, report))
}
