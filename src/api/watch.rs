//! Streams of changes: `WatchFleet` and `WatchHealth`.
//!
//! A watch holds a place in the sequence of changes and reads on from there whenever its caller takes
//! more. It has no queue of its own beyond what it read last: a slow caller falls behind in the fleet's
//! bounded history, and is told so by a reset. Full state comes first, in parts that are read when the
//! caller takes them, with the changes of what was sent before in between.

mod shared;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::stream::unfold;
use tokio::{task::yield_now, time::timeout};
use tonic::Status;

use self::shared::View;
pub use self::shared::{Watchers, Watching};
use super::{
    codec::Encoded,
    convert::{instance, service, timestamp},
    page::Room,
    parse::{self, Fields},
    proto::v1 as pb,
    reach,
    target::Target,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        Handle,
        changes::{Change, TooFarBehind},
        names::ServiceName,
        reading::{Part, Reading},
        snapshot::{Instance, Revision, Service},
    },
    guard::{
        caller::{Caller, Connection},
        goodbye::Goodbye,
        status::status,
        subscriptions::Subscription,
    },
    identity::Scope,
};

/// Changes that are read at once.
const BATCH: usize = 256;
/// After so long without a change of what it is about, a watch moves on over the changes of others:
/// otherwise they would leave it too far behind.
const MOVE_ON: Duration = Duration::from_secs(5);
/// After so many times without a message, 30 s, a watch says how far it has come.
const BOOKMARK: u32 = 6;

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

/// Wakes at every change of the fleet or of one service. The watches of a connection are woken by one that hears it
/// for all.
pub(super) fn subscribe(
    connection: &Connection,
    fleet: &Handle,
    service: Option<&ServiceName>,
) -> Subscription {
    // No service has an empty name.
    connection.subscriptions.subscribe(service.map_or("", ServiceName::as_str), || match service {
        Some(name) => fleet.service_changed(name),
        None => fleet.changed(),
    })
}

/// Follows the fleet.
///
/// # Errors
/// The name of the service is malformed.
pub fn fleet(
    fleet: Handle,
    watching: Watching,
    caller: &Caller,
    wire: pb::WatchFleetRequest,
) -> Result<impl Stream<Item = Result<Encoded, Status>> + Send + use<>> {
    let pb::WatchFleetRequest { service, resume_after } = wire;
    let mut fields = Fields::default();
    let only = (!service.is_empty()).then(|| parse::service_name(&mut fields, "service", &service)).flatten();
    fields.check()?;
    let Caller { connection, identity, .. } = caller;
    let scope = reach::follows(identity, only.as_ref())?;
    let changed = subscribe(connection, &fleet, only.as_ref());
    let mut watch = FleetWatch {
        closing: Goodbye::of(connection.closing.clone()),
        ready: VecDeque::new(),
        idle: 0,
        stage: Stage::Following(0),
        changed,
        only,
        scope,
        fleet,
        watching,
    };
    match resume_after {
        None => watch.reset(pb::ResetReason::Initial),
        Some(pb::WatchCursor { boot_epoch, .. }) if boot_epoch != watch.fleet.boot_epoch() => {
            watch.reset(pb::ResetReason::OtherEpoch);
        }
        Some(pb::WatchCursor { revision, .. }) => watch.stage = Stage::Following(revision),
    }
    Ok(unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let next = watch.next().await;
        let rest = next.is_ok().then_some(watch);
        Some((next, rest))
    }))
}

/// What a watch of the fleet is about.
enum Stage {
    /// Sends full state.
    Reading(Reading),
    /// Sends what changes after this revision.
    Following(Revision),
}

/// What was read and is not yet sent. Becomes a message only when it is its turn.
enum Ready {
    Reset(pb::ResetReason),
    Service(Service),
    Instance(Instance),
    /// A change, and its revision where that is a place to resume from.
    Change(Change, Option<Revision>),
    /// Full state ends here.
    Complete(Revision),
}

struct FleetWatch {
    fleet: Handle,
    only: Option<ServiceName>,
    /// Of all services, those that its caller sees. None: all.
    scope: Option<Scope>,
    stage: Stage,
    changed: Subscription,
    closing: Goodbye,
    ready: VecDeque<Ready>,
    /// How often it has moved on since the last message.
    idle: u32,
    watching: Watching,
}

impl FleetWatch {
    async fn next(&mut self) -> Result<Encoded, Status> {
        loop {
            if let Some(message) = self.message() {
                self.idle = 0;
                return Ok(message);
            }
            // Taken before reading: a change during the read wakes us again.
            self.changed.newest();
            if self.read() {
                // A large fleet is many parts, and much of what changes in it is not what it is about: others have
                // their turn between them.
                if self.ready.is_empty() || matches!(self.stage, Stage::Reading(_)) {
                    yield_now().await;
                }
                continue;
            }
            if self.idle >= BOOKMARK {
                self.idle = 0;
                return Ok(Encoded::of(&self.bookmark()));
            }
            tokio::select! {
                biased;
                changed = timeout(MOVE_ON, self.changed.changed()) => match changed {
                    Ok(Ok(())) => {}
                    // The fleet is gone with the server.
                    Ok(Err(_)) => return Err(leaving()),
                    Err(_) => self.idle += 1,
                },
                _ = self.closing.heard() => return Err(leaving()),
            }
        }
    }

