//! Carries an operation out, from its first step to its report.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::{
    Shared, Subject, capture,
    hold::Holds,
    own,
    plan::{Missing, Plan},
    totals::Sizes,
    verify,
};
use crate::{
    error::{Chain, Error, Result},
    id::Ordered,
    operation::{self, Gate, Operation, Orphan, Outcome, Run},
    text,
    vault::{Component, Depth, Domain, Draft, Listed, Problem, Status, Writing},
};

/// Components that are captured at a time, where nobody is held still for it.
const AT_ONCE: usize = 4;
/// Components that are captured at a time where all are held still, and the hold is short. As many as the vault has in memory pieces
/// of at a time: with more, those that have half of a piece would wait for the bytes of those that wait for a piece, where both
/// are sent by one identity, whose bytes in work are bounded.
pub(crate) const HELD_AT_ONCE: usize = 12;

/// How long a look at what became of a backup may take.
const LOOKED_WITHIN: Duration = Duration::from_mins(5);
/// How soon it is tried again, at first and at last.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_mins(1);
/// Why an operation failed that was under way when the control plane ended, and what that means.
fn died(kind: operation::Kind) -> String {
    let what = match kind {
        operation::Kind::Backup => "what it left behind is garbage that pruning takes",
        operation::Kind::Restore => {
            "what had begun by then may be left half overwritten: look at the targets before they are used, and restore again"
        }
        operation::Kind::Verify => "it has changed nothing; verify again",
    };
    format!("the control plane ended while it was under way; {what}")
}

/// What is to be carried out.
#[derive(Debug)]
pub(super) enum Job {
    /// A backup.
    Backup { run: Run, subject: Subject, plan: Plan, max_quiesce: Duration, request_id: String },
    /// A verification.
    Verify { run: Run, subject: Subject, backup: Ordered, depth: Depth },
}

