//! Who did what: entries that are chained by their hashes, durable before anybody is told that something was done.
//!
//! A change has two entries, RECEIVED before it is begun and COMPLETED when it is known how it came out (`change`); a
//! denial has one, if there is room for it (`denials`). One writer gives each its place (`writer`) and puts it into the
//! store and, where there is one, into a file (`export`). Where it cannot be written nothing is changed: signs of life
//! and reading go on, they have no entry. Old entries are dropped from the beginning on (`retention`), which is recorded,
//! so that it is known where the chain begins. `verify` says whether entries are as they were written; it is the same for
//! the API's callers, for the file, and for a start.
//!
//! **What the chain shows.** Whatever is changed, removed, added or moved between the anchor and the newest entry. It does
//! not show that somebody who writes to the data folder wrote all of it anew, or cut off its end with the record of where
//! that is: against that there is the file, which can be kept by somebody else, and the newest hash, which can be kept
//! anywhere.
//!
//! **A start that finds the end of the chain broken goes on, and says so in the chain.** The first entry after it is an
//! entry of the control plane itself, [`BROKEN`], with a number that none had before, so that every verification from then
//! on names the place; the log says it, and the readiness check `audit.chain` fails until the next start and warns for as
//! long as that entry is kept. Refusing all changes until an operator says that he has seen it would be the other way. It
//! was not taken: whoever can write to the folder could then keep operators from removing instances and revoking tokens,
//! in the hour in which they need to, and the evidence would be no better for it. A file that does not belong to the chain
//! is another matter: there an operator is at hand who has named it, and changes are refused until it is moved away.
//!
//! The room knows no RPCs, and nothing of who may do what. It cannot tell a secret: callers must not hand one in.

mod chain;
mod change;
mod denials;
mod entry;
mod export;
mod file;
mod reading;
mod record;
mod retention;
mod start;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tracing::error;

pub use self::{
    chain::{Hash, Link, hash},
    entry::{Call, Entry, Stage, Who},
    reading::{Ends, Filter, Read},
    record::Kept,
};
use self::{
    change::Job,
    denials::Denials,
    entry::Draft,
    export::Export,
    writer::{Request, Writer},
};
use crate::{
    error::{Error, Result},
    store::Store,
    task::drain,
    time::Clock,
};

/// Changes that are made at once; more are refused.
const CHANGES: usize = 512;
/// Denials that may wait, where little else does.
const DENIALS: usize = 128;
/// Entries that may wait: each change has a place for its first one, and one for its second.
const QUEUE: usize = 2 * CHANGES + DENIALS;
/// Bytes that no line is longer than: all texts at their limits, and every character of them escaped.
const LONGEST_LINE: usize = 16 * 1024;

/// The operation of the entry that says that a start has found the chain broken.
pub const BROKEN: &str = "audit/chain-broken";

/// What is set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The file that every entry is written to as well.
    pub file: Option<PathBuf>,
    /// What may change while it runs.
    pub limits: Limits,
}

/// What may change while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// How long an entry is kept.
    pub retention: Duration,
    /// Entries that are kept at the most, the newest.
    pub max_entries: u64,
    /// Whether enrolments are written down.
    pub enrolments: bool,
}

/// How the audit is, for those who ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Where the chain begins and ends.
    pub ends: Ends,
    /// Why it cannot be written. None: it can, as far as is known.
    pub trouble: Option<String>,
    /// What this start has found wrong with the end of the chain.
    pub broken: Option<String>,
    /// The entry of an earlier start that found it broken, and that is still kept.
    pub broken_before: Option<u64>,
}

/// Events since the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tally {
    /// Entries that were written, by stage.
    pub entries: [u64; Stage::ALL.len()],
    /// Entries that were refused because the audit could not be written.
    pub failures: u64,
    /// Denials that were not written because there were too many, or because nothing could be.
    pub dropped_denials: u64,
}

/// What is counted.
#[derive(Debug, Default)]
struct Counters {
    entries: [AtomicU64; Stage::ALL.len()],
    failures: AtomicU64,
    dropped_denials: AtomicU64,
}

