//! One operation under way: what was said of it, what of that is written, and what is told.
//!
//! Whoever carries it out says things at once and in memory; the service writes them down, and only then are they told.
//! So nothing that anybody was shown is other after a restart, and bytes never fall. A record has one owner: each write
//! compares the revision of the one before, and who finds another owner there has lost it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    MOST_REPORT, MOST_STEPS, Operation, Outcome, State, Step, StepState,
    rate::{self, Rate},
    record::{self, Record},
    refusal,
    said::{MOST_NAME, words},
    value::{Progress, moment},
    work::{Beside, Cell, Held, Saying, Work},
};
use crate::{error::Result, id::Ordered, store::Revision, text::cut, time::Clock};

/// Progress that somebody watches is written this often at the most.
const WATCHED: Duration = Duration::from_millis(500);
/// And otherwise.
const UNWATCHED: Duration = Duration::from_secs(2);

/// Why an operation is to be carried out no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// Another run carries it out now: nothing that this one says counts.
    TakenOver,
}

/// How far writing has come.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Everything up to this change is durable.
    upto: u64,
    end: Option<NoMore>,
}

/// Why nothing more is written.
#[derive(Clone, Copy, Debug)]
enum NoMore {
    TakenOver,
    Closed,
}

/// What became of a request to cancel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cancel {
    /// It was said, by the event of this number, and is to be written.
    Said(u64),
    /// It was cancelled, or has ended, before.
    Before,
    /// It has gone too far.
    Commits,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Slot {
    id: Ordered,
    scope: String,
    /// Its owner's name, in the record.
    run: String,
    clock: Clock,
    wake: Arc<Notify>,
    work: Mutex<Work>,
    stored: AtomicU64,
    /// Whether bytes were counted since they were written.
    moved: AtomicBool,
    told: watch::Sender<Arc<Operation>>,
    stop: watch::Sender<Option<Stop>>,
    written: watch::Sender<Written>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) bytes: Bytes,
    pub(super) revision: Revision,
    /// What is written with its end, beside it.
    pub(super) beside: Option<Beside>,
    operation: Operation,
    said: u64,
}

impl Slot {
    /// One that nobody has written yet, or that was found and is to be taken over by the owner `run`.
    pub(super) fn new(found: Record, run: String, clock: Clock, wake: Arc<Notify>) -> Self {
        let Record { operation, scope, run: _, commits, cancelled } = found;
        let cell =
            |step: &Step| Arc::new(Cell { done: step.done_bytes.into(), total: step.total_bytes.into() });
        let stop = (operation.state == State::Cancelling).then_some(Stop::Cancelled);
        let work = Work {
            cells: operation.steps.iter().map(cell).collect(),
            commits,
            cancelled,
            events: operation.events.last().map_or(0, |event| event.sequence),
            said: 1,
            soft: false,
            revision: operation.revision,
            held: Held::ByRun,
            lost: false,
            failing: false,
            last_write: clock.now(),
            rate: Rate::default(),
            beside: None,
            operation: operation.clone(),
        };
        Self {
            id: operation.id,
            scope,
            run,
            clock,
            wake,
            work: Mutex::new(work),
            stored: operation.progress.stored_bytes.into(),
            moved: AtomicBool::new(false),
            told: watch::Sender::new(Arc::new(operation)),
            stop: watch::Sender::new(stop),
            written: watch::Sender::new(Written { upto: 0, end: None }),
        }
    }

