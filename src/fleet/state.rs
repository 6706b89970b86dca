//! The registry's state and every rule that changes it, as one plain value.
//!
//! Synchronous and deterministic: time comes in with each call, nothing waits and nothing is written.
//! What has to be durable first is split in two: a check that answers what to write, and the change
//! itself once it is written. `registry` holds this behind a lock and joins it to the store.

mod circles;
pub(super) mod expiry;
mod history;
mod presence;
mod protection;
mod restoring;
mod specs;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use self::specs::NEEDED;
use self::{circles::Circles, history::SetBack};
pub(super) use self::{
    circles::{Circle, NeedsChanged, is_same},
    specs::closes,
};
pub(super) use super::graves::Grave;
use super::{
    agenda::{Agenda, Due, Place},
    changes::{Change, Changes},
    directives::Gone,
    graves::Graves,
    group::{Group, Needs, Standing},
    lease::Stalls,
    member::{Birth, Member, PartChange},
    names::{InstanceId, InstanceKey, ServiceName},
    refusal::{self, Refusal},
    registration::Registration,
    session::Closing,
    snapshot::{Instance, Removal, Revision, Subject, Tombstone, Transition},
    tally::Tally,
    waves::{PROTECTION_LIMIT, Waves},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    health::{State as Health, Verdict},
    id::TokenHash,
    time::{Mono, Now},
};

/// Bounds and patience of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most instances.
    pub max_instances: usize,
    /// Most services.
    pub max_services: usize,
    /// Changes that are kept for watchers.
    pub change_history: usize,
    /// How long a lost instance stays before it is removed.
    pub lost_removal: Duration,
    /// How long a tombstone is kept.
    pub tombstone_retention: Duration,
}

/// What a caller brings to take over an id that is held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    /// Hash of the session token of the incarnation that holds it.
    pub token: Option<TokenHash>,
    /// Hash of the request id of this attempt.
    pub request: Option<TokenHash>,
}

/// What has been checked and is not yet admitted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    /// New instances.
    pub(super) instances: usize,
    /// New services, other than the one that is asked about.
    pub(super) services: usize,
}

/// That a registration may take its id, and what it would bring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Admission {
    pub(super) incarnation: u64,
    /// Nobody holds the id.
    pub(super) new_instance: bool,
    /// Nothing is known of the service.
    pub(super) new_service: bool,
}

/// Totals of the fleet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Services that are known.
    pub services: u64,
    /// Instances that are registered.
    pub instances: u64,
    /// Instances that can take work.
    pub available: u64,
    /// Instances that are lost.
    pub lost: u64,
    /// Of the lost: under protection, because many were lost at once.
    pub protected: u64,
    /// Sessions that are open.
    pub sessions: u64,
}

