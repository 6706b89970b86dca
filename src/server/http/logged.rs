//! The access log of the HTTP side: who asked for what, and how it came out.
//!
//! The path of a request is logged, and not what follows it: there may be secrets in a query.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use tracing::info;

use crate::{guard::access::request_id, identity::Identity, time::Clock};

/// A request that the access log takes.
pub(super) struct Logged {
    method: Method,
    path: String,
    peer: SocketAddr,
    request_id: Option<String>,
    clock: Clock,
    began: Duration,
}

impl Logged {
    pub(super) fn of<B>(request: &Request<B>, peer: SocketAddr, clock: Clock) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let request_id = request_id(request.headers()).map(str::to_owned);
        Self { method, path, peer, request_id, clock, began: clock.elapsed() }
    }

    /// Who it was stands with the answer, where anybody has found out.
    pub(super) fn tell<B>(self, answer: &Response<B>) {
        let Self { method, path, peer, request_id, clock, began } = self;
        let duration = (clock.elapsed() - began).as_secs_f64();
        let who = answer.extensions().get::<Arc<Identity>>().map(|identity| identity.principal.to_string());
        info!(
            target: "seaworthy::access",
            component = "access",
            principal = who,
            %peer,
            %method,
            path,
            status = answer.status().as_u16(),
            duration,
            request_id,
            "request"
        );
    }
}
