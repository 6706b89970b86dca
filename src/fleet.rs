//! The registry: which instances of which services live, how healthy they are, and what changed.
//!
//! Rules live in `state`, a plain value that time and messages are passed to. Here it stands behind a
//! lock that is held for microseconds and never over an await: being heard, reporting and reading go
//! to it directly. What has to be durable first goes through one queue to the `registrar`; what holds
//! over time is the `reconciler`'s. The room knows nothing of gRPC, nor of how a session is carried.

mod agenda;
pub mod changes;
mod circles;
mod declared;
pub mod directive;
pub mod directives;
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod graves;
mod group;
mod journal;
pub mod lease;
pub mod lifecycle;
pub mod loading;
mod member;
mod members;
pub mod names;
pub mod pairs;
pub mod past;
pub mod query;
pub mod reading;
mod reconciler;
mod record;
pub mod refusal;
mod registrar;
pub mod registration;
pub mod scan;
mod sequences;
pub mod session;
#[cfg(test)]
mod sim;
pub mod snapshot;
pub mod spec;
mod state;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod version;
mod waves;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use self::{
    group::TRANSITIONS_KEPT,
    member::Report,
    reconciler::TICK,
    registrar::Deleted,
    state::{Claim, Limits, NEEDED, Totals},
    waves::PROTECTION_LIMIT,
};
use self::{
    lifecycle::Lifecycle,
    loading::{Progress, load},
    names::{InstanceId, InstanceKey, ServiceName},
    refusal::Refusal,
    registrar::{Answer, Command, RemoveCommand},
    registration::Registration,
    session::{Opening, Session},
    snapshot::{Instance, Removal, Service as ServiceSnapshot, Tombstone},
    spec::Spec,
    state::State,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    id::{Entropy, SessionToken, TokenHash},
    store::{self, Store},
    task::drain,
    time::{Clock, Mono, Now},
};

/// Instances that are found again under one hold of the state's lock.
const HEARD_AT_ONCE: usize = 256;
/// When to come back if a durable change was not answered.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);
/// How long a caller waits for a durable change. The change itself is not bound by it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// How the fleet is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bounds and patience.
    pub limits: Limits,
}

/// Does what is durable and what holds over time. Owns the fleet's queue.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    store: Store,
    commands: mpsc::Receiver<Command>,
    /// When it began to be read from the store: from then on leases run.
    opened: Mono,
}

/// The fleet, for whoever asks or tells. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    entropy: Entropy,
    boot_epoch: String,
    state: RwLock<State>,
    heartbeats: AtomicU64,
    reports: AtomicU64,
    ignored_reports: AtomicU64,
}

/// Events since the start, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Heartbeats that renewed a lease.
    pub heartbeats: u64,
    /// Health reports of components that were taken.
    pub reports: u64,
    /// Waves of losses that began, and were put under protection.
    pub protections: u64,
    /// Reports of directives that nobody waited for.
    pub ignored_reports: u64,
}

/// Reads the fleet from the store. Instances come back READY, unconfirmed, with a whole lease ahead.
/// `progress` is told of every record.
///
/// # Errors
/// The store cannot be read, or a record is damaged or from a newer build.
pub async fn open(
    options: Options,
    clock: Clock,
    entropy: Entropy,
    store: Store,
    progress: &Progress,
) -> Result<(Handle, Service)> {
    // One time for all that is read: their leases begin together, and nobody is heard before `run`.
    let now = clock.now();
    progress.begin(store.status().keys);
    let mut state = State::new(options.limits);
    load(&store, progress, record::TOMBSTONES, record::decode_grave, |grave| state.restore_grave(grave))
        .await?;
    load(&store, progress, record::SERVICES, record::decode_operator_spec, |(name, operator)| {
        state.restore_spec(now, &name, operator);
    })
    .await?;
    load(&store, progress, record::INSTANCES, record::decode_instance, |birth| {
        state.restore_instance(now, birth);
    })
    .await?;
    state.restored(now);
    load(&store, progress, record::TRANSITIONS, record::decode_transition, |past| {
        state.restore_transition(past);
    })
    .await?;
    state.skip_sequences(sequences::reserved(&store).await?);
    let (sender, commands) = mpsc::channel(registrar::QUEUE);
    let shared = Shared {
        clock,
        boot_epoch: entropy.name("boot")?,
        entropy,
        state: RwLock::new(state),
        heartbeats: AtomicU64::new(0),
        reports: AtomicU64::new(0),
        ignored_reports: AtomicU64::new(0),
    };
    // Before any of them is used. Nobody can use one in an empty store, and a start that fails leaves it empty.
    if store.status().keys > 0 {
        sequences::reserve(&shared, &store).await;
    }
    let handle = Handle { shared: Arc::new(shared), commands: sender };
    Ok((handle.clone(), Service { handle, store, commands, opened: now.mono }))
}

