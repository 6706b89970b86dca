//! Reading the fleet: single things, pages, and the stream of changes. Read locks are held for a
//! bounded number of things; what is answered is the caller's own. Many instances: `scan`, `reading`.

use std::{ops::Bound, sync::Arc, time::SystemTime};

use tokio::{sync::watch, task::yield_now};

use super::{
    Handle,
    changes::{Change, TooFarBehind},
    lifecycle::Lifecycle,
    names::{InstanceKey, ServiceName},
    refusal::Refusal,
    scan::HOLD,
    snapshot::{ComponentHealth, Instance, Revision, Service, Tombstone},
    state::Totals,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    health::State as Health,
};

/// Tombstones that are listed at once.
const TOMBSTONES_LISTED: usize = 1000;

/// What a health name means, as far as `grpc.health.v1` and the HTTP probes need it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Overall health.
    pub health: Health,
    /// Whether its process is believed to run.
    pub alive: bool,
    /// Whether it has finished starting.
    pub started: bool,
    /// Whether it may be sent new work.
    pub ready: bool,
}

impl Handle {
    /// One instance.
    ///
    /// # Errors
    /// It is not registered; where it was removed, why.
    pub fn instance(&self, key: &InstanceKey) -> Result<Arc<Instance>> {
        let state = self.shared.state.read();
        if let Some(member) = state.groups().get(&key.service).and_then(|group| group.members.get(&key.id)) {
            return Ok(Arc::new(member.snapshot(self.shared.clock.now())));
        }
        let error = Refusal::NotFound.about(key.service.as_str(), key.id.as_str());
        match state.grave(key) {
            None => Err(error),
            Some(grave) => {
                let tombstone = &grave.tombstone;
                let why = super::refusal::why_removed(tombstone);
                Err(Error::new(
                    Kind::NotFound,
                    Reason::InstanceRemoved,
                    format!("instance {key} was removed: {why}"),
                )
                .with("service", key.service.as_str())
                .with("instance_id", key.id.as_str())
                .with("incarnation", tombstone.incarnation.to_string())
                .with("removal", tombstone.removal.as_str()))
            }
        }
    }

    /// Tombstones, newest first, at most 1,000. Lets others run in between; cancel safe.
    pub async fn tombstones(&self, service: Option<&ServiceName>) -> Vec<Arc<Tombstone>> {
        let mut found = Vec::new();
        let mut place = None;
        loop {
            let (some, next) = self.shared.state.read().graves().older_than(place.as_ref(), service, HOLD);
            found.extend(some);
            if next.is_none() || found.len() >= TOMBSTONES_LISTED {
                found.truncate(TOMBSTONES_LISTED);
                return found;
            }
            place = next;
            yield_now().await;
        }
    }

    /// One service.
    ///
    /// # Errors
    /// It has neither a specification nor instances.
    pub fn service(&self, name: &ServiceName) -> Result<Service> {
        let state = self.shared.state.read();
        state.groups().get(name).map(super::group::Group::snapshot).ok_or_else(|| no_service(name))
    }

    /// Up to `limit` services after a name, and whether there are more.
    pub fn services(&self, after: Option<&str>, limit: usize) -> (Vec<Service>, bool) {
        let state = self.shared.state.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut groups = state.groups().range::<str, _>((from, Bound::Unbounded)).map(|(_, group)| group);
        let found = groups.by_ref().take(limit).map(super::group::Group::snapshot).collect();
        (found, groups.next().is_some())
    }

    /// How a component of an instance is.
    ///
    /// # Errors
    /// There is no such instance, or it has no such component.
    pub fn component(&self, key: &InstanceKey, name: &str) -> Result<(Arc<Instance>, ComponentHealth)> {
        let instance = self.instance(key)?;
        let at = instance.registration.component(name);
        match at.and_then(|at| instance.components.get(at).cloned()) {
            Some(component) => Ok((instance, component)),
            None => Err(Error::new(
                Kind::NotFound,
                Reason::ComponentNotFound,
                format!("instance {key} has no component {name:?}"),
            )
            .with("component", name)),
        }
    }

