//! Reading the fleet: single things, pages, and the stream of changes. Short read locks; what is
//! answered is the caller's own.

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::SystemTime};

use tokio::sync::watch;

use super::{
    Handle,
    changes::Change,
    lifecycle::Lifecycle,
    names::{InstanceId, InstanceKey, ServiceName},
    refusal::Refusal,
    snapshot::{ComponentHealth, Instance, Revision, Service, Tombstone, Transition},
    state::Totals,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    health::State as Health,
};

/// Tombstones that are listed at once.
const TOMBSTONES_LISTED: usize = 1000;

/// Which instances to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this service.
    pub service: Option<ServiceName>,
    /// Only in this lifecycle.
    pub lifecycle: Option<Lifecycle>,
    /// Only in this health.
    pub health: Option<Health>,
    /// Only with all of these labels.
    pub labels: BTreeMap<String, String>,
}

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

impl Filter {
    fn takes(&self, instance: &Instance) -> bool {
        self.lifecycle.is_none_or(|wanted| wanted == instance.lifecycle)
            && self.health.is_none_or(|wanted| wanted == instance.health.state)
            && self.labels.iter().all(|(key, value)| instance.registration.labels.get(key) == Some(value))
    }
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

    /// Up to `limit` instances after a place, by service and id, and whether there are more.
    pub fn instances(
        &self,
        filter: &Filter,
        after: Option<&InstanceKey>,
        limit: usize,
    ) -> (Vec<Instance>, bool) {
        let now = self.shared.clock.now();
        let state = self.shared.state.read();
        let first = filter.service.as_ref().or_else(|| after.map(|key| &key.service));
        let groups = match first {
            None => state.groups().range::<str, _>(..),
            Some(service) => {
                state.groups().range::<str, _>((Bound::Included(service.as_str()), Bound::Unbounded))
            }
        };
        let mut found = Vec::new();
        for (name, group) in groups {
            if filter.service.as_ref().is_some_and(|wanted| wanted != name) {
                break;
            }
            let from = match after {
                Some(key) if key.service == *name => Bound::Excluded(key.id.as_str()),
                _ => Bound::Unbounded,
            };
            for member in group.members.range::<str, _>((from, Bound::Unbounded)).map(|(_, member)| member) {
                let instance = member.snapshot(now);
                if !filter.takes(&instance) {
                    continue;
                }
                if found.len() == limit {
                    return (found, true);
                }
                found.push(instance);
            }
        }
        (found, false)
    }

    /// Tombstones, newest first, at most 1,000.
    pub fn tombstones(&self, service: Option<&ServiceName>) -> Vec<Arc<Tombstone>> {
        let state = self.shared.state.read();
        let mut found: Vec<_> = state
            .graves()
            .map(|grave| &grave.tombstone)
            .filter(|tombstone| service.is_none_or(|wanted| *wanted == tombstone.key.service))
            .cloned()
            .collect();
        found.sort_by_key(|tombstone| std::cmp::Reverse(tombstone.removed));
        found.truncate(TOMBSTONES_LISTED);
        found
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

    /// Up to `limit` changes of health before a sequence, newest first, and whether there are more.
    pub fn transitions(
        &self,
        service: Option<&ServiceName>,
        id: Option<&InstanceId>,
        before: Option<u64>,
        limit: usize,
    ) -> (Vec<Arc<Transition>>, bool) {
        let state = self.shared.state.read();
        let mut found: Vec<Arc<Transition>> = state
            .groups()
            .iter()
            .filter(|(name, _)| service.is_none_or(|wanted| wanted == *name))
            .flat_map(|(_, group)| group.transitions.iter())
            .filter(|transition| before.is_none_or(|before| transition.sequence < before))
            .filter(|transition| {
                id.is_none_or(|id| transition.subject.instance().is_some_and(|key| key.id == *id))
            })
            .cloned()
            .collect();
        found.sort_by_key(|transition| std::cmp::Reverse(transition.sequence));
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
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

    /// Instances, counted by the names of lifecycle and health; only those that occur. Looks at every
    /// instance, in one short read: for a scrape, not for a request.
    pub fn counts_by_state(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut counts: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        let state = self.shared.state.read();
        for member in state.groups().values().flat_map(|group| group.members.values()) {
            *counts.entry((member.lifecycle().as_str(), member.health().state.as_str())).or_default() += 1;
        }
        counts.into_iter().map(|((lifecycle, health), count)| (lifecycle, health, count)).collect()
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

    /// Up to `limit` changes after a revision; None if they are no longer all known.
    pub fn changes_after(&self, revision: Revision, limit: usize) -> Option<Vec<(Revision, Change)>> {
        self.shared.state.read().changes.after(revision, limit).ok()
    }

    /// Everything at one revision, or everything of one service.
    pub fn everything(&self, service: Option<&ServiceName>) -> (Revision, Vec<Service>, Vec<Instance>) {
        let now = self.shared.clock.now();
        let state = self.shared.state.read();
        let groups =
            || state.groups().values().filter(|group| service.is_none_or(|wanted| *wanted == group.name));
        let services = groups().map(super::group::Group::snapshot).collect();
        let instances =
            groups().flat_map(|group| group.members.values()).map(|member| member.snapshot(now)).collect();
        (state.revision(), services, instances)
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
