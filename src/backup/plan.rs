//! What a backup captures from whom: a rule over what instances have declared. Asks nobody and begins nothing.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    error::{Error, FieldViolation, Kind, Reason, Result},
    fleet::{
        self,
        lifecycle::Lifecycle,
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
        registration::{Capture as Settings, CaptureScope, Component},
        scan::Filter,
        snapshot::Instance,
    },
    operation::asked,
};

/// Instances that are read at a time.
const PIECE: usize = 256;
/// Captures that a backup has at the most.
const MOST_CAPTURES: usize = 200;

/// Of what a backup is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Only these components; none: all that can be captured.
    pub components: Vec<ComponentName>,
    /// Only of these instances; none: of one or of each, as the component says.
    pub instances: Vec<InstanceId>,
    /// And none of these.
    pub without: Vec<(InstanceId, ComponentName)>,
}

impl Wish {
    /// What is asked for by it, as operations have it.
    pub(super) fn asked(&self, max_quiesce: Duration) -> String {
        let components = self.components.iter().map(ComponentName::as_str);
        let instances = self.instances.iter().map(InstanceId::as_str);
        let quiesce = max_quiesce.as_millis().to_string();
        let without = self.without.iter().flat_map(|(id, name)| [id.as_str(), name.as_str()]);
        // No name is empty: an empty part ends a list.
        asked(components.chain([""]).chain(instances).chain(["", &quiesce]).chain(without))
    }
}

/// One component of one instance that is to be captured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Capture {
    /// The instance.
    pub(super) key: InstanceKey,
    /// Which life of it.
    pub(super) incarnation: u64,
    /// The component.
    pub(super) component: ComponentName,
    /// Its kind.
    pub(super) kind: String,
    /// How it is captured.
    pub(super) settings: Settings,
    /// Whether any other instance would do.
    pub(super) any_instance: bool,
}

/// One component that belongs to a backup and that nobody can be asked for: the backup lacks it, and says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Missing {
    /// The instance that has it.
    pub(super) instance: InstanceId,
    /// The component.
    pub(super) component: ComponentName,
    /// Its kind.
    pub(super) kind: String,
    /// Why it cannot be had.
    pub(super) why: &'static str,
}

/// What a backup consists of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    /// What is captured; never empty for a service.
    pub(super) captures: Vec<Capture>,
    /// What cannot be.
    pub(super) missing: Vec<Missing>,
}

/// What a backup of a service consists of now.
///
/// # Errors
/// A component or an instance that was named is not there or cannot be captured; or nobody is attached who could be asked.
pub(super) async fn plan(fleet: &fleet::Handle, service: &ServiceName, wish: &Wish) -> Result<Plan> {
    fleet.service(service)?;
    let filter = Filter { service: Some(service.clone()), ..Filter::default() };
    let mut instances = Vec::new();
    fleet
        .each_instance(&filter, None, PIECE, |instance| {
            // What is kept of a large service is bounded by who can be asked.
            if instance.registration.components.iter().any(|one| one.captured().is_some()) {
                instances.push(instance);
            }
            instances.len() < 10 * MOST_CAPTURES
        })
        .await;
    choose(service, &instances, wish)
}

/// Chooses among instances. Of those that would do, the healthiest, then the first by id.
fn choose(service: &ServiceName, instances: &[Instance], wish: &Wish) -> Result<Plan> {
    let can: BTreeSet<&ComponentName> = instances
        .iter()
        .flat_map(|instance| instance.registration.components.iter())
        .filter(|component| component.captured().is_some())
        .map(|component| &component.name)
        .collect();
    check(service, instances, &can, wish)?;
    let mut plan = Plan::default();
    for name in can.iter().filter(|name| wish.components.is_empty() || wish.components.contains(name)) {
        let (mut candidates, mut missing) = (Vec::new(), Vec::new());
        let mut one = true;
        for instance in instances {
            let key = &instance.registration.key;
            let component = instance.registration.components.iter().find(|one| &one.name == *name);
            let Some((component, settings)) = component.and_then(|one| Some((one, one.captured()?))) else {
                continue;
            };
            let is_wished = wish.instances.is_empty() || wish.instances.contains(&key.id);
            if !is_wished || wish.without.iter().any(|(id, other)| (id, other) == (&key.id, *name)) {
                continue;
            }
            one &= settings.scope == CaptureScope::One;
            match cannot(instance) {
                Some(why) => missing.push(Missing {
                    instance: key.id.clone(),
                    component: component.name.clone(),
                    kind: component.kind.clone(),
                    why,
                }),
                None => candidates.push((
                    instance,
                    Capture {
                        key: key.clone(),
                        incarnation: instance.incarnation,
                        component: component.name.clone(),
                        kind: component.kind.clone(),
                        settings,
                        any_instance: false,
                    },
                )),
            }
        }
        if one && wish.instances.is_empty() {
            // Any one would do: where there is one, nothing is missing.
            match candidates.into_iter().min_by_key(|(instance, _)| rank(instance)) {
                Some((_, capture)) => plan.captures.push(Capture { any_instance: true, ..capture }),
                None => plan.missing.extend(missing.into_iter().next()),
            }
        } else {
            plan.captures.extend(candidates.into_iter().map(|(_, capture)| capture));
            plan.missing.extend(missing);
        }
    }
    if plan.captures.is_empty() {
        let message = match plan.missing.first() {
            None => format!("service {service} has no instance with a component that can be captured"),
            Some(one) => format!(
                "none of the {} components of {service} that could be captured can be asked for: {} of {}: {}",
                plan.missing.len(),
                one.component,
                one.instance,
                one.why
            ),
        };
        return Err(Error::new(Kind::FailedPrecondition, Reason::NothingToCapture, message)
            .with("service", service.as_str()));
    }
    let count = plan.captures.len() + plan.missing.len();
    if count > MOST_CAPTURES {
        let message = format!(
            "a backup captures at most {MOST_CAPTURES} components, and this one would {count}; name components or instances"
        );
        return Err(Error::new(Kind::FailedPrecondition, Reason::TooManyCaptures, message));
    }
    Ok(plan)
}

