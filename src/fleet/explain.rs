//! Why something is as it is: the chain of causes across instances, their components and the services
//! that they need, in one answer. The question of everybody who is woken at night.
//!
//! Here it is found out what there is to know, a bounded piece under each hold of the fleet's lock; what
//! follows from it is said by pure rules below: `instance` (life and components), `crowd` (instances that
//! share a cause), `needs` (dependencies), `service` and `whole` (the answers). It judges nothing anew:
//! health is what the roll-ups made of it, and dependencies do not change it.

mod cause;
mod crowd;
mod instance;
mod needs;
mod service;
#[cfg(test)]
mod tests;
mod whole;
mod words;

use std::{collections::BTreeSet, ops::Bound, sync::Arc, time::SystemTime};

use tokio::task::yield_now;

pub use self::cause::{About, Cause, Explanation, Role};
use self::{
    cause::explanation,
    crowd::{Crowd, Look},
    needs::{Known, Needing, View},
    service::{Facts, Near},
    whole::Census,
};
use super::{
    Handle,
    group::Group,
    names::{InstanceId, InstanceKey, ServiceName},
    query::no_service,
    scan::{Filter, HOLD},
    snapshot::{Instance, Service},
    spec::Spec,
};
use crate::{
    error::{Error, Result},
    health::{State as Health, rollup::severity},
};

/// Most instances that are not healthy and are looked at: the worst. Enough to see what most of them
/// share, and what it costs is known.
const LOOKED_AT: usize = 4 * HOLD;
/// Most instances that are looked at for what is nearly wrong.
const NEAR_LOOKED_AT: usize = HOLD;
/// Most things that are nearly wrong and are told.
const NEAR_TOLD: usize = 5;

impl Handle {
    /// Why a service is as it is. Lets others run in between; cancel safe.
    ///
    /// # Errors
    /// It has neither a specification nor instances.
    pub async fn explain_service(&self, name: &ServiceName) -> Result<Explanation> {
        let now = self.wall();
        Ok(service::explain(self.facts(name, now).await?, now))
    }

    async fn facts(&self, name: &ServiceName, now: SystemTime) -> Result<Facts> {
        let (service, crowd) = self.crowd(name).await?;
        let (shares, others) = crowd.worst();
        let leaders: Vec<Option<&InstanceId>> = shares.iter().map(|share| share.first.first()).collect();
        let leaders = self.leaders(name, &leaders);
        let known = self.known([name.clone()].into()).await;
        let near = match service.health.state {
            Health::Healthy | Health::Degraded => self.nearly_wrong(name, now).await,
            Health::Unhealthy | Health::Unknown => Near::default(),
        };
        Ok(Facts { service, shares, others, leaders, known, near })
    }

    /// Why an instance is as it is. Lets others run in between; cancel safe.
    ///
    /// # Errors
    /// It is not registered; where it was removed, why.
    pub async fn explain_instance(&self, key: &InstanceKey) -> Result<Explanation> {
        let found = self.instance(key)?;
        let now = self.wall();
        let mut causes = instance::chain(&found, now);
        causes.extend(instance::nearly_wrong(&found, now));
        let (state, since) = (found.health.state, instance::since(&found));
        self.finish(key.to_string(), &key.service, state, since, causes).await
    }

    /// Why a component is as it is. Lets others run in between; cancel safe.
    ///
    /// # Errors
    /// There is no such instance, or it has no such component.
    pub async fn explain_component(&self, key: &InstanceKey, name: &str) -> Result<Explanation> {
        let (found, health) = self.component(key, name)?;
        let at = found.registration.component(name);
        let at = at.ok_or_else(|| Error::internal("a component is not one of its own instance"))?;
        let now = self.wall();
        let mut causes = instance::component(&found, at);
        let about = causes.first().map(|cause| cause.about.clone());
        let whole = instance::chain(&found, now).into_iter().next();
        // What is known of a part is only as good as what is known of the whole.
        if !found.confirmed || !found.lifecycle.is_alive() {
            causes.extend(whole.map(|whole| whole.below(1).aside()));
        }
        let near = instance::nearly_wrong(&found, now);
        causes.extend(near.into_iter().filter(|near| Some(&near.about) == about.as_ref()));
        let called = format!("component {name} of {key}");
        self.finish(called, &key.service, health.health.state, health.changed, causes).await
    }

