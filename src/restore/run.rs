//! Carries a restore out: verifies what nobody has verified, backs up what is overwritten where that is asked for, and gives each
//! component to its instance. Each has an outcome of its own.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{
    Shared, Start,
    plan::{self, Guard, Item, Plan},
};
use crate::{
    backup::{self, Subject, TransferKey},
    error::{Chain, Error, Kind, Reason, Result},
    fleet::{
        directive::{Ask, Directive, Restore},
        directives::Ended,
    },
    operation::{Outcome, Run, State, StepHandle},
    text,
    vault::{Depth, Domain, Purpose, Reader},
};

/// How long an instance may take until it begins.
const BEGIN_WITHIN: Duration = Duration::from_mins(1);
/// How long one component may take in all.
const MOST: Duration = Duration::from_hours(24);
/// How long components may be asked to hold still for a safety backup.
const QUIESCE: Duration = Duration::from_secs(30);

/// A restore that is to be carried out.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) run: Run,
    pub(super) plan: Plan,
    pub(super) start: Start,
}

/// Carries it out, and writes down how it ended.
pub(super) async fn carry_out(shared: Arc<Shared>, job: Job) {
    let Job { run, plan, start } = job;
    let id = run.id();
    let work = restore(&shared, &run, &plan, &start);
    let (outcome, report) = tokio::select! {
        done = work => done.unwrap_or_else(|error| {
            warn!(component = "restore", operation = "run", %id, error = %Chain(&error), "failed");
            (Outcome::Failed { cause: error.to_string() }, Vec::new())
        }),
        // What was given to an instance is cancelled there as its directive is dropped.
        _ = run.cancelled() => (Outcome::Cancelled, Vec::new()),
    };
    match shared.backups.finish_restore(run, outcome, report).await {
        Ok(operation) => {
            info!(component = "restore", operation = "end", %id, state = operation.state.as_str(), cause = operation.cause, "ended");
        }
        Err(error) => {
            warn!(component = "restore", operation = "finish", %id, %error, "how it ended could not be written down");
        }
    }
}

async fn restore(
    shared: &Arc<Shared>,
    run: &Run,
    plan: &Plan,
    start: &Start,
) -> Result<(Outcome, Vec<String>)> {
    run.start()?;
    for guard in &start.force {
        run.event("", &format!("the guard {} was forced by {}", guard.as_str(), start.by))?;
    }
    let domain = Domain::of_service(start.wish.subject.as_str())?;
    // Who restores what is left of a damaged one has said so by name.
    let is_forced = start.force.contains(&Guard::Unverified);
    if start.verify && !is_forced && plan.obstacles.iter().any(|obstacle| obstacle.guard == Guard::Unverified)
    {
        verify(shared, run, plan, &domain, &start.by).await?;
    }
    if start.safety_backup {
        safety_backup(shared, run, plan, &start.by).await?;
    }
    let reader = Arc::new(Reader::open(&shared.vault, &domain, run.id(), Purpose::Restore).await?);
    let mut steps = Vec::with_capacity(plan.items.len());
    for item in &plan.items {
        steps.push(run.add_step(&step_name(item), item.component.bytes)?);
    }
    let (mut report, mut failed) = (Vec::new(), Vec::new());
    for (item, step) in plan.items.iter().zip(&steps) {
        step.start()?;
        let given = match plan::look_again(shared, item, &start.force).await {
            Ok(()) => give(shared, run, plan, item, step, &reader, start.verify).await,
            Err(stands) => Err(stands),
        };
        match given {
            Ok(verification) => {
                step.succeed()?;
                let found =
                    if verification.is_empty() { String::new() } else { format!(" ({verification})") };
                let (name, size) = (&item.component.name, text::bytes(item.component.bytes));
                report.push(format!("{name} to {}: {size}{found}", item.target));
            }
            Err(cause) => {
                step.fail(&cause)?;
                report.push(format!("{} to {}: FAILED, {cause}", item.component.name, item.target));
                failed.push(cause);
            }
        }
    }
    reader.close().await;
    let outcome = match failed.first() {
        None => Outcome::Succeeded,
        Some(first) if failed.len() == plan.items.len() => Outcome::Failed { cause: first.clone() },
        Some(first) => Outcome::Partial { cause: first.clone() },
    };
    Ok((outcome, report))
}

