//! Registrations.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use seaworthy_client::rules::registration::{
    self as rules, MAX_LABEL_KEY, MAX_LABELS, MAX_VERSION, MAX_WORD,
};

use super::{Fields, active_check::active_check, bounded_duration, spec::spec, within};
use crate::{
    api::proto::v1 as pb,
    error::Result,
    fleet::{
        self, Claim,
        lifecycle::Lifecycle,
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
        pairs::Pairs,
        registration::{
            Capability, Capture, CaptureScope, Component, Cut, HEARTBEATS_PER_LEASE, MAX_COMPONENTS,
            MAX_LEASE_TTL, MAX_PAGE, MIN_LEASE_TTL, MIN_PAGE, Registration, component_cycle,
        },
    },
    health::component::Thresholds,
    id::{Entropy, SessionToken, TokenHash},
    probe::permit::Rules,
};

/// Most capabilities that one component says: there are four, and more may come.
const MAX_CAPABILITIES: usize = 16;
/// Longest request id.
const MAX_REQUEST_ID: usize = 128;
/// Bounds of a report interval.
const REPORT_INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Most reports that a threshold may ask for.
const MAX_THRESHOLD: u32 = 100;

/// What is assumed where a registration says nothing.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// How long a lease lives.
    pub lease_ttl: Duration,
    /// Makes ids for instances that bring none.
    pub entropy: Entropy,
}

/// Where a registration comes from, and what follows for its active checks.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address that it comes from. None: it is not known.
    pub peer: Option<IpAddr>,
    /// Whom active checks may ask.
    pub rules: Arc<Rules>,
}

/// What the components of a registration are read with.
struct Given<'a> {
    /// How often a component reports that does not say so.
    interval: Duration,
    origin: &'a Origin,
}

/// A request to register: what, and on what grounds it may take over an id.
///
/// # Errors
/// Names every field that is wrong, under `path`.
pub fn request(
    defaults: &Defaults,
    origin: &Origin,
    path: &str,
    wire: pb::RegisterRequest,
) -> Result<(Registration, Claim)> {
    let pb::RegisterRequest { registration: wire, session_token, request_id } = wire;
    let mut fields = Fields::default();
    let token = (!session_token.is_empty()).then(|| SessionToken::from_wire(session_token).hash());
    if request_id.len() > MAX_REQUEST_ID {
        fields.wrong(within(path, "request_id"), format!("is longer than {MAX_REQUEST_ID} characters"));
    }
    let request = (!request_id.is_empty()).then(|| TokenHash::of(&request_id));
    let path = within(path, "registration");
    let parsed = match wire {
        Some(wire) => registration(&mut fields, defaults, origin, &path, wire)?,
        None => {
            fields.wrong(path, "is missing");
            None
        }
    };
    Ok((fields.finish(parsed)?, Claim { token, request }))
}

fn registration(
    fields: &mut Fields,
    defaults: &Defaults,
    origin: &Origin,
    path: &str,
    wire: pb::Registration,
) -> Result<Option<Registration>> {
    let pb::Registration {
        service,
        instance_id,
        version,
        zone,
        address,
        labels: wire_labels,
        components: wire_components,
        declared_spec,
        lease_ttl,
        lifecycle,
    } = wire;
    let service = fields.take(within(path, "service"), ServiceName::parse(&service));
    let id = if instance_id.is_empty() {
        Some(fleet::new_instance_id(&defaults.entropy)?)
    } else {
        fields.take(within(path, "instance_id"), InstanceId::parse(&instance_id))
    };
    let bounds = (MIN_LEASE_TTL, MAX_LEASE_TTL);
    let lease_ttl =
        bounded_duration(fields, &within(path, "lease_ttl"), lease_ttl, defaults.lease_ttl, bounds);
    let interval = (lease_ttl / HEARTBEATS_PER_LEASE).max(REPORT_INTERVALS.0);
    let declared_spec = declared_spec
        .map(|wire| Arc::new(spec(fields, &within(path, "declared_spec"), service.as_ref(), wire)));
    let lifecycle = match pb::Lifecycle::try_from(lifecycle) {
        Ok(pb::Lifecycle::Unspecified | pb::Lifecycle::Ready) => Lifecycle::Ready,
        Ok(pb::Lifecycle::Starting) => Lifecycle::Starting,
        _ => {
            fields.wrong(within(path, "lifecycle"), "an instance registers as STARTING or READY");
            Lifecycle::Ready
        }
    };
    let labels = labels(fields, &within(path, "labels"), wire_labels);
    let given = Given { interval, origin };
    let components = components(fields, &within(path, "components"), &given, wire_components);
    let version = text(fields, &within(path, "version"), version, MAX_VERSION);
    let zone = text(fields, &within(path, "zone"), zone, MAX_WORD);
    fields.take(within(path, "address"), rules::address(&address));
    let (Some(service), Some(id)) = (service, id) else { return Ok(None) };
    let key = InstanceKey { service, id };
    Ok(Some(Registration {
        key,
        version,
        zone,
        address,
        labels,
        components,
        declared_spec,
        lease_ttl,
        lifecycle,
    }))
}

