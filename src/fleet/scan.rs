//! Reading many instances: a bounded piece under each hold of the lock, whatever the fleet's size, so
//! that nobody who wants to be heard waits for who wants to know everything.
//!
//! A piece is consistent in itself; the whole is as a list with pages is: who comes or goes meanwhile
//! may be in it or not, and everybody else is in it exactly once.

use std::{cmp::Ordering, collections::BTreeMap, ops::Bound};

use tokio::task::yield_now;

use super::{
    Handle,
    group::Group,
    lifecycle::Lifecycle,
    member::Member,
    names::{InstanceId, InstanceKey, ServiceName},
    snapshot::Instance,
    state::State,
};
use crate::health::State as Health;

/// What may be done under one hold of the lock: looking at an instance costs one, a copy of it one for
/// each component besides. A fraction of a millisecond.
pub(super) const HOLD: usize = 1024;

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

impl Filter {
    fn takes(&self, member: &Member) -> bool {
        self.lifecycle.is_none_or(|wanted| wanted == member.lifecycle())
            && self.health.is_none_or(|wanted| wanted == member.health().state)
            && self
                .labels
                .iter()
                .all(|(key, value)| member.registration.labels.get(key) == Some(value.as_str()))
    }
}

/// A place among services and instances: after the service itself, or after one of its instances.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    service: ServiceName,
    id: Option<InstanceId>,
}

impl Place {
    /// Whether the service, or an instance of it, is at this place or before it.
    pub(super) fn covers(&self, service: &ServiceName, id: Option<&InstanceId>) -> bool {
        match service.cmp(&self.service) {
            Ordering::Less => true,
            Ordering::Greater => false,
            // None, the service itself, comes before its instances.
            Ordering::Equal => id <= self.id.as_ref(),
        }
    }
}

impl From<InstanceKey> for Place {
    fn from(InstanceKey { service, id }: InstanceKey) -> Self {
        Self { service, id: Some(id) }
    }
}

/// What is found on a walk through the fleet.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    Service(&'a Group),
    Instance(&'a Group, &'a Member),
}

impl Found<'_> {
    pub(super) fn place(self) -> Place {
        match self {
            Found::Service(group) => Place { service: group.name.clone(), id: None },
            Found::Instance(group, member) => {
                Place { service: group.name.clone(), id: Some(member.registration.key.id.clone()) }
            }
        }
    }
}

/// Everything after a place, or everything of one service after it: each service by name, followed by
/// its instances by id.
pub(super) fn walk<'a>(
    state: &'a State,
    only: Option<&'a ServiceName>,
    after: Option<&'a Place>,
) -> impl Iterator<Item = Found<'a>> {
    let first = only.or_else(|| after.map(|place| &place.service));
    let from = first.map_or(Bound::Unbounded, |service| Bound::Included(service.as_str()));
    state
        .groups()
        .range::<str, _>((from, Bound::Unbounded))
        .map(|(_, group)| group)
        .take_while(move |group| only.is_none_or(|wanted| *wanted == group.name))
        .flat_map(move |group| {
            let within = after.filter(|place| place.service == group.name);
            let service = within.is_none().then_some(Found::Service(group));
            let from = within.and_then(|place| place.id.as_ref()).map(InstanceId::as_str);
            let members = group.members.after(from);
            service.into_iter().chain(members.map(move |member| Found::Instance(group, member)))
        })
}

/// Some instances, and where to go on.
#[derive(Debug)]
pub struct Piece {
    /// Those that the filter takes, by service and id; may be none although there are more.
    pub instances: Vec<Instance>,
    /// How far it has looked: read on after it. None: this was the end.
    pub next: Option<Place>,
}

impl Handle {
    /// The next piece after a place, with at most `limit` instances.
    pub fn piece(&self, filter: &Filter, after: Option<&Place>, limit: usize) -> Piece {
        let now = self.shared.clock.now();
        let state = self.shared.state.read();
        let mut instances = Vec::new();
        let mut left = HOLD;
        for found in walk(&state, filter.service.as_ref(), after) {
            left = left.saturating_sub(1);
            if let Found::Instance(_, member) = found
                && filter.takes(member)
            {
                left = left.saturating_sub(member.cost());
                instances.push(member.snapshot(now));
            }
            if left == 0 || instances.len() >= limit {
                return Piece { instances, next: Some(found.place()) };
            }
        }
        Piece { instances, next: None }
    }

    /// Hands instances after a place to `take`, by service and id, until it answers false or there are
    /// no more; reads up to `at_once` of them at a time, and lets others run in between. True: all were
    /// taken. Cancel safe.
    pub async fn each_instance(
        &self,
        filter: &Filter,
        after: Option<Place>,
        at_once: usize,
        mut take: impl FnMut(Instance) -> bool,
    ) -> bool {
        let mut after = after;
        loop {
            let Piece { instances, next } = self.piece(filter, after.as_ref(), at_once);
            for instance in instances {
                if !take(instance) {
                    return false;
                }
            }
            match next {
                None => return true,
                next => after = next,
            }
            yield_now().await;
        }
    }
}