impl Counters {
    fn written(&self, drafts: &[Draft]) {
        for draft in drafts {
            self.entries[draft.stage as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn failed(&self, entries: usize) {
        self.failures.fetch_add(entries as u64, Ordering::Relaxed);
    }
}

/// What all parts of the room see.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    limits: Mutex<Limits>,
    /// The limits have changed.
    configured: Notify,
    changes: Arc<Semaphore>,
    denials: Mutex<Denials>,
    counters: Counters,
}

#[derive(Debug)]
struct State {
    newest: Link,
    anchor: Link,
    /// Entries up to this one are in the file. None: there is no file.
    exported: Option<u64>,
    trouble: Option<String>,
    broken: Option<String>,
    /// The newest entry that says that it was found broken; 0 for none.
    broken_at: u64,
}

/// What is to be kept, at one moment.
#[derive(Clone, Copy, Debug)]
struct Keep {
    since: SystemTime,
    /// Entries before this number are too many.
    from: u64,
    /// Entries from this number on are kept whatever their age.
    always: u64,
}

impl Keep {
    fn is_due(&self, kept: &Kept) -> bool {
        let old = kept.entry.as_ref().is_some_and(|entry| entry.time < self.since);
        kept.sequence < self.always && (old || kept.sequence < self.from)
    }
}

impl Shared {
    fn keep(&self) -> Keep {
        let Limits { retention, max_entries, .. } = *self.limits.lock();
        let state = self.state.lock();
        let newest = state.newest.sequence;
        Keep {
            since: self.clock.now().wall.checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH),
            from: newest.saturating_add(1).saturating_sub(max_entries),
            always: state.exported.map_or(newest, |exported| newest.min(exported.saturating_add(1))),
        }
    }
}

/// Writes the audit. Its handle takes entries from the beginning; they are written while it runs.
#[derive(Debug)]
#[must_use = "nothing is written unless it runs"]
pub struct Service {
    shared: Arc<Shared>,
    store: Store,
    writer: Writer,
    jobs: mpsc::Receiver<Job>,
}

/// The way to the audit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    store: Store,
    entries: mpsc::Sender<Request>,
    jobs: mpsc::Sender<Job>,
}

/// Reads where the chain ends, and checks its end.
///
/// # Errors
/// The store cannot be read, or a newer build wrote what is there.
pub async fn open(options: Options, clock: Clock, store: Store) -> Result<(Handle, Service)> {
    let Options { file, limits } = options;
    let start::Found { head, anchor, broken } = start::read(&store).await?;
    let mut owed = VecDeque::new();
    if let Some(found) = &broken {
        error!(
            component = "audit",
            operation = "start",
            found,
            "the audit is not as it was written; it goes on with an entry that says so"
        );
        owed.push_back(says_broken(found));
    }
    let export = Export::new(file, head.exported);
    let state = State {
        newest: head.newest,
        anchor,
        exported: export.reached(),
        trouble: None,
        broken,
        broken_at: head.broken,
    };
    let shared = Arc::new(Shared {
        clock,
        state: Mutex::new(state),
        limits: Mutex::new(limits),
        configured: Notify::new(),
        changes: Arc::new(Semaphore::new(CHANGES)),
        denials: Mutex::default(),
        counters: Counters::default(),
    });
    let (entries, queue) = mpsc::channel(QUEUE);
    let (jobs, to_do) = mpsc::channel(CHANGES);
    let writer = Writer { shared: Arc::clone(&shared), store: store.clone(), queue, head, export, owed };
    let handle = Handle { shared: Arc::clone(&shared), store: store.clone(), entries, jobs };
    Ok((handle, Service { shared, store, writer, jobs: to_do }))
}

/// The entry with which a broken chain goes on.
fn says_broken(found: &str) -> Draft {
    let call = Call {
        who: Who { principal: "control-plane".to_owned(), peer: String::new() },
        operation: BROKEN.to_owned(),
        object: "audit".to_owned(),
        request_id: String::new(),
    };
    Draft { call, stage: Stage::Completed, outcome: "DATA_LOSS".to_owned(), detail: found.to_owned() }
}

impl Service {
    /// Runs until the drain begins; then finishes the changes that were begun, and writes what was queued. False:
    /// something that was done is not in the audit.
    pub async fn run(self, drain: drain::Watch) -> bool {
        let Self { shared, store, writer, jobs } = self;
        let (end, ended) = oneshot::channel();
        let changes = async {
            change::run(&shared, jobs, drain.clone()).await;
            drop(end);
        };
        let retention = retention::run(Arc::clone(&shared), store, drain.clone());
        let (written, (), ()) = tokio::join!(writer.run(ended), changes, retention);
        written
    }
}

impl Handle {
    /// Writes down that a call was not allowed, and why, if there is room for it now. Never waits.
    pub fn try_denied(&self, call: Call, why: &Error) {
        let room = self.shared.denials.lock().take(self.shared.clock.mono());
        let draft = Draft::denied(call, why);
        // Changes keep their places: a denial takes none of them.
        let taken = room
            && self.entries.capacity() > QUEUE - DENIALS
            && self.entries.try_send(Request { draft, answer: None }).is_ok();
        if !taken {
            self.shared.counters.dropped_denials.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether enrolments are written down.
    pub fn has_enrolments(&self) -> bool {
        self.shared.limits.lock().enrolments
    }

    /// Takes on new limits.
    pub fn configure(&self, limits: Limits) {
        *self.shared.limits.lock() = limits;
        self.shared.configured.notify_one();
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        let state = self.shared.state.lock();
        let (at, anchor) = (state.broken_at, state.anchor.sequence);
        Status {
            ends: Ends { anchor: state.anchor, newest: state.newest },
            trouble: state.trouble.clone(),
            broken: state.broken.clone(),
            broken_before: (state.broken.is_none() && at > anchor).then_some(at),
        }
    }

    /// Events since the start.
    pub fn tally(&self) -> Tally {
        let counters = &self.shared.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            entries: counters.entries.each_ref().map(read),
            failures: read(&counters.failures),
            dropped_denials: read(&counters.dropped_denials),
        }
    }
}