/// The registry.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    groups: BTreeMap<ServiceName, Group>,
    graves: Graves,
    tally: Tally,
    // Every change of health that its service remembers, in the order in which they happened.
    history: BTreeMap<u64, Arc<Transition>>,
    set_back: SetBack,
    agenda: Agenda,
    stalls: Stalls,
    waves: Waves,
    circles: Circles,
    instances: usize,
    sessions: u64,
    next_session: u64,
    next_transition: u64,
    // Below this their numbers are reserved in the store.
    reserved_transitions: u64,
    unsaved: VecDeque<Arc<Transition>>,
    forgotten: Vec<String>,
    pub(super) changes: Changes,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            groups: BTreeMap::new(),
            graves: Graves::default(),
            tally: Tally::default(),
            history: BTreeMap::new(),
            set_back: SetBack::new(),
            agenda: Agenda::default(),
            stalls: Stalls::new(limits.lost_removal.max(PROTECTION_LIMIT)),
            waves: Waves::default(),
            circles: Circles::default(),
            instances: 0,
            sessions: 0,
            next_session: 1,
            next_transition: 1,
            reserved_transitions: 1,
            unsaved: VecDeque::new(),
            forgotten: Vec::new(),
            changes: Changes::new(limits.change_history),
        }
    }

    /// Changes how many instances and services there may be.
    pub(super) fn set_limits(&mut self, max_instances: usize, max_services: usize) {
        self.limits.max_instances = max_instances;
        self.limits.max_services = max_services;
    }

    // === registration ===

    /// Whether a registration may take its id. `pending` others have been checked and not yet been
    /// admitted.
    ///
    /// # Errors
    /// The id is held by a living incarnation, or the fleet is full.
    pub(super) fn check_register(
        &self,
        now: Now,
        registration: &Registration,
        claim: Claim,
        pending: Pending,
    ) -> Result<Admission> {
        let key = &registration.key;
        let group = self.groups.get(&key.service);
        if let Some(holder) = group.and_then(|group| group.members.get(&key.id)) {
            self.check_take_over(now, holder, claim)?;
            let incarnation = holder.incarnation + 1;
            return Ok(Admission { incarnation, new_instance: false, new_service: false });
        }
        if self.instances + pending.instances >= self.limits.max_instances {
            return Err(full("instances", "fleet.max_instances", self.limits.max_instances));
        }
        let new_service = group.is_none();
        if new_service {
            self.check_room(pending.services)?;
        }
        let incarnation = self.graves.get(key).map_or(1, |grave| grave.tombstone.incarnation + 1);
        Ok(Admission { incarnation, new_instance: true, new_service })
    }

    /// Whether a claim may take over an id that is held.
    ///
    /// # Errors
    /// The holder lives, and the claim does not prove to be its own.
    fn check_take_over(&self, now: Now, holder: &Member, claim: Claim) -> Result<()> {
        let may_take_over = holder.has_let_go()
            || claim.token.is_some_and(|token| token == holder.token)
            || claims_by_request(holder, claim);
        if may_take_over {
            return Ok(());
        }
        let ends = self.stalls.deadline(holder.lease.last_heard(), holder.lease.ttl());
        Err(refusal::alive(&holder.registration.key, holder.incarnation, ends.since(now.mono)))
    }

    /// Whether a registration that is durable still may take its id: whoever held it may have been heard
    /// meanwhile. If not, what has to be put back into the store, and why.
    pub(super) fn recheck_admission(
        &mut self,
        now: Now,
        birth: &Birth,
        claim: Claim,
    ) -> Result<(), Box<(Birth, Error)>> {
        let key = &birth.registration.key;
        let holder = self.groups.get(&key.service).and_then(|group| group.members.get(&key.id));
        let Some(holder) = holder else { return Ok(()) };
        let Err(error) = self.check_take_over(now, holder, claim) else { return Ok(()) };
        let incarnation = holder.incarnation;
        self.hear_if_due(now, key, incarnation);
        self.member(key, incarnation).map_or(Ok(()), |holder| Err(Box::new((holder.birth(), error))))
    }

    /// Whether a removal for being lost since then that is durable still holds: the instance may have been
    /// heard meanwhile. If not, what has to be put back into the store.
    pub(super) fn recheck_removal(
        &mut self,
        now: Now,
        tombstone: &Tombstone,
        lost_since: Option<Mono>,
    ) -> Result<(), Birth> {
        if tombstone.removal != Removal::Lost {
            return Ok(());
        }
        self.hear_if_due(now, &tombstone.key, tombstone.incarnation);
        match self.member(&tombstone.key, tombstone.incarnation) {
            Some(member) if !member.may_be_removed_for(lost_since) => Err(member.birth()),
            _ => Ok(()),
        }
    }

    /// Whether there is room for one more service. `pending` others are about to come.
    fn check_room(&self, pending: usize) -> Result<()> {
        if self.groups.len() + pending < self.limits.max_services {
            return Ok(());
        }
        Err(full("services", "fleet.max_services", self.limits.max_services))
    }

    /// Takes in a registration that is durable.
    pub(super) fn admit(&mut self, now: Now, birth: Birth) -> Arc<Instance> {
        let key = birth.registration.key.clone();
        let circle = self.groups.get(&key.service).map(|group| Arc::clone(&group.circle)).unwrap_or_default();
        if self.take_in(now, birth) == Needs::Changed {
            self.settle_circles(&key.service, &circle);
        }
        self.publish(now, &key)
    }

    /// Puts an instance in its place; its service is yet to be settled.
    fn take_in(&mut self, now: Now, birth: Birth) -> Needs {
        let key = birth.registration.key.clone();
        self.graves.remove(&key);
        let group = self
            .groups
            .entry(key.service.clone())
            .or_insert_with(|| Group::new(key.service.clone(), now.wall));
        let birth = Birth { registration: group.share(birth.registration), ..birth };
        let member = Member::new(birth, now);
        let ends = now.mono + member.lease.ttl();
        let standing = Standing::of(&member);
        let (mut before, needs) = group.put(member);
        if let Some(old) = &mut before {
            forget_due(&mut self.agenda, old);
            if let Some(session) = old.session.take() {
                session.close(Closing::StaleIncarnation);
                self.sessions -= 1;
            }
            old.end_post(&Gone::Superseded);
        } else {
            self.instances += 1;
        }
        let old = before.as_ref().map(Standing::of);
        group.recount(&key.id, old, Some(standing));
        self.tally.instance(old, Some(standing));
        self.waves.forget(&key);
        self.settle_waves(&key.service);
        self.schedule(ends, Due::Instance(key));
        needs
    }

    /// Puts an instance in its grave, once that is durable.
    pub(super) fn bury(&mut self, now: Now, grave: Grave) {
        let key = grave.tombstone.key.clone();
        let Some(group) = self.groups.get_mut(&key.service) else { return };
        let circle = Arc::clone(&group.circle);
        let Some((mut member, needs)) = group.take(&key.id) else { return };
        forget_due(&mut self.agenda, &mut member);
        let standing = Standing::of(&member);
        group.recount(&key.id, Some(standing), None);
        let service_remains = !group.is_empty();
        self.tally.instance(Some(standing), None);
        self.waves.forget(&key);
        self.settle_waves(&key.service);
        self.instances -= 1;
        if let Some(session) = member.session.take() {
            session.close(Closing::Removed(Arc::clone(&grave.tombstone)));
            self.sessions -= 1;
        }
        member.end_post(&Gone::buried(&grave.tombstone));
        if service_remains {
            let to =
                Verdict::new(Health::Unknown, format!("removed: {}", refusal::why_removed(&grave.tombstone)));
            let subject = Subject::Instance(key.clone(), member.incarnation);
            self.remember(now, subject, member.health().state, to);
        }
        self.changes.push(Change::Removed(Arc::clone(&grave.tombstone)));
        self.graves.insert(grave);
        if needs == Needs::Changed {
            self.settle_circles(&key.service, &circle);
        }
        self.settle_group(now, &key.service);
    }

    /// The member that a removal would take away. `protect`: refuse where the service is protected.
    ///
    /// # Errors
    /// There is no such instance or incarnation, or its service is protected.
    pub(super) fn check_remove(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        incarnation: Option<u64>,
        protect: bool,
    ) -> Result<&Member> {
        let refuse = |refusal: Refusal| refusal.about(service.as_str(), id.as_str());
        let Some(group) = self.groups.get(service) else { return Err(refuse(Refusal::NotFound)) };
        let Some(member) = group.members.get(id) else { return Err(refuse(Refusal::NotFound)) };
        if incarnation.is_some_and(|wanted| wanted != member.incarnation) {
            return Err(refuse(Refusal::Stale { current: member.incarnation }));
        }
        if protect && group.spec().protected {
            return Err(protected(service));
        }
        Ok(member)
    }

    /// The member that a message of an incarnation is from.
    pub(super) fn authenticate(
        &self,
        service: &str,
        id: &str,
        incarnation: u64,
        token: &TokenHash,
    ) -> Result<&Member, Refusal> {
        let member = self.groups.get(service).and_then(|group| group.members.get(id));
        let Some(member) = member else { return Err(self.refuse_absent(service, id, incarnation, token)) };
        if member.incarnation != incarnation {
            return Err(Refusal::Stale { current: member.incarnation });
        }
        if member.token != *token {
            return Err(Refusal::BadToken);
        }
        Ok(member)
    }

    /// A removed instance learns why it was removed, if it proves that it was the one.
    fn refuse_absent(&self, service: &str, id: &str, incarnation: u64, token: &TokenHash) -> Refusal {
        let (Ok(service), Ok(id)) = (ServiceName::parse(service), InstanceId::parse(id)) else {
            return Refusal::NotFound;
        };
        match self.graves.get(&InstanceKey { service, id }) {
            Some(grave) if grave.tombstone.incarnation == incarnation && grave.token == *token => {
                Refusal::Removed(Arc::clone(&grave.tombstone))
            }
            _ => Refusal::NotFound,
        }
    }

    // === reading ===

    pub(super) fn groups(&self) -> &BTreeMap<ServiceName, Group> {
        &self.groups
    }

    pub(super) fn graves(&self) -> &Graves {
        &self.graves
    }

    pub(super) fn grave(&self, key: &InstanceKey) -> Option<&Grave> {
        self.graves.get(key)
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn waves(&self) -> &Waves {
        &self.waves
    }

    pub(super) fn history(&self) -> &BTreeMap<u64, Arc<Transition>> {
        &self.history
    }

    pub(super) fn revision(&self) -> Revision {
        self.changes.revision()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            services: self.groups.len() as u64,
            instances: self.instances as u64,
            available: u64::from(self.tally.counts().available),
            lost: u64::from(self.tally.counts().lost),
            protected: u64::from(self.tally.counts().protected),
            sessions: self.sessions,
        }
    }

    /// Since when an instance has been lost.
    pub(super) fn lost_since(&self, key: &InstanceKey, incarnation: u64) -> Option<Mono> {
        self.member(key, incarnation)?.lost_since()
    }

    fn member(&self, key: &InstanceKey, incarnation: u64) -> Option<&Member> {
        let member = self.groups.get(&key.service)?.members.get(&key.id)?;
        (member.incarnation == incarnation).then_some(member)
    }

    // === what is due ===

    /// Puts on the agenda when a member or a component of it has to be looked at again.
    fn schedule(&mut self, at: Mono, due: Due) {
        let key = due.key();
        let member = self.groups.get_mut(&key.service).and_then(|group| group.members.get_mut(&key.id));
        if let Some(place) = member.and_then(|member| place_of(member, &due)) {
            self.agenda.put(place, at, due);
        }
    }

    /// Takes the next thing that is due by now off the agenda.
    fn next_due(&mut self, now: Mono) -> Option<Due> {
        let due = self.agenda.next(now)?;
        let key = due.key();
        let member = self.groups.get_mut(&key.service).and_then(|group| group.members.get_mut(&key.id));
        if let Some(place) = member.and_then(|member| place_of(member, &due)) {
            *place = None;
        }
        Some(due)
    }

    // === the one way in which a member changes ===

    /// Changes a member, keeps counts, health and history in step, and publishes it if anything that
    /// others see is different. `how` answers the components whose state or cause changed, and whether
    /// there is anything else to see.
    fn change(
        &mut self,
        now: Now,
        key: &InstanceKey,
        incarnation: u64,
        how: impl FnOnce(&mut Member) -> (Vec<PartChange>, bool),
    ) -> Option<Arc<Instance>> {
        let group = self.groups.get_mut(&key.service)?;
        let member = group.members.get_mut(&key.id).filter(|member| member.incarnation == incarnation)?;
        let before = (Standing::of(member), member.health().clone());
        let was_lost = member.lost_since().is_some();
        let (parts, mut seen) = how(member);
        let from = member.settle(now);
        let after = (Standing::of(member), member.health().clone());
        let lost = (was_lost, member.lost_since().is_some());
        seen |= !parts.is_empty() || before != after;
        if !seen {
            return None;
        }
        let mut history: Vec<(Subject, Health, Verdict)> = parts
            .iter()
            .filter_map(|change| {
                let name = member.registration.components.get(change.component)?.name.clone();
                let to = member.part(change.component)?.clone();
                // Another cause of the same state is shown, and is no change of health to remember.
                (change.from != to.state)
                    .then(|| (Subject::Component(key.clone(), incarnation, name), change.from, to))
            })
            .collect();
        if let Some((from, to)) = history::of_instance(lost, from, after.1) {
            history.push((Subject::Instance(key.clone(), incarnation), from, to));
        }
        let is_lost = member.lost_since().is_some();
        group.recount(&key.id, Some(before.0), Some(after.0));
        self.tally.instance(Some(before.0), Some(after.0));
        if was_lost && !is_lost {
            self.waves.forget(key);
        }
        if was_lost || is_lost {
            self.settle_waves(&key.service);
        }
        for (subject, from, to) in history {
            self.remember(now, subject, from, to);
        }
        Some(self.publish(now, key))
    }

    fn publish(&mut self, now: Now, key: &InstanceKey) -> Arc<Instance> {
        let revision = self.changes.revision() + 1;
        let member = self.groups.get_mut(&key.service).and_then(|group| group.members.get_mut(&key.id));
        // Both callers have just had this member in their hands.
        #[allow(clippy::expect_used)]
        let member = member.expect("the member that was changed is in its group");
        member.revision = revision;
        let instance = Arc::new(member.snapshot(now));
        self.changes.push(Change::Instance(Arc::clone(&instance)));
        self.settle_group(now, &key.service);
        instance
    }

    fn settle_group(&mut self, now: Now, name: &ServiceName) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if group.is_empty() {
            self.tally.service(group.tallied, None);
            // With the service goes the interest in its past. It needs nothing any more, so it is in no circle.
            for past in std::mem::take(&mut group.transitions) {
                self.history.remove(&past.sequence);
                self.set_back.forget(past.sequence);
                self.forget_record(&past);
            }
            self.groups.remove(name);
            self.changes.push(Change::ServiceRemoved(name.clone()));
            return;
        }
        let from = group.settle(now.wall);
        let to = group.health().clone();
        self.tally.service(group.tallied.replace(to.state), Some(to.state));
        self.changes.push(Change::Service(Arc::new(group.snapshot())));
        if let Some(from) = from {
            self.remember(now, Subject::Service(name.clone()), from, to);
        }
    }
}

