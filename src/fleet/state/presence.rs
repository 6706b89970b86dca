//! Being heard: heartbeats, reports and sessions of the living.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Due, State};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        lifecycle::{Lifecycle, is_checked},
        member::{Member, OpenSession, Report},
        names::InstanceKey,
        refusal::Refusal,
        session::{Closing, Incarnation, Session},
        snapshot::Instance,
    },
    task::last_waker::LastWaker,
    time::Now,
};

impl State {
    /// A lost or unconfirmed instance was heard. Called after `Lease::touch` asked for it.
    pub(in crate::fleet) fn hear(&mut self, now: Now, key: &InstanceKey, incarnation: u64) {
        let mut was_lost = false;
        let _ = self.change(now, key, incarnation, |member| {
            was_lost = member.hear(now);
            (vec![], was_lost)
        });
        if was_lost {
            self.watch_lease(key, incarnation);
        }
    }

    /// Takes in that a lost instance was heard, where whoever heard it has yet to say so.
    pub(in crate::fleet) fn hear_if_due(&mut self, now: Now, key: &InstanceKey, incarnation: u64) {
        if self.member(key, incarnation).is_some_and(Member::is_to_be_heard) {
            self.hear(now, key, incarnation);
        }
    }

    /// A living instance is due when its lease ends.
    pub(in crate::fleet) fn watch_lease(&mut self, key: &InstanceKey, incarnation: u64) {
        if let Some(member) = self.member(key, incarnation) {
            let ends = member.lease.last_heard() + member.lease.ttl();
            self.schedule(ends, Due::Instance(key.clone()));
        }
    }

    /// Takes reports and a lifecycle of an instance that has proved itself.
    ///
    /// # Errors
    /// The lifecycle cannot follow the current one; then nothing is taken.
    pub(in crate::fleet) fn report(
        &mut self,
        now: Now,
        key: &InstanceKey,
        incarnation: u64,
        reports: Vec<Report>,
        lifecycle: Option<Lifecycle>,
    ) -> Result<Arc<Instance>> {
        let Some(member) = self.member(key, incarnation) else {
            return Err(Refusal::NotFound.about(key.service.as_str(), key.id.as_str()));
        };
        if let Some(next) = lifecycle.filter(|next| !member.may_become(*next)) {
            return Err(Error::new(
                Kind::FailedPrecondition,
                Reason::LifecycleOrder,
                format!(
                    "instance {key} is {} and cannot become {}",
                    member.lifecycle().as_str(),
                    next.as_str()
                ),
            ));
        }
        let mut was_lost = false;
        let first: Vec<usize> = reports
            .iter()
            .map(|report| report.component)
            .filter(|component| member.silence(*component).is_none())
            .collect();
        let published = self.change(now, key, incarnation, |member| {
            was_lost = member.hear(now);
            let changes = member.report(reports, now);
            let moved = lifecycle.is_some_and(|next| next != member.lifecycle());
            if let Some(next) = lifecycle {
                member.set_lifecycle(next, now);
            }
            (changes, moved || was_lost)
        });
        if was_lost {
            self.watch_lease(key, incarnation);
        }
        for component in first {
            self.watch_silence(key, incarnation, component);
        }
        match published {
            Some(instance) => Ok(instance),
            None => self
                .member(key, incarnation)
                .map(|member| Arc::new(member.snapshot(now)))
                .ok_or_else(|| Refusal::NotFound.about(key.service.as_str(), key.id.as_str())),
        }
    }

    /// Takes what an active check found of a component. That is no sign of life: the lease runs on, who is
    /// lost stays lost, and who was not heard since the start stays unconfirmed. False: it is not wanted,
    /// because that incarnation is gone, lost or stopped.
    pub(in crate::fleet) fn checked(
        &mut self,
        now: Now,
        key: &InstanceKey,
        incarnation: u64,
        report: Report,
    ) -> bool {
        let component = report.component;
        let wanted = self.member(key, incarnation).filter(|member| is_checked(member.lifecycle()));
        let Some(first) = wanted.map(|member| member.silence(component).is_none()) else { return false };
        let _ = self.change(now, key, incarnation, |member| (member.report(vec![report], now), false));
        if first {
            self.watch_silence(key, incarnation, component);
        }
        true
    }