/// Why an instance cannot be asked for anything. None: it can.
fn cannot(instance: &Instance) -> Option<&'static str> {
    if instance.lifecycle == Lifecycle::Lost {
        // Its stream may be open still.
        Some("its instance is lost")
    } else if !instance.attached {
        Some("its instance is not attached")
    } else if !instance.takes_directives {
        Some("its instance takes no directives; its client has to be newer")
    } else {
        None
    }
}

/// The better one is less.
fn rank(instance: &Instance) -> (u8, &str) {
    use crate::health::State;
    let health = match instance.health.state {
        State::Healthy => 0,
        State::Degraded => 1,
        State::Unknown => 2,
        State::Unhealthy => 3,
    };
    (health, instance.registration.key.id.as_str())
}

fn check(
    service: &ServiceName,
    instances: &[Instance],
    can: &BTreeSet<&ComponentName>,
    wish: &Wish,
) -> Result<()> {
    let mut wrong = Vec::new();
    for (at, name) in wish.components.iter().enumerate() {
        if !can.contains(name) {
            let description = format!("{name} is no component of {service} that can be captured");
            wrong.push(FieldViolation { field: format!("components[{at}]"), description });
        }
    }
    for (at, id) in wish.instances.iter().enumerate() {
        let has = |component: &Component| {
            component.captured().is_some()
                && (wish.components.is_empty() || wish.components.contains(&component.name))
        };
        let of = instances.iter().find(|instance| &instance.registration.key.id == id);
        if !of.is_some_and(|instance| instance.registration.components.iter().any(has)) {
            let description = format!("{id} is no instance of {service} with a component to capture");
            wrong.push(FieldViolation { field: format!("instance_ids[{at}]"), description });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::fields(wrong, 0)) }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU32,
        slice::from_ref,
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{
        fleet::{
            pairs::Pairs,
            registration::{Capability, Registration},
        },
        health::{State, Verdict, component::Thresholds},
    };

    /// How an instance can be reached.
    #[derive(Clone, Copy)]
    enum Reach {
        Here,
        Away,
        Deaf,
        Lost,
    }

    fn component(name: &str, scope: CaptureScope) -> Component {
        let one = NonZeroU32::MIN;
        Component {
            name: ComponentName::parse(name).unwrap(),
            kind: "kind".to_owned(),
            essential: false,
            depends_on: vec![],
            capabilities: vec![Capability::Backup],
            report_interval: Duration::from_secs(5),
            thresholds: Thresholds { fail: one, pass: one },
            check: None,
            capture: Settings { scope, ..Settings::default() },
        }
    }

    fn instance(id: &str, reach: Reach, health: State, components: &[Component]) -> Instance {
        let at = SystemTime::UNIX_EPOCH;
        Instance {
            registration: Arc::new(Registration {
                key: InstanceKey {
                    service: ServiceName::parse("orders").unwrap(),
                    id: InstanceId::parse(id).unwrap(),
                },
                version: String::new(),
                zone: String::new(),
                address: String::new(),
                labels: Pairs::default(),
                components: components.to_vec().into(),
                declared_spec: None,
                lease_ttl: Duration::from_secs(15),
                lifecycle: Lifecycle::Ready,
            }),
            incarnation: 1,
            lifecycle: if matches!(reach, Reach::Lost) { Lifecycle::Lost } else { Lifecycle::Ready },
            health: Verdict::new(health, ""),
            confirmed: true,
            attached: !matches!(reach, Reach::Away),
            takes_directives: matches!(reach, Reach::Here | Reach::Lost),
            components: Vec::new(),
            registered: at,
            last_heard: None,
            protection_end: None,
            lifecycle_changed: at,
            health_changed: at,
            peer: "".into(),
            revision: 0,
        }
    }

    fn wish(components: &[&str], instances: &[&str]) -> Wish {
        Wish {
            components: components.iter().map(|name| ComponentName::parse(name).unwrap()).collect(),
            instances: instances.iter().map(|id| InstanceId::parse(id).unwrap()).collect(),
            without: Vec::new(),
        }
    }

    fn planned(instances: &[Instance], wish: &Wish) -> Result<Plan> {
        choose(&ServiceName::parse("orders").unwrap(), instances, wish)
    }

    /// What is captured and what is missing, as `component/instance`.
    fn words(plan: &Plan) -> (Vec<String>, Vec<String>) {
        let captures = plan.captures.iter().map(|one| format!("{}/{}", one.component, one.key.id));
        let missing = plan.missing.iter().map(|one| format!("{}/{}", one.component, one.instance));
        (captures.collect(), missing.collect())
    }

    #[test]
    fn what_belongs_to_a_backup_is_captured_or_missing_and_never_forgotten() {
        use CaptureScope::{Each, One};
        use Reach::{Away, Deaf, Here, Lost};
        let (shared, own) = (component("db", One), component("log", Each));
        let both = [shared.clone(), own.clone()];
        let of = |id, reach, health| instance(id, reach, health, &both);
        let healthy = State::Healthy;
        for (instances, wish, captures, missing) in [
            // Of what all share the healthiest has it, then the first.
            (
                vec![of("a", Here, State::Unhealthy), of("b", Here, healthy), of("c", Here, healthy)],
                wish(&[], &[]),
                vec!["db/b", "log/a", "log/b", "log/c"],
                vec![],
            ),
            // One that is away is missing where each is wanted, and not where any would do.
            (
                vec![of("a", Away, healthy), of("b", Here, healthy)],
                wish(&[], &[]),
                vec!["db/b", "log/b"],
                vec!["log/a"],
            ),
            (
                vec![of("a", Deaf, healthy), of("b", Here, healthy)],
                wish(&["log"], &[]),
                vec!["log/b"],
                vec!["log/a"],
            ),
            // One that is lost is not there, although its stream is open still.
            (
                vec![of("a", Lost, healthy), of("b", Here, healthy)],
                wish(&[], &[]),
                vec!["db/b", "log/b"],
                vec!["log/a"],
            ),
            // Who alone has something and is away lacks it.
            (
                vec![
                    instance("a", Here, healthy, from_ref(&own)),
                    instance("b", Away, healthy, from_ref(&shared)),
                ],
                wish(&[], &[]),
                vec!["log/a"],
                vec!["db/b"],
            ),
            // Who was named is meant, whoever else would do.
            (
                vec![of("a", Away, healthy), of("b", Here, healthy)],
                wish(&[], &["a", "b"]),
                vec!["db/b", "log/b"],
                vec!["db/a", "log/a"],
            ),
            (
                vec![of("a", Here, State::Unhealthy), of("b", Here, healthy)],
                wish(&["db"], &["a"]),
                vec!["db/a"],
                vec![],
            ),
        ] {
            let plan = planned(&instances, &wish).unwrap();
            let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&plan), (owned(captures), owned(missing)), "{wish:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_neither_captured_nor_missing() {
        let both = [component("db", CaptureScope::Each), component("log", CaptureScope::Each)];
        let of = |id, reach| instance(id, reach, State::Healthy, &both);
        let instances = [of("a", Reach::Here), of("b", Reach::Away)];
        let name = |name| ComponentName::parse(name).unwrap();
        let without = vec![
            (InstanceId::parse("a").unwrap(), name("db")),
            (InstanceId::parse("b").unwrap(), name("log")),
        ];
        let wish = Wish { without, ..wish(&["db", "log"], &["a", "b"]) };
        let plan = planned(&instances, &wish).unwrap();
        assert_eq!(words(&plan), (vec!["log/a".to_owned()], vec!["db/b".to_owned()]));
        let whole = Wish { without: Vec::new(), ..wish.clone() };
        assert_ne!(wish.asked(Duration::ZERO), whole.asked(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_had_at_all_is_refused_by_name() {
        let own = component("log", CaptureScope::Each);
        let here = instance("a", Reach::Here, State::Healthy, from_ref(&own));
        let other = component("db", CaptureScope::One);
        let both = instance("b", Reach::Here, State::Healthy, &[own.clone(), other]);
        let away = instance("a", Reach::Away, State::Healthy, from_ref(&own));
        let refused = |instances: &[Instance], wish: &Wish| planned(instances, wish).unwrap_err();
        let error = refused(from_ref(&here), &wish(&["nothing"], &["z"]));
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["components[0]", "instance_ids[0]"]);
        // An instance that has none of what is wanted is a slip of the pen.
        let error = refused(&[here, both], &wish(&["db"], &["b", "a"]));
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["instance_ids[1]"]);
        let error = refused(&[away], &wish(&[], &[]));
        assert_eq!(error.reason(), Reason::NothingToCapture);
        assert!(error.to_string().contains("log of a: its instance is not attached"), "{error}");
        assert_eq!(refused(&[], &wish(&[], &[])).reason(), Reason::NothingToCapture);
    }
}
