//! What the fleet looks like at one moment: values that readers and watchers keep, without any lock.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    lifecycle::Lifecycle,
    names::{InstanceKey, ServiceName},
    pairs::Pairs,
    registration::{Component, Registration},
    spec::Spec,
};
use crate::health::{State, Verdict, component::Reported, rollup::Counts};

/// Place in the sequence of changes of one run of the control plane.
pub type Revision = u64;

/// An instance at one moment.
#[derive(Clone, Debug)]
pub struct Instance {
    /// What it registered.
    pub registration: Arc<Registration>,
    /// Which life of its id this is.
    pub incarnation: u64,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Roll-up of its components.
    pub health: Verdict,
    /// Whether it was heard since the control plane started.
    pub confirmed: bool,
    /// Whether it has a session open.
    pub attached: bool,
    /// Whether its client has said, when it last attached, that it takes directives.
    pub takes_directives: bool,
    /// How its components are, in the order of the registration.
    pub components: Vec<ComponentHealth>,
    /// When this incarnation registered.
    pub registered: SystemTime,
    /// When it was last heard.
    pub last_heard: Option<SystemTime>,
    /// When its lifecycle last changed.
    pub lifecycle_changed: SystemTime,
    /// When its health last changed.
    pub health_changed: SystemTime,
    /// The peer that registered it.
    pub peer: Arc<str>,
    /// Revision of its last change.
    pub revision: Revision,
    /// Until when it is under protection at the latest: it was lost together with many others, and is not
    /// removed. None: it is not.
    pub protection_end: Option<SystemTime>,
}

impl Instance {
    /// Its components, each with how it was declared.
    pub fn declared_components(&self) -> impl Iterator<Item = (&Component, &ComponentHealth)> {
        self.registration.components.iter().zip(&self.components)
    }

    /// Bytes that it holds, roughly; what it shares counts in full.
    pub(super) fn weight(&self) -> usize {
        let components = self.components.iter().map(ComponentHealth::weight).sum::<usize>();
        size_of::<Self>() + self.registration.weight() + self.health.cause.len() + components
    }
}

/// How a component is at one moment.
#[derive(Clone, Debug)]
pub struct ComponentHealth {
    /// State and cause after thresholds and staleness.
    pub health: Verdict,
    /// What the last report said.
    pub reported: Option<Reported>,
    /// Message of the last report.
    pub message: String,
    /// Figures of the last report.
    pub details: Pairs,
    /// How many reports in a row were not healthy.
    pub consecutive_failures: u32,
    /// What they make of it where they go on. None: there are none.
    pub leads_to: Option<Reported>,
    /// Average of the response times.
    pub average_response_time: Option<Duration>,
    /// Response time of the last report.
    pub last_response_time: Option<Duration>,
    /// When the last report came.
    pub reported_at: Option<SystemTime>,
    /// When the state last changed.
    pub changed: SystemTime,
    /// How many reports came.
    pub report_count: u64,
    /// Whether its state goes back and forth.
    pub flapping: bool,
}

impl ComponentHealth {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.health.cause.len() + self.message.len() + self.details.weight()
    }
}

/// Where the specification that counts came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpecSource {
    /// Nobody gave one.
    Default,
    /// The newest version that is registered declares it.
    Declared,
    /// An operator put it.
    Operator,
}

/// A service at one moment.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The specification that counts.
    pub spec: Arc<Spec>,
    /// Where that came from.
    pub spec_source: SpecSource,
    /// What the newest version that is registered declares.
    pub declared_spec: Option<Arc<Spec>>,
    /// Fields in which the declaration disagrees with the operator.
    pub disagreements: Vec<&'static str>,
    /// The services that are in a circle of hard dependencies with it, by name, itself among them.
    pub circle: Arc<[ServiceName]>,
    /// Roll-up of its instances.
    pub health: Verdict,
    /// Its instances, counted.
    pub counts: Counts,
    /// How many available instances its budget asks for.
    pub required_available: u32,
    /// Revision of the operator's specification; 0 while there is none.
    pub spec_revision: u64,
    /// When that was put.
    pub spec_updated: Option<SystemTime>,
    /// When its health last changed.
    pub health_changed: SystemTime,
    /// Set while some of its instances are under protection.
    pub protection: Option<ServiceProtection>,
}

/// That instances of a service were lost together with many others, and are not removed for now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServiceProtection {
    /// How many of them are under protection now.
    pub instances: u32,
    /// Since when some are.
    pub began: SystemTime,
    /// When the last of them leaves it by itself, at the latest.
    pub ends: SystemTime,
}

impl Service {
    /// Bytes that it holds, roughly; what it shares counts in full.
    pub(super) fn weight(&self) -> usize {
        let specs = [Some(&self.spec), self.declared_spec.as_ref()];
        let specs = specs.into_iter().flatten().map(|spec| spec.weight()).sum::<usize>();
        size_of::<Self>() + self.health.cause.len() + specs
    }
}

/// Why an instance is no longer registered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// It left by itself.
    Deregistered,
    /// It was lost for too long.
    Lost,
    /// An operator removed it.
    Operator,
}

impl Removal {
    /// For people: `it deregistered`.
    pub fn as_str(self) -> &'static str {
        match self {
            Removal::Deregistered => "it deregistered",
            Removal::Lost => "it was lost for too long",
            Removal::Operator => "an operator removed it",
        }
    }
}

/// What remains of a removed instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tombstone {
    /// Which instance.
    pub key: InstanceKey,
    /// Which life of it.
    pub incarnation: u64,
    /// Why it was removed.
    pub removal: Removal,
    /// What the remover said.
    pub message: String,
    /// When it was removed.
    pub removed: SystemTime,
}

/// One change of health.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transition {
    /// Rises with every transition, across restarts.
    pub sequence: u64,
    /// When it happened.
    pub time: SystemTime,
    /// Whose health changed.
    pub subject: Subject,
    /// Health before.
    pub from: State,
    /// Health after, and why.
    pub to: Verdict,
}

/// Whose health changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A service's.
    Service(ServiceName),
    /// An instance's, in one life of it.
    Instance(InstanceKey, u64),
    /// A component's, by name.
    Component(InstanceKey, u64, super::names::ComponentName),
}

impl Subject {
    /// The service that it is, or belongs to.
    pub fn service(&self) -> &ServiceName {
        match self {
            Subject::Service(name) => name,
            Subject::Instance(key, _) | Subject::Component(key, _, _) => &key.service,
        }
    }

    /// The instance that it is, or belongs to.
    pub fn instance(&self) -> Option<&InstanceKey> {
        match self {
            Subject::Service(_) => None,
            Subject::Instance(key, _) | Subject::Component(key, _, _) => Some(key),
        }
    }
}
