//! Instances for the tests of this room.

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    fleet::{
        lifecycle::Lifecycle,
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
        pairs::Pairs,
        registration::{ActiveCheck, Capability, Capture, Component, Registration},
        snapshot::Instance,
    },
    health::{State, Verdict, component::Thresholds},
    probe::{Ask, Host},
};

/// How often everything here is checked.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn key(number: usize) -> InstanceKey {
    let id = InstanceId::parse(&format!("i-{number}")).unwrap();
    InstanceKey { service: ServiceName::parse("orders").unwrap(), id }
}

/// An instance with so many checked components, registered from this address.
pub(super) fn instance(number: usize, components: usize, peer: &str) -> Instance {
    let one = NonZeroU32::MIN;
    let component = |at: usize| Component {
        name: ComponentName::parse(&format!("c-{at}")).unwrap(),
        kind: String::new(),
        essential: false,
        depends_on: vec![],
        capabilities: vec![Capability::Health],
        report_interval: INTERVAL,
        thresholds: Thresholds { fail: one, pass: one },
        check: Some(Box::new(ActiveCheck {
            ask: Ask::Tcp,
            host: Host::Peer,
            port: NonZeroU16::MIN,
            interval: INTERVAL,
            timeout: Duration::from_secs(1),
        })),
        capture: Capture::default(),
    };
    let now = SystemTime::UNIX_EPOCH;
    Instance {
        registration: Arc::new(Registration {
            key: key(number),
            version: String::new(),
            zone: String::new(),
            address: String::new(),
            labels: Pairs::default(),
            components: (0..components).map(component).collect(),
            declared_spec: None,
            lease_ttl: Duration::from_secs(15),
            lifecycle: Lifecycle::Ready,
        }),
        incarnation: 1,
        lifecycle: Lifecycle::Ready,
        health: Verdict::new(State::Unknown, ""),
        confirmed: true,
        attached: false,
        components: Vec::new(),
        registered: now,
        last_heard: None,
        protection_end: None,
        takes_directives: false,
        lifecycle_changed: now,
        health_changed: now,
        peer: peer.into(),
        revision: 0,
    }
}
