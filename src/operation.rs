//! What takes its time: durable records of backups, restores and verifications, from their beginning to their report.
//!
//! Options, Service, Handle: the service is the one writer. Whoever carries an operation out holds its [`Run`] and says what
//! becomes of it; the service writes that down, and tells it then. After a restart each that had not ended is handed to
//! whoever takes it up ([`Orphan`]): from then on a run of before writes nothing more.
//!
//! It knows neither how a backup is taken nor what a service is: kinds are names, and services are plain words that whoever
//! begins an operation has checked. It starts nothing, schedules nothing and repeats nothing by itself.

mod index;
mod rate;
mod record;
mod refusal;
mod run;
mod said;
mod service;
mod slot;
mod value;
mod work;

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::yield_now,
    time::timeout,
};

use self::{index::Index, slot::Slot};
pub use self::{
    refusal::{not_found, too_many_wait},
    run::{Gate, Orphan, Run, StepHandle},
    service::Service,
    slot::Stop,
    value::{Event, Kind, Operation, Outcome, Progress, State, Step, StepState, asked},
    work::Beside,
};
use crate::{
    error::Result,
    id::{Entropy, Ordered},
    store::Store,
    time::Clock,
};

/// Changes that wait at the most.
const QUEUE: usize = 64;
/// How long a caller waits for a change. The change itself is not bound by it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Operations that are looked at at a time.
const PIECE: usize = 256;
/// Events of an operation that are kept.
pub const MOST_EVENTS: usize = 100;
/// Steps of an operation at the most.
pub const MOST_STEPS: usize = 256;
/// Lines of a report at the most.
pub const MOST_REPORT: usize = 100;

/// How operations are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long one is kept after its end.
    pub kept_for: Duration,
    /// How many are kept in all.
    pub most_kept: usize,
    /// How many may be under way.
    pub most_under_way: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { kept_for: Duration::from_secs(30 * 24 * 3600), most_kept: 10_000, most_under_way: 256 }
    }
}

/// An operation that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it does.
    pub kind: Kind,
    /// The service that it is about.
    pub service: String,
    /// The backup that it is about, where that is known.
    pub backup_id: Option<Ordered>,
    /// Who asks for it.
    pub created_by: String,
    /// The request id of the call. Empty: it has none.
    pub request_id: String,
    /// What the call asks for, as [`asked`] makes it: by it a repeat is told from another call with the same request id.
    pub asked: String,
    /// Of one scope, such as `backup/orders`, one operation is under way.
    pub scope: String,
}

/// An operation that was begun, or the one that this request had begun before.
#[derive(Debug)]
pub enum Begun {
    /// It is to be carried out.
    New(Run),
    /// The same caller has begun it before by the same request.
    Same(Arc<Operation>),
}

/// Which operations are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only about this service.
    pub service: Option<String>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only in this state.
    pub state: Option<State>,
}

impl Filter {
    fn takes(&self, operation: &Operation) -> bool {
        self.service.as_ref().is_none_or(|service| *service == operation.service)
            && self.kind.is_none_or(|kind| kind == operation.kind)
            && self.state.is_none_or(|state| state == operation.state)
    }
}

type Answer<T> = oneshot::Sender<Result<T>>;

enum Command {
    Begin { wanted: Box<Wanted>, answer: Answer<Begun> },
    Cancel { id: Ordered, by: String, message: String, answer: Answer<Arc<Operation>> },
}

/// The operations, for whoever begins, looks or cancels. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    clock: Clock,
    store: Store,
    index: RwLock<Index>,
    wake: Arc<Notify>,
}

/// Reads the operations from the store, and takes over those that had not ended. Where the store takes no writes now, that is
/// written by the service as soon as it does.
///
/// # Errors
/// The store cannot be read, or a record is damaged or from a newer build.
pub async fn open(
    options: Options,
    clock: Clock,
    entropy: Entropy,
    store: Store,
) -> Result<(Handle, Service, Vec<Orphan>)> {
    let (mut index, mut left, mut newest) = (Index::default(), Vec::new(), None);
    record::load(&store, |found| {
        newest = newest.max(Some(found.operation.id));
        match found.operation.state.is_final() {
            true => index.end(&found.operation),
            false => left.push(found),
        }
    })
    .await?;
    let wake = Arc::new(Notify::new());
    let shared = Arc::new(Shared { options, clock, store, index: RwLock::new(index), wake });
    let (sender, commands) = mpsc::channel(QUEUE);
    let service = Service::new(Arc::clone(&shared), entropy, commands, newest);
    let orphans = service.take_over(left).await?;
    Ok((Handle { shared, commands: sender }, service, orphans))
}

