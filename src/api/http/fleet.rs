//! The fleet's health by HTTP: 200 while healthy or degraded, 503 when not, 404 for who is not known.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{Refused, own::rfc3339, probe_code};
use crate::{
    api::overview::Overview,
    error::Error,
    fleet::{
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
        registration::Component,
        scan::Filter,
        snapshot::{ComponentHealth, Instance},
    },
};

type Answer = Result<(StatusCode, Json<Value>), Refused>;

/// Instances that are shown with their service.
const SHOWN: usize = 100;

/// A service and its instances.
///
/// # Errors
/// The name is malformed, or not known.
pub async fn service(State(overview): State<Overview>, Path(name): Path<String>) -> Answer {
    let name = ServiceName::parse(&name).map_err(|invalid| Error::field("service", invalid.0))?;
    let found = overview.fleet.service(&name)?;
    let filter = Filter { service: Some(name), ..Filter::default() };
    let mut instances = Vec::new();
    let take = |instance: Instance| {
        let room = instances.len() < SHOWN;
        if room {
            instances.push(brief(&instance));
        }
        room
    };
    let all = overview.fleet.each_instance(&filter, None, SHOWN + 1, take).await;
    let body = json!({
        "service": found.name.as_str(),
        "status": found.health.state.as_str(),
        "cause": found.health.cause,
        "available": found.counts.available,
        "required_available": found.required_available,
        "total": found.counts.total,
        "instances": instances,
        "more_instances": !all,
    });
    Ok((probe_code(found.health.state.serves()), Json(body)))
}

/// An instance and its components.
///
/// # Errors
/// The name is malformed, or not known.
pub async fn instance(
    State(overview): State<Overview>,
    Path((service, id)): Path<(String, String)>,
) -> Answer {
    let found = overview.fleet.instance(&key(&service, &id)?)?;
    let mut body = brief(&found);
    let components: Vec<Value> =
        found.declared_components().map(|(declared, health)| part(declared, health)).collect();
    body["components"] = json!(components);
    Ok((probe_code(found.health.state.serves()), Json(body)))
}

/// A component.
///
/// # Errors
/// The name is malformed, or not known.
pub async fn component(
    State(overview): State<Overview>,
    Path((service, id, component)): Path<(String, String, String)>,
) -> Answer {
    let key = key(&service, &id)?;
    let name = ComponentName::parse(&component).map_err(|invalid| Error::field("component", invalid.0))?;
    let (of, health) = overview.fleet.component(&key, name.as_str())?;
    let declared = of.registration.components.iter().find(|component| component.name == name);
    let body = declared.map_or(Value::Null, |declared| part(declared, &health));
    Ok((probe_code(health.health.state.serves()), Json(body)))
}

fn key(service: &str, id: &str) -> Result<InstanceKey, Error> {
    let service = ServiceName::parse(service).map_err(|invalid| Error::field("service", invalid.0))?;
    let id = InstanceId::parse(id).map_err(|invalid| Error::field("instance", invalid.0))?;
    Ok(InstanceKey { service, id })
}

fn brief(instance: &Instance) -> Value {
    json!({
        "service": instance.registration.key.service.as_str(),
        "instance": instance.registration.key.id.as_str(),
        "incarnation": instance.incarnation,
        "version": instance.registration.version,
        "status": instance.health.state.as_str(),
        "cause": instance.health.cause,
        "lifecycle": instance.lifecycle.as_str(),
        "confirmed": instance.confirmed,
        "last_heard_time": instance.last_heard.map(rfc3339),
    })
}

fn part(declared: &Component, health: &ComponentHealth) -> Value {
    json!({
        "component": declared.name.as_str(),
        "kind": declared.kind,
        "essential": declared.essential,
        "status": health.health.state.as_str(),
        "cause": health.health.cause,
        "message": health.message,
        "details": health.details,
        "consecutive_failures": health.consecutive_failures,
        "flapping": health.flapping,
        "average_response_seconds": health.average_response_time.map(|time| time.as_secs_f64()),
        "report_time": health.reported_at.map(rfc3339),
    })
}
