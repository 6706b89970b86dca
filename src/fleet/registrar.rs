//! The one writer of what is durable in the fleet: registrations, removals and specifications.
//!
//! Commands wait in a bounded queue. Whatever has queued while the last commit was on its way becomes
//! one commit: each is checked, all are written together, and only then does the registry change and
//! are the callers answered. A caller that goes away loses its answer, never the consistency between
//! store and registry.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{
    Shared,
    group::OperatorSpec,
    member::Birth,
    names::{InstanceId, InstanceKey, ServiceName},
    record,
    refusal::Refusal,
    registration::Registration,
    snapshot::{Instance, Removal, Service, Tombstone},
    spec::Spec,
    state::{Claim, Grave, Pending, State},
};
use crate::{
    error::{Chain, Error, Result},
    id::{SessionToken, TokenHash},
    store::{Commit, Store},
    task::drain,
    time::Now,
};

/// Commands that may wait: at a few microseconds each, what a slow disk makes wait for about a second.
pub(super) const QUEUE: usize = 4096;
/// Commands that become one commit: bounded, so that the first of them does not wait for the last.
const BATCH: usize = 512;

/// Bytes of records after which a batch is full; one more record still fits into what the store takes.
const BATCH_BYTES: usize = 512 * 1024;

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

/// What to change once it is durable, and whom to tell.
enum Step {
    Admit { birth: Birth, token: SessionToken, answer: Answer<Registered> },
    Bury { grave: Grave, answer: Answer<Arc<Tombstone>> },
    SetSpec { name: ServiceName, operator: OperatorSpec, answer: Answer<Service> },
    ClearSpec { name: ServiceName, answer: Answer<Deleted> },
}

/// Runs until the drain begins and the queue is empty.
pub(super) async fn run(
    shared: Arc<Shared>,
    store: Store,
    mut commands: mpsc::Receiver<Command>,
    mut drain: drain::Watch,
) {
    let mut waiting = VecDeque::new();
    let mut incoming = Vec::with_capacity(BATCH);
    loop {
        if waiting.is_empty() {
            tokio::select! {
                biased;
                count = commands.recv_many(&mut incoming, BATCH) => if count == 0 { return },
                () = drain.begun() => {
                    // Nothing new is taken; what was queued is done.
                    commands.close();
                    if commands.recv_many(&mut incoming, BATCH).await == 0 { return }
                }
            }
        }
        waiting.extend(incoming.drain(..));
        write(&shared, &store, &mut waiting).await;
    }
}

/// Writes one batch. Two commands about the same thing never share one: the second has to see what
/// the first did.
async fn write(shared: &Shared, store: &Store, waiting: &mut VecDeque<Command>) {
    let mut batch = Batch::default();
    let mut touched = HashSet::new();
    let mut later = VecDeque::new();
    while let Some(command) = waiting.pop_front() {
        if batch.steps.len() >= BATCH || batch.bytes > BATCH_BYTES || !touched.insert(subject(&command)) {
            later.push_back(command);
        } else {
            batch.add(shared, command);
        }
    }
    *waiting = later;
    if batch.steps.is_empty() {
        return;
    }
    match store.commit(batch.commit).await {
        Ok(_) => {
            let now = shared.clock.now();
            let mut state = shared.state.write();
            for step in batch.steps {
                step.apply(&mut state, now);
            }
        }
        Err(error) => {
            warn!(
                component = "fleet",
                operation = "commit",
                commands = batch.steps.len(),
                error = %Chain(&error),
                "could not write; callers are told to retry"
            );
            for step in batch.steps {
                step.refuse(&error);
            }
        }
    }
}

/// What a command is about.
#[derive(Eq, Hash, PartialEq)]
enum About {
    Instance(InstanceKey),
    /// All specifications together: whether they form a circle depends on each.
    Specs,
}

fn subject(command: &Command) -> About {
    match command {
        Command::Register { registration, .. } => About::Instance(registration.key.clone()),
        Command::Remove { removal, .. } => {
            About::Instance(InstanceKey { service: removal.service.clone(), id: removal.id.clone() })
        }
        Command::PutSpec { .. } | Command::DeleteSpec { .. } => About::Specs,
    }
}

#[derive(Default)]
struct Batch {
    commit: Commit,
    bytes: usize,
    new_instances: usize,
    new_services: HashSet<ServiceName>,
    steps: Vec<Step>,
}

impl Batch {
    /// Checks a command and adds what it writes, or answers it at once.
    fn add(&mut self, shared: &Shared, command: Command) {
        match command {
            Command::Register { registration, claim, peer, answer } => {
                match self.register(shared, registration, claim, peer) {
                    Ok((birth, token)) => self.steps.push(Step::Admit { birth, token, answer }),
                    Err(error) => reply(answer, Err(error)),
                }
            }
            Command::Remove { removal, answer } => match self.remove(shared, removal) {
                Ok(grave) => self.steps.push(Step::Bury { grave, answer }),
                Err(error) => reply(answer, Err(error)),
            },
            Command::PutSpec { name, spec, if_revision, answer } => {
                match self.put_spec(shared, &name, spec, if_revision) {
                    Ok(operator) => self.steps.push(Step::SetSpec { name, operator, answer }),
                    Err(error) => reply(answer, Err(error)),
                }
            }
            Command::DeleteSpec { name, if_revision, answer } => {
                match shared.state.read().check_delete(&name, if_revision) {
                    Ok(true) => {
                        self.delete(record::service_key(&name));
                        self.steps.push(Step::ClearSpec { name, answer });
                    }
                    Ok(false) => reply(answer, Ok(Deleted::Missing)),
                    Err(error) => reply(answer, Err(error)),
                }
            }
        }
    }

