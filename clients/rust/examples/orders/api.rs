//! The HTTP API.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::store::{Order, Store};

/// Most of one item in an order.
const MAX_QUANTITY: u64 = 10_000;

pub(crate) fn router(store: Store) -> Router {
    Router::new().route("/orders", get(list).post(create)).route("/orders/{id}", get(show)).with_state(store)
}

async fn create(State(store): State<Store>, Json(body): Json<Value>) -> Response {
    let item = body["item"].as_str().filter(|item| !item.is_empty() && item.len() <= 200).map(str::to_owned);
    let quantity = body["quantity"].as_u64().filter(|quantity| (1..=MAX_QUANTITY).contains(quantity));
    let (Some(item), Some(Ok(quantity))) = (item, quantity.map(u32::try_from)) else {
        let problem = "an order is like {\"item\": \"anchor\", \"quantity\": 2}";
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": problem }))).into_response();
    };
    match query(move || store.add(&item, quantity)).await {
        Ok(order) => (StatusCode::CREATED, Json(shown(&order))).into_response(),
        Err(failed) => failed,
    }
}

async fn list(State(store): State<Store>) -> Response {
    match query(move || store.newest()).await {
        Ok(orders) => Json(json!({ "orders": orders.iter().map(shown).collect::<Vec<_>>() })).into_response(),
        Err(failed) => failed,
    }
}

async fn show(State(store): State<Store>, Path(id): Path<i64>) -> Response {
    match query(move || store.get(id)).await {
        Ok(Some(order)) => Json(shown(&order)).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(failed) => failed,
    }
}

/// Runs a query where it may block.
#[allow(clippy::disallowed_methods)] // a service spawns as it likes; only the library must not
async fn query<T: Send + 'static>(
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Response> {
    let failed = |error: &dyn std::fmt::Display| {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error.to_string() }))).into_response()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(ended) => Err(failed(&ended)),
    }
}

fn shown(order: &Order) -> Value {
    json!({ "id": order.id, "item": order.item, "quantity": order.quantity })
}