fn step_name(item: &Item) -> String {
    format!("restore {}/{}", item.target, item.target_component)
}

/// Verifies the backup, every byte; nothing is restored of one that is damaged.
async fn verify(shared: &Shared, run: &Run, plan: &Plan, domain: &Domain, by: &str) -> Result<()> {
    let backup = plan.listed.manifest.id();
    let step = run.add_step("verify the backup", 0)?;
    step.start()?;
    // The session of the restore itself opens later, under this operation's id.
    let operation = shared.vault.new_id()?;
    let progress = |done, total| step.progress(done, total);
    let verified = shared.vault.look(domain, backup, Depth::Data, operation, by, progress).await?;
    if let Some(why) = verified.cause() {
        let message =
            format!("backup {backup} is damaged: {why}; force `unverified` to restore what is left of it");
        step.fail(&message)?;
        return Err(Error::new(Kind::FailedPrecondition, Reason::VaultDamaged, message));
    }
    step.succeed()
}

/// Backs up what is about to be overwritten. Where that does not succeed, nothing is restored.
async fn safety_backup(shared: &Shared, run: &Run, plan: &Plan, by: &str) -> Result<()> {
    let step = run.add_step("safety backup", 0)?;
    step.start()?;
    let mut wish = backup::Wish::default();
    for item in &plan.items {
        if !wish.components.contains(&item.target_component) {
            wish.components.push(item.target_component.clone());
        }
        if !wish.instances.contains(&item.target.id) {
            wish.instances.push(item.target.id.clone());
        }
    }
    let Some(first) = plan.items.first() else { return step.skip("there is nothing to overwrite") };
    let create = backup::Create {
        subject: Subject::Service(first.target.service.clone()),
        wish,
        max_quiesce: QUIESCE,
        by: by.to_owned(),
        request_id: format!("safety-{}", run.id()),
    };
    let begun = shared.backups.create(create).await?;
    step.message(&format!("backup {}", begun.id))?;
    let mut watch = shared.operations.watch(begun.id).await?;
    let ended = loop {
        let now = Arc::clone(&watch.borrow_and_update());
        if now.state.is_final() || watch.changed().await.is_err() {
            break now;
        }
    };
    if ended.state != State::Succeeded {
        let message = format!("the safety backup {} {}: {}", begun.id, ended.state.as_str(), ended.cause);
        step.fail(&message)?;
        return Err(Error::new(Kind::FailedPrecondition, Reason::BackupNotRestorable, message));
    }
    run.event("", &format!("what is overwritten was backed up as {}", begun.id))?;
    step.succeed()
}

/// Gives a component to its instance, and answers what that found of it. An error: why it did not take it.
async fn give(
    shared: &Shared,
    run: &Run,
    plan: &Plan,
    item: &Item,
    step: &StepHandle,
    reader: &Arc<Reader>,
    verify: bool,
) -> Result<String, String> {
    let words = |error: Error| error.to_string();
    let to = TransferKey { key: item.target.clone(), incarnation: item.incarnation };
    let offered = shared.downloads.offer(to, Arc::clone(reader), item.component.clone(), step.clone());
    let (ticket, _given) = offered.map_err(words)?;
    let directives = shared.fleet.directives();
    let restore = Restore {
        component: item.target_component.clone(),
        ticket,
        backup_id: plan.listed.manifest.id().to_string(),
        source_component: item.component.name.clone(),
        length: item.component.bytes,
        evidence: item.component.evidence.clone(),
        verify,
    };
    let directive = Directive {
        id: directives.new_id().map_err(words)?,
        operation_id: run.id().to_string(),
        generation: 1,
        not_after: directives.now() + BEGIN_WITHIN,
        ask: Ask::Restore(restore),
    };
    let mut sent = directives.send(&item.target, item.incarnation, directive).map_err(words)?;
    match tokio::time::timeout(MOST, sent.ended()).await {
        Ok(Ended::Done(report)) => Ok(report.verification),
        Ok(Ended::Failed(report)) => Err(report.message),
        Ok(Ended::Refused(report)) => Err(format!("it was refused: {}", report.message)),
        Ok(Ended::Gone(why)) => Err(why.to_string()),
        Ok(Ended::Expired) => Err("it did not begin in time".to_owned()),
        Err(_) => Err(format!("it took longer than {} h", MOST.as_secs() / 3600)),
    }
}