// === impl Handle ===

impl Handle {
    /// Begins an operation. Durable when it answers. A caller that goes away may have begun it; then it fails.
    ///
    /// # Errors
    /// The request id was used for something else, one of the same scope is under way, too many are, or the store cannot write.
    pub async fn begin(&self, wanted: Wanted) -> Result<Begun> {
        let wanted = Box::new(wanted);
        self.ask(|answer| Command::Begin { wanted, answer }).await
    }

    /// What the same caller has begun by the same request: to be looked at before anything is planned, since what was there then
    /// may be gone. None: nothing yet. Cancel safe.
    ///
    /// # Errors
    /// The request id was used for something else, or the store cannot be read.
    pub async fn repeated(&self, wanted: &Wanted) -> Result<Option<Arc<Operation>>> {
        self.shared.repeated(wanted).await
    }

    /// One operation, whole. Cancel safe.
    ///
    /// # Errors
    /// There is none of this id; or the store, which has those that ended, cannot be read.
    pub async fn get(&self, id: Ordered) -> Result<Arc<Operation>> {
        self.shared.get(id).await
    }

    /// One operation, whole, as it changes. Its final state is the last that is told. Cancel safe.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn watch(&self, id: Ordered) -> Result<watch::Receiver<Arc<Operation>>> {
        let slot = self.shared.index.read().slot(id).cloned();
        match slot {
            Some(slot) => Ok(slot.watch()),
            None => Ok(watch::channel(self.get(id).await?).1),
        }
    }

    /// Up to `limit` operations before an id that are taken by the filter and may be seen by their service, newest first and
    /// without steps, events and reports; and whether there are more. Lets others run in between. Cancel safe.
    pub async fn list(
        &self,
        filter: &Filter,
        is_seen: impl Fn(&str) -> bool,
        mut before: Option<Ordered>,
        limit: usize,
    ) -> (Vec<Arc<Operation>>, bool) {
        let mut found = Vec::new();
        loop {
            let piece = self.shared.index.read().before(before, PIECE);
            let Some(last) = piece.last() else { return (found, false) };
            before = Some(last.id);
            for operation in piece.iter().filter(|it| filter.takes(it) && is_seen(&it.service)) {
                if found.len() == limit {
                    return (found, true);
                }
                found.push(Arc::new(operation.lean()));
            }
            yield_now().await;
        }
    }

    /// Asks an operation to end, and answers it. Durable when it answers. Nothing happens to one that has ended or was
    /// cancelled before.
    ///
    /// # Errors
    /// There is none, it has gone too far, or the store cannot write.
    pub async fn cancel(&self, id: Ordered, by: &str, message: &str) -> Result<Arc<Operation>> {
        let (by, message) = (by.to_owned(), message.to_owned());
        self.ask(|answer| Command::Cancel { id, by, message, answer }).await
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.shared.index.read().under_way_count()
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(command(answer)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => refusal::busy(),
            mpsc::error::TrySendError::Closed(_) => refusal::stopping(),
        })?;
        match timeout(ANSWER_DEADLINE, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(refusal::stopping())),
            Err(_) => Err(refusal::late()),
        }
    }
}

impl Shared {
    async fn repeated(&self, wanted: &Wanted) -> Result<Option<Arc<Operation>>> {
        let before = self.index.read().repeated(wanted);
        match before.map_err(refusal::request_id_used)? {
            Some(id) => self.get(id).await.map(Some),
            None => Ok(None),
        }
    }

    async fn get(&self, id: Ordered) -> Result<Arc<Operation>> {
        let slot = self.index.read().slot(id).cloned();
        if let Some(slot) = slot {
            return Ok(slot.told());
        }
        match self.store.get(&record::key(id)).await? {
            Some(entry) => Ok(Arc::new(record::decode(&entry)?.operation)),
            None => Err(not_found(id)),
        }
    }
}

#[cfg(test)]
mod tests;
