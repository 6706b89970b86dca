//! The one writer of what is durable in the fleet: registrations, removals and specifications.
//!
//! Commands wait in a bounded queue. Each is checked, becomes part of a commit together with whatever
//! else waits, and only when the commit is durable does the registry change and is the caller answered.
//! Several commits are on their way at once, so that the disk always has the next one; what they do
//! shows in the order in which they were begun, and two commands about the same thing are never on their
//! way together: the second has to see what the first did. It waits apart, so that commands about
//! other things overtake it.
//!
//! **Registry and store agree.** The registrar waits for the store's final answer, however long that
//! takes: callers have a deadline of their own, and hear that the outcome is unknown. When a commit
//! fails in a way that leaves open what happened, nothing else is taken until it has been read back.
//! A caller that goes away loses its answer, never that agreement.

mod batch;
mod blocked;
mod restores;
mod step;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use parking_lot::RwLockWriteGuard;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tracing::{debug, info, warn};

use self::{
    batch::Batch,
    blocked::Blocked,
    restores::Restores,
    step::{Applied, Step},
};
use super::{
    Shared,
    names::{InstanceId, InstanceKey, ServiceName},
    registration::Registration,
    snapshot::{Instance, Removal, Service, Tombstone},
    spec::Spec,
    state::{Claim, Pending, State},
};
use crate::{
    error::{Chain, Error, Result},
    id::{SessionToken, TokenHash},
    store::{self, Revision, Store},
    task::drain,
    time::{Mono, Now},
};

/// Commands that may wait: at a few microseconds each, what a slow disk makes wait for about a second.
pub(super) const QUEUE: usize = 4096;
/// Commands that become one commit: bounded, so that the first of them does not wait for the last.
const BATCH: usize = 512;
/// Commits on their way at once. The store makes those that wait durable together.
const FLIGHTS: usize = 32;
/// Changes of the registry under one hold of its lock.
const APPLIED_AT_ONCE: usize = 64;
/// Pause between two tries to read back what became of a commit.
const READ_BACK_PAUSE: Duration = Duration::from_millis(250);

/// Where the answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// A registration and the token that proves it.
pub(super) type Registered = (Arc<Instance>, SessionToken);

/// Something durable to do.
#[derive(Debug)]
pub(super) enum Command {
    Register { registration: Arc<Registration>, claim: Claim, peer: Arc<str>, answer: Answer<Registered> },
    Remove { removal: RemoveCommand, answer: Answer<Arc<Tombstone>> },
    PutSpec { name: ServiceName, spec: Arc<Spec>, if_revision: Option<u64>, answer: Answer<Service> },
    DeleteSpec { name: ServiceName, if_revision: Option<u64>, answer: Answer<Deleted> },
}

/// Which instance to remove, and why.
#[derive(Debug)]
pub(super) struct RemoveCommand {
    pub(super) service: ServiceName,
    pub(super) id: InstanceId,
    pub(super) incarnation: Option<u64>,
    /// The token that a deregistration proves itself by; None for operators and for the lost.
    pub(super) token: Option<TokenHash>,
    /// Since when it has been lost, where it is removed for that: a later loss is another one.
    pub(super) lost_since: Option<Mono>,
    pub(super) removal: Removal,
    pub(super) message: String,
}

/// What became of a deletion.
#[derive(Debug)]
pub enum Deleted {
    /// The specification is gone; the service that remains, if it has instances.
    Gone(Option<Box<Service>>),
    /// There was none.
    Missing,
}

/// Runs until the drain begins and everything that was queued is done.
pub(super) async fn run(
    shared: Arc<Shared>,
    store: Store,
    commands: mpsc::Receiver<Command>,
    drain: drain::Watch,
) {
    let (waiting, blocked, underway) = (VecDeque::new(), Blocked::default(), Underway::default());
    let restores = Restores::default();
    Registrar { shared, store, commands, drain, waiting, blocked, underway, restores }.run().await;
}

struct Registrar {
    shared: Arc<Shared>,
    store: Store,
    commands: mpsc::Receiver<Command>,
    drain: drain::Watch,
    /// Taken from the queue and not yet begun, in order.
    waiting: VecDeque<Command>,
    /// Looked at, and about something that is underway.
    blocked: Blocked,
    underway: Underway,
    /// To be put back into the store, before anything else about the same instances.
    restores: Restores,
}

/// A commit that the store has answered.
struct Flight {
    steps: Vec<Step>,
    outcome: Result<Revision>,
}

async fn fly(store: Store, batch: Batch) -> Flight {
    let Batch { commit, steps, .. } = batch;
    Flight { steps, outcome: store.commit_settled(commit).await }
}

