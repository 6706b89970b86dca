//! HTTP connections, for probes, scrapers and browsers.

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use axum::{Router, response::IntoResponse as _};
use http::{Request, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tower::Service as _;

use super::accept::Accepted;
use crate::task::drain;

/// Bytes of a request's head; the rest of a request is not read at all.
const HEAD: usize = 16 * 1024;

/// Serves one connection after another. `patience`: for a request to arrive, and to be answered.
pub(super) fn serve(
    patience: Duration,
    router: Router,
    drain: drain::Watch,
) -> impl FnMut(Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(HEAD);
    move |accepted| Box::pin(connection(builder.clone(), patience, router.clone(), drain.clone(), accepted))
}

async fn connection(
    builder: http1::Builder,
    patience: Duration,
    router: Router,
    mut drain: drain::Watch,
    accepted: Accepted,
) {
    let Accepted { stream, peer: _, counted: _ } = accepted;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let late = || (StatusCode::GATEWAY_TIMEOUT, "no answer in time\n").into_response();
            let answered = timeout(patience, router.call(request)).await;
            Ok::<_, Infallible>(answered.map_or_else(|_| late(), |Ok(answer)| answer))
        }
    });
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = serving.as_mut() => drop(ended),
        () = drain.begun() => {
            serving.as_mut().graceful_shutdown();
            drop(timeout(patience, serving).await);
        }
    }
}
