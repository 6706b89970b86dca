//! Instances, their components, tombstones and transitions.

use super::{duration, health_state, reported, service::spec, timestamp};
use crate::{
    api::proto::v1 as pb,
    fleet::{
        lifecycle::Lifecycle,
        names::InstanceKey,
        registration::{ActiveCheck, Capability, Capture, CaptureScope, Component, Registration},
        snapshot::{ComponentHealth, Instance, Removal, Subject, Tombstone, Transition},
    },
    health::Verdict,
    probe::Ask,
};

/// An instance.
pub fn instance(value: &Instance) -> pb::Instance {
    let Instance {
        registration: registered,
        incarnation,
        lifecycle: stage,
        health: Verdict { state, cause },
        confirmed,
        attached,
        // Operations look at it; it is not told.
        takes_directives: _,
        components: _,
        registered: register_time,
        last_heard,
        lifecycle_changed,
        health_changed,
        peer,
        revision,
        protection_end,
    } = value;
    pb::Instance {
        registration: Some(registration(registered)),
        incarnation: *incarnation,
        lifecycle: lifecycle(*stage).into(),
        health: health_state(*state).into(),
        cause: cause.clone(),
        confirmed: *confirmed,
        attached: *attached,
        components: value
            .declared_components()
            .map(|(declared, health)| component_health(registered, declared, health))
            .collect(),
        register_time: Some(timestamp(*register_time)),
        last_heard_time: last_heard.map(timestamp),
        lifecycle_change_time: Some(timestamp(*lifecycle_changed)),
        health_change_time: Some(timestamp(*health_changed)),
        peer: peer.to_string(),
        revision: *revision,
        protection_end_time: protection_end.map(timestamp),
    }
}

fn registration(value: &Registration) -> pb::Registration {
    let Registration {
        key,
        version,
        zone,
        address,
        labels,
        components,
        declared_spec,
        lease_ttl,
        lifecycle: stage,
    } = value;
    pb::Registration {
        service: key.service.to_string(),
        instance_id: key.id.to_string(),
        version: version.clone(),
        zone: zone.clone(),
        address: address.clone(),
        labels: labels.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
        components: components.iter().map(|declared| component(value, declared)).collect(),
        declared_spec: declared_spec.as_deref().map(spec),
        lease_ttl: Some(duration(*lease_ttl)),
        lifecycle: lifecycle(*stage).into(),
    }
}

fn component(of: &Registration, value: &Component) -> pb::Component {
    let Component {
        name,
        kind,
        essential,
        depends_on,
        capabilities,
        report_interval,
        thresholds,
        check,
        capture: _,
    } = value;
    pb::Component {
        name: name.to_string(),
        kind: kind.clone(),
        essential: *essential,
        depends_on: depends_on
            .iter()
            .filter_map(|at| of.components.get(*at))
            .map(|needed| needed.name.to_string())
            .collect(),
        capabilities: capabilities.iter().map(|capability| self::capability(*capability).into()).collect(),
        report_interval: Some(duration(*report_interval)),
        fail_threshold: thresholds.fail.get(),
        pass_threshold: thresholds.pass.get(),
        check: check.as_deref().map(active_check),
        capture: value.captured().map(captured),
    }
}

fn captured(value: Capture) -> pb::CaptureSettings {
    let Capture { scope, quiesces, cut, incompressible } = value;
    let scope = match scope {
        CaptureScope::One => pb::CaptureScope::One,
        CaptureScope::Each => pb::CaptureScope::Each,
    };
    pb::CaptureSettings { scope: scope.into(), quiesces, page_bytes: cut.page_bytes(), incompressible }
}

fn active_check(value: &ActiveCheck) -> pb::ActiveCheck {
    let ActiveCheck { ask, host, port, interval, timeout } = value;
    let ask = match ask {
        Ask::Grpc { service } => pb::active_check::Ask::Grpc(pb::GrpcCheck { service: service.clone() }),
        Ask::Http { path, expected } => pb::active_check::Ask::Http(pb::HttpCheck {
            path: path.clone(),
            expected_statuses: expected.iter().copied().map(u32::from).collect(),
        }),
        Ask::Tcp => pb::active_check::Ask::Tcp(pb::TcpCheck {}),
    };
    pb::ActiveCheck {
        ask: Some(ask),
        port: port.get().into(),
        host: host.to_string(),
        interval: Some(duration(*interval)),
        timeout: Some(duration(*timeout)),
    }
}

