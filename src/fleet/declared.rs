//! Which declaration counts, of all that the instances of a service make: that of the newest version, of
//! one version that of the newest instance.
//!
//! Only who is registered has a say, so that a version that was taken back takes its declaration with it,
//! and a restart finds what was there before. Whoever declares nothing has no say either.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{member::Member, registration::Registration, spec::Spec, version};

/// The declarations of a service, in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Declarations(BTreeSet<Declaration>);

/// What one instance declares.
#[derive(Debug)]
struct Declaration {
    registration: Arc<Registration>,
    /// Since 1970, in whole milliseconds: what the store keeps of it. A finer order would be another one
    /// after a restart.
    registered: u128,
}

impl Declarations {
    /// Takes in what a new member declares. True: it declares something.
    pub(super) fn add(&mut self, member: &Member) -> bool {
        let declares = member.registration.declared_spec.is_some();
        if declares {
            self.0.insert(Declaration::of(member));
        }
        declares
    }

    /// Lets go of what a member declared that is no longer there. True: it had declared something.
    pub(super) fn remove(&mut self, member: &Member) -> bool {
        self.0.remove(&Declaration::of(member))
    }

    /// The specification that counts.
    pub(super) fn newest(&self) -> Option<&Arc<Spec>> {
        self.0.last()?.registration.declared_spec.as_ref()
    }
}

impl Declaration {
    fn of(member: &Member) -> Self {
        let since = member.registered().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            registration: Arc::clone(&member.registration),
            registered: since.map_or(0, |since: Duration| since.as_millis()),
        }
    }
}

impl Ord for Declaration {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, others) = (&self.registration, &other.registration);
        version::compare(&mine.version, &others.version)
            .then_with(|| self.registered.cmp(&other.registered))
            .then_with(|| mine.key.id.cmp(&others.key.id))
    }
}

impl PartialOrd for Declaration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Declaration {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Declaration {}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crate::{
        fleet::{
            member::Birth,
            names::{InstanceKey, ServiceName},
            record,
            snapshot::SpecSource,
            spec::{Need, Spec},
            state::State,
            testing::{Fleet, birth, key, limits, register_as, registration, remove, start},
        },
        store::Entry,
    };

    /// A specification that is told from others by what it needs.
    fn needs(name: &str) -> Arc<Spec> {
        let depends_on = [(ServiceName::parse(name).unwrap(), Need::Hard)].into();
        Arc::new(Spec { depends_on, ..Spec::default() })
    }

    fn declaring(id: &str, version: &str, spec: &Arc<Spec>, after: Duration) -> Birth {
        let mut registration = registration(&key("orders", id));
        registration.version = version.into();
        registration.declared_spec = Some(Arc::clone(spec));
        birth(registration, 1, start().wall + after)
    }

    /// What counts as declared: the one service that it needs.
    fn counts(state: &State) -> Option<String> {
        let group = state.groups().values().find(|group| group.name.as_str() == "orders")?;
        let service = group.snapshot();
        let expected =
            if service.declared_spec.is_some() { SpecSource::Declared } else { SpecSource::Default };
        assert_eq!(service.spec_source, expected);
        service.declared_spec.map(|spec| spec.depends_on.keys().next().unwrap().to_string())
    }

    /// The state as it is after a restart: from what the store has, in the order of names.
    fn restarted(births: &[Birth]) -> State {
        let mut births: Vec<&Birth> = births.iter().collect();
        births.sort_by_key(|birth| birth.registration.key.clone());
        let mut state = State::new(limits());
        for birth in births {
            let entry = Entry {
                key: record::instance_key(&birth.registration.key),
                value: record::encode_instance(birth).unwrap(),
                revision: 1,
            };
            state.admit(start(), record::decode_instance(&entry).unwrap());
        }
        state
    }

