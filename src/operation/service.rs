//! The one writer of operations.
//!
//! It writes what was said at once, and progress when its time has come; what the store does not take now it tries again. It
//! ends what nobody carries out any more, and forgets what ended long ago.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{debug, info, warn};

use super::{
    Begun, Command, Operation, Orphan, Outcome, Run, Shared, State, Wanted,
    record::{self, Record},
    refusal,
    slot::{Cancel, Draft, Slot},
    value::Progress,
    work::Beside,
};
use crate::{
    error::{Chain, Reason, Result},
    id::{Entropy, Ordered},
    store::{Commit, Compare, Revision, outcome_is_open},
    task::drain,
    time::Mono,
};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(500);
/// How often it is looked what is to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Operations that are forgotten by one commit.
const FORGOTTEN_AT_ONCE: usize = 256;
/// How long after the drain has begun there is something to be said, and a store is waited for that does not write.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Between two tries then.
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// Why an operation failed whose run was dropped.
const DROPPED: &str = "ended without saying how";

/// Which of those under way are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    /// Of which something was said.
    AtOnce,
    /// Of which the time has come.
    Now,
    /// All of which anything is not written.
    All,
}

/// Writes operations down. Owns the queue of changes.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    entropy: Entropy,
    commands: mpsc::Receiver<Command>,
    /// Records that may have been written although their beginning failed.
    strays: Mutex<HashSet<Ordered>>,
    /// The id that was made last, by this run or one before: the next one sorts after it, whatever the clock does.
    newest: Mutex<Option<Ordered>>,
    forgotten_at: Mutex<Mono>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::Begin { wanted, .. } => f.debug_tuple("Begin").field(wanted).finish(),
            Command::Cancel { id, .. } => f.debug_tuple("Cancel").field(id).finish(),
        }
    }
}

impl Service {
    /// `newest`: the newest id that was written down before.
    pub(super) fn new(
        shared: Arc<Shared>,
        entropy: Entropy,
        commands: mpsc::Receiver<Command>,
        newest: Option<Ordered>,
    ) -> Self {
        let forgotten_at = Mutex::new(shared.clock.mono());
        Self { shared, entropy, commands, strays: Mutex::default(), newest: Mutex::new(newest), forgotten_at }
    }