/// Carries a job out, and writes down how it ended.
pub(super) async fn carry_out(shared: Arc<Shared>, job: Job) {
    match job {
        Job::Backup { run, subject, plan, max_quiesce, request_id } => {
            let mut sizes = Sizes::default();
            let work = back_up(&shared, &run, &subject, plan, max_quiesce, request_id, &mut sizes);
            let (outcome, report) = work.await.unwrap_or_else(|error| failed(&error));
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
    match shared.totals.finish(run, outcome, report, sizes).await {
        Ok(operation) => {
            let (kind, state) = (operation.kind.as_str(), operation.state.as_str());
            info!(component = "backup", operation = kind, %id, service = operation.service, state, cause = operation.cause, "ended");
        }
        Err(error) => {
            warn!(component = "backup", operation = "finish", %id, %error, "how it ended could not be written down");
        }
    }
}

/// What ends a backup before it commits; nothing does afterwards.
enum Ended {
    Cancelled,
    TookTooLong,
}

/// Waits until a backup is to be given up.
async fn given_up(run: &Run, until: Instant) -> Ended {
    tokio::select! {
        _ = run.cancelled() => Ended::Cancelled,
        () = sleep_until(until) => Ended::TookTooLong,
    }
}

impl Ended {
    fn outcome(self, most: Duration) -> (Outcome, Vec<String>) {
        let outcome = match self {
            Ended::Cancelled => Outcome::Cancelled,
            Ended::TookTooLong => {
                Outcome::Failed { cause: format!("it took longer than {} h", most.as_secs() / 3600) }
            }
        };
        (outcome, Vec::new())
    }
}

async fn back_up(
    shared: &Arc<Shared>,
    run: &Run,
    subject: &Subject,
    plan: Plan,
    max_quiesce: Duration,
    request_id: String,
    sizes: &mut Sizes,
) -> Result<(Outcome, Vec<String>)> {
    let most = shared.options.most;
    let until = shared.clock.instant(shared.clock.mono() + most);
    run.start()?;
    let domain = Domain::of_service(subject.as_str())?;
    let prepare = run.add_step("prepare", 0)?;
    prepare.start()?;
    let mut beginning = pin!(Writing::begin(&shared.vault, &domain, run.id()));
    let writing = tokio::select! {
        writing = &mut beginning => writing,
        ended = given_up(run, until) => {
            // To its end, and then to none: nobody who prunes should wait for it.
            if let Ok(writing) = beginning.await {
                writing.abandon().await;
            }
            return Ok(ended.outcome(most));
        }
    };
    let writing = match writing {
        Ok(writing) => writing,
        Err(problem) => {
            prepare.fail(&problem.to_string())?;
            return Err(problem.into());
        }
    };
    prepare.succeed()?;
    let captured = match capture_all(shared, run, subject, &writing, plan, max_quiesce, until).await {
        Ok(captured) => captured,
        Err(ended) => {
            writing.abandon().await;
            return Ok(ended.outcome(most));
        }
    };
    for one in &captured.components {
        sizes.add(one);
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
    /// What the control plane's own state was, where it is that.
    own_digest: Option<[u8; 32]>,
}

async fn capture_all(
    shared: &Arc<Shared>,
    run: &Run,
    subject: &Subject,
    writing: &Writing,
    plan: Plan,
    max_quiesce: Duration,
    until: Instant,
) -> Result<All, Ended> {
    let intake = writing.intake();
    let Plan { captures, missing } = plan;
    if *subject == Subject::OwnState {
        let capturing = async {
            // Before it is read: what changes meanwhile is a reason for the next.
            let digest = own::digest(&shared.store).await.ok();
            (own::capture(shared, run, &intake).await, digest)
        };
        return tokio::select! {
            (own, own_digest) = capturing => {
                Ok(All { components: vec![own], consistent: true, not_held: None, own_digest })
            }
            ended = given_up(run, until) => Err(ended),
        };
    }
    let all_hold = captures.iter().all(|capture| capture.settings.quiesces);
    let alone = captures.len() == 1;
    let mut holds = Holds::default();
    let capturing = async {
        holds.take(shared, run, &captures, max_quiesce).await;
        let is_held = holds.is_held();
        let at_once = if is_held { HELD_AT_ONCE } else { AT_ONCE };
        let each = captures.into_iter().map(|one| capture::capture(shared, run, &intake, one, is_held));
        stream::iter(each.collect::<Vec<_>>()).buffer_unordered(at_once).collect::<Vec<Component>>().await
    };
    let captured = tokio::select! {
        captured = capturing => Ok(captured),
        ended = given_up(run, until) => Err(ended),
    };
    // However it ended, nobody is left holding still.
    let not_held = holds.end(shared, run).await;
    let mut components = captured?;
    components.extend(missing.into_iter().map(|one| lacking(run, one)));
    components.sort_by(|one, other| (&one.name, &one.instance).cmp(&(&other.name, &other.instance)));
    let complete = components.iter().all(|one| one.status == Status::Complete);
    let consistent = complete && not_held.is_none() && (alone || all_hold);
    Ok(All { components, consistent, not_held, own_digest: None })
}

/// A component that nobody can be asked for, as the manifest and people are told of it.
fn lacking(run: &Run, missing: Missing) -> Component {
    let Missing { instance, component, kind, why } = missing;
    // That the operation was taken over shows at its next change.
    if let Ok(step) = run.add_step(&format!("capture {instance}/{component}"), 0) {
        step.fail(why).ok();
    }
    Component::new(component.to_string(), &kind, instance.to_string()).failed(why.to_owned())
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
    let All { components, consistent, not_held: _, own_digest } = captured;
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
            if own_digest.is_some() {
                *shared.own_digest.lock() = own_digest;
            }
            let outcome = match cause {
                None => Outcome::Succeeded,
                Some(cause) => Outcome::Partial { cause },
            };
            Ok((outcome, report))
        }
        // It may be there all the same: a manifest that was sent, and of which nothing more was heard.
        Err(problem) => match settled(shared, &run.operation()).await? {
            Some(listed) => {
                step.message(&format!("it is there, although at first: {problem}"))?;
                step.succeed()?;
                Ok((counts(shared, &listed), report))
            }
            None => {
                step.fail(&problem.to_string())?;
                Err(problem.into())
            }
        },
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

/// Takes up an operation that a run before did not finish: a backup that was committed counts, whatever was said of it; all else
/// has failed, or was cancelled, and left garbage alone.
pub(super) async fn take_up(shared: Arc<Shared>, orphan: Orphan) {
    let died = orphan.cut_off(died(orphan.operation.kind));
    let Orphan { operation, run, commits } = orphan;
    // Nobody sends a manifest before that it commits is durable.
    let looked = match operation.kind {
        operation::Kind::Backup if commits => settled(&shared, &operation).await,
        operation::Kind::Backup | operation::Kind::Restore | operation::Kind::Verify => Ok(None),
    };
    let mut sizes = Sizes::default();
    let outcome = match looked {
        Ok(None) => died,
        Ok(Some(listed)) => {
            listed.manifest.components.iter().for_each(|one| sizes.add(one));
            if let Err(error) = run.set_backup(operation.id) {
                warn!(component = "backup", operation = "take up", id = %operation.id, %error, "could not be taken up");
                return;
            }
            counts(&shared, &listed)
        }
        Err(error) => Outcome::Failed { cause: format!("what became of it cannot be found out: {error}") },
    };
    finish(&shared, run, outcome, Vec::new(), sizes).await;
}

/// What a backup that is in the vault makes of its operation.
fn counts(shared: &Shared, listed: &Listed) -> Outcome {
    shared.catalog_changed();
    match listed.manifest.cause.clone() {
        None if listed.manifest.is_complete() => Outcome::Succeeded,
        cause => Outcome::Partial { cause: cause.unwrap_or_else(|| "a component is missing".to_owned()) },
    }
}

/// Looks whether a backup has committed. None: it has not. Where the bucket does not answer it is asked again, for as long as it
/// takes: what became of a backup is not guessed.
///
/// # Errors
/// What is there cannot be read, and asking again would change nothing.
async fn settled(shared: &Shared, operation: &Operation) -> Result<Option<Listed>> {
    let domain = Domain::of_service(&operation.service)?;
    let mut pause = LOOK_AGAIN;
    loop {
        match timeout(LOOKED_WITHIN, shared.vault.settle(&domain, operation.id)).await {
            Ok(Ok(committed)) => return Ok(committed),
            Ok(Err(problem @ Problem::Place { .. })) => {
                warn!(component = "backup", operation = "settle", id = %operation.id, %problem, "what became of a backup could not be looked at; it is tried again");
            }
            Ok(Err(problem)) => return Err(problem.into()),
            Err(_) => {
                warn!(component = "backup", operation = "settle", id = %operation.id, "the vault did not answer; it is tried again");
            }
        }
        sleep(pause).await;
        pause = (2 * pause).min(LOOK_AGAIN_AT_MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_died_is_told_as_what_it_was() {
        for (kind, word) in [
            (operation::Kind::Backup, "garbage"),
            (operation::Kind::Restore, "half overwritten"),
            (operation::Kind::Verify, "changed nothing"),
        ] {
            let died = died(kind);
            assert!(died.starts_with("the control plane ended while it was under way; "), "{died}");
            assert!(died.contains(word), "{died}");
        }
    }
}