impl Registrar {
    async fn run(mut self) {
        let mut flights = FuturesOrdered::new();
        let mut incoming = Vec::with_capacity(BATCH);
        let (mut open, mut draining) = (true, false);
        while open
            || !self.waiting.is_empty()
            || !self.blocked.is_empty()
            || !self.restores.is_empty()
            || !flights.is_empty()
        {
            while flights.len() < FLIGHTS
                && let Some(batch) = self.next_batch().await
            {
                flights.push_back(fly(self.store.clone(), batch));
            }
            tokio::select! {
                biased;
                // First of all: a store that refuses at once always has an answer ready.
                () = self.drain.begun(), if !draining => {
                    // Nothing new is taken; what was queued is done.
                    self.commands.close();
                    self.restores.try_again();
                    draining = true;
                }
                () = self.restores.pause(), if self.restores.are_put_off() => self.restores.try_again(),
                Some(flight) = flights.next() => self.land(flight, draining).await,
                count = self.commands.recv_many(&mut incoming, BATCH), if open && self.waiting.len() < BATCH => {
                    open = count > 0;
                    self.waiting.extend(incoming.drain(..));
                }
                else => {}
            }
        }
    }

    /// The next commands that become one commit. None: all that wait have to wait for one underway.
    ///
    /// Not cancel safe: what it has taken and not yet answered would be lost.
    async fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        while !batch.is_full()
            && let Some(step) = self.restores.next()
        {
            if let Err(error) = batch.restore(&mut self.underway, step) {
                warn_of(&error, 1, "could not put back the record of an instance that was heard meanwhile");
            }
        }
        while !batch.is_full()
            && let Some(command) = self.waiting.pop_front()
        {
            if command.is_given_up() {
                continue;
            }
            let about = command.about();
            if self.restores.holds(&about) {
                // Nothing about it comes before that record, and the store takes none now.
                command.refuse(&not_now());
            } else if self.underway.has(&about) {
                self.blocked.hold(about, command);
            } else {
                batch.add(&self.shared, &mut self.underway, command).await;
            }
        }
        (!batch.steps.is_empty()).then_some(batch)
    }

    /// Does what the store says has become of a commit.
    async fn land(&mut self, flight: Flight, draining: bool) {
        let Flight { steps, outcome } = flight;
        for step in &steps {
            self.underway.end(step);
            let mut released = self.blocked.release(&step.about());
            if !released.is_empty() {
                // Before all that came later.
                released.append(&mut self.waiting);
                self.waiting = released;
            }
        }
        match outcome {
            Ok(revision) => self.apply(steps.into_iter().map(|step| (step, revision))),
            Err(error) if store::outcome_is_open(&error) => self.settle(steps, &error).await,
            Err(error) => {
                warn_of(&error, steps.len(), "could not write; callers are told to retry");
                let left: Vec<_> = steps.into_iter().filter_map(|step| step.refuse(&error)).collect();
                if draining {
                    give_up(left.len());
                } else {
                    self.restores.put_off(left);
                }
            }
        }
    }

    /// Changes the registry as the store has changed, and answers.
    fn apply(&mut self, mut steps: impl ExactSizeIterator<Item = (Step, Revision)>) {
        let now = self.shared.clock.now();
        while steps.len() > 0 {
            let mut state = self.shared.state.write();
            let applied = apply_some(&mut state, now, steps.by_ref());
            RwLockWriteGuard::unlock_fair(state);
            // Outside the lock: telling wakes the callers, and may write to the log.
            for applied in applied {
                match applied {
                    Applied::Done(told) => told.tell(),
                    Applied::TakeBack { restore, told } => {
                        // Nothing else is begun before the next batch, and that begins with it.
                        self.restores.add(*restore);
                        told.tell();
                    }
                }
            }
        }
    }

    /// Finds out what became of a commit whose outcome is open. Until that is known nothing else is
    /// begun, and callers hear so at once: they would be judged by a registry that may be behind.
    async fn settle(&mut self, steps: Vec<Step>, error: &Error) {
        warn_of(
            error,
            steps.len(),
            "a commit may or may not have happened; nothing is taken until it is read back",
        );
        let mut incoming = Vec::new();
        let fates = loop {
            if let Some(fates) = self.read_back(&steps).await {
                break fates;
            }
            let blocked = self.blocked.release_all();
            self.waiting.drain(..).chain(blocked).for_each(|command| command.refuse(&not_now()));
            let given_up = tokio::select! {
                biased;
                () = self.drain.begun() => true,
                count = self.commands.recv_many(&mut incoming, BATCH) => count == 0,
                () = sleep(READ_BACK_PAUSE) => false,
            };
            incoming.drain(..).for_each(|command: Command| command.refuse(&not_now()));
            if given_up {
                // The next start reads what is there.
                let left = steps.into_iter().filter_map(|step| step.refuse(error)).count();
                return give_up(left + self.restores.clear());
            }
        };
        let happened = fates.iter().flatten().count();
        info!(
            component = "fleet",
            operation = "read back",
            commands = steps.len(),
            happened,
            "the outcome is known"
        );
        let mut done = Vec::new();
        for (step, fate) in steps.into_iter().zip(fates) {
            match fate {
                Some(revision) => done.push((step, revision)),
                None => {
                    if let Some(restore) = step.refuse(&not_now()) {
                        self.restores.add(restore);
                    }
                }
            }
        }
        self.apply(done.into_iter());
    }

    /// For each step the revision at which it happened, or that it did not. None: that cannot be told yet.
    async fn read_back(&self, steps: &[Step]) -> Option<Vec<Option<Revision>>> {
        // While the store does not write, it may show what never reached the disk.
        if !self.store.status().writable {
            return None;
        }
        let mut fates = Vec::with_capacity(steps.len());
        for step in steps {
            match step.happened(&self.store).await {
                Ok(fate) => fates.push(fate),
                Err(error) => {
                    debug!(component = "fleet", operation = "read back", error = %Chain(&error), "cannot read");
                    return None;
                }
            }
        }
        Some(fates)
    }
}

