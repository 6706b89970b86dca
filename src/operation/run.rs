//! The end of an operation that is held by whoever carries it out.
//!
//! What it says is kept in memory at once and never waits for the store: a full disk does not stop what is under way. What
//! has to be durable before it goes on is waited for by name: [`Run::settled`], [`Run::point_of_no_return`] and
//! [`Run::finish`].

use std::{fmt, sync::Arc};

use tokio::time::timeout;

use super::{
    ANSWER_DEADLINE, Operation, Outcome, State, StepState, Stop, refusal,
    slot::Slot,
    work::{Beside, Cell},
};
use crate::{error::Result, id::Ordered};

/// Whether an operation may do what cannot be undone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "an operation that was cancelled must not commit"]
pub enum Gate {
    /// It may, and cannot be cancelled any more.
    Passed,
    /// It must not: it was cancelled before.
    Cancelled,
}

/// An operation, for whoever carries it out. Dropping it without [`finish`](Self::finish) makes it failed.
pub struct Run {
    slot: Arc<Slot>,
    left: bool,
}

/// A step of an operation. Cheap to clone; several tasks may count on it at once.
#[derive(Clone)]
pub struct StepHandle {
    slot: Arc<Slot>,
    cell: Arc<Cell>,
}

/// An operation that a run before this one did not finish.
#[derive(Debug)]
pub struct Orphan {
    /// As it was written down last.
    pub operation: Arc<Operation>,
    /// To go on with it, or to say how it ended.
    pub run: Run,
    /// Whether it had passed its point of no return: before that nothing of it counts, whatever it left.
    pub commits: bool,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.slot.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for StepHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepHandle").field("operation", &self.slot.id()).finish_non_exhaustive()
    }
}

impl Orphan {
    /// How it ended that nobody goes on with: cancelled where somebody had cancelled it, failed otherwise.
    pub fn cut_off(&self, cause: String) -> Outcome {
        match self.operation.state {
            State::Cancelling => Outcome::Cancelled,
            _ => Outcome::Failed { cause },
        }
    }
}

impl Run {
    pub(super) fn of(slot: Arc<Slot>) -> Self {
        Self { slot, left: false }
    }

    /// Its operation's id.
    pub fn id(&self) -> Ordered {
        self.slot.id()
    }

    /// The operation as everybody may know it.
    pub fn operation(&self) -> Arc<Operation> {
        self.slot.told()
    }

    /// Says that it is under way. The first step that starts says so too.
    ///
    /// # Errors
    /// It was taken over.
    pub fn start(&self) -> Result<()> {
        self.slot.say(|saying| saying.begin()).map(drop)
    }

    /// Adds a step. Of a name that there is already it is that one: who resumes an operation adds its steps again.
    ///
    /// # Errors
    /// There are [`MOST_STEPS`](super::MOST_STEPS) already, or the operation was taken over.
    pub fn add_step(&self, name: &str, total_bytes: u64) -> Result<StepHandle> {
        let cell = self.slot.add_step(name, total_bytes)?;
        Ok(StepHandle { slot: Arc::clone(&self.slot), cell })
    }

    /// So many bytes more were written for it.
    pub fn stored(&self, bytes: u64) {
        self.slot.stored(bytes);
    }

    /// Something happened, in a step or, where that is empty, in the operation as a whole. Kept is the end of all that did.
    ///
    /// # Errors
    /// It was taken over.
    pub fn event(&self, step: &str, message: &str) -> Result<()> {
        self.slot.mention(|saying| saying.event(step, message))
    }

    /// The backup that it is about.
    ///
    /// # Errors
    /// It was taken over.
    pub fn set_backup(&self, id: Ordered) -> Result<()> {
        self.slot.say(|saying| saying.backup(id)).map(drop)
    }

    /// Waits until it is to be carried out no further, and answers why. Cancel safe.
    pub async fn cancelled(&self) -> Stop {
        let mut stop = self.slot.stopping();
        match stop.wait_for(Option::is_some).await.map(|stop| *stop) {
            Ok(Some(stop)) => stop,
            // The channel lives as long as we do.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Waits until all that was said by now is durable, however long that takes. Cancel safe.
    ///
    /// # Errors
    /// It was taken over, or the control plane stops.
    pub async fn settled(&self) -> Result<()> {
        let newest = self.slot.newest()?;
        self.slot.until_written(newest).await
    }

    /// Asks whether it may do what cannot be undone. Once that is durable, nobody can cancel it any more.
    ///
    /// Not cancel safe: a caller that goes away may have passed.
    ///
    /// # Errors
    /// It was taken over, the control plane stops, or the store does not write it in time: then it may be cancelled as
    /// before.
    pub async fn point_of_no_return(&self) -> Result<Gate> {
        let Some(change) = self.slot.commit()? else { return Ok(Gate::Cancelled) };
        match timeout(ANSWER_DEADLINE, self.slot.until_written(change)).await {
            Ok(written) => written.map(|()| Gate::Passed),
            Err(_) => {
                self.slot.uncommit();
                Err(refusal::late())
            }
        }
    }

    /// Says how it ended, and waits until that is durable, however long that takes. A caller that goes away has said it all
    /// the same.
    ///
    /// # Errors
    /// It was taken over, or the control plane stops: then the next start finds it as it was.
    pub async fn finish(self, outcome: Outcome, report: Vec<String>) -> Result<Arc<Operation>> {
        self.finish_with(outcome, report, None).await
    }

    /// The same, with a record that is written together with its end.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_with(
        self,
        outcome: Outcome,
        report: Vec<String>,
        beside: Option<Beside>,
    ) -> Result<Arc<Operation>> {
        let change = self.slot.conclude(outcome, &report, beside)?;
        self.slot.until_written(change).await?;
        Ok(self.slot.told())
    }

    /// Says how it ended, and waits for nothing.
    ///
    /// # Errors
    /// It was taken over.
    pub fn conclude(self, outcome: Outcome, report: &[String]) -> Result<()> {
        self.slot.conclude(outcome, report, None).map(drop)
    }

    /// Leaves it as it is to the next start: for the end of the control plane.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.slot.let_go(self.left);
    }
}

impl StepHandle {
    /// It is under way.
    ///
    /// # Errors
    /// The operation was taken over, as for all that follow.
    pub fn start(&self) -> Result<()> {
        self.turn(StepState::Running, None)
    }

    /// So many bytes are done of so many. Fewer than before change nothing; 0 in all: not known, or as before.
    pub fn progress(&self, done: u64, total: u64) {
        self.slot.count(&self.cell, done, total);
    }

    /// So many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        self.slot.advance(&self.cell, bytes);
    }

    /// What it does now, for people.
    ///
    /// # Errors
    /// The operation was taken over.
    pub fn message(&self, message: &str) -> Result<()> {
        self.slot.mention(|saying| saying.message(&self.cell, message))
    }

    /// It is done.
    ///
    /// # Errors
    /// The operation was taken over.
    pub fn succeed(&self) -> Result<()> {
        self.turn(StepState::Succeeded, None)
    }

    /// It is not done.
    ///
    /// # Errors
    /// The operation was taken over.
    pub fn fail(&self, message: &str) -> Result<()> {
        self.turn(StepState::Failed, Some(message))
    }

    /// There was no need for it, or something before it failed.
    ///
    /// # Errors
    /// The operation was taken over.
    pub fn skip(&self, message: &str) -> Result<()> {
        self.turn(StepState::Skipped, Some(message))
    }

    fn turn(&self, state: StepState, message: Option<&str>) -> Result<()> {
        self.slot.say(|saying| saying.step(&self.cell, state, message)).map(drop)
    }
}
