//! Holds: components that can are asked to hold still while all are captured, so that what is captured belongs together. A
//! hold ends by itself at the instance, whatever becomes of us; one that ended early makes nothing consistent.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout_at;

use super::{Shared, plan::Capture};
use crate::{
    error::Result,
    fleet::{
        directive::{Ask, Directive},
        directives::{Ended, Sent},
        names::{ComponentName, InstanceKey},
    },
    operation::Run,
};

/// How long instances may take to say that they go on.
const RESUMED_WITHIN: Duration = Duration::from_secs(30);

/// Instances that hold still.
#[derive(Debug, Default)]
pub(super) struct Holds {
    held: Vec<Hold>,
    /// Why not all that should hold still do.
    failed: Option<String>,
}

#[derive(Debug)]
struct Hold {
    key: InstanceKey,
    incarnation: u64,
    hold_id: String,
}

/// Sends a directive that belongs to a run.
pub(super) fn send(
    shared: &Shared,
    run: &Run,
    (key, incarnation): (&InstanceKey, u64),
    within: Duration,
    ask: Ask,
) -> Result<Sent> {
    let directives = shared.fleet.directives();
    let id = directives.new_id()?;
    let not_after = directives.now() + within;
    let directive = Directive { id, operation_id: run.id().to_string(), generation: 1, not_after, ask };
    directives.send(key, incarnation, directive)
}

impl Holds {
    /// Asks all that can to hold still. Where one does not, the others are asked to go on, and nothing is held. Cancel safe:
    /// whoever was asked is known, and [`end`](Self::end) asks it to go on.
    pub(super) async fn take(&mut self, shared: &Shared, run: &Run, captures: &[Capture], lease: Duration) {
        let mut by_instance: BTreeMap<(InstanceKey, u64), Vec<ComponentName>> = BTreeMap::new();
        for capture in captures.iter().filter(|capture| capture.settings.quiesces) {
            by_instance
                .entry((capture.key.clone(), capture.incarnation))
                .or_default()
                .push(capture.component.clone());
        }
        // All leases run from now on: one that was waited for beyond its own holds nothing any more.
        let until = shared.clock.instant(shared.clock.mono() + lease);
        let mut asked = Vec::new();
        for ((key, incarnation), components) in by_instance {
            let hold_id = format!("{}-{}", run.id(), key.id);
            let ask = Ask::Quiesce { components, hold_id: hold_id.clone(), lease };
            match send(shared, run, (&key, incarnation), lease.min(shared.options.begin_within), ask) {
                Ok(sent) => {
                    asked.push((key.clone(), sent));
                    // One that fails may hold a part of what it was asked for.
                    self.held.push(Hold { key, incarnation, hold_id });
                }
                Err(error) => self.fail(format!("{key} could not be asked to hold still: {error}")),
            }
        }
        for (key, mut sent) in asked {
            let why = match timeout_at(until, sent.ended()).await {
                Ok(Ended::Done(_)) => continue,
                Ok(Ended::Failed(report) | Ended::Refused(report)) => report.message,
                Ok(Ended::Gone(why)) => why.to_string(),
                Ok(Ended::Expired) => "it did not begin in time".to_owned(),
                Err(_) => format!("it did not within {} s", lease.as_secs()),
            };
            self.fail(format!("{key} does not hold still: {why}"));
        }
        if self.failed.is_some() {
            self.release(shared, run).await;
        }
    }

    fn fail(&mut self, why: String) {
        self.failed.get_or_insert(why);
    }

    /// Whether all that were asked hold still, and somebody was.
    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty() && self.failed.is_none()
    }

    /// Asks all to go on. Answers why what was captured does not belong together; None: it does, as far as holds say.
    pub(super) async fn end(mut self, shared: &Shared, run: &Run) -> Option<String> {
        self.release(shared, run).await;
        self.failed
    }

    async fn release(&mut self, shared: &Shared, run: &Run) {
        let until = shared.clock.instant(shared.clock.mono() + RESUMED_WITHIN);
        let mut asked = Vec::new();
        for hold in std::mem::take(&mut self.held) {
            let ask = Ask::Resume { hold_id: hold.hold_id };
            match send(shared, run, (&hold.key, hold.incarnation), RESUMED_WITHIN, ask) {
                Ok(sent) => asked.push((hold.key, sent)),
                // It goes on by itself.
                Err(error) => self.fail(format!("{} could not be asked to go on: {error}", hold.key)),
            }
        }
        for (key, mut sent) in asked {
            match timeout_at(until, sent.ended()).await {
                Ok(Ended::Done(report)) if report.held => {}
                Ok(Ended::Done(_)) => self.fail(format!("{key} went on by itself before all was captured")),
                Ok(Ended::Failed(report) | Ended::Refused(report)) => {
                    self.fail(format!("{key} did not go on as it was asked to: {}", report.message));
                }
                Ok(Ended::Gone(why)) => self.fail(format!("{key} was held, and then: {why}")),
                Ok(Ended::Expired) | Err(_) => self.fail(format!("{key} did not say that it goes on")),
            }
        }
    }
}
