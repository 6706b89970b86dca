//! A fleet for the tests of this room: the state alone, with the time in the test's hands.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::{
    Handle, Shared,
    lifecycle::Lifecycle,
    member::{Birth, Report},
    names::{ComponentName, InstanceId, InstanceKey, ServiceName},
    pairs::Pairs,
    registration::{Capability, Capture, Component, Registration},
    snapshot::{Removal, Tombstone},
    state::{Claim, Grave, Limits, Pending, State},
};
use crate::{
    health::component::{Reported, Thresholds},
    id::{Entropy, SessionToken, TokenHash},
    time::{Clock, Mono, Now},
};

/// The token that every instance here has.
pub(super) fn token() -> TokenHash {
    SessionToken::from_wire("sws_test").hash()
}

pub(super) fn key(service: &str, id: &str) -> InstanceKey {
    InstanceKey { service: ServiceName::parse(service).unwrap(), id: InstanceId::parse(id).unwrap() }
}

/// A registration with one essential component, that fails at the first bad report.
pub(super) fn registration(key: &InstanceKey) -> Registration {
    let once = std::num::NonZeroU32::MIN;
    Registration {
        key: key.clone(),
        version: "1.0.0".into(),
        zone: String::new(),
        address: "127.0.0.1:7001".into(),
        labels: Pairs::default(),
        components: [Component {
            name: ComponentName::parse("database").unwrap(),
            kind: String::new(),
            essential: true,
            depends_on: vec![],
            capabilities: vec![Capability::Health],
            report_interval: Duration::from_secs(600),
            thresholds: Thresholds { fail: once, pass: once },
            check: None,
            capture: Capture::default(),
        }]
        .into(),
        declared_spec: None,
        lease_ttl: Duration::from_secs(15),
        lifecycle: Lifecycle::Ready,
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        max_instances: 1_000_000,
        max_services: 100_000,
        change_history: 4096,
        lost_removal: Duration::from_secs(300),
        tombstone_retention: Duration::from_secs(86_400),
    }
}

/// The state, and the time that the test makes pass.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) state: State,
    pub(super) now: Now,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { state: State::new(limits()), now: start() }
    }
}

pub(super) fn start() -> Now {
    Now { mono: Mono::from_millis(0), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) }
}

impl Fleet {
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    pub(super) fn register(&mut self, key: &InstanceKey) -> u64 {
        register(&mut self.state, self.now, key)
    }
}

/// Registers, as the registrar does, over whoever holds the id.
pub(super) fn register(state: &mut State, now: Now, key: &InstanceKey) -> u64 {
    register_as(state, now, registration(key))
}

/// Registers with this registration.
pub(super) fn register_as(state: &mut State, now: Now, registration: Registration) -> u64 {
    let claim = Claim { token: Some(token()), request: None };
    let incarnation =
        state.check_register(now, &registration, claim, Pending::default()).unwrap().incarnation;
    state.admit(now, birth(registration, incarnation, now.wall));
    incarnation
}

/// What the registrar makes of a registration.
pub(super) fn birth(registration: Registration, incarnation: u64, registered: SystemTime) -> Birth {
    Birth {
        registration: Arc::new(registration),
        incarnation,
        token: token(),
        request: None,
        peer: "test".into(),
        registered,
        confirmed: true,
    }
}

/// Removes, as the registrar does.
pub(super) fn remove(state: &mut State, now: Now, key: &InstanceKey, incarnation: u64) {
    let tombstone = Tombstone {
        key: key.clone(),
        incarnation,
        removal: Removal::Operator,
        message: String::new(),
        removed: now.wall,
    };
    state.bury(now, Grave { tombstone: Arc::new(tombstone), token: token() });
}

/// A report of the one component.
pub(super) fn report(of: Reported) -> Vec<Report> {
    vec![Report {
        component: 0,
        state: of,
        message: format!("{of:?}"),
        response_time: None,
        details: Pairs::default(),
    }]
}

/// A handle on this state, without a store: for reading.
pub(super) fn handle(state: State) -> Handle {
    let (commands, _) = mpsc::channel(1);
    let shared = Shared {
        clock: Clock::start(),
        boot_epoch: "test".into(),
        entropy: Entropy::seeded(1),
        state: RwLock::new(state),
        heartbeats: AtomicU64::new(0),
        reports: AtomicU64::new(0),
        ignored_reports: AtomicU64::new(0),
    };
    Handle { shared: Arc::new(shared), commands }
}
