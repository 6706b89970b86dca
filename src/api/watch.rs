//! Streams of changes: `WatchFleet` and `WatchHealth`.
//!
//! A watch holds a place in the sequence of changes and reads on from there whenever its caller takes
//! more. It has no queue: a slow caller falls behind in the fleet's own bounded history, and is told
//! so by a reset. Full state comes first, in parts.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_core::Stream;
use futures_util::stream::unfold;
use tokio::{sync::watch::Receiver, time::timeout};
use tonic::Status;

use super::{
    convert::{instance, service, timestamp},
    parse::{self, Fields},
    proto::v1 as pb,
    status::status,
    target::{self, Target},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        Handle,
        changes::Change,
        names::ServiceName,
        snapshot::{Instance, Revision, Service},
    },
    guard::caller::Caller,
};

/// Items in one part of full state.
const PART: usize = 500;
/// Changes that are read at once.
const BATCH: usize = 256;
/// After so long without a change, a watch says how far it has come.
const BOOKMARK: Duration = Duration::from_secs(30);

/// Counts watches that are open. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<AtomicU64>);

impl Watchers {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one until it is dropped.
    pub fn enter(&self) -> Watching {
        self.0.fetch_add(1, Ordering::Relaxed);
        Watching(Arc::clone(&self.0))
    }
}

/// One open watch.
#[derive(Debug)]
pub struct Watching(Arc<AtomicU64>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Becomes ready when the connection of a caller is to end; never without one.
pub(super) async fn goodbye(closing: &mut Option<Receiver<bool>>) {
    match closing {
        Some(receiver) => drop(receiver.wait_for(|closing| *closing).await),
        None => std::future::pending().await,
    }
}

/// The last message of a watch when its connection ends.
pub(super) fn leaving() -> Status {
    status(
        &Error::new(
            Kind::Unavailable,
            Reason::ServerDraining,
            "the control plane ends this connection; watch again from your cursor",
        )
        .retry_after(Duration::from_secs(1)),
    )
}

/// Follows the fleet.
///
/// # Errors
/// The name of the service is malformed.
pub fn fleet(
    fleet: Handle,
    watching: Watching,
    caller: Option<Caller>,
    wire: pb::WatchFleetRequest,
) -> Result<impl Stream<Item = Result<pb::WatchFleetResponse, Status>> + Send + use<>> {
    let pb::WatchFleetRequest { service, resume_after } = wire;
    let mut fields = Fields::default();
    let only = (!service.is_empty()).then(|| parse::service_name(&mut fields, "service", &service)).flatten();
    fields.check()?;
    let changed = match &only {
        Some(name) => fleet.service_changed(name),
        None => fleet.changed(),
    };
    let mut watch = FleetWatch {
        closing: caller.map(|caller| caller.connection.closing),
        ready: VecDeque::new(),
        cursor: 0,
        changed,
        only,
        fleet,
        _watching: watching,
    };
    match resume_after {
        None => watch.reset(pb::ResetReason::Initial),
        Some(pb::WatchCursor { boot_epoch, .. }) if boot_epoch != watch.fleet.boot_epoch() => {
            watch.reset(pb::ResetReason::OtherEpoch);
        }
        Some(pb::WatchCursor { revision, .. }) => watch.cursor = revision,
    }
    Ok(unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let next = watch.next().await;
        let rest = next.is_ok().then_some(watch);
        Some((next, rest))
    }))
}

struct FleetWatch {
    fleet: Handle,
    only: Option<ServiceName>,
    cursor: Revision,
    changed: Receiver<Revision>,
    closing: Option<Receiver<bool>>,
    ready: VecDeque<pb::WatchFleetResponse>,
    _watching: Watching,
}

