//! Carries a restore out: verifies what nobody has verified, backs up what is overwritten where that is asked for, and gives each
//! component to its instance. Each has an outcome of its own.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Shared, Start,
    download::{HandedOut, Offered},
    plan::{self, Guard, Item, Plan},
};
use crate::{
    backup::{self, Subject, TransferKey},
    error::{Chain, Error, Kind, Reason, Result},
    fleet::{
        directive::{Ask, Directive, Restore},
        directives::{Ended, Gone, Sent},
        names::{ComponentName, InstanceKey},
    },
    operation::{Outcome, Run, State, StepHandle},
    text,
    vault::{Depth, Domain, Purpose, Reader},
};

/// How long an instance may take until it begins.
const BEGIN_WITHIN: Duration = Duration::from_mins(1);
/// How long one component may take in all.
const MOST: Duration = Duration::from_hours(24);
/// How long an instance that was lost may take to come back, and say what became of what it was given.
const BACK_WITHIN: Duration = Duration::from_mins(10);
/// How long nothing may be asked for of a download: the hour after which a client gives up a component that does nothing, and some
/// more.
const IDLE: Duration = Duration::from_mins(75);
/// The same once all of it was handed out: it is put in place, and looked at afterwards, for an hour each, and some more.
const IDLE_AT_LAST: Duration = Duration::from_mins(150);
/// How long components may be asked to hold still for a safety backup.
const QUIESCE: Duration = Duration::from_secs(30);