/// Where a member remembers when this is due of it.
fn place_of<'a>(member: &'a mut Member, due: &Due) -> Option<&'a mut Place> {
    match due {
        Due::Instance(_) => Some(&mut member.due),
        Due::Silence(_, component) => member.silence_due(*component),
    }
}

/// Nothing is due any more of a member that is no more.
fn forget_due(agenda: &mut Agenda, member: &mut Member) {
    let key = member.registration.key.clone();
    agenda.take_away(&mut member.due, Due::Instance(key.clone()));
    for component in 0..member.registration.components.len() {
        if let Some(place) = member.silence_due(component) {
            agenda.take_away(place, Due::Silence(key.clone(), component));
        }
    }
}

/// A repeat of the registration, because its answer was lost. Whoever has used the token had the answer:
/// then it is a late copy, and what it would bring nobody would own.
fn claims_by_request(holder: &Member, claim: Claim) -> bool {
    claim.request.is_some() && claim.request == holder.request && !holder.lease.is_used()
}

fn full(what: &str, setting: &str, limit: usize) -> Error {
    Error::new(
        Kind::ResourceExhausted,
        Reason::FleetFull,
        format!("the fleet is full: {limit} {what} are registered; remove some, or raise {setting}"),
    )
    .with("limit", limit.to_string())
}

fn protected(name: &ServiceName) -> Error {
    Error::new(
        Kind::FailedPrecondition,
        Reason::ServiceProtected,
        format!("service {name} is protected; put a specification with `protected: false` first"),
    )
    .with("service", name.as_str())
}
