//! The names of `grpc.health.v1` and of the HTTP probes: what they mean, and how they stand.

use crate::fleet::{
    Handle,
    names::{ComponentName, InstanceId, InstanceKey, Invalid, ServiceName},
    query::Standing,
};

/// Which kind of health is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Overall health: no suffix.
    Health,
    /// Whether it runs at all.
    Liveness,
    /// Whether it may be sent work.
    Readiness,
    /// Whether it has finished starting.
    Startup,
}

/// Whose health is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The control plane itself.
    ControlPlane,
    /// A service.
    Service(ServiceName),
    /// An instance.
    Instance(InstanceKey),
    /// A component of an instance.
    Component(InstanceKey, ComponentName),
}

/// A health name, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthName {
    /// Whose health.
    pub target: Target,
    /// Which kind of it.
    pub probe: Probe,
}

impl HealthName {
    /// Takes a name apart: empty, `orders`, `orders/i-1`, `orders/i-1/database`, each with an optional
    /// `:liveness`, `:readiness` or `:startup`.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (path, probe) = match text.split_once(':') {
            None => (text, Probe::Health),
            Some((path, "liveness")) => (path, Probe::Liveness),
            Some((path, "readiness")) => (path, Probe::Readiness),
            Some((path, "startup")) => (path, Probe::Startup),
            Some((_, suffix)) => {
                return Err(Invalid(format!(
                    "{suffix:?} is not a probe: use liveness, readiness or startup"
                )));
            }
        };
        let mut pieces = path.splitn(3, '/');
        let target = match (pieces.next(), pieces.next(), pieces.next()) {
            (None | Some(""), None, None) => Target::ControlPlane,
            (Some(service), None, None) => Target::Service(ServiceName::parse(service)?),
            (Some(service), Some(id), None) => Target::Instance(key(service, id)?),
            (Some(service), Some(id), Some(component)) => {
                Target::Component(key(service, id)?, ComponentName::parse(component)?)
            }
            (None, _, _) | (_, None, Some(_)) => Target::ControlPlane,
        };
        Ok(Self { target, probe })
    }

    /// The service that it is about; None for the control plane.
    pub fn service(&self) -> Option<&ServiceName> {
        match &self.target {
            Target::ControlPlane => None,
            Target::Service(name) => Some(name),
            Target::Instance(key) | Target::Component(key, _) => Some(&key.service),
        }
    }

    /// How it stands; None if nobody of that name is known. Not for the control plane.
    pub fn standing(&self, fleet: &Handle) -> Option<Standing> {
        match &self.target {
            Target::ControlPlane => None,
            Target::Service(name) => fleet.service_standing(name.as_str()),
            Target::Instance(key) => fleet.instance_standing(key.service.as_str(), key.id.as_str()),
            Target::Component(key, component) => {
                fleet.component_standing(key.service.as_str(), key.id.as_str(), component.as_str())
            }
        }
    }
}

fn key(service: &str, id: &str) -> Result<InstanceKey, Invalid> {
    Ok(InstanceKey { service: ServiceName::parse(service)?, id: InstanceId::parse(id)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_a_table() {
        let shown = |text: &str| {
            HealthName::parse(text).ok().map(|name| {
                let target = match name.target {
                    Target::ControlPlane => "control plane".to_owned(),
                    Target::Service(name) => format!("service {name}"),
                    Target::Instance(key) => format!("instance {key}"),
                    Target::Component(key, component) => format!("component {component} of {key}"),
                };
                (target, name.probe)
            })
        };
        for (text, target, probe) in [
            ("", "control plane", Probe::Health),
            (":liveness", "control plane", Probe::Liveness),
            ("orders", "service orders", Probe::Health),
            ("orders:readiness", "service orders", Probe::Readiness),
            ("orders/i-1", "instance orders/i-1", Probe::Health),
            ("orders/i-1:startup", "instance orders/i-1", Probe::Startup),
            ("orders/i-1/database", "component database of orders/i-1", Probe::Health),
            ("orders/i-1/database:liveness", "component database of orders/i-1", Probe::Liveness),
        ] {
            assert_eq!(shown(text), Some((target.to_owned(), probe)), "{text:?}");
        }
        for text in [
            "Orders",
            "/",
            "orders/",
            "orders//database",
            "orders/i-1/",
            "a/b/c/d",
            "orders:health",
            "orders:",
        ] {
            assert_eq!(shown(text), None, "{text:?}");
        }
    }
}
