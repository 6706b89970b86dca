//! HTTP connections, for probes, scrapers and browsers: every wait for the other end is bounded.

mod logged;

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, response::IntoResponse as _};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tower::Service as _;
use tracing::debug;

use self::logged::Logged;
use super::{
    accept::Accepted,
    age,
    grpc::LAST_WORDS,
    paced::Paced,
    preface::Begun,
    transport::{self, Encryption, Shown},
    wrong_port,
};
use crate::{
    config,
    guard::{access::AccessLog, caller::HttpConnection, proof::Proof},
    id::Entropy,
    system::{Listener, Vitals},
    task::drain,
    time::Clock,
};

/// Bytes of a request's head; the rest of a request is not read at all.
const HEAD: usize = 16 * 1024;
/// For how long browsers are to call by TLS alone, once they have been answered by it (RFC 6797): a year.
const TLS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// How connections are held. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    http1: http1::Builder,
    idle: Duration,
    request: Duration,
    write: Duration,
    age: Duration,
    grpc_port: u16,
    encryption: Option<Encryption>,
    access: AccessLog,
    clock: Clock,
    entropy: Entropy,
}

impl Settings {
    /// Every limit, set. `grpc` is where those belong who speak HTTP/2.
    pub(super) fn new(
        config: &config::Http,
        grpc: SocketAddr,
        encryption: Option<Encryption>,
        access: AccessLog,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
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
            encryption,
            access,
            clock,
            entropy,
        }
    }
}

/// Serves one connection after another.
pub(super) fn serve(
    settings: Settings,
    router: Router,
    vitals: Vitals,
    listener: Listener,
    drain: drain::Watch,
) -> impl FnMut(Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |accepted| {
        let peer = accepted.peer;
        let connection = connection(settings.clone(), router.clone(), drain.clone(), accepted);
        let (vitals, is_encrypted) = (vitals.clone(), settings.encryption.is_some());
        Box::pin(async move {
            let ended = connection.await;
            if is_encrypted && matches!(ended, Ended::Unbegun(_)) {
                vitals.handshake_failed(listener);
            }
            debug!(component = "server", %peer, ?ended, "HTTP connection ended");
        })
    }
}

/// How a connection ended.
#[derive(Debug)]
#[allow(dead_code)] // what is in it is for the log
pub(super) enum Ended {
    /// Its client ended it, or the server did, in good order.
    Well,
    /// It never began: no handshake, or nothing that is HTTP/1.
    Unbegun(io::Error),
    /// It was cut, or broke.
    Cut(Box<dyn std::error::Error + Send + Sync>),
}

async fn connection(
    settings: Settings,
    router: Router,
    mut drain: drain::Watch,
    accepted: Accepted,
) -> Ended {
    let Accepted { stream, peer, counted: _ } = accepted;
    let begun = tokio::select! {
        begun = timeout(settings.idle, begin(&settings, stream)) => begun,
        () = drain.begun() => return Ended::Well,
    };
    match begun {
        Ok(Ok((begun, shown))) => hold(settings, router, drain, begun, peer, shown).await,
        Ok(Err(cause)) => Ended::Unbegun(cause),
        Err(_) => Ended::Unbegun(io::ErrorKind::TimedOut.into()),
    }
}

/// Waits for HTTP/1, within TLS where there is encryption.
async fn begin(settings: &Settings, stream: TcpStream) -> io::Result<(Begun, Option<Shown>)> {
    let opened =
        transport::open(stream, settings.encryption.as_ref(), settings.write, "the HTTP port").await?;
    Ok((wrong_port::expect_http1(opened.stream, settings.grpc_port).await?, opened.shown))
}

/// Answers what comes on a connection that has begun.
pub(super) async fn hold(
    settings: Settings,
    router: Router,
    mut drain: drain::Watch,
    begun: Begun,
    peer: SocketAddr,
    mut shown: Option<Shown>,
) -> Ended {
    let Settings {
        http1,
        idle: _,
        request: patience,
        write,
        age,
        grpc_port: _,
        encryption,
        access,
        clock,
        entropy,
    } = settings;
    let (proof, is_encrypted) = (Proof::new(), encryption.is_some());
    let certificate = shown.as_ref().map(|shown| Arc::clone(&shown.certificate));
    let from = HttpConnection { peer, certificate, proof: proof.clone() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut router = router.clone();
        request.extensions_mut().insert(from.clone());
        let logged = access.takes().then(|| Logged::of(&request, peer, clock));
        async move {
            let late = || (StatusCode::GATEWAY_TIMEOUT, "no answer in time\n").into_response();
            let answered = timeout(patience, router.call(request)).await;
            let Ok(mut answer) = answered.unwrap_or_else(|_| Ok(late()));
            if let Some(logged) = logged {
                logged.tell(&answer);
            }
            if is_encrypted {
                answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, TLS_ALONE);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(Paced::new(begun, write));
    let mut serving = std::pin::pin!(http1.serve_connection(stream, service));
    let mut lapsed = std::pin::pin!(transport::lapsed(&proof, shown.as_mut()));
    let well =
        |ended: hyper::Result<()>| ended.map_or_else(|cause| Ended::Cut(cause.into()), |()| Ended::Well);
    let has_lapsed = tokio::select! {
        ended = serving.as_mut() => return well(ended),
        () = drain.begun() => false,
        () = sleep(age::jittered(age, &entropy)) => false,
        _ = lapsed.as_mut() => true,
    };
    // What is being answered is finished, and then the connection is over.
    serving.as_mut().graceful_shutdown();
    let over = async {
        if !has_lapsed {
            tokio::select! {
                () = sleep(patience) => return,
                _ = lapsed => {}
            }
        }
        sleep(LAST_WORDS.min(patience)).await;
    };
    tokio::select! {
        ended = serving => well(ended),
        () = over => {
            Ended::Cut(io::Error::new(io::ErrorKind::TimedOut, "cut at the end of its time").into())
        }
    }
}
