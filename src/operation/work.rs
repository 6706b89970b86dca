//! What was said of an operation under way: a plain value behind a lock, which knows neither store nor clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;

use super::{
    MOST_EVENTS, Operation, Outcome, State, Step, StepState,
    rate::{self, Rate},
    said::{MOST_NAME, words},
    value::{Event, Progress},
};
use crate::{id::Ordered, store::Revision, text::cut, time::Now};

/// Who answers for an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// A run.
    ByRun,
    /// Nobody, until the next start: that was said.
    Left,
    /// Nobody, and nobody said how it ended.
    Dropped,
}

/// A record that is written together with the end of an operation, or not at all. It is no business of operations what it says.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Where it is stored.
    pub key: String,
    /// What is stored there.
    pub value: Bytes,
}

/// Bytes of one step, counted without a lock.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
}

/// All that was said.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) operation: Operation,
    pub(super) cells: Vec<Arc<Cell>>,
    pub(super) commits: bool,
    pub(super) cancelled: Option<String>,
    pub(super) events: u64,
    /// Counts changes that are to be written at once.
    pub(super) said: u64,
    /// Whether something was said that can wait.
    pub(super) soft: bool,
    pub(super) revision: Revision,
    pub(super) held: Held,
    pub(super) lost: bool,
    /// Whether the last write failed: then it is tried again when its time has come.
    pub(super) failing: bool,
    pub(super) last_write: Now,
    pub(super) rate: Rate,
    /// What is written with its end.
    pub(super) beside: Option<Beside>,
}

impl Work {
    /// Adds up how far the steps are.
    pub(super) fn progress(&mut self, stored: u64, now: Now) {
        let (mut done, mut total, mut is_known) = (0_u64, 0_u64, false);
        for (step, cell) in self.operation.steps.iter_mut().zip(&self.cells) {
            step.done_bytes = step.done_bytes.max(cell.done.load(Ordering::Relaxed));
            let known = cell.total.load(Ordering::Relaxed);
            // What is known of the whole was too little, or what has ended does no more.
            let is_less = known > 0 && known < step.done_bytes;
            step.total_bytes = if is_less || step.state.is_final() { step.done_bytes } else { known };
            is_known |= step.total_bytes > 0;
            done = done.saturating_add(step.done_bytes);
            total = total.saturating_add(step.total_bytes.max(step.done_bytes));
        }
        let total_bytes = if is_known { total } else { 0 };
        let running = !self.operation.state.is_final();
        let rate = if running { self.rate.per_second(now.mono) } else { 0 };
        let before = self.operation.progress;
        let done_bytes = before.done_bytes.max(done);
        self.operation.progress = Progress {
            done_bytes,
            total_bytes,
            stored_bytes: before.stored_bytes.max(stored),
            bytes_per_second: rate,
            remaining: if running { rate::remaining(done_bytes, total_bytes, rate) } else { None },
        };
    }
}

/// An operation while something is said of it.
pub(super) struct Saying<'a> {
    pub(super) work: &'a mut Work,
    pub(super) now: SystemTime,
}

impl Saying<'_> {
    /// It is under way.
    pub(super) fn begin(&mut self) {
        let operation = &mut self.work.operation;
        if operation.state == State::Pending {
            operation.state = State::Running;
        }
        operation.started.get_or_insert(self.now);
    }

    /// The backup that it is about.
    pub(super) fn backup(&mut self, id: Ordered) {
        self.work.operation.backup_id = Some(id);
    }

    /// Something happened.
    pub(super) fn event(&mut self, step: &str, message: &str) {
        let work = &mut *self.work;
        work.events += 1;
        let step = cut(&words(step), MOST_NAME);
        work.operation.events.push(Event {
            sequence: work.events,
            at: self.now,
            step,
            message: words(message),
        });
        let surplus = work.operation.events.len().saturating_sub(MOST_EVENTS);
        work.operation.events.drain(..surplus);
    }

    /// Where a step is now.
    pub(super) fn step(&mut self, cell: &Arc<Cell>, state: StepState, message: Option<&str>) {
        if state == StepState::Running {
            self.begin();
        }
        let Some(step) = self.found(cell) else { return };
        step.0.state = state;
        step.0.ended = state.is_final().then_some(step.1);
        if state != StepState::Skipped {
            step.0.started.get_or_insert(step.1);
        }
        step.0.message = message.map(words).unwrap_or_default();
    }

    /// What a step does now.
    pub(super) fn message(&mut self, cell: &Arc<Cell>, message: &str) {
        if let Some((step, _)) = self.found(cell) {
            step.message = words(message);
        }
    }

    fn found(&mut self, cell: &Arc<Cell>) -> Option<(&mut Step, SystemTime)> {
        let at = self.work.cells.iter().position(|other| Arc::ptr_eq(other, cell))?;
        self.work.operation.steps.get_mut(at).map(|step| (step, self.now))
    }

    /// How it ended. Steps that have not are what that makes of them.
    pub(super) fn end(&mut self, outcome: Outcome, report: Vec<String>) {
        let cancelled = self.work.cancelled.clone().unwrap_or_else(|| "cancelled".to_owned());
        let operation = &mut self.work.operation;
        (operation.state, operation.cause) = match outcome {
            Outcome::Succeeded => (State::Succeeded, String::new()),
            Outcome::Partial { cause } => (State::Partial, words(&cause)),
            Outcome::Failed { cause } => (State::Failed, words(&cause)),
            Outcome::Cancelled => (State::Cancelled, cancelled),
        };
        for step in &mut operation.steps {
            match step.state {
                StepState::Pending => step.state = StepState::Skipped,
                StepState::Running if operation.state == State::Succeeded => {
                    step.state = StepState::Succeeded;
                }
                StepState::Running => {
                    step.state = StepState::Failed;
                    if step.message.is_empty() {
                        step.message.clone_from(&operation.cause);
                    }
                }
                StepState::Succeeded | StepState::Failed | StepState::Skipped => continue,
            }
            step.ended = Some(self.now);
        }
        operation.ended = Some(self.now);
        operation.report = report;
    }
}
