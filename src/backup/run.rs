//! Carries an operation out, from its first step to its report.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tracing::{info, warn};

use super::{Shared, Subject, capture, hold::Holds, own, plan::Capture, totals::Sizes, verify};
use crate::{
    error::{Chain, Error, Result},
    id::Ordered,
    operation::{self, Gate, Outcome, Run},
    text,
    vault::{Component, Depth, Domain, Draft, Status, Writing},
};

/// Components that are captured at a time, where nobody is held still for it.
const AT_ONCE: usize = 4;

/// What is to be carried out.
#[derive(Debug)]
pub(super) enum Job {
    /// A backup.
    Backup { run: Run, subject: Subject, captures: Vec<Capture>, max_quiesce: Duration, request_id: String },
    /// A verification.
    Verify { run: Run, subject: Subject, backup: Ordered, depth: Depth },
}

/// Carries a job out, and writes down how it ended.
pub(super) async fn carry_out(shared: Arc<Shared>, job: Job) {
    match job {
        Job::Backup { run, subject, captures, max_quiesce, request_id } => {
            let mut sizes = Sizes::default();
            let work = back_up(&shared, &run, &subject, captures, max_quiesce, request_id, &mut sizes);
            let (outcome, report) = match tokio::time::timeout(shared.options.most, work).await {
                Ok(done) => done.unwrap_or_else(|error| failed(&error)),
                Err(_) => {
                    let cause = format!("it took longer than {} h", shared.options.most.as_secs() / 3600);
                    (Outcome::Failed { cause }, Vec::new())
                }
            };
            finish(&shared, run, outcome, report, sizes).await;
        }
        Job::Verify { run, subject, backup, depth } => {
            let work = verify::verify(&shared, &run, &subject, backup, depth);
            let (outcome, report) = tokio::select! {
                done = work => done.unwrap_or_else(|error| failed(&error)),
                _ = run.cancelled() => (Outcome::Cancelled, Vec::new()),
            };
            finish(&shared, run, outcome, report, Sizes::default()).await;
        }
    }
}

fn failed(error: &Error) -> (Outcome, Vec<String>) {
    warn!(component = "backup", operation = "run", error = %Chain(error), "failed");
    (Outcome::Failed { cause: error.to_string() }, Vec::new())
}

async fn finish(shared: &Shared, run: Run, outcome: Outcome, report: Vec<String>, sizes: Sizes) {
    let id = run.id();
    match run.finish(outcome, report).await {
        Ok(operation) => {
            shared.totals.count(&operation, sizes).await;
            let (kind, state) = (operation.kind.as_str(), operation.state.as_str());
            info!(component = "backup", operation = kind, %id, service = operation.service, state, cause = operation.cause, "ended");
        }
        Err(error) => {
            warn!(component = "backup", operation = "finish", %id, %error, "how it ended could not be written down");
        }
    }
}

async fn back_up(
    shared: &Arc<Shared>,
    run: &Run,
    subject: &Subject,
    captures: Vec<Capture>,
    max_quiesce: Duration,
    request_id: String,
    sizes: &mut Sizes,
) -> Result<(Outcome, Vec<String>)> {
    run.start()?;
    let domain = Domain::of_service(subject.as_str())?;
    let prepare = run.add_step("prepare", 0)?;
    prepare.start()?;
    let writing = tokio::select! {
        writing = Writing::begin(&shared.vault, &domain, run.id()) => writing,
        _ = run.cancelled() => return Ok((Outcome::Cancelled, Vec::new())),
    };
    let writing = match writing {
        Ok(writing) => writing,
        Err(problem) => {
            prepare.fail(&problem.to_string())?;
            return Err(problem.into());
        }
    };
    prepare.succeed()?;
    let captured = tokio::select! {
        captured = capture_all(shared, run, subject, &writing, captures, max_quiesce) => captured,
        _ = run.cancelled() => {
            writing.abandon().await;
            return Ok((Outcome::Cancelled, Vec::new()));
        }
    };
    for one in &captured.components {
        sizes.bytes += one.bytes;
        sizes.new_bytes += one.new_bytes;
        sizes.stored_bytes += one.stored_bytes;
    }
    let missing: Vec<&Component> =
        captured.components.iter().filter(|one| one.status == Status::Failed).collect();
    let cause = cause(&missing, captured.not_held.as_deref());
    if missing.len() == captured.components.len() {
        writing.abandon().await;
        let cause = cause.unwrap_or_else(|| "there was nothing to capture".to_owned());
        return Ok((Outcome::Failed { cause }, Vec::new()));
    }
    commit(shared, run, writing, captured, cause, request_id).await
}

/// What was captured, and whether it belongs together.
struct All {
    components: Vec<Component>,
    consistent: bool,
    /// Why it does not belong together although it was asked to.
    not_held: Option<String>,
}

