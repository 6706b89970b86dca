//! The HTTP API. Each route is an operation (`POST:/orders`), to be limited by policies; and so is what all of them depend on,
//! `query-database`: while the database fails, its breaker refuses at once what would only wait for it.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use seaworthy_client::{
    Handle,
    protect::{Failure, ProtectError},
};
use serde_json::{Value, json};

use crate::store::{Order, Store};

/// Most of one item in an order.
const MAX_QUANTITY: u64 = 10_000;

#[derive(Clone)]
struct Api {
    store: Store,
    seaworthy: Handle,
}

pub(crate) fn router(store: Store, seaworthy: Handle) -> Router {
    let protected = seaworthy.operations().axum_layer();
    Router::new()
        .route("/orders", get(list).post(create))
        .route("/orders/{id}", get(show))
        .route_layer(protected)
        .with_state(Api { store, seaworthy })
}

async fn create(State(api): State<Api>, Json(body): Json<Value>) -> Response {
    let item = body["item"].as_str().filter(|item| !item.is_empty() && item.len() <= 200).map(str::to_owned);
    let quantity = body["quantity"].as_u64().filter(|quantity| (1..=MAX_QUANTITY).contains(quantity));
    let (Some(item), Some(Ok(quantity))) = (item, quantity.map(u32::try_from)) else {
        let problem = "an order is like {\"item\": \"anchor\", \"quantity\": 2}";
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": problem }))).into_response();
    };
    match api.query(move |store| store.add(&item, quantity)).await {
        Ok(order) => (StatusCode::CREATED, Json(shown(&order))).into_response(),
        Err(failed) => failed,
    }
}

async fn list(State(api): State<Api>) -> Response {
    match api.query(Store::newest).await {
        Ok(orders) => Json(json!({ "orders": orders.iter().map(shown).collect::<Vec<_>>() })).into_response(),
        Err(failed) => failed,
    }
}

async fn show(State(api): State<Api>, Path(id): Path<i64>) -> Response {
    match api.query(move |store| store.get(id)).await {
        Ok(Some(order)) => Json(shown(&order)).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(failed) => failed,
    }
}

/// The database failed.
#[derive(Debug)]
struct QueryFailed(String);

/// Its own fault: the breaker counts it.
impl Failure for QueryFailed {}

impl Api {
    /// Runs a query where it may block, as far as it is let through.
    #[allow(clippy::disallowed_methods)] // a service spawns as it likes; only the library must not
    async fn query<T: Send + 'static>(
        &self,
        work: impl Fn(&Store) -> rusqlite::Result<T> + Clone + Send + 'static,
    ) -> Result<T, Response> {
        let run = || {
            let (work, store) = (work.clone(), self.store.clone());
            async move {
                match tokio::task::spawn_blocking(move || work(&store)).await {
                    Ok(answer) => answer.map_err(|error| QueryFailed(error.to_string())),
                    Err(ended) => Err(QueryFailed(ended.to_string())),
                }
            }
        };
        self.seaworthy.protect("query-database", "", run).await.map_err(|failed| {
            let why = match failed {
                ProtectError::Failed(QueryFailed(why)) => why,
                ProtectError::Refused(refusal) => refusal.to_string(),
                ProtectError::TimedOut => "the database did not answer in time".to_owned(),
            };
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": why }))).into_response()
        })
    }
}

fn shown(order: &Order) -> Value {
    json!({ "id": order.id, "item": order.item, "quantity": order.quantity })
}
