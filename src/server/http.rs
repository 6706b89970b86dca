//! HTTP connections, for probes, scrapers and browsers: every wait for the other end is bounded.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, time::Duration};

use axum::{Router, response::IntoResponse as _};
use http::{Method, Request, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};
use tower::Service as _;
use tracing::{debug, info};

use super::{accept::Accepted, age, paced::Paced, wrong_port};
use crate::{
    config,
    guard::access::{AccessLog, request_id},
    id::Entropy,
    task::drain,
    time::Clock,
};

/// Bytes of a request's head; the rest of a request is not read at all.
const HEAD: usize = 16 * 1024;

/// How connections are held. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    http1: http1::Builder,
    idle: Duration,
    request: Duration,
    write: Duration,
    age: Duration,
    grpc_port: u16,
    clock: Clock,
    entropy: Entropy,
}

impl Settings {
    /// Every limit, set. `grpc` is where those belong who speak HTTP/2.
    pub(super) fn new(config: &config::Http, grpc: SocketAddr, clock: Clock, entropy: Entropy) -> Self {
        let mut http1 = http1::Builder::new();
        // hyper counts from the end of the request before, so that one bound is that of an idle
        // connection and of a head that comes byte by byte.
        http1.timer(TokioTimer::new()).header_read_timeout(config.idle_timeout).max_buf_size(HEAD);
        Self {
            http1,
            idle: config.idle_timeout,
            request: config.request_timeout,
            write: config.write_timeout,
            age: config.max_connection_age,
            grpc_port: grpc.port(),
            clock,
            entropy,
        }
    }
}

/// Serves one connection after another.
pub(super) fn serve(
    settings: Settings,
    router: Router,
    access: AccessLog,
    drain: drain::Watch,
) -> impl FnMut(Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |accepted| {
        let peer = accepted.peer;
        let connection =
            connection(settings.clone(), router.clone(), access.clone(), drain.clone(), accepted);
        Box::pin(async move {
            let ended = connection.await;
            debug!(component = "server", %peer, ?ended, "HTTP connection ended");
        })
    }
}

/// A request that the access log takes. Its path is logged, and not what follows it: there may be secrets in a query.
struct Logged {
    method: Method,
    path: String,
    peer: SocketAddr,
    request_id: Option<String>,
    clock: Clock,
    began: Duration,
}

impl Logged {
    fn of<B>(request: &Request<B>, peer: SocketAddr, clock: Clock) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let request_id = request_id(request.headers()).map(str::to_owned);
        Self { method, path, peer, request_id, clock, began: clock.elapsed() }
    }

    fn tell(self, status: StatusCode) {
        let Self { method, path, peer, request_id, clock, began } = self;
        let duration = (clock.elapsed() - began).as_secs_f64();
        info!(
            target: "seaworthy::access",
            component = "access",
            %peer,
            %method,
            path,
            status = status.as_u16(),
            duration,
            request_id,
            "request"
        );
    }
}

/// What ended a connection that its client did not end.
type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn connection(
    settings: Settings,
    router: Router,
    access: AccessLog,
    mut drain: drain::Watch,
    accepted: Accepted,
) -> Ended {
    let Settings { http1, idle, request: patience, write, age, grpc_port, clock, entropy } = settings;
    let Accepted { stream, peer, counted: _ } = accepted;
    let begun = tokio::select! {
        begun = timeout(idle, wrong_port::expect_http1(stream, grpc_port)) => begun??,
        () = drain.begun() => return Ok(()),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let logged = access.takes().then(|| Logged::of(&request, peer, clock));
        async move {
            let late = || (StatusCode::GATEWAY_TIMEOUT, "no answer in time\n").into_response();
            let answered = timeout(patience, router.call(request)).await;
            let answer = answered.map_or_else(|_| late(), |Ok(answer)| answer);
            if let Some(logged) = logged {
                logged.tell(answer.status());
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(Paced::new(begun, write));
    let mut serving = std::pin::pin!(http1.serve_connection(stream, service));
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        () = drain.begun() => {}
        () = sleep(age::jittered(age, &entropy)) => {}
    }
    // What is being answered is finished, and then the connection is over.
    serving.as_mut().graceful_shutdown();
    match timeout(patience, serving).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "cut at the end of its time").into()),
    }
}