    /// What is worst in the whole fleet, and where to begin. Lets others run in between; cancel safe.
    pub async fn explain_fleet(&self) -> Explanation {
        let (census, worst) = self.worst_services().await;
        let known = self.known(worst).await;
        whole::explain(census, &known, self.wall())
    }

    /// Joins what an instance or a component says with what its service needs.
    async fn finish(
        &self,
        called: String,
        service: &ServiceName,
        state: Health,
        since: SystemTime,
        mut causes: Vec<Cause>,
    ) -> Result<Explanation> {
        let known = self.known([service.clone()].into()).await;
        let now = self.wall();
        let spec =
            known.get(service).and_then(|view| Some(Spec::clone(&view.as_ref()?.spec))).unwrap_or_default();
        let needing = Needing { name: service, spec: &spec, state, since };
        let needs = needs::chain(needing, &known, now);
        let headline =
            headline(&called, state, &words::at(since, now), &causes, service::needed(&needs, now));
        causes.extend(needs);
        Ok(explanation(headline, state, Some(since), causes))
    }

    /// A service, and those of its instances that are not healthy, the worst first and within a bound.
    async fn crowd(&self, name: &ServiceName) -> Result<(Service, Crowd)> {
        let mut found: Option<Service> = None;
        let mut crowd = Crowd::default();
        let mut after = None;
        let mut looked = 0;
        let mut looks = Vec::with_capacity(HOLD);
        loop {
            {
                let state = self.shared.state.read();
                let Some(group) = state.groups().get(name) else {
                    // It may have gone between two pieces: what was seen of it is the answer.
                    return found.map(|service| (service, crowd)).ok_or_else(|| no_service(name));
                };
                found.get_or_insert_with(|| group.snapshot());
                crowd.total = group.troubled();
                let mut last = None;
                for (trouble, member) in group.worst_after(after.as_ref()).take(HOLD) {
                    last = Some(trouble);
                    looks.push(Look {
                        id: trouble.1.clone(),
                        lifecycle: member.lifecycle(),
                        state: member.health().state,
                        confirmed: member.confirmed(),
                        cause: member.health().cause.clone(),
                        since: member.since(),
                    });
                }
                after = last.cloned();
            }
            let whole = looks.len() == HOLD;
            looked += looks.len();
            looks.drain(..).for_each(|look| crowd.take(look));
            if !whole || looked >= LOOKED_AT {
                break;
            }
            yield_now().await;
        }
        found.map(|service| (service, crowd)).ok_or_else(|| no_service(name))
    }

    /// Some instances of a service as they are now, at most as many as there are shares.
    fn leaders(&self, name: &ServiceName, ids: &[Option<&InstanceId>]) -> Vec<Option<Instance>> {
        let now = self.shared.clock.now();
        let state = self.shared.state.read();
        let group = state.groups().get(name);
        let member = |id: &InstanceId| Some(group?.members.get(id)?.snapshot(now));
        ids.iter().map(|id| id.and_then(member)).collect()
    }

    /// These services and what they need, and what that needs, within bounds.
    async fn known(&self, mut next: BTreeSet<ServiceName>) -> Known {
        let mut known = Known::new();
        for _ in 0..=needs::DEEPEST {
            next.retain(|name| !known.contains_key(name));
            let room = needs::MOST.saturating_sub(known.len());
            if next.is_empty() || room == 0 {
                break;
            }
            let mut below = BTreeSet::new();
            {
                let state = self.shared.state.read();
                for name in next.into_iter().take(room) {
                    let view = state.groups().get(&name).map(view);
                    let needs = view.iter().flat_map(|view| view.spec.depends_on.keys());
                    below.extend(needs.take(room).cloned());
                    known.insert(name, view);
                }
            }
            next = below;
            yield_now().await;
        }
        known
    }

