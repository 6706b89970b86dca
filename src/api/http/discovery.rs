//! Prometheus HTTP service discovery: the whole fleet as scrape targets, each time.
//!
//! Everything with an address is listed while its process is believed to run, unconfirmed ones after
//! a restart included; lost ones stay for as long as they are registered, so that a scrape shows what
//! a lease cannot. Who left or failed for good is not.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::Refused;
use crate::{
    api::overview::Overview,
    error::Error,
    fleet::{lifecycle::Lifecycle, names::ServiceName, query::Filter, snapshot::Instance},
};

/// What may be asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    service: Option<String>,
}

/// One group of targets, in the form of Prometheus' http_sd.
#[derive(Debug, Serialize)]
pub struct TargetGroup {
    targets: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// The fleet, or one service of it.
///
/// # Errors
/// The name of the service is malformed.
pub async fn prometheus(
    State(overview): State<Overview>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<TargetGroup>>, Refused> {
    let service = wanted
        .service
        .map(|name| ServiceName::parse(&name).map_err(|invalid| Error::field("service", invalid.0)))
        .transpose()?;
    let filter = Filter { service, ..Filter::default() };
    let (instances, _) = overview.fleet.instances(&filter, None, usize::MAX);
    Ok(Json(instances.iter().filter(|instance| is_listed(instance)).map(group).collect()))
}

fn is_listed(instance: &Instance) -> bool {
    let gone = matches!(instance.lifecycle, Lifecycle::Stopped | Lifecycle::Failed);
    !instance.registration.address.is_empty() && !gone
}

fn group(instance: &Instance) -> TargetGroup {
    let registration = &instance.registration;
    let mut labels: BTreeMap<String, String> = [
        ("service", registration.key.service.to_string()),
        ("instance", registration.key.id.to_string()),
        ("incarnation", instance.incarnation.to_string()),
        ("version", registration.version.clone()),
        ("zone", registration.zone.clone()),
        ("health", instance.health.state.as_str().to_owned()),
        ("lifecycle", instance.lifecycle.as_str().to_lowercase()),
        ("confirmed", instance.confirmed.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("__meta_seaworthy_{name}"), value))
    .collect();
    for (name, value) in &registration.labels {
        labels.insert(format!("__meta_seaworthy_label_{}", label_name(name)), value.clone());
    }
    TargetGroup { targets: vec![registration.address.clone()], labels }
}

/// A name as Prometheus allows it: everything else becomes an underscore.
fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