    pub(super) fn id(&self) -> Ordered {
        self.id
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// What everybody may know.
    pub(super) fn told(&self) -> Arc<Operation> {
        Arc::clone(&self.told.borrow())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Operation>> {
        self.told.subscribe()
    }

    pub(super) fn stopping(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    // === what is said of it ===

    /// Says something that is to be written at once, and answers the number of the change.
    pub(super) fn say<T>(&self, change: impl FnOnce(&mut Saying<'_>) -> T) -> Result<(T, u64)> {
        let mut work = self.open()?;
        let said = change(&mut Saying { work: &mut work, now: moment(self.clock) });
        work.said += 1;
        let number = work.said;
        drop(work);
        self.wake.notify_one();
        Ok((said, number))
    }

    /// Says something that can wait for the next write.
    pub(super) fn mention(&self, change: impl FnOnce(&mut Saying<'_>)) -> Result<()> {
        let mut work = self.open()?;
        change(&mut Saying { work: &mut work, now: moment(self.clock) });
        work.soft = true;
        Ok(())
    }

    /// Bytes that were written for it, one more time.
    pub(super) fn stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
        self.moved.store(true, Ordering::Release);
    }

    /// Counts bytes of a step.
    pub(super) fn count(&self, cell: &Cell, done: u64, total: u64) {
        cell.done.fetch_max(done, Ordering::Relaxed);
        if total > 0 {
            cell.total.store(total, Ordering::Relaxed);
        }
        self.moved.store(true, Ordering::Release);
    }

    /// Counts bytes of a step beyond those before.
    pub(super) fn advance(&self, cell: &Cell, bytes: u64) {
        cell.done.fetch_add(bytes, Ordering::Relaxed);
        self.moved.store(true, Ordering::Release);
    }

    /// A step by its name; a new one where there is none yet.
    pub(super) fn add_step(&self, name: &str, total: u64) -> Result<Arc<Cell>> {
        let name = cut(&words(name), MOST_NAME);
        if let Some(cell) = self.step(&name) {
            self.count(&cell, 0, total);
            return Ok(cell);
        }
        let (cell, _) = self.say(|saying| {
            let work = &mut *saying.work;
            if work.cells.len() >= MOST_STEPS {
                return Err(refusal::too_many_steps(self.id, MOST_STEPS));
            }
            let cell = Arc::new(Cell { done: AtomicU64::new(0), total: AtomicU64::new(total) });
            work.cells.push(Arc::clone(&cell));
            work.operation.steps.push(Step {
                name,
                state: StepState::Pending,
                done_bytes: 0,
                total_bytes: total,
                started: None,
                ended: None,
                message: String::new(),
            });
            Ok(cell)
        })?;
        cell
    }

    /// A step by its name.
    pub(super) fn step(&self, name: &str) -> Option<Arc<Cell>> {
        let name = cut(&words(name), MOST_NAME);
        let work = self.work.lock();
        let at = work.operation.steps.iter().position(|step| step.name == name)?;
        work.cells.get(at).cloned()
    }

    /// Says how it ended.
    pub(super) fn conclude(
        &self,
        outcome: Outcome,
        report: &[String],
        beside: Option<Beside>,
    ) -> Result<u64> {
        let report = report.iter().take(MOST_REPORT).map(|line| words(line)).collect();
        let end = |saying: &mut Saying<'_>| {
            saying.end(outcome, report);
            saying.work.beside = beside;
        };
        self.say(end).map(|((), number)| number)
    }

    /// Whoever carried it out is gone.
    pub(super) fn let_go(&self, left: bool) {
        let mut work = self.work.lock();
        work.held = if left { Held::Left } else { Held::Dropped };
        drop(work);
        self.wake.notify_one();
    }

    /// Asks it to end.
    pub(super) fn cancel(&self, by: &str, message: &str) -> Cancel {
        let Ok(mut work) = self.open() else { return Cancel::Before };
        if work.operation.state == State::Cancelling {
            return Cancel::Before;
        }
        if work.commits {
            return Cancel::Commits;
        }
        let why = if message.is_empty() { String::new() } else { format!(": {message}") };
        let said = words(&format!("cancelled by {by}{why}"));
        work.operation.state = State::Cancelling;
        let mut saying = Saying { work: &mut work, now: moment(self.clock) };
        saying.event("", &said);
        work.cancelled = Some(said);
        work.said += 1;
        Cancel::Said(work.events)
    }

    /// Takes a request to cancel back that could not be written, and its event.
    pub(super) fn uncancel(&self, event: u64) {
        let Ok(mut work) = self.open() else { return };
        if work.operation.state != State::Cancelling {
            return;
        }
        let begun = work.operation.started.is_some();
        work.operation.state = if begun { State::Running } else { State::Pending };
        work.cancelled = None;
        work.operation.events.retain(|it| it.sequence != event);
        // Whether it was written after all is not known: then this is written over it.
        work.said += 1;
    }

    /// Refuses to be cancelled from now on. None: somebody cancelled it before.
    pub(super) fn commit(&self) -> Result<Option<u64>> {
        let (passed, number) = self.say(|saying| {
            let cancelled = saying.work.operation.state == State::Cancelling;
            saying.work.commits |= !cancelled;
            !cancelled
        })?;
        Ok(passed.then_some(number))
    }

    /// It may be cancelled again.
    pub(super) fn uncommit(&self) {
        drop(self.say(|saying| saying.work.commits = false));
    }

    fn open(&self) -> Result<parking_lot::MutexGuard<'_, Work>> {
        let work = self.work.lock();
        if work.lost {
            return Err(refusal::taken_over(self.id));
        }
        if work.operation.state.is_final() {
            return Err(refusal::has_ended(self.id));
        }
        Ok(work)
    }

    // === what is written of it ===

    /// Waits until a change is durable. Cancel safe.
    pub(super) async fn until_written(&self, change: u64) -> Result<()> {
        let mut written = self.written.subscribe();
        let reached = written.wait_for(|written| written.upto >= change || written.end.is_some()).await;
        match reached.map(|written| *written) {
            Ok(Written { upto, .. }) if upto >= change => Ok(()),
            Ok(Written { end: Some(NoMore::TakenOver), .. }) => Err(refusal::taken_over(self.id)),
            Ok(_) | Err(_) => Err(refusal::stopping()),
        }
    }

    /// The number of the newest change.
    pub(super) fn newest(&self) -> Result<u64> {
        let work = self.work.lock();
        if work.lost { Err(refusal::taken_over(self.id)) } else { Ok(work.said) }
    }

    /// Whether something was said that is not written.
    pub(super) fn is_owed(&self) -> bool {
        let work = self.work.lock();
        work.said > self.written.borrow().upto
    }

    /// The same, and whether nothing stands in the way of writing it now.
    pub(super) fn is_due_at_once(&self) -> bool {
        self.is_owed() && !self.work.lock().failing
    }

    /// Whether it is time to write it, be it for progress alone.
    pub(super) fn is_due(&self) -> bool {
        if self.is_owed() {
            return true;
        }
        let work = self.work.lock();
        let pause = if self.told.receiver_count() > 0 { WATCHED } else { UNWATCHED };
        let waited = self.clock.mono().since(work.last_write.mono) >= pause;
        waited && (work.soft || self.moved.load(Ordering::Acquire))
    }

    /// Whether anything is known that is not written.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Acquire) || self.work.lock().soft
    }

    /// Whether nobody carries it out, and nobody said how it ended.
    pub(super) fn is_dropped(&self) -> bool {
        let work = self.work.lock();
        work.held == Held::Dropped && !work.lost && !work.operation.state.is_final()
    }

    /// Whether somebody may still say something.
    pub(super) fn is_held(&self) -> bool {
        let work = self.work.lock();
        work.held == Held::ByRun && !work.lost && !work.operation.state.is_final()
    }

    /// All that was said by now.
    pub(super) fn draft(&self) -> Result<Draft> {
        let mut work = self.work.lock();
        // Before the bytes are read: what comes later counts for the next time.
        self.moved.store(false, Ordering::Release);
        work.soft = false;
        let now = self.clock.now();
        work.progress(self.stored.load(Ordering::Relaxed), now);
        let mut record = Record {
            operation: work.operation.clone(),
            scope: self.scope.clone(),
            run: self.run.clone(),
            commits: work.commits,
            cancelled: work.cancelled.clone(),
        };
        let mut bytes = record::encode(&record)?;
        if record::is_large(&bytes) {
            if !work.operation.events.iter().any(|event| event.message == record::SHORTENED) {
                Saying { work: &mut work, now: moment(self.clock) }.event("", record::SHORTENED);
                record.operation.events.clone_from(&work.operation.events);
            }
            // What is told is what is written.
            record::shorten(&mut record.operation);
            bytes = record::encode(&record)?;
        }
        let (revision, said, beside) = (work.revision, work.said, work.beside.clone());
        Ok(Draft { bytes, revision, beside, operation: record.operation, said })
    }

    /// A draft is durable: it is told. Whether that was its end.
    pub(super) fn wrote(&self, draft: Draft, revision: Revision) -> bool {
        let Draft { mut operation, said, .. } = draft;
        let mut work = self.work.lock();
        work.revision = revision;
        work.failing = false;
        work.last_write = self.clock.now();
        drop(work);
        operation.revision = revision;
        let (state, is_final) = (operation.state, operation.state.is_final());
        self.told.send_replace(Arc::new(operation));
        if state == State::Cancelling {
            self.stop.send_replace(Some(Stop::Cancelled));
        }
        self.written.send_modify(|written| written.upto = said);
        is_final
    }

    /// A draft could not be written: it is tried again later.
    pub(super) fn failed(&self) {
        let mut work = self.work.lock();
        work.failing = true;
        work.soft = true;
    }

    /// Its record is at this revision: a write of its own had happened after all.
    pub(super) fn found(&self, revision: Revision) {
        self.work.lock().revision = revision;
    }

    /// Somebody else has its record.
    pub(super) fn lose(&self) {
        self.work.lock().lost = true;
        self.stop.send_replace(Some(Stop::TakenOver));
        self.written.send_modify(|written| written.end = Some(NoMore::TakenOver));
    }

    /// Nothing is written any more.
    pub(super) fn close(&self) {
        self.written.send_modify(|written| {
            written.end.get_or_insert(NoMore::Closed);
        });
    }

    /// Takes a sample of how far it is, and tells whoever watches when the rate is another one.
    pub(super) fn sample(&self) {
        let mut work = self.work.lock();
        let now = self.clock.now();
        work.progress(self.stored.load(Ordering::Relaxed), now);
        let done = work.operation.progress.done_bytes;
        work.rate.take(now.mono, done);
        let rate = work.rate.per_second(now.mono);
        drop(work);
        if self.told.receiver_count() == 0 {
            return;
        }
        self.told.send_if_modified(|told| {
            let Progress { done_bytes, total_bytes, bytes_per_second, .. } = told.progress;
            let is_news = bytes_per_second != rate && !told.state.is_final();
            if is_news {
                let told = Arc::make_mut(told);
                told.progress.bytes_per_second = rate;
                told.progress.remaining = rate::remaining(done_bytes, total_bytes, rate);
            }
            is_news
        });
    }
}
