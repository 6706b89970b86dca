//! The service's own health over HTTP, so that a platform probes the service without asking the control
//! plane. `/health` tells all, `/health/live` whether the process may go on, `/health/ready` whether
//! work may be sent to it.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    ComponentHealth, Report, Status,
    health::{Health, board::Board},
};

#[derive(Clone)]
struct Shared {
    board: Board,
    status: watch::Receiver<Status>,
}

/// The three routes.
pub(crate) fn router(board: Board, status: watch::Receiver<Status>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(Shared { board, status })
}

async fn health(State(shared): State<Shared>) -> Response {
    let health = shared.board.now();
    let serves = health.verdict().state.serves();
    let attached = matches!(*shared.status.borrow(), Status::Attached { .. });
    answer(serves, full(&health, attached))
}

async fn live(State(shared): State<Shared>) -> Response {
    let health = shared.board.now();
    answer(health.is_live(), json!({ "live": health.is_live(), "lifecycle": health.lifecycle().as_str() }))
}

async fn ready(State(shared): State<Shared>) -> Response {
    let health = shared.board.now();
    let verdict = health.verdict();
    let body = json!({
        "ready": health.is_ready(),
        "lifecycle": health.lifecycle().as_str(),
        "status": verdict.state.as_str(),
        "cause": verdict.cause,
    });
    answer(health.is_ready(), body)
}

fn answer(good: bool, body: Value) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn full(health: &Health, attached: bool) -> Value {
    let verdict = health.verdict();
    let components: serde_json::Map<_, _> =
        health.components().iter().map(|one| (one.name().to_owned(), component(one))).collect();
    json!({
        "status": verdict.state.as_str(),
        "cause": verdict.cause,
        "service": health.service(),
        "instance_id": health.instance_id(),
        "version": health.version(),
        "lifecycle": health.lifecycle().as_str(),
        "ready": health.is_ready(),
        "attached": attached,
        "components": components,
    })
}

fn component(one: &ComponentHealth) -> Value {
    let report = one.last_report();
    json!({
        "status": one.state().as_str(),
        "cause": one.cause(),
        "kind": one.kind(),
        "essential": one.is_essential(),
        "reported_status": report.map(|report| report.state().as_str()),
        "message": report.map(Report::message),
        "response_time_ms": one.response_time().map(|taken| taken.as_secs_f64() * 1000.0),
        "consecutive_failures": one.consecutive_failures(),
        "flapping": one.is_flapping(),
        "details": one.details(),
    })
}