    /// Reads on. False: there is nothing to read now.
    fn read(&mut self) -> bool {
        let read = match &mut self.stage {
            Stage::Reading(reading) => match self.fleet.read_on(reading) {
                Ok(part) => Ok(self.ready_part(part)),
                Err(behind) => Err(behind),
            },
            Stage::Following(cursor) => match self.fleet.changes_after(*cursor, self.only.as_ref(), BATCH) {
                Ok((looked, changes)) => {
                    let more = looked != *cursor;
                    *cursor = looked;
                    let scope = self.scope.as_ref();
                    let changes = changes.into_iter().filter(|(_, change)| is_seen(scope, change.service()));
                    self.ready.extend(changes.map(|(at, change)| Ready::Change(change, Some(at))));
                    Ok(more)
                }
                Err(behind) => Err(behind),
            },
        };
        read.unwrap_or_else(|TooFarBehind| {
            self.reset(pb::ResetReason::TooFarBehind);
            true
        })
    }

    fn ready_part(&mut self, part: Part) -> bool {
        let Part { changes, services, instances, complete } = part;
        let scope = self.scope.as_ref();
        let changes = changes.into_iter().filter(|change| is_seen(scope, change.service()));
        let services = services.into_iter().filter(|service| is_seen(scope, &service.name));
        let instances =
            instances.into_iter().filter(|instance| is_seen(scope, &instance.registration.key.service));
        self.ready.extend(changes.map(|change| Ready::Change(change, None)));
        self.ready.extend(services.map(Ready::Service));
        self.ready.extend(instances.map(Ready::Instance));
        if let Some(revision) = complete {
            self.ready.push_back(Ready::Complete(revision));
            self.stage = Stage::Following(revision);
        }
        true
    }

    /// Begins with full state.
    fn reset(&mut self, reason: pb::ResetReason) {
        self.ready.push_back(Ready::Reset(reason));
        self.stage = Stage::Reading(self.fleet.reading(self.only.clone()));
    }

    /// The next message of what was read.
    fn message(&mut self) -> Option<Encoded> {
        use pb::watch_fleet_response::Message;
        let (message, at) = match self.ready.pop_front()? {
            Ready::Reset(reason) => (Message::Reset(pb::WatchReset { reason: reason.into() }), None),
            // All who follow are told the same.
            Ready::Change(change, Some(at)) => {
                let make = || Encoded::of(&self.told(Message::Change(convert(&change)), Some(at)));
                return Some(self.watching.change(at, make));
            }
            Ready::Change(change, None) => (Message::Change(convert(&change)), None),
            state => {
                self.ready.push_front(state);
                let (part, at) = self.part();
                (Message::Snapshot(part), at)
            }
        };
        Some(Encoded::of(&self.told(message, at)))
    }

    fn told(
        &self,
        message: pb::watch_fleet_response::Message,
        at: Option<Revision>,
    ) -> pb::WatchFleetResponse {
        pb::WatchFleetResponse { message: Some(message), cursor: at.map(|at| self.place(at)) }
    }

    /// As much of the state that was read as fits into one message, and the place after it, if that is
    /// the end of full state: who stops half way starts over.
    fn part(&mut self) -> (pb::WatchSnapshot, Option<Revision>) {
        let mut part = pb::WatchSnapshot::default();
        let mut room = Room::new(usize::MAX);
        while let Some(next) = self.ready.pop_front() {
            match next {
                Ready::Complete(revision) => {
                    part.complete = true;
                    return (part, Some(revision));
                }
                Ready::Service(value) if !room.is_full() => {
                    let wire = service::service(&value);
                    room.take(&wire);
                    part.services.push(wire);
                }
                Ready::Instance(value) if !room.is_full() => {
                    let wire = instance::instance(&value);
                    room.take(&wire);
                    part.instances.push(wire);
                }
                other => {
                    self.ready.push_front(other);
                    break;
                }
            }
        }
        (part, None)
    }

    fn bookmark(&self) -> pb::WatchFleetResponse {
        let now = timestamp(self.fleet.wall());
        let cursor = match self.stage {
            Stage::Following(cursor) => Some(self.place(cursor)),
            Stage::Reading(_) => None,
        };
        pb::WatchFleetResponse { message: Some(pb::watch_fleet_response::Message::BookmarkTime(now)), cursor }
    }

    fn place(&self, revision: Revision) -> pb::WatchCursor {
        pb::WatchCursor { boot_epoch: self.fleet.boot_epoch().to_owned(), revision }
    }
}

/// Whether a watch of this scope is told of a service.
fn is_seen(scope: Option<&Scope>, service: &ServiceName) -> bool {
    scope.is_none_or(|scope| scope.sees_service(service.as_str()))
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
    connection: &Connection,
    target: Target,
) -> impl Stream<Item = Result<Encoded, Status>> + Send + use<> {
    let watch = HealthWatch {
        changed: subscribe(connection, &fleet, Some(target.service())),
        closing: Goodbye::of(connection.closing.clone()),
        told: None,
        view: watching.view(target),
        fleet,
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
    view: Arc<View>,
    changed: Subscription,
    closing: Goodbye,
    /// The number of the news that was told last.
    told: Option<u64>,
    _watching: Watching,
}

impl HealthWatch {
    async fn next(&mut self) -> Result<Encoded, Status> {
        loop {
            let looked = match self.told {
                None => Some(self.view.now(&self.fleet, self.changed.newest())),
                Some(_) => self.changed.news().map(|revision| self.view.since(&self.fleet, revision)),
            };
            if let Some((news, message)) = looked
                && self.told != Some(news)
            {
                self.told = Some(news);
                return Ok(message);
            }
            tokio::select! {
                biased;
                changed = self.changed.changed() => if changed.is_err() { return Err(leaving()) },
                _ = self.closing.heard() => return Err(leaving()),
            }
        }
    }
}
