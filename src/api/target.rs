//! Whose health is asked for, and what it is: for `GetHealth` and `WatchHealth` alike.

use super::{
    convert::{health_state, instance, service},
    parse::{self, Fields},
    proto::v1 as pb,
};
use crate::{
    error::Result,
    fleet::{
        Handle,
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
    },
};

/// Whose health is asked for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// A service's.
    Service(ServiceName),
    /// An instance's.
    Instance(InstanceKey),
    /// A component's.
    Component(InstanceKey, ComponentName),
}

impl Target {
    /// The service that it is, or belongs to.
    pub fn service(&self) -> &ServiceName {
        match self {
            Target::Service(name) => name,
            Target::Instance(key) | Target::Component(key, _) => &key.service,
        }
    }

    /// Takes the names of a request apart.
    ///
    /// # Errors
    /// One of them is malformed, or the instance of a component is missing.
    pub fn parse(name: &str, id: &str, component: &str) -> Result<Self> {
        let mut fields = Fields::default();
        let name = parse::service_name(&mut fields, "service", name);
        let id = (!id.is_empty()).then(|| fields.take("instance_id", InstanceId::parse(id))).flatten();
        let part = (!component.is_empty())
            .then(|| fields.take("component", ComponentName::parse(component)))
            .flatten();
        if !component.is_empty() && id.is_none() {
            fields.wrong("instance_id", "is missing; a component belongs to an instance");
        }
        let service = fields.finish(name)?;
        Ok(match (id, part) {
            (None, _) => Target::Service(service),
            (Some(id), None) => Target::Instance(InstanceKey { service, id }),
            (Some(id), Some(part)) => Target::Component(InstanceKey { service, id }, part),
        })
    }
}

/// The health of a target.
///
/// # Errors
/// Nobody of that name is known.
pub fn of(fleet: &Handle, target: &Target) -> Result<pb::Health> {
    let mut health = pb::Health::default();
    let verdict = match target {
        Target::Service(name) => {
            let found = fleet.service(name)?;
            health.service = Some(service::service(&found));
            found.health
        }
        Target::Instance(key) => {
            let found = fleet.instance(key)?;
            health.instance = Some(instance::instance(&found));
            found.health.clone()
        }
        Target::Component(key, name) => {
            let (of, found) = fleet.component(key, name.as_str())?;
            let declared = of.registration.components.iter().find(|component| component.name == *name);
            health.component =
                declared.map(|declared| instance::component_health(&of.registration, declared, &found));
            found.health
        }
    };
    health.state = health_state(verdict.state).into();
    health.cause = verdict.cause;
    Ok(health)
}
