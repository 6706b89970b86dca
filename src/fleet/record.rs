//! What the fleet writes to the store: keys, and records as JSON that a person can read.
//!
//! | key | record |
//! |---|---|
//! | `instances/<service>/<id>` | a registration and its incarnation |
//! | `services/<service>` | an operator's specification |
//! | `tombstones/<service>/<id>` | what remains of a removed instance |
//! | `transitions/<service>/<sequence>` | one change of health |
//! | `sequences/transitions` | which of their numbers are reserved (`sequences`) |
//!
//! Heartbeats and health are never written: after a restart instances are heard again.

mod capture;
mod check;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use self::{capture::CaptureRecord, check::CheckRecord};
use super::{
    graves::Grave,
    group::OperatorSpec,
    lifecycle::Lifecycle,
    member::Birth,
    names::{ComponentName, InstanceId, InstanceKey, ServiceName},
    pairs::Pairs,
    registration::{Capability, Component, Registration},
    snapshot::{Removal, Subject, Tombstone, Transition},
    spec::{Budget, Limit, Need, Objectives, Quantity, Spec},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    health::{State, Verdict, component::Thresholds},
    id::TokenHash,
    store::{Entry, record},
};

/// Newest version of each record that this build writes and reads.
const VERSION: u32 = 1;
/// As above, for an instance with an active check: a build that knows none must not take it for one that
/// reports itself.
const VERSION_WITH_CHECK: u32 = 2;

/// Where registrations are.
pub(super) const INSTANCES: &str = "instances/";
/// Where operators' specifications are.
pub(super) const SERVICES: &str = "services/";
/// Where tombstones are.
pub(super) const TOMBSTONES: &str = "tombstones/";
/// Where changes of health are.
pub(super) const TRANSITIONS: &str = "transitions/";

pub(super) fn instance_key(key: &InstanceKey) -> String {
    format!("{INSTANCES}{key}")
}

pub(super) fn service_key(name: &ServiceName) -> String {
    format!("{SERVICES}{name}")
}

pub(super) fn tombstone_key(key: &InstanceKey) -> String {
    format!("{TOMBSTONES}{key}")
}

pub(super) fn transition_key(transition: &Transition) -> String {
    transition_key_of(transition.subject.service(), transition.sequence)
}

pub(super) fn transition_key_of(service: &ServiceName, sequence: u64) -> String {
    format!("{TRANSITIONS}{service}/{sequence:020}")
}

// === records ===

#[derive(Deserialize, Serialize)]
struct InstanceRecord<'a> {
    service: Cow<'a, str>,
    id: Cow<'a, str>,
    incarnation: u64,
    token_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_hash: Option<String>,
    peer: Cow<'a, str>,
    registered_ms: u64,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    version_label: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    zone: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    address: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    labels: Pairs,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    components: Vec<ComponentRecord<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declared_spec: Option<SpecRecord>,
    lease_ttl_ms: u64,
}

#[derive(Deserialize, Serialize)]
struct ComponentRecord<'a> {
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    essential: bool,
    #[serde(default, skip_serializing_if = "<[usize]>::is_empty")]
    depends_on: Cow<'a, [usize]>,
    capabilities: Vec<CapabilityRecord>,
    report_interval_ms: u64,
    fail_threshold: NonZeroU32,
    pass_threshold: NonZeroU32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<CheckRecord>,
    /// Builds that know none back nothing up: they need not refuse it.
    #[serde(default, skip_serializing_if = "CaptureRecord::says_nothing")]
    capture: CaptureRecord,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum CapabilityRecord {
    Health,
    Backup,
    Restore,
    Shutdown,
}

