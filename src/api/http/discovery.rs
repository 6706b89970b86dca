//! Prometheus HTTP service discovery: the whole fleet as scrape targets, each time.
//!
//! Everything with an address is listed while its process is believed to run, unconfirmed ones after
//! a restart included. Lost ones stay for as long as they are registered, so that a scrape shows what a lease
//! cannot: being lost takes nobody out of it, being removed does, so that whoever is protected stays. Who left or
//! failed for good is not listed.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    Extension,
    body::Body,
    extract::{Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, stream::unfold};
use serde::{Deserialize, Serialize};

use super::{Refused, access::Seen};
use crate::{
    api::overview::Overview,
    error::Error,
    fleet::{
        Handle,
        lifecycle::Lifecycle,
        names::ServiceName,
        scan::{Filter, Place},
        snapshot::Instance,
    },
    identity::Scope,
};

/// Instances that are read and written at a time.
const PIECE: usize = 256;

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

/// The fleet, or one service of it. Written as it is read, piece by piece, as fast as the caller takes it:
/// a large fleet needs no more memory than a small one.
///
/// # Errors
/// The name of the service is malformed.
pub async fn prometheus(
    State(overview): State<Overview>,
    Extension(Seen(seen)): Extension<Seen>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refused> {
    let service = wanted
        .service
        .map(|name| ServiceName::parse(&name).map_err(|invalid| Error::field("service", invalid.0)))
        .transpose()?;
    let filter = Filter { service, ..Filter::default() };
    let scope = seen.ok_or_else(|| Error::internal("whoever sees nothing came to the discovery"))?;
    let body = Body::from_stream(pieces(overview.fleet, filter, scope));
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], body).into_response())
}

/// Where the next piece begins.
enum At {
    Start,
    After(Place),
    End,
}

/// A JSON array of all groups, cut anywhere.
fn pieces(fleet: Handle, filter: Filter, scope: Scope) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold((At::Start, true), move |(at, mut first)| {
        let mut piece = match &at {
            At::Start => Some(fleet.piece(&filter, None, PIECE)),
            At::After(place) => Some(fleet.piece(&filter, Some(place), PIECE)),
            At::End => None,
        };
        if let Some(piece) = &mut piece {
            piece.instances.retain(|instance| scope.sees_instance(&instance.registration));
        }
        async move {
            let piece = piece?;
            let seen = piece.instances;
            let mut text = String::from(if matches!(at, At::Start) { "[" } else { "" });
            for instance in seen.iter().filter(|instance| is_listed(instance)) {
                // Strings alone: they cannot fail to be written.
                let Ok(group) = serde_json::to_string(&group(instance)) else { continue };
                if !first {
                    text.push(',');
                }
                first = false;
                text.push_str(&group);
            }
            let next = match piece.next {
                Some(place) => At::After(place),
                None => {
                    text.push(']');
                    At::End
                }
            };
            Some((Ok(Bytes::from(text)), (next, first)))
        }
    })
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
        ("lifecycle", instance.lifecycle.as_str().to_owned()),
        ("confirmed", instance.confirmed.to_string()),
        ("protected", instance.protection_end.is_some().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("__meta_seaworthy_{name}"), value))
    .collect();
    for (name, value) in registration.labels.iter() {
        labels.insert(format!("__meta_seaworthy_label_{}", label_name(name)), value.to_owned());
    }
    TargetGroup { targets: vec![registration.address.clone()], labels }
}

/// A name as Prometheus allows it: everything else becomes an underscore.
fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