    /// What is nearly wrong with the first instances of a service.
    async fn nearly_wrong(&self, name: &ServiceName, now: SystemTime) -> Near {
        let filter = Filter { service: Some(name.clone()), ..Filter::default() };
        let (mut near, mut looked) = (Near::default(), 0);
        let all = self.each_instance(&filter, None, NEAR_LOOKED_AT, |instance| {
            looked += 1;
            near.causes.extend(
                instance::nearly_wrong(&instance, now).into_iter().map(|cause| Cause { depth: 1, ..cause }),
            );
            looked < NEAR_LOOKED_AT && near.causes.len() < NEAR_TOLD
        });
        near.unseen = !all.await;
        near.causes.truncate(NEAR_TOLD);
        near
    }

    /// How many services are how, and the names of those that are not well: the worst, within a bound.
    async fn worst_services(&self) -> (Census, BTreeSet<ServiceName>) {
        // By seriousness, and of one seriousness those that began first.
        let mut worst = BTreeSet::new();
        let mut after: Option<ServiceName> = None;
        let census = loop {
            {
                let state = self.shared.state.read();
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut groups = state.groups().range::<ServiceName, _>((from, Bound::Unbounded));
                let mut last = None;
                for (name, group) in groups.by_ref().take(HOLD) {
                    last = Some(name);
                    let health = group.health().state;
                    if health != Health::Healthy {
                        let seriousness = u8::MAX - severity(health);
                        worst.insert((seriousness, group.health_changed(), name.clone()));
                    }
                    if worst.len() > needs::MOST / 2 {
                        worst.pop_last();
                    }
                }
                let tally = state.tally();
                let last = last.cloned();
                if groups.next().is_none() || last.is_none() {
                    break Census {
                        total: state.groups().len() as u64,
                        unhealthy: tally.services(Health::Unhealthy),
                        unknown: tally.services(Health::Unknown),
                        degraded: tally.services(Health::Degraded),
                    };
                }
                after = last;
            }
            yield_now().await;
        };
        (census, worst.into_iter().map(|(_, _, name)| name).collect())
    }
}

/// What an instance or a component says of itself, and what its service needs, in one sentence.
fn headline(called: &str, state: Health, since: &str, causes: &[Cause], need: Option<String>) -> String {
    let first = causes.first();
    let text = first.map(|first| first.text.as_str()).unwrap_or_default();
    if state == Health::Healthy {
        return match (need, causes.iter().find(|cause| cause.role == Role::NearlyWrong)) {
            (Some(need), _) => format!("{called} is healthy by itself; {need}"),
            (None, Some(near)) => format!("{called} is healthy; nearly wrong: {}", near.text),
            (None, None) if text == instance::NOTHING => format!("{called} is healthy; nothing to explain"),
            (None, None) => format!("{called} is healthy; {text}"),
        };
    }
    let mut sentence = format!("{called} is {state} since {since}: {text}");
    // An instance's own cause names the component at the root; a component's own does not.
    let asked = first.is_some_and(|first| matches!(first.about, About::Component(..)));
    let root = causes.iter().find(|cause| asked && cause.root && cause.depth > 0);
    if let Some(Cause { about: About::Component(_, name), text, .. }) = root {
        sentence.push_str(&format!("; it needs {name}: {text}"));
    }
    if let Some(need) = need {
        sentence.push_str(&format!("; {need}"));
    }
    sentence
}

fn view(group: &Group) -> View {
    View {
        health: group.health().clone(),
        since: group.health_changed(),
        total: group.counts().total,
        spec: Arc::clone(group.spec()),
    }
}