    /// Runs until the drain begins; then does what was queued, hears for a moment what runs still say, and writes that.
    /// Whether all that was said is written.
    pub async fn run(mut self, mut drain: drain::Watch) -> bool {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = Arc::clone(&self.shared.wake);
        loop {
            tokio::select! {
                biased;
                () = drain.begun() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out(command).await,
                    None => break,
                },
                () = wake.notified() => {
                    self.end_dropped();
                    self.write(Due::AtOnce).await;
                }
                _ = ticks.tick() => self.turn().await,
            }
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            self.carry_out(command).await;
        }
        self.last_words().await
    }

    async fn carry_out(&self, command: Command) {
        match command {
            // Whoever asked may have gone away: then its run is dropped, and the operation fails.
            Command::Begin { wanted, answer } => drop(answer.send(self.begin(*wanted).await)),
            Command::Cancel { id, by, message, answer } => {
                drop(answer.send(self.cancel(id, &by, &message).await));
            }
        }
    }

    async fn begin(&self, wanted: Wanted) -> Result<Begun> {
        if let Some(same) = self.shared.repeated(&wanted).await? {
            return Ok(Begun::Same(same));
        }
        let Wanted { kind, service, backup_id, created_by, request_id, asked, scope } = wanted;
        {
            let index = self.shared.index.read();
            index.holder(&scope).map_or(Ok(()), |holder| Err(refusal::under_way(holder)))?;
            let most = self.shared.options.most_under_way;
            if index.under_way_count() >= most {
                return Err(refusal::too_many(most));
            }
        }
        let id = self.new_id()?;
        let operation = Operation {
            id,
            kind,
            service,
            state: State::Pending,
            created_by,
            request_id,
            asked,
            steps: Vec::new(),
            progress: Progress::default(),
            events: Vec::new(),
            // As its id has it: both grow, whatever the clock does.
            created: id.time(),
            started: None,
            ended: None,
            cause: String::new(),
            backup_id,
            report: Vec::new(),
            revision: 0,
        };
        let record = Record { operation, scope, run: String::new(), commits: false, cancelled: None };
        let slot = self.slot(record)?;
        let draft = slot.draft()?;
        let commit =
            Commit::new().require(Compare::Absent(record::key(id))).put(record::key(id), draft.bytes.clone());
        let revision = self.shared.store.commit_settled(commit).await.inspect_err(|error| {
            if outcome_is_open(error) {
                self.strays.lock().insert(id);
            }
        })?;
        slot.wrote(draft, revision);
        self.shared.index.write().begin(&slot);
        let told = slot.told();
        info!(component = "operation", operation = "begin", %id, kind = kind.as_str(), service = told.service, by = told.created_by, "operation begun");
        Ok(Begun::New(Run::of(slot)))
    }

    async fn cancel(&self, id: Ordered, by: &str, message: &str) -> Result<Arc<Operation>> {
        let slot = self.shared.index.read().slot(id).cloned();
        let Some(slot) = slot else { return self.shared.get(id).await };
        match slot.cancel(by, message) {
            Cancel::Before => {}
            Cancel::Commits => return Err(refusal::commits(id)),
            Cancel::Said(event) => {
                self.write_one(&slot).await.inspect_err(|_| slot.uncancel(event))?;
                info!(component = "operation", operation = "cancel", %id, by, "operation cancelled");
            }
        }
        Ok(slot.told())
    }

    /// Takes over those that a run before did not finish.
    pub(super) async fn take_over(&self, left: Vec<Record>) -> Result<Vec<Orphan>> {
        let commits: Vec<bool> = left.iter().map(|found| found.commits).collect();
        let slots = left.into_iter().map(|found| self.slot(found)).collect::<Result<Vec<_>>>()?;
        for slot in &slots {
            drop(slot.mention(|saying| saying.event("", "the control plane started again")));
            self.shared.index.write().begin(slot);
        }
        join_all(slots.iter().map(|slot| self.write_one(slot))).await;
        let orphan = |(slot, commits): (Arc<Slot>, bool)| Orphan {
            operation: slot.told(),
            run: Run::of(slot),
            commits,
        };
        Ok(slots.into_iter().zip(commits).map(orphan).collect())
    }

    fn slot(&self, record: Record) -> Result<Arc<Slot>> {
        let run = self.entropy.name("run")?;
        Ok(Arc::new(Slot::new(record, run, self.shared.clock, Arc::clone(&self.shared.wake))))
    }

    fn new_id(&self) -> Result<Ordered> {
        let mut newest = self.newest.lock();
        let now = self.shared.clock.now().wall;
        let made = self.entropy.ordered(newest.map_or(now, |newest| newest.time().max(now)))?;
        // Of one millisecond, the next after the one before.
        let id = match *newest {
            Some(newest) if made <= newest => Ordered::from_bits(newest.to_bits().saturating_add(1)),
            _ => made,
        };
        *newest = Some(id);
        Ok(id)
    }

    /// What is to be done from time to time.
    async fn turn(&self) {
        self.end_dropped();
        let under_way = self.shared.index.read().under_way();
        under_way.iter().for_each(|slot| slot.sample());
        self.write(Due::Now).await;
        self.delete_strays().await;
        let now = self.shared.clock.mono();
        if now.since(*self.forgotten_at.lock()) >= FORGET_EVERY {
            *self.forgotten_at.lock() = now;
            self.forget().await;
        }
    }

    /// Ends those whose run was dropped.
    fn end_dropped(&self) {
        let under_way = self.shared.index.read().under_way();
        for slot in under_way.iter().filter(|slot| slot.is_dropped()) {
            // Otherwise it has just been taken over.
            drop(slot.conclude(Outcome::Failed { cause: DROPPED.to_owned() }, &[], None));
        }
    }

    /// Writes those that are due, all at the same time: the store makes one group of them.
    async fn write(&self, due: Due) {
        let mut slots = self.shared.index.read().under_way();
        slots.retain(|slot| match due {
            Due::AtOnce => slot.is_due_at_once(),
            Due::Now => slot.is_due(),
            Due::All => slot.is_owed() || slot.has_moved(),
        });
        for written in join_all(slots.iter().map(|slot| self.write_one(slot))).await {
            if let Err(error) = written {
                debug!(component = "operation", operation = "write", error = %Chain(&error), "an operation was not written, and will be");
            }
        }
    }

    /// Writes one as it is now, and tells it.
    async fn write_one(&self, slot: &Arc<Slot>) -> Result<()> {
        let written = self.try_write(slot).await;
        match &written {
            Ok(()) => {}
            Err(error) if error.reason() == Reason::OperationTakenOver => {
                warn!(component = "operation", operation = "write", id = %slot.id(), "operation was taken over");
                slot.lose();
                self.shared.index.write().leave(slot.id());
            }
            Err(_) => slot.failed(),
        }
        written
    }

    async fn try_write(&self, slot: &Arc<Slot>) -> Result<()> {
        let draft = slot.draft()?;
        let revision = match self.put(slot, &draft, draft.revision).await {
            Err(error) if error.reason() == Reason::StoreConflict => {
                // A write of our own may have happened that seemed to fail.
                let found = self.own_revision(slot).await?;
                slot.found(found);
                self.put(slot, &draft, found).await
            }
            other => other,
        };
        if slot.wrote(draft, revision?) {
            self.ended(slot);
        }
        Ok(())
    }

    async fn put(&self, slot: &Slot, draft: &Draft, revision: Revision) -> Result<Revision> {
        let key = record::key(slot.id());
        let unchanged = Compare::Unchanged { key: key.clone(), revision };
        let mut commit = Commit::new().require(unchanged).put(key, draft.bytes.clone());
        if let Some(Beside { key, value }) = &draft.beside {
            commit = commit.put(key.clone(), value.clone());
        }
        self.shared.store.commit_settled(commit).await
    }

    /// The revision of its record, where nobody else owns that.
    async fn own_revision(&self, slot: &Slot) -> Result<Revision> {
        let entry = self.shared.store.get(&record::key(slot.id())).await?;
        let entry = entry.ok_or_else(|| refusal::taken_over(slot.id()))?;
        match record::decode(&entry) {
            Ok(found) if found.run == slot.run() => Ok(entry.revision),
            Ok(_) => Err(refusal::taken_over(slot.id())),
            Err(error) => Err(error),
        }
    }

    fn ended(&self, slot: &Slot) {
        let told = slot.told();
        self.shared.index.write().end(&told);
        let took = told.ended.and_then(|ended| ended.duration_since(told.created).ok()).unwrap_or_default();
        info!(component = "operation", operation = "end", id = %told.id, kind = told.kind.as_str(), service = told.service, state = told.state.as_str(), cause = told.cause, duration = took.as_secs_f64(), "operation ended");
    }

    /// Deletes records whose beginning was answered as failed.
    async fn delete_strays(&self) {
        let strays: Vec<_> = self.strays.lock().iter().copied().collect();
        for id in strays {
            if self.shared.store.commit_settled(Commit::new().delete(record::key(id))).await.is_ok() {
                self.strays.lock().remove(&id);
            }
        }
    }

    /// Forgets those that ended long ago. What cannot be deleted now is at the next turn.
    async fn forget(&self) {
        let now = self.shared.clock.now().wall;
        let options = &self.shared.options;
        loop {
            let old = {
                let index = self.shared.index.read();
                index.old(now, options.kept_for, options.most_kept, FORGOTTEN_AT_ONCE)
            };
            if old.is_empty() {
                return;
            }
            let commit = old.iter().fold(Commit::new(), |commit, id| commit.delete(record::key(*id)));
            if let Err(error) = self.shared.store.commit_settled(commit).await {
                return debug!(component = "operation", operation = "forget", error = %Chain(&error), "could not forget old operations");
            }
            let mut index = self.shared.index.write();
            old.iter().for_each(|id| index.forget(*id));
        }
    }

    /// Writes what is said until nobody has anything to say, or the time is over. What was dropped by then is left as it is:
    /// its carrier went with the control plane, and the next start takes it up.
    async fn last_words(&self) -> bool {
        let begun = self.shared.clock.mono();
        loop {
            self.write(Due::All).await;
            let under_way = self.shared.index.read().under_way();
            let all_written = !under_way.iter().any(|slot| slot.is_owed());
            if all_written && !under_way.iter().any(|slot| slot.is_held()) {
                return true;
            }
            if self.shared.clock.mono().since(begun) >= LAST_WORDS {
                if !all_written {
                    warn!(
                        component = "operation",
                        operation = "end",
                        "what became of some operations is not written"
                    );
                }
                return all_written;
            }
            sleep(LAST_PAUSE).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nobody waits for a writer that is gone.
        self.shared.index.read().under_way().iter().for_each(|slot| slot.close());
    }
}
