//! Protects whole servers: a tower layer for axum and one for tonic, through which each request is an operation.
//!
//! A request passes limits, resources, permits and the breaker of its operation; it is not tried again, which is its
//! caller's to do. How it ended is read off the answer: an error of the server's own, or anything else.

mod judged;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use self::judged::Judged;
use super::{failure::Fault, operations::Operations, refusal::Refusal};
use crate::rules::errors::whole_millis;

/// Methods that are told apart (RFC 9110, 9.3, and RFC 5789).
#[cfg(feature = "axum")]
const KNOWN_METHODS: [http::Method; 9] = [
    http::Method::GET,
    http::Method::HEAD,
    http::Method::POST,
    http::Method::PUT,
    http::Method::DELETE,
    http::Method::CONNECT,
    http::Method::OPTIONS,
    http::Method::TRACE,
    http::Method::PATCH,
];

/// Says something of a request by its head.
type Say = Arc<dyn Fn(&Parts) -> String + Send + Sync>;

/// Protects the requests of a server, each as an operation. Made by [`Operations::axum_layer`] and
/// [`Operations::tonic_layer`].
#[derive(Clone)]
pub struct ProtectLayer<P> {
    operations: Operations,
    operation: Say,
    caller: Say,
    protocol: P,
}

/// Requests by HTTP: 5xx is the server's own failure.
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug)]
pub struct Http;

/// Requests by gRPC: the status says whose failure it is.
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug)]
pub struct Grpc;

/// How a protocol says that something is refused, and how it went.
pub trait Protocol: Clone + Send + Sync + 'static {
    /// What its answers are made of.
    type Body: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Whether requests name operations that may not be there.
    const ANYBODY_NAMES_OPERATIONS: bool;

    /// Whether the head of an answer says that there is such an operation.
    fn is_there(&self, head: &http::response::Parts) -> bool;

    /// What who is refused is told.
    fn refuse(&self, refusal: &Refusal, caller: &str) -> Response<Self::Body>;

    /// Whether the head of an answer says how it went. None: its end does.
    fn judge(&self, head: &http::response::Parts) -> Option<Verdict>;

    /// Says that the connection is not to be used again, where that can be said.
    fn closes(answer: &mut Response<Self::Body>);

    /// A body that wraps one of its own.
    fn boxed<B>(body: B) -> Self::Body
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>;
}

/// How a request went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Well, or its caller is to blame.
    Succeeded,
    /// The server is to blame.
    Failed,
}

impl Operations {
    /// Protects an axum router, or a part of it: each route by its method and path is an operation (`POST:/orders/{id}`),
    /// and the caller is the peer's address where the server tells it (`into_make_service_with_connect_info`). Add it by
    /// `Router::route_layer`, so that the path is known.
    #[cfg(feature = "axum")]
    pub fn axum_layer(&self) -> ProtectLayer<Http> {
        let path = |parts: &Parts| {
            let matched = parts.extensions.get::<axum::extract::MatchedPath>();
            let path = matched.map_or_else(|| parts.uri.path(), axum::extract::MatchedPath::as_str);
            // Anybody may make up methods: they are one.
            let method = if KNOWN_METHODS.contains(&parts.method) { parts.method.as_str() } else { "OTHER" };
            format!("{method}:{path}")
        };
        let peer = |parts: &Parts| {
            let peer = parts.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
            peer.map_or_else(String::new, |peer| peer.0.ip().to_string())
        };
        self.layer(Http, path, peer)
    }

    /// Protects a tonic server: each of its methods is an operation (`package.Service/Method`), and the caller is the peer's
    /// address. As anybody may ask for methods that are not there, one that neither a policy nor the code names is one of the
    /// others (`_others`) until it was answered once.
    #[cfg(feature = "server")]
    pub fn tonic_layer(&self) -> ProtectLayer<Grpc> {
        let path = |parts: &Parts| parts.uri.path().trim_start_matches('/').to_owned();
        let peer = |parts: &Parts| {
            let peer = parts.extensions.get::<tonic::transport::server::TcpConnectInfo>();
            let ip = peer.and_then(|peer| peer.remote_addr()).map(|peer| peer.ip().to_string());
            ip.unwrap_or_default()
        };
        self.layer(Grpc, path, peer)
    }

    fn layer<P>(
        &self,
        protocol: P,
        operation: impl Fn(&Parts) -> String + Send + Sync + 'static,
        caller: impl Fn(&Parts) -> String + Send + Sync + 'static,
    ) -> ProtectLayer<P> {
        let (operation, caller) = (Arc::new(operation), Arc::new(caller));
        ProtectLayer { operations: self.clone(), operation, caller, protocol }
    }
}

impl<P> ProtectLayer<P> {
    /// Names operations in another way. Names that differ for each request are counted together beyond 256 of them.
    #[must_use]
    pub fn operation_by(mut self, name: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.operation = Arc::new(name);
        self
    }