/// Changes the registry by some steps, no more than may be under one hold of its lock.
fn apply_some(state: &mut State, now: Now, steps: impl Iterator<Item = (Step, Revision)>) -> Vec<Applied> {
    let mut applied = Vec::new();
    for (step, revision) in steps.take(APPLIED_AT_ONCE) {
        applied.push(step.apply(state, now, revision));
        // One walk along dependencies is enough for a hold.
        if state.take_walked() {
            break;
        }
    }
    applied
}

fn warn_of(error: &Error, commands: usize, what: &str) {
    warn!(component = "fleet", operation = "commit", commands, error = %Chain(error), "{what}");
}

/// The end has come before the store takes it: after the next start these learn that they were removed, and
/// register anew.
fn give_up(left: usize) {
    if left > 0 {
        warn!(
            component = "fleet",
            operation = "restore",
            left,
            "could not put back records of instances that live"
        );
    }
}

/// Nothing was written of what was asked for.
fn not_now() -> Error {
    store::refused("could not write, and nothing was changed")
}

/// What is on its way to the store and not yet in the registry.
#[derive(Default)]
struct Underway {
    subjects: HashSet<About>,
    new_instances: usize,
    /// How many steps bring each.
    new_services: HashMap<ServiceName, usize>,
}

/// What a command is about.
#[derive(Eq, Hash, PartialEq)]
enum About {
    Instance(InstanceKey),
    /// All specifications together: whether they form a circle depends on each.
    Specs,
}

impl Underway {
    fn has(&self, about: &About) -> bool {
        self.subjects.contains(about)
    }

    /// What a command about this service has to reckon with.
    fn pending(&self, service: &ServiceName) -> Pending {
        let own = usize::from(self.new_services.contains_key(service));
        Pending { instances: self.new_instances, services: self.new_services.len() - own }
    }

    fn begin(&mut self, step: &Step) {
        self.subjects.insert(step.about());
        self.new_instances += usize::from(step.new_instance());
        if let Some(service) = step.new_service() {
            *self.new_services.entry(service.clone()).or_default() += 1;
        }
    }

    fn end(&mut self, step: &Step) {
        self.subjects.remove(&step.about());
        self.new_instances -= usize::from(step.new_instance());
        if let Some(service) = step.new_service()
            && let Some(steps) = self.new_services.get_mut(service)
        {
            *steps -= 1;
            if *steps == 0 {
                self.new_services.remove(service);
            }
        }
    }
}

impl Command {
    fn about(&self) -> About {
        match self {
            Command::Register { registration, .. } => About::Instance(registration.key.clone()),
            Command::Remove { removal: RemoveCommand { service, id, .. }, .. } => {
                About::Instance(InstanceKey { service: service.clone(), id: id.clone() })
            }
            Command::PutSpec { .. } | Command::DeleteSpec { .. } => About::Specs,
        }
    }

    /// Whether nobody waits for it any more, so that it need not be begun.
    fn is_given_up(&self) -> bool {
        match self {
            // Nobody would have the token: the id would be held until the lease runs out.
            Command::Register { answer, .. } => answer.is_closed(),
            // Who is lost has nobody who waits, and who says goodbye need not stay to hear the answer.
            Command::Remove { removal, answer } => removal.removal == Removal::Operator && answer.is_closed(),
            Command::PutSpec { answer, .. } => answer.is_closed(),
            Command::DeleteSpec { answer, .. } => answer.is_closed(),
        }
    }

    fn refuse(self, error: &Error) {
        match self {
            Command::Register { answer, .. } => reply(answer, Err(error.again())),
            Command::Remove { answer, .. } => reply(answer, Err(error.again())),
            Command::PutSpec { answer, .. } => reply(answer, Err(error.again())),
            Command::DeleteSpec { answer, .. } => reply(answer, Err(error.again())),
        }
    }
}

/// A caller that went away needs no answer.
fn reply<T>(answer: Answer<T>, result: Result<T>) {
    drop(answer.send(result));
}