    fn register(
        &mut self,
        shared: &Shared,
        registration: Arc<Registration>,
        claim: Claim,
        peer: Arc<str>,
    ) -> Result<(Birth, SessionToken)> {
        let now = shared.clock.now();
        let key = &registration.key;
        let others = self.new_services.iter().filter(|name| **name != key.service).count();
        let pending = Pending { instances: self.new_instances, services: others };
        let incarnation = shared.state.read().check_register(now, &registration, claim, pending)?;
        if !shared.state.read().knows(key) {
            self.new_instances += 1;
            if shared.service_is_new(&key.service) {
                self.new_services.insert(key.service.clone());
            }
        }
        let token = shared.entropy.session_token()?;
        let birth = Birth {
            registration,
            incarnation,
            token: token.hash(),
            request: claim.request,
            peer,
            registered: now.wall,
            confirmed: true,
        };
        let key = &birth.registration.key;
        self.put(record::instance_key(key), record::encode_instance(&birth)?);
        if shared.state.read().grave(key).is_some() {
            self.delete(record::tombstone_key(key));
        }
        Ok((birth, token))
    }

    fn remove(&mut self, shared: &Shared, command: RemoveCommand) -> Result<Grave> {
        let RemoveCommand { service, id, incarnation, token, removal, message } = command;
        let state = shared.state.read();
        let (incarnation, token) = match (token, incarnation) {
            (Some(token), incarnation) => {
                let incarnation = incarnation.unwrap_or_default();
                let member = state.authenticate(service.as_str(), id.as_str(), incarnation, &token);
                let member = member.map_err(|refusal| refusal.about(service.as_str(), id.as_str()))?;
                (member.incarnation, member.token)
            }
            (None, incarnation) => {
                let protect = removal == Removal::Operator;
                let member = state.check_remove(&service, &id, incarnation, protect)?;
                // It may have been heard since somebody decided that it was lost for too long.
                if removal == Removal::Lost && member.lost_since().is_none() {
                    return Err(Refusal::NotFound.about(service.as_str(), id.as_str()));
                }
                (member.incarnation, member.token)
            }
        };
        let key = InstanceKey { service, id };
        let tombstone = Tombstone { key, incarnation, removal, message, removed: shared.clock.now().wall };
        let grave = Grave { tombstone: Arc::new(tombstone), token };
        self.delete(record::instance_key(&grave.tombstone.key));
        self.put(record::tombstone_key(&grave.tombstone.key), record::encode_grave(&grave)?);
        Ok(grave)
    }

    fn put_spec(
        &mut self,
        shared: &Shared,
        name: &ServiceName,
        spec: Arc<Spec>,
        if_revision: Option<u64>,
    ) -> Result<OperatorSpec> {
        let state = shared.state.read();
        state.check_put(name, &spec, if_revision)?;
        let operator =
            OperatorSpec { spec, revision: state.next_spec_revision(), updated: shared.clock.now().wall };
        self.put(record::service_key(name), record::encode_operator_spec(&operator)?);
        Ok(operator)
    }

    fn put(&mut self, key: String, value: bytes::Bytes) {
        self.bytes += key.len() + value.len();
        self.commit = std::mem::take(&mut self.commit).put(key, value);
    }

    fn delete(&mut self, key: String) {
        self.commit = std::mem::take(&mut self.commit).delete(key);
    }
}

impl Step {
    fn apply(self, state: &mut State, now: Now) {
        match self {
            Step::Admit { birth, token, answer } => {
                let Birth { registration, incarnation, peer, .. } = &birth;
                let instance = &registration.key;
                debug!(component = "fleet", operation = "register", %instance, incarnation, %peer, "registered");
                let instance = state.admit(now, birth);
                reply(answer, Ok((instance, token)));
            }
            Step::Bury { grave, answer } => {
                let tombstone = Arc::clone(&grave.tombstone);
                let Tombstone { key: instance, incarnation, removal, message, removed: _ } = &*tombstone;
                let why = removal.as_str();
                info!(component = "fleet", operation = "remove", %instance, incarnation, why, message, "removed");
                state.bury(now, grave);
                reply(answer, Ok(tombstone));
            }
            Step::SetSpec { name, operator, answer } => {
                info!(component = "fleet", operation = "put", service = %name, revision = operator.revision, "specification put");
                let service = state.set_spec(now, &name, Some(operator));
                reply(
                    answer,
                    service.ok_or_else(|| Error::internal("the service that was put is not there")),
                );
            }
            Step::ClearSpec { name, answer } => {
                info!(component = "fleet", operation = "delete", service = %name, "specification deleted");
                let left = state.set_spec(now, &name, None);
                reply(answer, Ok(Deleted::Gone(left.map(Box::new))));
            }
        }
    }

    fn refuse(self, error: &Error) {
        match self {
            Step::Admit { answer, .. } => reply(answer, Err(error.again())),
            Step::Bury { answer, .. } => reply(answer, Err(error.again())),
            Step::SetSpec { answer, .. } => reply(answer, Err(error.again())),
            Step::ClearSpec { answer, .. } => reply(answer, Err(error.again())),
        }
    }
}

/// A caller that went away needs no answer.
fn reply<T>(answer: Answer<T>, result: Result<T>) {
    drop(answer.send(result));
}