impl FleetWatch {
    async fn next(&mut self) -> Result<pb::WatchFleetResponse, Status> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            // Marked as seen before reading: a change during the read wakes us again.
            self.changed.mark_unchanged();
            self.read();
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                () = goodbye(&mut self.closing) => return Err(leaving()),
                changed = timeout(BOOKMARK, self.changed.changed()) => match changed {
                    Ok(Ok(())) => {}
                    // The fleet is gone with the server.
                    Ok(Err(_)) => return Err(leaving()),
                    Err(_) => return Ok(self.bookmark()),
                }
            }
        }
    }

    /// Reads on from the cursor, or starts over.
    fn read(&mut self) {
        loop {
            let Some(changes) = self.fleet.changes_after(self.cursor, BATCH) else {
                self.reset(pb::ResetReason::TooFarBehind);
                return;
            };
            let Some((last, _)) = changes.last() else { return };
            self.cursor = *last;
            for (revision, change) in changes {
                if self.only.as_ref().is_none_or(|only| only == change.service()) {
                    let message = pb::watch_fleet_response::Message::Change(convert(&change));
                    self.push(message, revision);
                }
            }
            if !self.ready.is_empty() {
                return;
            }
        }
    }

    /// Full state, in parts that all carry the cursor of the whole: who stops half way starts over.
    fn reset(&mut self, reason: pb::ResetReason) {
        let (revision, services, instances) = self.fleet.everything(self.only.as_ref());
        self.cursor = revision;
        let reset = pb::WatchReset { reason: reason.into() };
        self.push(pb::watch_fleet_response::Message::Reset(reset), 0);
        for part in parts(&services, &instances) {
            let at = if part.complete { revision } else { 0 };
            self.push(pb::watch_fleet_response::Message::Snapshot(part), at);
        }
    }

    fn bookmark(&self) -> pb::WatchFleetResponse {
        let now = timestamp(self.fleet.wall());
        pb::WatchFleetResponse {
            message: Some(pb::watch_fleet_response::Message::BookmarkTime(now)),
            cursor: Some(self.place(self.cursor)),
        }
    }

    /// Queues a message. A place of 0 is no place: the client keeps the one it had.
    fn push(&mut self, message: pb::watch_fleet_response::Message, at: Revision) {
        let cursor = (at > 0
            || matches!(&message, pb::watch_fleet_response::Message::Snapshot(part) if part.complete))
        .then(|| self.place(at));
        self.ready.push_back(pb::WatchFleetResponse { message: Some(message), cursor });
    }

    fn place(&self, revision: Revision) -> pb::WatchCursor {
        pb::WatchCursor { boot_epoch: self.fleet.boot_epoch().to_owned(), revision }
    }
}

fn parts(services: &[Service], instances: &[Instance]) -> Vec<pb::WatchSnapshot> {
    let services = services.chunks(PART).map(|part| pb::WatchSnapshot {
        services: part.iter().map(service::service).collect(),
        ..pb::WatchSnapshot::default()
    });
    let instances = instances.chunks(PART).map(|part| pb::WatchSnapshot {
        instances: part.iter().map(instance::instance).collect(),
        ..pb::WatchSnapshot::default()
    });
    let mut parts: Vec<_> = services.chain(instances).collect();
    if parts.is_empty() {
        parts.push(pb::WatchSnapshot::default());
    }
    if let Some(last) = parts.last_mut() {
        last.complete = true;
    }
    parts
}

fn convert(change: &Change) -> pb::FleetChange {
    use pb::fleet_change::Change as Wire;
    let wire = match change {
        Change::Instance(value) => Wire::Instance(instance::instance(value)),
        Change::Removed(value) => Wire::Removed(instance::tombstone(value)),
        Change::Service(value) => Wire::Service(service::service(value)),
        Change::ServiceRemoved(name) => Wire::ServiceRemoved(name.to_string()),
    };
    pb::FleetChange { change: Some(wire) }
}

/// Follows the health of one target: its newest state whenever that is different.
pub fn target_health(
    fleet: Handle,
    watching: Watching,
    caller: Option<Caller>,
    target: Target,
) -> impl Stream<Item = Result<pb::WatchHealthResponse, Status>> + Send + use<> {
    let watch = HealthWatch {
        changed: fleet.service_changed(target.service()),
        closing: caller.map(|caller| caller.connection.closing),
        said: None,
        fleet,
        target,
        _watching: watching,
    };
    unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let next = watch.next().await;
        let rest = next.is_ok().then_some(watch);
        Some((next, rest))
    })
}

struct HealthWatch {
    fleet: Handle,
    target: Target,
    changed: Receiver<Revision>,
    closing: Option<Receiver<bool>>,
    said: Option<Option<pb::Health>>,
    _watching: Watching,
}

impl HealthWatch {
    async fn next(&mut self) -> Result<pb::WatchHealthResponse, Status> {
        loop {
            let revision = *self.changed.borrow_and_update();
            let now = target::of(&self.fleet, &self.target).ok();
            if self.said.as_ref() != Some(&now) {
                self.said = Some(now.clone());
                return Ok(pb::WatchHealthResponse { known: now.is_some(), health: now, revision });
            }
            tokio::select! {
                () = goodbye(&mut self.closing) => return Err(leaving()),
                changed = self.changed.changed() => if changed.is_err() { return Err(leaving()) },
            }
        }
    }
}