async fn capture_all(
    shared: &Arc<Shared>,
    run: &Run,
    subject: &Subject,
    writing: &Writing,
    captures: Vec<Capture>,
    max_quiesce: Duration,
) -> All {
    let intake = writing.intake();
    if *subject == Subject::OwnState {
        let components = vec![own::capture(shared, run, &intake).await];
        return All { components, consistent: true, not_held: None };
    }
    let holds = Holds::take(shared, run, &captures, max_quiesce).await;
    let is_held = !holds.is_empty();
    let all_hold = captures.iter().all(|capture| capture.settings.quiesces);
    let alone = captures.len() == 1;
    // Who holds still is captured at once, whoever they are: the hold is short.
    let at_once = if is_held { captures.len().max(1) } else { AT_ONCE };
    let each = captures.into_iter().map(|one| capture::capture(shared, run, &intake, one, is_held));
    let mut components: Vec<Component> =
        stream::iter(each.collect::<Vec<_>>()).buffer_unordered(at_once).collect().await;
    components.sort_by(|one, other| (&one.name, &one.instance).cmp(&(&other.name, &other.instance)));
    let not_held = if is_held { holds.end(shared, run).await } else { None };
    let complete = components.iter().all(|one| one.status == Status::Complete);
    let consistent = complete && not_held.is_none() && (alone || all_hold);
    All { components, consistent, not_held }
}

/// Why a backup is not all that was asked for, in one sentence. None: it is.
fn cause(missing: &[&Component], not_held: Option<&str>) -> Option<String> {
    match missing {
        [] => not_held.map(str::to_owned),
        [first, others @ ..] => {
            let why = first.cause.as_deref().unwrap_or("it was not captured");
            let more = match others.len() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            Some(format!("{} of {} is missing: {why}{more}", first.name, first.instance))
        }
    }
}

async fn commit(
    shared: &Arc<Shared>,
    run: &Run,
    writing: Writing,
    captured: All,
    cause: Option<String>,
    request_id: String,
) -> Result<(Outcome, Vec<String>)> {
    match run.point_of_no_return().await {
        Ok(Gate::Passed) => {}
        Ok(Gate::Cancelled) => {
            writing.abandon().await;
            return Ok((Outcome::Cancelled, Vec::new()));
        }
        Err(error) => {
            writing.abandon().await;
            return Err(error);
        }
    }
    let step = run.add_step("commit", 0)?;
    step.start()?;
    let backup = run.id();
    run.set_backup(backup)?;
    let All { components, consistent, not_held: _ } = captured;
    let report = report(&components, consistent);
    let request_id = Some(request_id).filter(|id| !id.is_empty());
    let draft = Draft { backup, components, consistent, cause: cause.clone(), request_id };
    // All that was said is durable, under our token: the run is still ours.
    let committed = writing.commit(draft, || async { run.settled().await.is_ok() }).await;
    match committed {
        Ok(committed) => {
            run.stored(committed.stored_bytes);
            step.succeed()?;
            info!(component = "backup", operation = "commit", backup = %backup, service = committed.manifest.service, stored_bytes = committed.stored_bytes, "committed");
            shared.catalog_changed();
            let outcome = match cause {
                None => Outcome::Succeeded,
                Some(cause) => Outcome::Partial { cause },
            };
            Ok((outcome, report))
        }
        Err(problem) => {
            step.fail(&problem.to_string())?;
            Err(problem.into())
        }
    }
}

/// What people are told of a backup, line by line.
fn report(components: &[Component], consistent: bool) -> Vec<String> {
    let mut lines: Vec<String> = components
        .iter()
        .map(|one| match one.status {
            Status::Complete => format!(
                "{} of {}: {}, {} new, {} stored",
                one.name,
                one.instance,
                text::bytes(one.bytes),
                text::bytes(one.new_bytes),
                text::bytes(one.stored_bytes)
            ),
            Status::Failed => format!(
                "{} of {}: MISSING, {}",
                one.name,
                one.instance,
                one.cause.as_deref().unwrap_or("it was not captured")
            ),
        })
        .collect();
    if components.len() > 1 {
        let words = if consistent { "all of one moment" } else { "not of one moment" };
        lines.push(words.to_owned());
    }
    lines
}

/// Takes an operation up that a run before did not finish.
pub(super) async fn take_up(shared: &Shared, orphan: operation::Orphan) -> Result<()> {
    let died =
        "the control plane ended while it was under way; what it left behind is garbage that pruning takes";
    let died = orphan.cut_off(died.to_owned());
    let operation::Orphan { operation, run } = orphan;
    let committed = match operation.kind {
        operation::Kind::Backup => {
            let domain = Domain::of_service(&operation.service)?;
            match shared.vault.settle(&domain, run.id()).await {
                Ok(committed) => committed,
                Err(problem) => {
                    let cause = format!(
                        "the control plane ended while it was under way, and what is there could not be looked at: {problem}"
                    );
                    run.conclude(Outcome::Failed { cause }, &[])?;
                    return Ok(());
                }
            }
        }
        operation::Kind::Restore | operation::Kind::Verify => None,
    };
    let outcome = match committed {
        None => died,
        Some(listed) => {
            run.set_backup(run.id())?;
            match listed.manifest.cause.clone() {
                None if listed.manifest.is_complete() => Outcome::Succeeded,
                cause => {
                    Outcome::Partial { cause: cause.unwrap_or_else(|| "a component is missing".to_owned()) }
                }
            }
        }
    };
    run.conclude(outcome, &[])
}