    /// Tells callers apart in another way: by a header, a tenant, a user.
    #[must_use]
    pub fn caller_by(mut self, name: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.caller = Arc::new(name);
        self
    }
}

impl<P> fmt::Debug for ProtectLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectLayer").finish_non_exhaustive()
    }
}

impl<S, P: Clone> Layer<S> for ProtectLayer<P> {
    type Service = Protect<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Protect { inner, layer: self.clone() }
    }
}

/// A service whose requests are protected.
#[derive(Clone, Debug)]
pub struct Protect<S, P> {
    inner: S,
    layer: ProtectLayer<P>,
}

impl<S, P, A> Service<Request<A>> for Protect<S, P>
where
    S: Service<Request<A>, Response = Response<P::Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    A: Send + 'static,
    P: Protocol,
{
    type Response = Response<P::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<P::Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // The one that is ready is called; its clone is to become ready.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let ProtectLayer { operations, operation, caller, protocol } = self.layer.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let operation = operation(&parts);
            let caller = caller(&parts);
            let admitted = if P::ANYBODY_NAMES_OPERATIONS {
                operations.admit_named_by_anybody(&operation, &caller).await
            } else {
                operations.admit(&operation, &caller).await
            };
            let mut admitted = match admitted {
                Ok(admitted) => admitted,
                Err(refusal) => return Ok(protocol.refuse(&refusal, &caller)),
            };
            let Ok(response) = inner.call(Request::from_parts(parts, body)).await;
            let (head, body) = response.into_parts();
            if P::ANYBODY_NAMES_OPERATIONS && protocol.is_there(&head) {
                operations.know(&operation);
            }
            admitted.answers();
            let verdict = protocol.judge(&head);
            match verdict {
                Some(Verdict::Succeeded) => admitted.judge(Fault::Callers),
                Some(Verdict::Failed) => admitted.judge(Fault::Own),
                None => {}
            }
            Ok(Response::from_parts(head, P::boxed(Judged::new(body, admitted, verdict))))
        })
    }
}

#[cfg(feature = "axum")]
impl Protocol for Http {
    type Body = axum::body::Body;

    /// The layer is behind the routes.
    const ANYBODY_NAMES_OPERATIONS: bool = false;

    fn is_there(&self, _: &http::response::Parts) -> bool {
        true
    }

    fn refuse(&self, refusal: &Refusal, caller: &str) -> Response<Self::Body> {
        use axum::response::IntoResponse as _;
        use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
        let status = match refusal {
            Refusal::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Full { .. }
            | Refusal::Exhausted { .. }
            | Refusal::Broken { .. }
            | Refusal::TurnedAway { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut body = serde_json::json!({
            "reason": refusal.kind().reason(),
            "message": refusal.to_string(),
            "policy": refusal.policy(),
            "retry_after_ms": refusal.retry_after().map(whole_millis),
            "caller": caller,
        });
        for (name, value) in refusal.details() {
            body[name] = value.into();
        }
        let mut response = (status, axum::Json(body)).into_response();
        if let Some(pause) = refusal.retry_after() {
            // Whole seconds (RFC 9110, 10.2.3), rounded up: who comes too early is refused again.
            let seconds = whole_millis(pause).div_ceil(1000);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        response
    }

    fn judge(&self, head: &http::response::Parts) -> Option<Verdict> {
        Some(if head.status.is_server_error() { Verdict::Failed } else { Verdict::Succeeded })
    }

    fn closes(answer: &mut Response<Self::Body>) {
        answer.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }

    fn boxed<B>(body: B) -> Self::Body
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        axum::body::Body::new(body)
    }
}

#[cfg(feature = "server")]
impl Protocol for Grpc {
    type Body = tonic::body::Body;

    /// The layer is before the routes.
    const ANYBODY_NAMES_OPERATIONS: bool = true;

    fn is_there(&self, head: &http::response::Parts) -> bool {
        let code = head.headers.get(tonic::Status::GRPC_STATUS);
        code.is_none_or(|code| tonic::Code::from_bytes(code.as_bytes()) != tonic::Code::Unimplemented)
    }

    fn refuse(&self, refusal: &Refusal, caller: &str) -> Response<Self::Body> {
        super::status::status(refusal, caller).into_http()
    }

    fn judge(&self, head: &http::response::Parts) -> Option<Verdict> {
        judged::grpc(&head.headers)
    }

    /// The transport says it by GOAWAY.
    fn closes(_: &mut Response<Self::Body>) {}

    fn boxed<B>(body: B) -> Self::Body
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        tonic::body::Body::new(body)
    }
}

#[cfg(test)]
#[cfg(all(feature = "axum", feature = "server"))]
mod tests;