// === impl Service ===

impl Service {
    /// Runs until the drain begins; then finishes what was queued and writes down what is left. False:
    /// some of it could not be written. Whoever may be heard can be from here on: leases are judged.
    pub async fn run(self, drain: drain::Watch) -> bool {
        let Self { handle, store, commands, opened } = self;
        let registrar = async {
            sequences::reserve(&handle.shared, &store).await;
            registrar::run(Arc::clone(&handle.shared), store.clone(), commands, drain.clone()).await;
        };
        let journal = journal::run(Arc::clone(&handle.shared), store.clone(), drain.clone());
        let reconciler = reconciler::run(handle.clone(), drain.clone(), opened);
        let graph = graph::run(&handle.shared, drain.clone());
        let ((), (), (), written) = tokio::join!(registrar, reconciler, graph, journal);
        written
    }
}

// === impl Handle ===

impl Handle {
    /// Identifies this run of the control plane.
    pub fn boot_epoch(&self) -> &str {
        &self.shared.boot_epoch
    }

    /// Registers an instance as a new incarnation. Durable when it answers.
    ///
    /// # Errors
    /// The id is held by a living incarnation that the claim does not match, the fleet is full, or
    /// the store cannot write. Cancel safe: a caller that goes away may or may not have registered.
    pub async fn register(
        &self,
        registration: Registration,
        claim: Claim,
        peer: &str,
    ) -> Result<(Arc<Instance>, SessionToken)> {
        let (registration, peer) = (Arc::new(registration), peer.into());
        self.ask(|answer| Command::Register { registration, claim, peer, answer }).await
    }

    /// Ends an incarnation that proves itself by its token.
    ///
    /// # Errors
    /// It is not registered, stale or removed, the token is wrong, or the store cannot write.
    pub async fn deregister(
        &self,
        key: InstanceKey,
        incarnation: u64,
        token: TokenHash,
        message: String,
    ) -> Result<Arc<Tombstone>> {
        self.remove_by(RemoveCommand {
            service: key.service,
            id: key.id,
            incarnation: Some(incarnation),
            token: Some(token),
            lost_since: None,
            removal: Removal::Deregistered,
            message,
        })
        .await
    }

    /// Removes an instance for an operator.
    ///
    /// # Errors
    /// There is no such instance or incarnation, its service is protected, or the store cannot write.
    pub async fn remove(
        &self,
        key: InstanceKey,
        incarnation: Option<u64>,
        message: String,
    ) -> Result<Arc<Tombstone>> {
        self.remove_by(RemoveCommand {
            service: key.service,
            id: key.id,
            incarnation,
            token: None,
            lost_since: None,
            removal: Removal::Operator,
            message,
        })
        .await
    }

    async fn remove_by(&self, removal: RemoveCommand) -> Result<Arc<Tombstone>> {
        self.ask(|answer| Command::Remove { removal, answer }).await
    }

    /// Queues a removal whose outcome nobody waits for. False: the queue is full, and it was dropped.
    fn try_remove(&self, removal: RemoveCommand) -> bool {
        let (answer, _) = oneshot::channel();
        self.commands.try_send(Command::Remove { removal, answer }).is_ok()
    }

    /// Puts an operator's specification. `if_revision`: only over this one; 0: only if there is none. A circle
    /// of hard dependencies is looked for in 65,536 steps; one farther away is shown a moment later, not refused.
    ///
    /// # Errors
    /// The revision differs, hard dependencies would form a circle, the fleet is full, or the store
    /// cannot write.
    pub async fn put_service(
        &self,
        name: ServiceName,
        spec: Spec,
        if_revision: Option<u64>,
    ) -> Result<ServiceSnapshot> {
        let spec = Arc::new(spec);
        self.ask(|answer| Command::PutSpec { name, spec, if_revision, answer }).await
    }

