//! What a backup captures from whom: a rule over what instances have declared. Asks nobody and begins nothing.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    error::{Error, FieldViolation, Kind, Reason, Result},
    fleet::{
        self,
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
        registration::{Capture as Settings, CaptureScope},
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
}

impl Wish {
    /// What is asked for by it, as operations have it.
    pub(super) fn asked(&self, max_quiesce: Duration) -> String {
        let components = self.components.iter().map(ComponentName::as_str);
        let instances = self.instances.iter().map(InstanceId::as_str);
        let quiesce = max_quiesce.as_millis().to_string();
        // No name is empty: an empty part ends a list.
        asked(components.chain([""]).chain(instances).chain(["", &quiesce]))
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

/// What a backup of a service captures now.
///
/// # Errors
/// A component or an instance that was named is not there or cannot be captured; or nobody is attached who could be asked.
pub(super) async fn captures(
    fleet: &fleet::Handle,
    service: &ServiceName,
    wish: &Wish,
) -> Result<Vec<Capture>> {
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
fn choose(service: &ServiceName, instances: &[Instance], wish: &Wish) -> Result<Vec<Capture>> {
    let can: BTreeSet<&ComponentName> = instances
        .iter()
        .flat_map(|instance| instance.registration.components.iter())
        .filter(|component| component.captured().is_some())
        .map(|component| &component.name)
        .collect();
    check(service, instances, &can, wish)?;
    let mut captures = Vec::new();
    let (mut away, mut deaf) = (0, 0);
    for name in can.iter().filter(|name| wish.components.is_empty() || wish.components.contains(name)) {
        let mut candidates: Vec<(&Instance, Capture)> = Vec::new();
        for instance in instances {
            let component = instance.registration.components.iter().find(|one| &one.name == *name);
            let Some((component, settings)) = component.and_then(|one| Some((one, one.captured()?))) else {
                continue;
            };
            let key = &instance.registration.key;
            if !wish.instances.is_empty() && !wish.instances.contains(&key.id) {
                continue;
            }
            if !instance.attached {
                away += 1;
            } else if !instance.takes_directives {
                deaf += 1;
            } else {
                let capture = Capture {
                    key: key.clone(),
                    incarnation: instance.incarnation,
                    component: component.name.clone(),
                    kind: component.kind.clone(),
                    settings,
                    any_instance: false,
                };
                candidates.push((instance, capture));
            }
        }
        let one = candidates.iter().all(|(_, capture)| capture.settings.scope == CaptureScope::One);
        if one && wish.instances.is_empty() {
            let best = candidates.into_iter().min_by_key(|(instance, _)| rank(instance));
            captures.extend(best.map(|(_, capture)| Capture { any_instance: true, ..capture }));
        } else {
            captures.extend(candidates.into_iter().map(|(_, capture)| capture));
        }
    }
    if captures.is_empty() {
        let message = match (away, deaf) {
            (0, 0) => format!("service {service} has no instance with a component that can be captured"),
            (_, 0) => format!("no instance of {service} that could be captured is attached ({away} are not)"),
            _ => format!("no attached instance of {service} takes directives; its client has to be newer"),
        };
        return Err(Error::new(Kind::FailedPrecondition, Reason::NothingToCapture, message)
            .with("service", service.as_str()));
    }
    if captures.len() > MOST_CAPTURES {
        let message = format!(
            "a backup captures at most {MOST_CAPTURES} components, and this one would {}; name components or instances",
            captures.len()
        );
        return Err(Error::new(Kind::FailedPrecondition, Reason::TooManyCaptures, message));
    }
    Ok(captures)
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
        if !instances.iter().any(|instance| &instance.registration.key.id == id) {
            let description = format!("{id} is no instance of {service} that can be captured");
            wrong.push(FieldViolation { field: format!("instance_ids[{at}]"), description });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::fields(wrong, 0)) }
}
