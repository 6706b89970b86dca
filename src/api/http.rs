//! The HTTP side: probes, status, service discovery and metrics, for platforms, scrapers and people
//! with a browser. JSON says why; the code says whether.

pub mod access;
pub mod cors;
pub mod discovery;
pub mod fleet;
pub mod front;
pub mod index;
pub mod own;

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{metrics, overview::Overview};
use crate::{
    error::{Error, Kind},
    guard::ERROR_DOMAIN,
};

/// Everything on the HTTP port.
pub fn router(overview: Overview) -> Router {
    Router::new()
        .route("/", get(index::page))
        .route("/health", get(own::health))
        .route("/health/details", get(own::details))
        .route("/health/live", get(own::live))
        .route("/health/ready", get(own::ready))
        .route("/ready", get(own::ready))
        .route("/status", get(own::status))
        .route("/production-readiness", get(own::readiness))
        .route("/health/services/{service}", get(fleet::service))
        .route("/health/services/{service}/{instance}", get(fleet::instance))
        .route("/health/services/{service}/{instance}/{component}", get(fleet::component))
        .route("/sd/prometheus", get(discovery::prometheus))
        .route("/metrics", get(metrics::page))
        .fallback(nothing_here)
        .layer(from_fn_with_state(overview.clone(), access::authorize))
        // Outside of it: who asks beforehand brings no proof.
        .layer(from_fn_with_state(overview.clone(), cors::allow))
        .layer(from_fn(harden))
        .with_state(overview)
}

/// The metrics page alone, for a listener of its own.
pub fn metrics_router(overview: Overview) -> Router {
    Router::new()
        .route("/metrics", get(metrics::page))
        .fallback(nothing_here)
        .layer(from_fn_with_state(overview.clone(), access::authorize))
        // Outside of it: who asks beforehand brings no proof.
        .layer(from_fn_with_state(overview.clone(), cors::allow))
        .layer(from_fn(harden))
        .with_state(overview)
}

/// The control plane's own health alone, for the port that is not encrypted.
pub fn probe_router(overview: Overview) -> Router {
    Router::new()
        .route("/health", get(own::health))
        .route("/health/live", get(own::live))
        .route("/health/ready", get(own::ready))
        .route("/ready", get(own::ready))
        .fallback(only_probes_here)
        .layer(from_fn(harden))
        .with_state(overview)
}

async fn only_probes_here(request: Request) -> Response {
    let path = request.uri().path();
    let message = format!(
        "there is nothing at {path}: this port has /health, /health/live, /health/ready and /ready; see the HTTP port \
         for more"
    );
    let error = json!({"error": {"reason": "NOT_FOUND", "message": message, "domain": ERROR_DOMAIN}});
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

async fn nothing_here(request: Request) -> Response {
    let message = format!("there is nothing at {}; see / for what there is", request.uri().path());
    let error = json!({"error": {"reason": "NOT_FOUND", "message": message, "domain": ERROR_DOMAIN}});
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

/// Headers that keep browsers from doing what no page here needs.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        let name: HeaderName = name;
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// An error of the domain as HTTP.
#[derive(Debug)]
pub struct Refused(pub Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = match self.0.kind() {
            Kind::InvalidArgument => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::PermissionDenied => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::AlreadyExists | Kind::Aborted => StatusCode::CONFLICT,
            Kind::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Kind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let metadata: serde_json::Map<_, _> =
            self.0.metadata().iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let error = json!({
            "error": {
                "reason": self.0.reason().as_str(),
                "message": self.0.message(),
                "domain": ERROR_DOMAIN,
                "metadata": metadata,
            }
        });
        let mut response = (code, Json(error)).into_response();
        if code == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"seaworthy\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        if let Some(pause) = self.0.retry_pause() {
            // Whole seconds, and not before.
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// 200 or 503, as platforms expect of a probe.
fn probe_code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