    /// Takes note that an active check could not ask, and why. What was found before holds for as long as a
    /// component may be silent. False: it is not wanted, as above.
    pub(in crate::fleet) fn not_checked(
        &mut self,
        now: Now,
        key: &InstanceKey,
        incarnation: u64,
        component: usize,
        why: String,
    ) -> bool {
        let wanted = self.member(key, incarnation).filter(|member| is_checked(member.lifecycle()));
        let Some(silence) = wanted.map(|member| member.silence(component)) else { return false };
        let holds = |(since, patience)| self.stalls.deadline(since, patience) > now.mono;
        if !silence.is_some_and(holds) {
            let _ = self.change(now, key, incarnation, |member| {
                (member.forget(component, why, now).into_iter().collect(), false)
            });
        }
        true
    }

    pub(in crate::fleet) fn watch_silence(&mut self, key: &InstanceKey, incarnation: u64, component: usize) {
        if let Some((since, patience)) =
            self.member(key, incarnation).and_then(|member| member.silence(component))
        {
            let at = self.stalls.deadline(since, patience);
            self.schedule(at, Due::Silence(key.clone(), component));
        }
    }

    /// Opens a session for an instance that has proved itself; one that is open is superseded. Answers the
    /// instance as it is then as well. `takes_directives`: whether its client says so.
    pub(in crate::fleet) fn open_session(
        &mut self,
        now: Now,
        key: &InstanceKey,
        incarnation: u64,
        takes_directives: bool,
    ) -> Result<(Session, Arc<Instance>)> {
        let id = self.next_session;
        let (close, closing) = oneshot::channel();
        let (mut superseded, mut was_lost, mut directives) = (false, false, None);
        let instance = self.change(now, key, incarnation, |member| {
            member.lease.renew(now.mono);
            was_lost = member.hear(now);
            let open = OpenSession::open(id, Arc::clone(&member.lease), close);
            if let Some(old) = member.session.replace(open) {
                old.close(Closing::Superseded);
                superseded = true;
            }
            if takes_directives {
                let post = member.post.get_or_insert_default();
                directives = Some(post.carry(id));
            }
            if let Some(post) = &member.post {
                post.set_takes(takes_directives);
            }
            (vec![], true)
        });
        let not_found = || Refusal::NotFound.about(key.service.as_str(), key.id.as_str());
        let instance = instance.ok_or_else(not_found)?;
        self.next_session += 1;
        self.sessions += u64::from(!superseded);
        if was_lost {
            self.watch_lease(key, incarnation);
        }
        let lease =
            self.member(key, incarnation).map(|member| Arc::clone(&member.lease)).ok_or_else(not_found)?;
        let of = Incarnation { registration: Arc::clone(&instance.registration), incarnation };
        let session =
            Session { id, instance: of, lease, directives, closing, last_waker: LastWaker::default() };
        Ok((session, instance))
    }