    #[test]
    fn the_newest_version_that_is_present_counts_before_and_after_a_restart() {
        let (a, b) = (needs("a"), needs("b"));
        let later = Duration::from_secs;
        for (what, births, expected) in [
            ("one", vec![declaring("i-1", "1.0.0", &a, later(0))], "a"),
            (
                "the newer version, although it came first",
                vec![declaring("i-1", "2.0.0", &a, later(0)), declaring("i-2", "1.0.0", &b, later(1))],
                "a",
            ),
            (
                "a release before its own pre-release",
                vec![declaring("i-1", "2.0.0", &a, later(0)), declaring("i-2", "2.0.0-rc.1", &b, later(1))],
                "a",
            ),
            (
                "of one version, who registered last",
                vec![declaring("i-2", "1.0.0", &a, later(0)), declaring("i-1", "1.0.0", &b, later(1))],
                "b",
            ),
            (
                "of builds of one version, who registered last",
                vec![declaring("i-2", "1.0.0+b9", &a, later(0)), declaring("i-1", "1.0.0+b1", &b, later(1))],
                "b",
            ),
            (
                "of one moment, as far as the store can tell, the greater id",
                vec![
                    declaring("i-2", "1.0.0", &a, Duration::from_nanos(0)),
                    declaring("i-1", "1.0.0", &b, Duration::from_nanos(999)),
                ],
                "a",
            ),
        ] {
            let mut state = State::new(limits());
            births.iter().for_each(|birth| drop(state.admit(start(), birth.clone())));
            assert_eq!(counts(&state).as_deref(), Some(expected), "{what}");
            assert_eq!(counts(&restarted(&births)).as_deref(), Some(expected), "{what}, after a restart");
        }
    }

    #[test]
    fn what_is_gone_declares_nothing() {
        let (old, new) = (needs("a"), needs("b"));
        let mut fleet = Fleet::default();
        let register = |fleet: &mut Fleet, key: &InstanceKey, version: &str, spec: Option<&Arc<Spec>>| {
            let mut registration = registration(key);
            registration.version = version.into();
            registration.declared_spec = spec.cloned();
            fleet.pass(Duration::from_secs(1));
            register_as(&mut fleet.state, fleet.now, registration)
        };
        let keys = [key("orders", "i-1"), key("orders", "i-2")];
        register(&mut fleet, &keys[0], "1.0.0", Some(&old));
        // A roll-out that is taken back: the new version comes and goes.
        let incarnation = register(&mut fleet, &keys[1], "2.0.0", Some(&new));
        assert_eq!(counts(&fleet.state).as_deref(), Some("b"));
        remove(&mut fleet.state, fleet.now, &keys[1], incarnation);
        assert_eq!(counts(&fleet.state).as_deref(), Some("a"), "it was removed");
        // The same with ids that stay.
        register(&mut fleet, &keys[0], "2.0.0", Some(&new));
        register(&mut fleet, &keys[0], "1.0.0", Some(&old));
        assert_eq!(counts(&fleet.state).as_deref(), Some("a"), "it was replaced");
        // The next incarnation declares nothing any more.
        register(&mut fleet, &keys[0], "1.0.0", None);
        assert_eq!(counts(&fleet.state), None);
    }

    #[test]
    fn a_circle_ends_with_the_declaration_that_closed_it() {
        let mut fleet = Fleet::default();
        let needing = |fleet: &mut Fleet, service: &str, needed: &str| {
            let mut registration = registration(&key(service, "i-1"));
            registration.declared_spec = Some(needs(needed));
            register_as(&mut fleet.state, fleet.now, registration)
        };
        needing(&mut fleet, "orders", "stock");
        let incarnation = needing(&mut fleet, "stock", "orders");
        // Another one holds the service when the declaration goes.
        fleet.register(&key("stock", "i-2"));
        let circles = |fleet: &Fleet| -> Vec<usize> {
            fleet.state.groups().values().map(|group| group.circle.len()).collect()
        };
        assert_eq!(circles(&fleet), [2, 2]);
        remove(&mut fleet.state, fleet.now, &key("stock", "i-1"), incarnation);
        assert_eq!(circles(&fleet), [0, 0]);
    }
}