    /// How a service stands; None if it is not known.
    pub fn service_standing(&self, name: &str) -> Option<Standing> {
        let state = self.shared.state.read();
        let group = state.groups().get(name)?;
        let (counts, health) = (group.counts(), group.health().state);
        Some(Standing {
            health,
            alive: counts.alive > 0,
            // Those that failed or were lost have no say in whether the others have started.
            started: counts.alive > 0 && counts.alive - counts.starting >= group.required().min(counts.alive),
            ready: health.serves(),
        })
    }

    /// How an instance stands; None if it is not known.
    pub fn instance_standing(&self, service: &str, id: &str) -> Option<Standing> {
        let state = self.shared.state.read();
        let member = state.groups().get(service)?.members.get(id)?;
        let (lifecycle, health) = (member.lifecycle(), member.health().state);
        Some(Standing {
            health: if lifecycle == Lifecycle::Lost { Health::Unhealthy } else { health },
            alive: lifecycle.is_alive(),
            started: lifecycle != Lifecycle::Starting && lifecycle.is_alive(),
            ready: lifecycle == Lifecycle::Ready && health.serves(),
        })
    }

    /// How a component stands; None if it is not known.
    pub fn component_standing(&self, service: &str, id: &str, component: &str) -> Option<Standing> {
        let instance = self.instance_standing(service, id)?;
        let state = self.shared.state.read();
        let member = state.groups().get(service)?.members.get(id)?;
        let health = member.part(member.registration.component(component)?)?.state;
        // What is known of a part of something lost is no longer worth anything.
        let health = if instance.alive { health } else { Health::Unhealthy };
        Some(Standing { health, ready: health.serves(), ..instance })
    }

    /// The time, to be shown.
    pub fn wall(&self) -> SystemTime {
        self.shared.clock.now().wall
    }

    /// Totals of the fleet.
    pub fn totals(&self) -> Totals {
        self.shared.state.read().totals()
    }

    /// Instances, counted by the names of lifecycle and health; only those that occur.
    pub fn counts_by_state(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.shared.state.read().tally().instances()
    }

    /// How many services are in a state of health.
    pub fn services_in(&self, health: Health) -> u64 {
        self.shared.state.read().tally().services(health)
    }

    /// The health of the first services by name, at most `limit`.
    pub fn service_states(&self, limit: usize) -> Vec<(ServiceName, Health)> {
        let state = self.shared.state.read();
        let groups = state.groups().values().take(limit);
        groups.map(|group| (group.name.clone(), group.health().state)).collect()
    }

    /// Revision of the last change.
    pub fn revision(&self) -> Revision {
        self.shared.state.read().revision()
    }

    /// Wakes at every change.
    pub fn changed(&self) -> watch::Receiver<Revision> {
        self.shared.state.read().changes.subscribe()
    }

    /// Wakes at every change of one service, whether or not it exists yet.
    pub fn service_changed(&self, name: &ServiceName) -> watch::Receiver<Revision> {
        self.shared.state.write().changes.subscribe_service(name)
    }

    /// Up to `limit` changes after a revision, of one service or of all, and how far it has looked for
    /// them: to be read on from there.
    ///
    /// # Errors
    /// They are no longer all known.
    pub fn changes_after(
        &self,
        revision: Revision,
        only: Option<&ServiceName>,
        limit: usize,
    ) -> Result<(Revision, Vec<(Revision, Change)>), TooFarBehind> {
        let state = self.shared.state.read();
        let newest = state.revision();
        // However many changes of others there were meanwhile, kept or not.
        if revision <= newest && only.is_some_and(|only| state.changes.is_quiet_after(revision, only)) {
            return Ok((newest, Vec::new()));
        }
        let mut looked = revision;
        let mut found = Vec::new();
        for (at, change) in state.changes.after(revision)?.take(HOLD) {
            if found.len() == limit {
                break;
            }
            looked = at;
            if only.is_none_or(|only| only == change.service()) {
                found.push((at, change.clone()));
            }
        }
        Ok((looked, found))
    }
}

/// There is no such service.
pub fn no_service(name: &ServiceName) -> Error {
    Error::new(
        Kind::NotFound,
        Reason::ServiceNotFound,
        format!("service {name} is not known: it has neither a specification nor instances"),
    )
    .with("service", name.as_str())
}

/// There is no specification of this service to delete.
pub fn no_spec(name: &ServiceName) -> Error {
    Error::new(
        Kind::NotFound,
        Reason::ServiceNotFound,
        format!("service {name} has no specification of an operator"),
    )
    .with("service", name.as_str())
}