    /// The stream of a session has ended. The lease runs on.
    pub(in crate::fleet) fn close_session(&mut self, now: Now, key: &InstanceKey, incarnation: u64, id: u64) {
        let mut closed = false;
        let _ = self.change(now, key, incarnation, |member| {
            closed = member.session.as_ref().is_some_and(|session| session.id() == id);
            if closed {
                member.session = None;
            }
            (vec![], closed)
        });
        self.sessions -= u64::from(closed);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crate::{
        fleet::{
            lifecycle::Lifecycle,
            names::InstanceKey,
            record,
            state::State,
            testing::{Fleet, birth, key, limits, registration, report, start},
        },
        health::{
            State as Health,
            component::Reported::{self, Healthy, Unhealthy},
        },
        store::Entry,
        time::Now,
    };

    #[test]
    fn watchers_learn_that_flapping_has_begun_and_ended() {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        fleet.register(&key);
        let mut say = |said: Reported| {
            let before = fleet.state.revision();
            let instance = fleet.state.report(fleet.now, &key, 1, report(said), None).unwrap();
            (instance.components[0].flapping, fleet.state.revision() > before)
        };
        for said in [Healthy, Unhealthy, Healthy, Unhealthy] {
            assert_eq!(say(said), (false, true));
        }
        assert_eq!(say(Healthy), (true, true));
        for _ in 0..18 {
            let (flapping, _) = say(Healthy);
            assert!(flapping);
        }
        assert_eq!(say(Healthy), (false, true), "healthy before and after");
        assert_eq!(say(Healthy), (false, false));
    }

    fn checked(state: &mut State, now: Now, incarnation: u64, found: Reported) -> bool {
        state.checked(now, &key("orders", "i-1"), incarnation, report(found).remove(0))
    }

    #[test]
    fn a_check_counts_like_a_report_and_keeps_nobody_alive() {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        fleet.register(&key);
        assert!(checked(&mut fleet.state, fleet.now, 1, Healthy));
        assert_eq!(fleet.state.member(&key, 1).unwrap().health().state, Health::Healthy);
        fleet.pass(Duration::from_secs(10));
        assert!(checked(&mut fleet.state, fleet.now, 1, Unhealthy));
        assert_eq!(fleet.state.member(&key, 1).unwrap().health().state, Health::Unhealthy);
        assert!(!checked(&mut fleet.state, fleet.now, 2, Healthy), "of another incarnation");
        // Its lease runs from the registration, whatever was found since.
        fleet.pass(Duration::from_secs(6));
        while fleet.state.tick(fleet.now, 8).more {}
        assert_eq!(fleet.state.member(&key, 1).unwrap().lifecycle(), Lifecycle::Lost);
        assert!(!checked(&mut fleet.state, fleet.now, 1, Healthy), "it is lost");
        assert_eq!(fleet.state.member(&key, 1).unwrap().lifecycle(), Lifecycle::Lost);
    }

    #[test]
    fn a_check_does_not_confirm_who_was_not_heard_since_the_start() {
        let born = birth(registration(&key("orders", "i-1")), 1, start().wall);
        let value = record::encode_instance(&born).unwrap();
        let entry = Entry { key: record::instance_key(&born.registration.key), value, revision: 1 };
        let mut state = State::new(limits());
        state.admit(start(), record::decode_instance(&entry).unwrap());
        assert!(checked(&mut state, start(), 1, Healthy));
        let member = state.member(&key("orders", "i-1"), 1).unwrap();
        assert_eq!((member.confirmed(), member.health().state), (false, Health::Unknown));
        assert_eq!(member.part(0).unwrap().state, Health::Healthy, "what was found is known all the same");
    }

    #[test]
    fn after_a_restart_the_first_word_about_a_lifecycle_is_taken_whatever_it_is() {
        use Lifecycle::{Draining, Failed, LameDuck, Lost, Ready, Starting, Stopped, Stopping};
        for (first, taken) in [
            (Starting, true),
            (Ready, true),
            (LameDuck, true),
            (Draining, true),
            (Stopping, true),
            (Failed, true),
            (Stopped, false),
            (Lost, false),
        ] {
            let mut born = birth(registration(&key("orders", "i-1")), 1, start().wall);
            born.confirmed = false;
            let key = born.registration.key.clone();
            let mut state = State::new(limits());
            state.admit(start(), born);
            assert_eq!(state.member(&key, 1).unwrap().lifecycle(), Ready);
            // It is heard, and reports, before it says where it is.
            state.open_session(start(), &key, 1, false).unwrap();
            state.report(start(), &key, 1, report(Healthy), None).unwrap();
            assert_eq!(state.report(start(), &key, 1, vec![], Some(first)).is_ok(), taken, "{first:?}");
            let then = if taken { first } else { Ready };
            assert_eq!(state.member(&key, 1).unwrap().lifecycle(), then);
            // From then on it has an order.
            let next = state.report(start(), &key, 1, vec![], Some(Starting));
            assert_eq!(next.is_ok(), !taken || then.allows(Starting), "{first:?}");
        }
    }

    /// An instance whose component was found healthy and is due every 10 s, with a lease that outlasts it.
    fn found_healthy() -> (Fleet, InstanceKey) {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        let mut born = registration(&key);
        born.lease_ttl = Duration::from_secs(600);
        Arc::make_mut(&mut born.components)[0].report_interval = Duration::from_secs(10);
        crate::fleet::testing::register_as(&mut fleet.state, fleet.now, born);
        checked(&mut fleet.state, fleet.now, 1, Healthy);
        (fleet, key)
    }

    #[test]
    fn why_a_check_cannot_be_made_is_told_as_it_is_now() {
        let (mut fleet, key) = found_healthy();
        for why in ["not asked: the network is down", "not asked: it may not be", "not asked: no files"] {
            fleet.pass(Duration::from_secs(31));
            assert!(fleet.state.not_checked(fleet.now, &key, 1, 0, why.to_owned()));
            let found = fleet.state.member(&key, 1).unwrap().part(0).unwrap();
            assert_eq!((found.state, found.cause.as_str()), (Health::Unknown, why));
        }
    }

    #[test]
    fn checks_that_are_not_made_any_more_are_silence() {
        let (mut fleet, key) = found_healthy();
        fleet.pass(Duration::from_secs(31));
        while fleet.state.tick(fleet.now, 8).more {}
        assert_eq!(fleet.state.member(&key, 1).unwrap().part(0).unwrap().state, Health::Unknown);
    }
}
