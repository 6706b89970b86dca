//! The control plane's own health and status. A sick fleet does not show here: it must never make a
//! platform kill the control plane.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::probe_code;
use crate::{
    api::overview::{Overview, Status},
    health,
    store::Trouble,
    system::{
        Phase,
        readiness::{self, Outcome},
    },
    text::counted,
};

type Answer = (StatusCode, Json<Value>);

/// 200 while it serves.
pub async fn health(State(overview): State<Overview>) -> Answer {
    let (state, good) = state_of(&overview.status());
    (probe_code(good), Json(json!({"status": state, "phase": overview.vitals.phase().as_str()})))
}

/// The same, part by part.
pub async fn details(State(overview): State<Overview>) -> Answer {
    let status = overview.status();
    let (state, good) = state_of(&status);
    let part = |healthy: bool, message: String| json!({"status": if healthy { health::State::Healthy } else { health::State::Degraded }.as_str(), "message": message});
    let body = json!({
        "status": state,
        "version": status.version,
        "phase": status.phase.as_str(),
        "uptime_seconds": status.uptime.as_secs(),
        "components": {
            "store": part(status.store.writable, format!("{}, {} bytes, {}", counted(status.store.keys, "key"), status.store.size_bytes, writes(&status))),
            "fleet": part(true, format!("{} of {}, {}", counted(status.totals.instances, "instance"), counted(status.totals.services, "service"), counted(status.totals.sessions, "session"))),
            "connections": part(true, format!("{} open, {} refused since the start", status.connections.open, status.connections.refused)),
        },
    });
    (probe_code(good), Json(body))
}

/// 200 while the process runs: whatever else is wrong, a restart would not mend it.
pub async fn live() -> Answer {
    (StatusCode::OK, Json(json!({"status": "alive"})))
}

/// 200 while it wants new work.
pub async fn ready(State(overview): State<Overview>) -> Answer {
    let phase = overview.vitals.phase();
    let good = phase == Phase::Running;
    let status = if good { "ready" } else { "not_ready" };
    (probe_code(good), Json(json!({"status": status, "phase": phase.as_str()})))
}

/// How much there is of everything.
pub async fn status(State(overview): State<Overview>) -> Json<Value> {
    let Status {
        version,
        boot_epoch,
        started,
        uptime,
        phase,
        totals,
        watchers,
        connections,
        active_requests,
        fleet_revision,
        store,
        now,
        http,
        max_connections,
    } = overview.status();
    let files = overview.files();
    Json(json!({
        "version": version,
        "boot_epoch": boot_epoch,
        "start_time": rfc3339(started),
        "uptime_seconds": uptime.as_secs(),
        "phase": phase.as_str(),
        "services": totals.services,
        "instances": totals.instances,
        "available_instances": totals.available,
        "lost_instances": totals.lost,
        "protected_instances": totals.protected,
        "sessions": totals.sessions,
        "watchers": watchers,
        "connections": connections.open,
        "connections_refused": connections.refused,
        "active_requests": active_requests,
        "fleet_revision": fleet_revision,
        "store": {
            "engine": store.engine,
            "revision": store.revision,
            "keys": store.keys,
            "size_bytes": store.size_bytes,
            "writable": store.writable,
            "trouble": store.trouble.map(Trouble::advice),
        },
        "server_time": rfc3339(now),
        "http_address": http.to_string(),
        "max_connections": max_connections,
        "open_files": files.open,
        "max_open_files": files.most,
    }))
}

/// The report: 200 unless a check FAILs.
pub async fn readiness(State(overview): State<Overview>) -> Answer {
    let checks = overview.readiness().await;
    let worst = readiness::worst(&checks);
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "id": check.id,
                "title": check.title,
                "outcome": check.outcome.as_str(),
                "message": check.message,
                "hint": check.hint,
            })
        })
        .collect();
    (probe_code(worst != Outcome::Fail), Json(json!({"outcome": worst.as_str(), "checks": checks})))
}

/// Whether the store takes writes, and if not why and what to do.
fn writes(status: &Status) -> String {
    match (status.store.writable, status.store.trouble) {
        (true, _) => "takes writes".to_owned(),
        (false, None) => "takes no writes, reading goes on".to_owned(),
        (false, Some(trouble)) => format!("takes no writes, reading goes on; {}", trouble.advice()),
    }
}

fn state_of(status: &Status) -> (&'static str, bool) {
    match (status.phase, status.store.writable) {
        (Phase::Running, true) => (health::State::Healthy.as_str(), true),
        // Reading goes on, and instances are heard: that is worth keeping alive.
        (Phase::Running, false) => (health::State::Degraded.as_str(), true),
        _ => (health::State::Unhealthy.as_str(), false),
    }
}

/// A time as JSON carries it.
pub(super) fn rfc3339(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}