    /// Deletes an operator's specification.
    ///
    /// # Errors
    /// The revision differs, the service is protected, or the store cannot write.
    pub async fn delete_service(&self, name: ServiceName, if_revision: Option<u64>) -> Result<Deleted> {
        self.ask(|answer| Command::DeleteSpec { name, if_revision, answer }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(command(answer)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                store::refused(format_args!("has {} changes waiting already", registrar::QUEUE))
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match timeout(ANSWER_DEADLINE, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopping())),
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                Reason::StoreUnavailable,
                format!(
                    "the change was not written within {ANSWER_DEADLINE:?}; the outcome is unknown, \
                     read it before you repeat it"
                ),
            )
            .retry_after(QUEUE_PAUSE)),
        }
    }

    /// Takes one sign of life.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn heartbeat(
        &self,
        service: &str,
        id: &str,
        incarnation: u64,
        token: &TokenHash,
    ) -> Result<(), Refusal> {
        let mut outcome = Err(Refusal::NotFound);
        self.heartbeats([(service, id, incarnation, token)], |result| outcome = result);
        outcome
    }

    /// Takes signs of life of many instances, and gives each outcome to `each`, in order.
    pub fn heartbeats<'a>(
        &self,
        beats: impl IntoIterator<Item = (&'a str, &'a str, u64, &'a TokenHash)>,
        mut each: impl FnMut(Result<(), Refusal>),
    ) {
        let now = self.shared.clock.now();
        let mut noticed = Vec::new();
        let mut renewed = 0;
        {
            let state = self.shared.state.read();
            for (service, id, incarnation, token) in beats {
                each(state.authenticate(service, id, incarnation, token).map(|member| {
                    renewed += 1;
                    if member.lease.touch(now.mono) {
                        noticed.push((member.registration.key.clone(), incarnation));
                    }
                }));
            }
        }
        self.shared.heartbeats.fetch_add(renewed, Ordering::Relaxed);
        for some in noticed.chunks(HEARD_AT_ONCE) {
            let mut state = self.shared.state.write();
            for (key, incarnation) in some {
                state.hear(now, key, *incarnation);
            }
            RwLockWriteGuard::unlock_fair(state);
        }
    }

    /// Whether an incarnation proves itself by its token. Nothing else follows: it is no sign of life.
    ///
    /// # Errors
    /// It is not registered, stale or removed, or the token is wrong.
    pub fn prove(&self, key: &InstanceKey, incarnation: u64, token: &TokenHash) -> Result<()> {
        let (service, id) = (key.service.as_str(), key.id.as_str());
        let proved = self.shared.state.read().authenticate(service, id, incarnation, token).map(drop);
        proved.map_err(|refusal| refusal.about(service, id))
    }

    /// Takes reports and a lifecycle of an instance that proves itself by its token.
    ///
    /// # Errors
    /// It is not registered, stale or removed, the token is wrong, or the lifecycle cannot follow.
    pub fn report(
        &self,
        key: &InstanceKey,
        incarnation: u64,
        token: &TokenHash,
        reports: impl FnOnce(&Registration) -> Result<Vec<Report>>,
        lifecycle: Option<Lifecycle>,
    ) -> Result<Arc<Instance>> {
        let now = self.shared.clock.now();
        let refused = |refusal: Refusal| refusal.about(key.service.as_str(), key.id.as_str());
        let (registration, lease) = {
            let state = self.shared.state.read();
            let member = state
                .authenticate(key.service.as_str(), key.id.as_str(), incarnation, token)
                .map_err(refused)?;
            member.bring_near();
            (Arc::clone(&member.registration), Arc::clone(&member.lease))
        };
        // Without the lock: how long this takes is up to whoever sent it. The incarnation is looked up
        // again afterwards.
        let reports = reports(&registration)?;
        lease.touch(now.mono);
        self.take_reports(now, key, incarnation, reports, lifecycle)
    }

    fn take_reports(
        &self,
        now: Now,
        key: &InstanceKey,
        incarnation: u64,
        reports: Vec<Report>,
        lifecycle: Option<Lifecycle>,
    ) -> Result<Arc<Instance>> {
        let count = reports.len() as u64;
        let after = self.shared.state.write().report(now, key, incarnation, reports, lifecycle)?;
        self.shared.reports.fetch_add(count, Ordering::Relaxed);
        Ok(after)
    }

    /// Takes what an active check found of a component of an incarnation. Its lease is not touched. False:
    /// that incarnation is gone, lost or stopped, and the result was dropped.
    pub fn checked(&self, key: &InstanceKey, incarnation: u64, found: Report) -> bool {
        let now = self.shared.clock.now();
        self.shared.state.write().checked(now, key, incarnation, found)
    }

    /// Takes note that an active check could not ask a component, and why: once that has lasted for as long
    /// as a silence may, it is unknown for this reason. False: as for [`Handle::checked`].
    pub fn not_checked(&self, key: &InstanceKey, incarnation: u64, component: usize, why: String) -> bool {
        let now = self.shared.clock.now();
        self.shared.state.write().not_checked(now, key, incarnation, component, why)
    }

    /// Opens a session for an instance that proves itself by its token. `takes_directives`: what its client says.
    ///
    /// # Errors
    /// It is not registered, stale or removed, or the token is wrong.
    pub fn open_session(
        &self,
        key: &InstanceKey,
        incarnation: u64,
        token: &TokenHash,
        opening: Opening,
        takes_directives: bool,
    ) -> Result<(Session, Arc<Instance>)> {
        let mut state = self.shared.state.write();
        let refused = |refusal: Refusal| refusal.about(key.service.as_str(), key.id.as_str());
        let member =
            state.authenticate(key.service.as_str(), key.id.as_str(), incarnation, token).map_err(refused)?;
        let now = self.shared.clock.now();
        if opening == Opening::Resumed {
            // Opening it tells the registry all that a notice would.
            let _noticed = member.lease.touch(now.mono);
        }
        state.open_session(now, key, incarnation, takes_directives)
    }

    /// Takes a sign of life on an open session: the hot path, without any lock.
    #[inline]
    pub fn session_heard(&self, session: &Session) {
        let lease = &session.lease;
        self.shared.heartbeats.fetch_add(1, Ordering::Relaxed);
        if lease.touch(self.shared.clock.mono()) {
            let instance = &session.instance;
            self.shared.state.write().hear(
                self.shared.clock.now(),
                &instance.registration.key,
                instance.incarnation,
            );
        }
    }

    /// Takes reports and a lifecycle on an open session.
    ///
    /// # Errors
    /// The incarnation is no longer registered, or the lifecycle cannot follow.
    pub fn session_report(
        &self,
        session: &Session,
        reports: Vec<Report>,
        lifecycle: Option<Lifecycle>,
    ) -> Result<Arc<Instance>> {
        let now = self.shared.clock.now();
        session.lease.touch(now.mono);
        let instance = &session.instance;
        self.take_reports(now, &instance.registration.key, instance.incarnation, reports, lifecycle)
    }

    /// Ends an incarnation whose session asks for it.
    ///
    /// # Errors
    /// It is gone already, or the store cannot write.
    pub async fn session_leave(
        &self,
        key: InstanceKey,
        incarnation: u64,
        message: String,
    ) -> Result<Arc<Tombstone>> {
        self.remove_by(RemoveCommand {
            service: key.service,
            id: key.id,
            incarnation: Some(incarnation),
            token: None,
            lost_since: None,
            removal: Removal::Deregistered,
            message,
        })
        .await
    }

    /// The stream of a session has ended. The lease runs on.
    pub fn close_session(&self, session: &Session) {
        let instance = &session.instance;
        let mut state = self.shared.state.write();
        state.close_session(
            self.shared.clock.now(),
            &instance.registration.key,
            instance.incarnation,
            session.id,
        );
    }

    /// Changes how many instances and services there may be. Those that are there stay.
    pub fn set_limits(&self, max_instances: usize, max_services: usize) {
        self.shared.state.write().set_limits(max_instances, max_services);
    }

    /// Events since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            heartbeats: self.shared.heartbeats.load(Ordering::Relaxed),
            reports: self.shared.reports.load(Ordering::Relaxed),
            protections: self.shared.state.read().waves().begun(),
            ignored_reports: self.shared.ignored_reports.load(Ordering::Relaxed),
        }
    }
}

fn stopping() -> Error {
    Error::new(
        Kind::Unavailable,
        Reason::ServerDraining,
        "the control plane is stopping; retry on another one or later",
    )
    .retry_after(QUEUE_PAUSE)
}

/// Checks that an id can be made for an instance that brings none.
///
/// # Errors
/// The operating system's generator failed.
pub fn new_instance_id(entropy: &Entropy) -> Result<InstanceId> {
    let name = entropy.name("i")?;
    InstanceId::parse(&name).map_err(|invalid| Error::internal(invalid.0))
}