/// Free text: bounded, and without control characters.
fn text(fields: &mut Fields, field: &str, text: String, longest: usize) -> String {
    fields.take(field, rules::text(&text, longest));
    text
}

fn labels(fields: &mut Fields, path: &str, wire: HashMap<String, String>) -> Pairs {
    if wire.len() > MAX_LABELS {
        fields.wrong(path, format!("has {} labels; {MAX_LABELS} are the most", wire.len()));
        return Pairs::default();
    }
    for (key, value) in &wire {
        let entry = || format!("{path}[{:?}]", key.chars().take(MAX_LABEL_KEY).collect::<String>());
        if let Err(wrong) = rules::label_key(key) {
            fields.wrong(entry(), wrong);
        }
        if let Err(wrong) = rules::label_value(value) {
            fields.wrong(entry(), wrong);
        }
    }
    wire.into_iter().collect()
}

fn components(
    fields: &mut Fields,
    path: &str,
    given: &Given<'_>,
    wire: Vec<pb::Component>,
) -> Arc<[Component]> {
    if wire.len() > MAX_COMPONENTS {
        fields.wrong(path, format!("has {} components; {MAX_COMPONENTS} are the most", wire.len()));
        return Arc::default();
    }
    let names: Vec<String> = wire.iter().map(|component| component.name.clone()).collect();
    let mut found = Vec::with_capacity(wire.len());
    for (at, component_wire) in wire.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        if names[..at].contains(&component_wire.name) {
            fields.wrong(within(&path, "name"), format!("{} is named twice", component_wire.name));
        }
        found.extend(component(fields, &path, given, &names, component_wire));
    }
    // Positions are only meaningful when every component could be read.
    if found.len() == names.len() {
        let needs: Vec<Vec<usize>> = found.iter().map(|component| component.depends_on.clone()).collect();
        if let Some(at) = component_cycle(&needs) {
            fields.wrong(
                format!("{path}[{at}].depends_on"),
                format!("{} is part of a circle, or leads into one", names[at]),
            );
        }
    }
    found.into()
}

/// What a component can do: be asked for its health, where it says nothing.
fn capable(fields: &mut Fields, path: &str, wire: &[i32]) -> Vec<Capability> {
    let mut found: Vec<Capability> = Vec::new();
    if wire.len() > MAX_CAPABILITIES {
        fields.wrong(path, format!("has {} entries; {MAX_CAPABILITIES} are the most", wire.len()));
    }
    for (at, wire) in wire.iter().take(MAX_CAPABILITIES).enumerate() {
        let capability = match pb::Capability::try_from(*wire) {
            Ok(pb::Capability::Health) => Capability::Health,
            Ok(pb::Capability::Backup) => Capability::Backup,
            Ok(pb::Capability::Restore) => Capability::Restore,
            Ok(pb::Capability::Shutdown) => Capability::Shutdown,
            Ok(pb::Capability::Unspecified) | Err(_) => {
                fields.wrong(format!("{path}[{at}]"), format!("{wire} is not a capability"));
                continue;
            }
        };
        if !found.contains(&capability) {
            found.push(capability);
        }
    }
    if found.is_empty() {
        found.push(Capability::Health);
    }
    found
}