/// What is told of a restore that was cancelled.
const CUT_OFF: &str =
    "what had begun by then may be left half overwritten: look at the targets before they are used";

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
        _ = run.cancelled() => (Outcome::Cancelled, vec![CUT_OFF.to_owned()]),
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
    let saved = match start.safety_backup {
        true => safety_backup(shared, run, plan, &start.by).await?,
        false => Saved::default(),
    };
    let reader = Arc::new(Reader::open(&shared.vault, &domain, run.id(), Purpose::Restore).await?);
    let mut steps = Vec::with_capacity(plan.items.len());
    for item in &plan.items {
        steps.push(run.add_step(&step_name(item), item.component.bytes)?);
    }
    let (mut report, mut failed) = (Vec::new(), Vec::new());
    for (item, step) in plan.items.iter().zip(&steps) {
        step.start()?;
        let given = match plan::look_again(shared, item, &start.force, saved.spared(item)).await {
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

/// What was not backed up before the restore, since there was nothing of it.
#[derive(Debug, Default)]
struct Saved {
    empty: Vec<(InstanceKey, ComponentName)>,
}

impl Saved {
    fn spared(&self, item: &Item) -> bool {
        self.empty.iter().any(|(key, component)| (key, component) == (&item.target, &item.target_component))
    }
}

/// Backs up what is about to be overwritten. Where that does not succeed, nothing is restored. What is known to hold nothing is not
/// captured: where something is lost, as it is where most restores are for, its capture could only fail.
async fn safety_backup(shared: &Shared, run: &Run, plan: &Plan, by: &str) -> Result<Saved> {
    let step = run.add_step("safety backup", 0)?;
    step.start()?;
    let mut wish = backup::Wish::default();
    let mut saved = Saved::default();
    for item in plan::inspected(shared, &plan.items).await {
        let Item { target, target_component, present, .. } = item;
        if present.is_some_and(|present| present.empty) {
            let message =
                format!("{target_component} of {target} holds nothing now, and is not backed up before");
            run.event("", &message)?;
            saved.empty.push((target, target_component));
            continue;
        }
        if !wish.components.contains(&target_component) {
            wish.components.push(target_component);
        }
        if !wish.instances.contains(&target.id) {
            wish.instances.push(target.id);
        }
    }
    let service = match plan.items.first() {
        Some(first) if !wish.instances.is_empty() => first.target.service.clone(),
        Some(_) | None => {
            step.skip("there is nothing to overwrite")?;
            return Ok(saved);
        }
    };
    wish.without = saved.empty.iter().map(|(key, component)| (key.id.clone(), component.clone())).collect();
    let create = backup::Create {
        subject: Subject::Service(service),
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
    step.succeed()?;
    Ok(saved)
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
    let Offered { ticket, mut handed_out, given: _given } = offered.map_err(words)?;
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
    let last = handed_out.clone();
    let verification = tokio::select! {
        said = timeout(MOST, said(run, item, &mut sent)) => match said {
            Ok(said) => said?,
            Err(_) => return Err(format!("it took longer than {} h", MOST.as_secs() / 3600)),
        },
        idle = is_idle(&mut handed_out) => return Err(format!(
            "nothing has come of it for {} min: {} asks for nothing, and says nothing; {}",
            idle.as_secs() / 60,
            item.target,
            half(item)
        )),
    };
    let HandedOut { up_to, finished, .. } = *last.borrow();
    if finished {
        return Ok(verification);
    }
    let length = item.component.bytes;
    Err(format!(
        "{} says that it is done, and has fetched {up_to} of {length} bytes, without the end: what is there now is not what was \
         backed up",
        item.target
    ))
}

/// What its instance says became of it, and found of it. Where that is lost it is waited for, and asked again: it may be putting it in
/// place meanwhile.
async fn said(run: &Run, item: &Item, sent: &mut Sent) -> Result<String, String> {
    loop {
        return match sent.ended().await {
            Ended::Done(report) => Ok(report.verification),
            Ended::Failed(report) => Err(report.message),
            Ended::Refused(report) => Err(format!("it was refused: {}", report.message)),
            Ended::Gone(why @ Gone::Lost) => {
                let message = format!("{}: {why}; waiting for it to come back", item.target);
                run.event("", &message).map_err(|error| error.to_string())?;
                if timeout(BACK_WITHIN, sent.heard_again()).await.is_ok() {
                    continue;
                }
                let minutes = BACK_WITHIN.as_secs() / 60;
                Err(format!("{why}, and did not come back within {minutes} min; {}", half(item)))
            }
            Ended::Gone(why) => Err(format!("{why}; {}", half(item))),
            Ended::Expired => Err("it did not begin in time".to_owned()),
        };
    }
}

/// What has to be thought of what it was restored into, where nobody said what became of it.
fn half(item: &Item) -> String {
    format!("{} may be left half overwritten there", item.target_component)
}

/// Waits until nothing was asked for, for too long, and answers for how long.
async fn is_idle(handed_out: &mut watch::Receiver<HandedOut>) -> Duration {
    loop {
        let idle = if handed_out.borrow_and_update().finished { IDLE_AT_LAST } else { IDLE };
        tokio::select! {
            Ok(()) = handed_out.changed() => {}
            () = sleep(idle) => return idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::advance;

    use super::*;
    use crate::time::Clock;

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_nothing_is_given_up_and_who_puts_it_in_place_is_given_longer() {
        let (sender, mut handed_out) = watch::channel(HandedOut::default());
        let clock = Clock::start_at(SystemTime::UNIX_EPOCH);
        let began = clock.mono();
        assert_eq!(is_idle(&mut handed_out).await, IDLE);
        assert_eq!(clock.mono().since(began), IDLE);
        for _ in 0..3 {
            assert!(timeout(IDLE / 2, is_idle(&mut handed_out)).await.is_err());
            sender.send_modify(|handed_out| handed_out.up_to += 1);
        }
        sender.send_modify(|handed_out| handed_out.finished = true);
        advance(IDLE).await;
        assert_eq!(is_idle(&mut handed_out).await, IDLE_AT_LAST);
        // The client's own silence limit comes first: an hour, and another one to look whether it works.
        assert!(IDLE > Duration::from_hours(1) && IDLE_AT_LAST > Duration::from_hours(2));
    }
}