fn capability(value: Capability) -> pb::Capability {
    match value {
        Capability::Health => pb::Capability::Health,
        Capability::Backup => pb::Capability::Backup,
        Capability::Restore => pb::Capability::Restore,
        Capability::Shutdown => pb::Capability::Shutdown,
    }
}

/// A component of an instance, and how it is.
pub fn component_health(
    of: &Registration,
    declared: &Component,
    value: &ComponentHealth,
) -> pb::ComponentHealth {
    let ComponentHealth {
        health: Verdict { state, cause },
        reported: last,
        message,
        details,
        consecutive_failures,
        // Told in sentences alone.
        leads_to: _,
        average_response_time,
        last_response_time,
        reported_at,
        changed,
        report_count,
        flapping,
    } = value;
    pb::ComponentHealth {
        component: Some(component(of, declared)),
        state: health_state(*state).into(),
        reported_state: reported(*last).into(),
        cause: cause.clone(),
        message: message.clone(),
        details: details.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
        consecutive_failures: *consecutive_failures,
        average_response_time: average_response_time.map(duration),
        last_response_time: last_response_time.map(duration),
        report_time: reported_at.map(timestamp),
        change_time: Some(timestamp(*changed)),
        report_count: *report_count,
        flapping: *flapping,
    }
}

/// Where an instance is in its life.
pub fn lifecycle(value: Lifecycle) -> pb::Lifecycle {
    match value {
        Lifecycle::Starting => pb::Lifecycle::Starting,
        Lifecycle::Ready => pb::Lifecycle::Ready,
        Lifecycle::LameDuck => pb::Lifecycle::LameDuck,
        Lifecycle::Draining => pb::Lifecycle::Draining,
        Lifecycle::Stopping => pb::Lifecycle::Stopping,
        Lifecycle::Stopped => pb::Lifecycle::Stopped,
        Lifecycle::Failed => pb::Lifecycle::Failed,
        Lifecycle::Lost => pb::Lifecycle::Lost,
    }
}

/// Names one life of an instance.
pub fn instance_ref(key: &InstanceKey, incarnation: u64) -> pb::InstanceRef {
    pb::InstanceRef { service: key.service.to_string(), instance_id: key.id.to_string(), incarnation }
}

/// What remains of a removed instance.
pub fn tombstone(value: &Tombstone) -> pb::Tombstone {
    let Tombstone { key, incarnation, removal, message, removed } = value;
    let reason = match removal {
        Removal::Deregistered => pb::RemovalReason::Deregistered,
        Removal::Lost => pb::RemovalReason::Lost,
        Removal::Operator => pb::RemovalReason::Operator,
    };
    pb::Tombstone {
        instance: Some(instance_ref(key, *incarnation)),
        reason: reason.into(),
        message: message.clone(),
        remove_time: Some(timestamp(*removed)),
    }
}

/// A change of health.
pub fn transition(value: &Transition) -> pb::HealthTransition {
    let Transition { sequence, time, subject, from, to: Verdict { state, cause } } = value;
    let (incarnation, component) = match subject {
        Subject::Service(_) => (0, String::new()),
        Subject::Instance(_, incarnation) => (*incarnation, String::new()),
        Subject::Component(_, incarnation, name) => (*incarnation, name.to_string()),
    };
    pb::HealthTransition {
        sequence: *sequence,
        time: Some(timestamp(*time)),
        service: subject.service().to_string(),
        instance_id: subject.instance().map(|key| key.id.to_string()).unwrap_or_default(),
        component,
        incarnation,
        from: health_state(*from).into(),
        to: health_state(*state).into(),
        cause: cause.clone(),
    }
}