/// How a component is captured.
fn captured(fields: &mut Fields, path: &str, wire: pb::CaptureSettings) -> Capture {
    let pb::CaptureSettings { scope, quiesces, page_bytes, incompressible } = wire;
    let scope = match pb::CaptureScope::try_from(scope) {
        Ok(pb::CaptureScope::Unspecified | pb::CaptureScope::One) => CaptureScope::One,
        Ok(pb::CaptureScope::Each) => CaptureScope::Each,
        Err(_) => {
            fields.wrong(within(path, "scope"), format!("{scope} is not a scope; use ONE or EACH"));
            CaptureScope::One
        }
    };
    let cut = Cut::of(page_bytes).unwrap_or_else(|| {
        let right = format!("use a power of two from {MIN_PAGE} to {MAX_PAGE}, or 0 to cut by content");
        fields.wrong(within(path, "page_bytes"), format!("is {page_bytes}; {right}"));
        Cut::Content
    });
    Capture { scope, quiesces, cut, incompressible }
}

fn component(
    fields: &mut Fields,
    path: &str,
    given: &Given<'_>,
    names: &[String],
    wire: pb::Component,
) -> Option<Component> {
    let pb::Component {
        name,
        kind,
        essential,
        depends_on,
        capabilities,
        report_interval,
        fail_threshold,
        pass_threshold,
        check,
        capture,
    } = wire;
    let name = fields.take(within(path, "name"), ComponentName::parse(&name));
    let kind = text(fields, &within(path, "kind"), kind, MAX_WORD);
    let mut needs = Vec::new();
    if depends_on.len() > MAX_COMPONENTS {
        let found = depends_on.len();
        fields
            .wrong(within(path, "depends_on"), format!("has {found} entries; {MAX_COMPONENTS} are the most"));
    }
    for (at, needed) in depends_on.iter().take(MAX_COMPONENTS).enumerate() {
        match names.iter().position(|name| name == needed) {
            Some(position) if needs.contains(&position) => {
                fields.wrong(format!("{path}.depends_on[{at}]"), "is named twice");
            }
            Some(position) => needs.push(position),
            None => fields.wrong(
                format!("{path}.depends_on[{at}]"),
                format!("{needed:?} is not a component of this instance"),
            ),
        }
    }
    let found = capable(fields, &within(path, "capabilities"), &capabilities);
    let asks = check.is_some();
    let check = check.and_then(|check| {
        active_check(fields, &within(path, "check"), &given.origin.rules, given.origin.peer, check)
    });
    if asks && !found.contains(&Capability::Health) {
        let field = within(path, "capabilities");
        fields.wrong(field, "have no HEALTH, which `check` finds out; add it, or take `check` away");
    }
    if capture.is_some() && !found.contains(&Capability::Backup) {
        let field = within(path, "capabilities");
        fields.wrong(field, "have no BACKUP, which `capture` is about; add it, or take `capture` away");
    }
    let capture = capture.map(|wire| captured(fields, &within(path, "capture"), wire)).unwrap_or_default();
    // What is checked is heard of at the interval of its check.
    let interval = check.as_ref().map_or(given.interval, |check| check.interval);
    let field = within(path, "report_interval");
    let report_interval = bounded_duration(fields, &field, report_interval, interval, REPORT_INTERVALS);
    if check.is_some() && report_interval != interval {
        fields.wrong(field, format!("is not the interval of `check`, {interval:?}; leave it away"));
    }
    let mut threshold = |field: &str, asked: u32, default: NonZeroU32| match NonZeroU32::new(asked) {
        None => default,
        Some(asked) if asked.get() <= MAX_THRESHOLD => asked,
        Some(asked) => {
            fields.wrong(
                within(path, field),
                format!("is {asked}; use 1 to {MAX_THRESHOLD}, or 0 for the default"),
            );
            default
        }
    };
    let thresholds = Thresholds {
        fail: threshold("fail_threshold", fail_threshold, Thresholds::DEFAULT.fail),
        pass: threshold("pass_threshold", pass_threshold, Thresholds::DEFAULT.pass),
    };
    Some(Component {
        name: name?,
        kind,
        essential,
        depends_on: needs,
        capabilities: found,
        report_interval,
        thresholds,
        check: check.map(Box::new),
        capture,
    })
}