#[derive(Deserialize, Serialize)]
struct SpecRecord {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    depends_on: BTreeMap<String, NeedRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<LimitRecord>,
    #[serde(default, skip_serializing_if = "is_zero")]
    quorum_size: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    availability_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rpo_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rto_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    protected: bool,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum NeedRecord {
    Hard,
    Soft,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum LimitRecord {
    MinAvailableCount(u32),
    MinAvailablePercent(u8),
    MaxUnavailableCount(u32),
    MaxUnavailablePercent(u8),
}

#[derive(Deserialize, Serialize)]
struct OperatorSpecRecord {
    updated_ms: u64,
    spec: SpecRecord,
}

#[derive(Deserialize, Serialize)]
struct TombstoneRecord {
    service: String,
    id: String,
    incarnation: u64,
    token_hash: String,
    removal: RemovalRecord,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    removed_ms: u64,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum RemovalRecord {
    Deregistered,
    Lost,
    Operator,
}

#[derive(Deserialize, Serialize)]
struct TransitionRecord {
    sequence: u64,
    time_ms: u64,
    service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    from: StateRecord,
    to: StateRecord,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cause: String,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Healthy,
    Degraded,
    Unhealthy,
    Unknown,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

// === to records ===

pub(super) fn encode_instance(birth: &Birth) -> Result<bytes::Bytes> {
    let Birth { registration, incarnation, token, request, peer, registered, confirmed: _ } = birth;
    let Registration {
        key,
        version,
        zone,
        address,
        labels,
        components,
        declared_spec,
        lease_ttl,
        lifecycle: _,
    } = &**registration;
    let is_checked = components.iter().any(|component| component.check.is_some());
    record::encode(
        if is_checked { VERSION_WITH_CHECK } else { VERSION },
        &InstanceRecord {
            service: key.service.as_str().into(),
            id: key.id.as_str().into(),
            incarnation: *incarnation,
            token_hash: token.to_hex(),
            request_hash: request.map(TokenHash::to_hex),
            peer: (&**peer).into(),
            registered_ms: to_millis(*registered),
            version_label: version.into(),
            zone: zone.into(),
            address: address.into(),
            labels: labels.clone(),
            components: components.iter().map(component_record).collect(),
            declared_spec: declared_spec.as_deref().map(spec_record),
            lease_ttl_ms: millis(*lease_ttl),
        },
    )
}

pub(super) fn encode_operator_spec(spec: &Spec, updated: SystemTime) -> Result<bytes::Bytes> {
    record::encode(VERSION, &OperatorSpecRecord { updated_ms: to_millis(updated), spec: spec_record(spec) })
}

pub(super) fn encode_grave(grave: &Grave) -> Result<bytes::Bytes> {
    let Tombstone { key, incarnation, removal, message, removed } = &*grave.tombstone;
    record::encode(
        VERSION,
        &TombstoneRecord {
            service: key.service.to_string(),
            id: key.id.to_string(),
            incarnation: *incarnation,
            token_hash: grave.token.to_hex(),
            removal: match removal {
                Removal::Deregistered => RemovalRecord::Deregistered,
                Removal::Lost => RemovalRecord::Lost,
                Removal::Operator => RemovalRecord::Operator,
            },
            message: message.clone(),
            removed_ms: to_millis(*removed),
        },
    )
}

pub(super) fn encode_transition(transition: &Transition) -> Result<bytes::Bytes> {
    let Transition { sequence, time, subject, from, to } = transition;
    let (incarnation, component) = match subject {
        Subject::Service(_) => (None, None),
        Subject::Instance(_, incarnation) => (Some(*incarnation), None),
        Subject::Component(_, incarnation, name) => (Some(*incarnation), Some(name.to_string())),
    };
    record::encode(
        VERSION,
        &TransitionRecord {
            sequence: *sequence,
            time_ms: to_millis(*time),
            service: subject.service().to_string(),
            instance: subject.instance().map(|key| key.id.to_string()),
            incarnation,
            component,
            from: state_record(*from),
            to: state_record(to.state),
            cause: to.cause.clone(),
        },
    )
}

fn component_record(component: &Component) -> ComponentRecord<'_> {
    let Component {
        name,
        kind,
        essential,
        depends_on,
        capabilities,
        report_interval,
        thresholds,
        check,
        capture,
    } = component;
    ComponentRecord {
        name: name.as_str().into(),
        kind: kind.into(),
        essential: *essential,
        depends_on: depends_on.into(),
        capabilities: capabilities
            .iter()
            .map(|capability| match capability {
                Capability::Health => CapabilityRecord::Health,
                Capability::Backup => CapabilityRecord::Backup,
                Capability::Restore => CapabilityRecord::Restore,
                Capability::Shutdown => CapabilityRecord::Shutdown,
            })
            .collect(),
        report_interval_ms: millis(*report_interval),
        fail_threshold: thresholds.fail,
        pass_threshold: thresholds.pass,
        check: check.as_deref().map(check::record),
        capture: capture::record(*capture),
    }
}

fn spec_record(spec: &Spec) -> SpecRecord {
    let Spec { depends_on, budget: Budget { limit, quorum_size }, objectives, protected } = spec;
    let Objectives { availability_percent, rpo, rto } = objectives;
    SpecRecord {
        depends_on: depends_on
            .iter()
            .map(|(name, need)| {
                let need = match need {
                    Need::Hard => NeedRecord::Hard,
                    Need::Soft => NeedRecord::Soft,
                };
                (name.to_string(), need)
            })
            .collect(),
        limit: limit.map(|limit| match limit {
            Limit::MinAvailable(Quantity::Count(count)) => LimitRecord::MinAvailableCount(count),
            Limit::MinAvailable(Quantity::Percent(percent)) => LimitRecord::MinAvailablePercent(percent),
            Limit::MaxUnavailable(Quantity::Count(count)) => LimitRecord::MaxUnavailableCount(count),
            Limit::MaxUnavailable(Quantity::Percent(percent)) => LimitRecord::MaxUnavailablePercent(percent),
        }),
        quorum_size: *quorum_size,
        availability_percent: *availability_percent,
        rpo_ms: rpo.map(millis),
        rto_ms: rto.map(millis),
        protected: *protected,
    }
}

fn state_record(state: State) -> StateRecord {
    match state {
        State::Healthy => StateRecord::Healthy,
        State::Degraded => StateRecord::Degraded,
        State::Unhealthy => StateRecord::Unhealthy,
        State::Unknown => StateRecord::Unknown,
    }
}

// === from records ===

pub(super) fn decode_instance(entry: &Entry) -> Result<Birth> {
    let store_key = entry.key.as_str();
    let stored: InstanceRecord<'_> = record::decode(store_key, VERSION_WITH_CHECK, &entry.value)?;
    let damaged = |what: &str| damaged(store_key, what);
    let components = stored
        .components
        .into_iter()
        .map(|component| component_of(store_key, component))
        .collect::<Result<_>>()?;
    let registration = Registration {
        key: key_of(store_key, &stored.service, &stored.id)?,
        version: stored.version_label.into_owned(),
        zone: stored.zone.into_owned(),
        address: stored.address.into_owned(),
        labels: stored.labels,
        components,
        declared_spec: stored.declared_spec.map(|spec| spec_of(store_key, spec).map(Arc::new)).transpose()?,
        lease_ttl: Duration::from_millis(stored.lease_ttl_ms),
        lifecycle: Lifecycle::Ready,
    };
    Ok(Birth {
        registration: Arc::new(registration),
        incarnation: stored.incarnation,
        token: TokenHash::from_hex(&stored.token_hash).ok_or_else(|| damaged("token_hash"))?,
        request: stored
            .request_hash
            .map(|hash| TokenHash::from_hex(&hash).ok_or_else(|| damaged("request_hash")))
            .transpose()?,
        peer: stored.peer.into(),
        registered: from_millis(stored.registered_ms),
        confirmed: false,
    })
}

pub(super) fn decode_operator_spec(entry: &Entry) -> Result<(ServiceName, OperatorSpec)> {
    let store_key = entry.key.as_str();
    let stored: OperatorSpecRecord = record::decode(store_key, VERSION, &entry.value)?;
    let name = store_key.strip_prefix(SERVICES).unwrap_or(store_key);
    let name = ServiceName::parse(name).map_err(|_| damaged(store_key, "the name in the key"))?;
    let spec = Arc::new(spec_of(store_key, stored.spec)?);
    Ok((name, OperatorSpec { spec, revision: entry.revision, updated: from_millis(stored.updated_ms) }))
}

pub(super) fn decode_grave(entry: &Entry) -> Result<Grave> {
    let store_key = entry.key.as_str();
    let stored: TombstoneRecord = record::decode(store_key, VERSION, &entry.value)?;
    let tombstone = Tombstone {
        key: key_of(store_key, &stored.service, &stored.id)?,
        incarnation: stored.incarnation,
        removal: match stored.removal {
            RemovalRecord::Deregistered => Removal::Deregistered,
            RemovalRecord::Lost => Removal::Lost,
            RemovalRecord::Operator => Removal::Operator,
        },
        message: stored.message,
        removed: from_millis(stored.removed_ms),
    };
    let token = TokenHash::from_hex(&stored.token_hash).ok_or_else(|| damaged(store_key, "token_hash"))?;
    Ok(Grave { tombstone: Arc::new(tombstone), token })
}

pub(super) fn decode_transition(entry: &Entry) -> Result<Transition> {
    let store_key = entry.key.as_str();
    let stored: TransitionRecord = record::decode(store_key, VERSION, &entry.value)?;
    let subject = match (stored.instance, stored.incarnation, stored.component) {
        (None, _, _) => {
            Subject::Service(ServiceName::parse(&stored.service).map_err(|_| damaged(store_key, "service"))?)
        }
        (Some(id), incarnation, component) => {
            let key = key_of(store_key, &stored.service, &id)?;
            let incarnation = incarnation.ok_or_else(|| damaged(store_key, "incarnation"))?;
            match component {
                None => Subject::Instance(key, incarnation),
                Some(name) => {
                    let name = ComponentName::parse(&name).map_err(|_| damaged(store_key, "component"))?;
                    Subject::Component(key, incarnation, name)
                }
            }
        }
    };
    Ok(Transition {
        sequence: stored.sequence,
        time: from_millis(stored.time_ms),
        subject,
        from: state_of(stored.from),
        to: Verdict::new(state_of(stored.to), stored.cause),
    })
}

fn component_of(store_key: &str, stored: ComponentRecord<'_>) -> Result<Component> {
    Ok(Component {
        name: ComponentName::parse(&stored.name).map_err(|_| damaged(store_key, "components.name"))?,
        kind: stored.kind.into_owned(),
        essential: stored.essential,
        depends_on: stored.depends_on.into_owned(),
        capabilities: stored
            .capabilities
            .into_iter()
            .map(|capability| match capability {
                CapabilityRecord::Health => Capability::Health,
                CapabilityRecord::Backup => Capability::Backup,
                CapabilityRecord::Restore => Capability::Restore,
                CapabilityRecord::Shutdown => Capability::Shutdown,
            })
            .collect(),
        report_interval: Duration::from_millis(stored.report_interval_ms),
        thresholds: Thresholds { fail: stored.fail_threshold, pass: stored.pass_threshold },
        check: stored.check.map(|check| check::of(store_key, check).map(Box::new)).transpose()?,
        capture: capture::of(store_key, stored.capture)?,
    })
}

fn spec_of(store_key: &str, stored: SpecRecord) -> Result<Spec> {
    let mut depends_on = BTreeMap::new();
    for (name, need) in stored.depends_on {
        let name = ServiceName::parse(&name).map_err(|_| damaged(store_key, "depends_on"))?;
        let need = match need {
            NeedRecord::Hard => Need::Hard,
            NeedRecord::Soft => Need::Soft,
        };
        depends_on.insert(name, need);
    }
    let limit = stored.limit.map(|limit| match limit {
        LimitRecord::MinAvailableCount(count) => Limit::MinAvailable(Quantity::Count(count)),
        LimitRecord::MinAvailablePercent(percent) => Limit::MinAvailable(Quantity::Percent(percent.min(100))),
        LimitRecord::MaxUnavailableCount(count) => Limit::MaxUnavailable(Quantity::Count(count)),
        LimitRecord::MaxUnavailablePercent(percent) => {
            Limit::MaxUnavailable(Quantity::Percent(percent.min(100)))
        }
    });
    Ok(Spec {
        depends_on,
        budget: Budget { limit, quorum_size: stored.quorum_size },
        objectives: Objectives {
            availability_percent: stored.availability_percent,
            rpo: stored.rpo_ms.map(Duration::from_millis),
            rto: stored.rto_ms.map(Duration::from_millis),
        },
        protected: stored.protected,
    })
}

fn state_of(stored: StateRecord) -> State {
    match stored {
        StateRecord::Healthy => State::Healthy,
        StateRecord::Degraded => State::Degraded,
        StateRecord::Unhealthy => State::Unhealthy,
        StateRecord::Unknown => State::Unknown,
    }
}

fn key_of(store_key: &str, service: &str, id: &str) -> Result<InstanceKey> {
    Ok(InstanceKey {
        service: ServiceName::parse(service).map_err(|_| damaged(store_key, "service"))?,
        id: InstanceId::parse(id).map_err(|_| damaged(store_key, "id"))?,
    })
}

fn damaged(store_key: &str, what: &str) -> Error {
    Error::new(
        Kind::Internal,
        Reason::RecordDamaged,
        format!("the record {store_key} in the store is damaged: {what} cannot be read"),
    )
}

// === times ===

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn to_millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}

fn from_millis(stored: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(stored)
}

#[cfg(test)]
mod tests;
