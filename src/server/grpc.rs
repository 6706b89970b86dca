//! gRPC connections: HTTP/2 with every limit set, the guard, and the way to each service.

use std::{
    convert::Infallible, error::Error as _, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc,
    time::Duration,
};

use h2::Reason;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tonic::body::Body;
use tower::Service;
use tracing::{debug, warn};

use super::{
    accept::Accepted,
    age,
    bulk::{Bulk, Bulks},
    paced::Paced,
    preface::Begun,
    routes::{BoxFuture, Inbound, Router, Routes},
    transport::{self, Encryption, Shown},
    wrong_port,
};
use crate::{
    config,
    guard::{
        Guard, answers::Answers, bounds::SEND_BUFFER, caller::Connection, proof::Proof, proofs::Proofs,
        subscriptions::Subscriptions,
    },
    id::Entropy,
    peer::Peer,
    system::{Ended, Listener, Vitals},
    task::local::{LocalTasks, Spawner},
    time::Clock,
};

/// Window of one stream: control messages are small, and many streams share a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams that a client may reset before we have looked at them (rapid reset, CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams that we may reset for a client's errors before we give up on the connection.
const LOCAL_RESETS: usize = 1024;
/// How long calls may go on, and streams take to say goodbye, on a connection of which nobody knows any more who is at its
/// other end.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The guard and what is behind it, as hyper calls it.
struct Guarded<S>(S);

impl<S> hyper::service::Service<Request<Incoming>> for Guarded<S>
where
    S: Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        // Every layer is always ready: they refuse by answering.
        self.0.clone().call(request)
    }
}

/// How connections are held.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    limits: config::Grpc,
    http_port: u16,
    encryption: Option<Encryption>,
    bulks: Bulks,
    clock: Clock,
    entropy: Entropy,
}

impl Settings {
    /// `http` is where those belong who speak HTTP/1.
    pub(super) fn new(
        limits: config::Grpc,
        http: SocketAddr,
        encryption: Option<Encryption>,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        Self { limits, http_port: http.port(), encryption, bulks: Bulks::new(), clock, entropy }
    }

    /// Every limit, set: what tonic and hyper leave open is set here. `bulk`: what a connection for much data has.
    fn http2(&self, spawner: Spawner, bulk: Option<&Bulk>) -> http2::Builder<Spawner> {
        let limits = &self.limits;
        let mut http2 = http2::Builder::new(spawner);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams_per_connection.get())
            .max_header_list_size(limits.max_header_bytes)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        if let Some(bulk) = bulk {
            bulk.set(&mut http2);
        }
        http2
    }

    /// How long a client may take until it speaks HTTP/2.
    pub(super) fn handshake_timeout(&self) -> Duration {
        self.limits.handshake_timeout
    }

    /// The time.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// How long a client may take nothing of what is written to it. Whoever takes nothing for so long has not taken
    /// the PING either.
    fn write_patience(&self) -> Duration {
        self.limits.keepalive_interval + self.limits.keepalive_timeout
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        self.spawn(stream);
    }
}

/// Serves one connection after another, each with its streams in one task.
pub(super) fn serve(
    settings: Settings,
    routes: Arc<Routes>,
    guard: Guard,
    vitals: Vitals,
    close: watch::Receiver<bool>,
) -> impl FnMut(Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |accepted| {
        let spawner = Spawner::default();
        let clock = settings.clock;
        let hold = Hold {
            settings: settings.clone(),
            router: Router(Arc::clone(&routes)),
            guard: guard.clone(),
            vitals: Some(vitals.clone()),
            spawner: spawner.clone(),
        };
        Box::pin(LocalTasks::new(clock, spawner, connection(hold, vitals.clone(), close.clone(), accepted)))
    }
}

async fn connection(
    hold: Hold<Router>,
    vitals: Vitals,
    mut close: watch::Receiver<bool>,
    accepted: Accepted,
) {
    let Accepted { stream, peer, counted } = accepted;
    let begun = tokio::select! {
        begun = timeout(hold.settings.limits.handshake_timeout, begin(&hold.settings, stream)) => match begun {
            Ok(Ok(begun)) => Ok(begun),
            Ok(Err(cause)) => Err(cause.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        },
        // Who has not begun by then is not waited for.
        _ = close.wait_for(|close| *close) => return,
    };
    match begun {
        Ok((begun, shown, frames)) => {
            let bulk = hold.settings.bulks.take(peer.ip(), frames);
            // An error means that the server is gone.
            let closing = async move { drop(close.wait_for(|close| *close).await) };
            hold.run(begun, peer, shown, bulk, closing).await;
        }
        Err(cause) => {
            vitals.handshake_failed(Listener::Grpc);
            debug!(component = "server", %peer, cause, "no connection of HTTP/2 came of it");
        }
    }
    drop(counted);
}

/// Waits for HTTP/2, within TLS where there is encryption, and for how large the frames are that its client announces.
async fn begin(settings: &Settings, stream: TcpStream) -> io::Result<(Begun, Option<Shown>, Option<u32>)> {
    let (encryption, patience) = (settings.encryption.as_ref(), settings.write_patience());
    let opened = transport::open(stream, encryption, patience, "the gRPC port").await?;
    let mut begun = wrong_port::expect_http2(opened.stream, settings.http_port).await?;
    let frames = begun.announced_frames().await?;
    Ok((begun, opened.shown, frames))
}

/// What it takes to hold a connection of HTTP/2.
pub(super) struct Hold<R> {
    pub(super) settings: Settings,
    pub(super) router: R,
    pub(super) guard: Guard,
    /// Where the end of connections is counted, by cause.
    pub(super) vitals: Option<Vitals>,
    pub(super) spawner: Spawner,
}

impl<R> Hold<R>
where
    R: Service<Request<Inbound>, Response = Response<Body>, Error = Infallible, Future = BoxFuture>,
    R: Clone + Send + 'static,
{
    /// Answers what comes on a connection that has begun, until it ends, has to end for its age, has to be ended because
    /// nobody knows any more who is at its other end, or until `closing`.
    pub(super) async fn run(
        self,
        begun: Begun,
        peer: SocketAddr,
        mut shown: Option<Shown>,
        bulk: Option<Bulk>,
        closing: impl Future<Output = ()>,
    ) {
        let Self { settings, router, guard, vitals, spawner } = self;
        let count = |why| {
            if let Some(vitals) = &vitals {
                vitals.connection_ended(why);
            }
        };
        let (close, is_closing) = watch::channel(false);
        let held = if bulk.is_some() { &guard.bulk } else { &guard.held };
        let answers = Answers::new(held.answers.connection(peer.ip()));
        let questions = held.questions.connection(peer.ip());
        let proof = Proof::new();
        let certificate = shown.as_ref().map(|shown| Arc::clone(&shown.certificate));
        let proofs =
            Proofs::new(guard.authenticator.clone(), Peer::of(peer.ip()), certificate.clone(), proof.clone());
        let proofs = Arc::new(proofs);
        let from = Connection {
            peer,
            certificate,
            proof: proof.clone(),
            closing: is_closing,
            subscriptions: Subscriptions::new(spawner.clone()),
        };
        let layers = guard.layers(from, Arc::clone(&proofs), answers.clone(), questions);
        let service = Guarded(layers.service(router));
        // hyper waits for ever until its goodbye is taken, so that its own keepalive ends nobody who takes nothing.
        let paced = TokioIo::new(Paced::new(begun, settings.write_patience()));
        let mut serving =
            std::pin::pin!(settings.http2(spawner, bulk.as_ref()).serve_connection(paced, service));
        let mut lapsed = std::pin::pin!(async {
            tokio::select! {
                why = transport::lapsed(&proof, shown.as_mut()) => why,
                why = proofs.lapsed() => why,
            }
        });
        let since = settings.clock.elapsed();
        // How long what is under way may go on, unless the server's own deadline bounds it: that stops what is left.
        let (grace, has_lapsed) = tokio::select! {
            ended = serving.as_mut() => {
                count(why(&ended));
                debug!(component = "server", %peer, ?ended, duration = (settings.clock.elapsed() - since).as_secs_f64(), "connection ended");
                return;
            }
            // Who does not read is not told anything either: there is no goodbye.
            () = answers.unread(guard.request_timeout) => {
                count(Ended::Unread);
                warn!(component = "server", %peer, "connection ended: an answer was not read in time");
                return;
            }
            () = sleep(age::jittered(settings.limits.max_connection_age, &settings.entropy)) => {
                (Some(settings.limits.max_connection_age_grace), false)
            }
            why = lapsed.as_mut() => {
                debug!(component = "server", %peer, %why, "connection ends");
                (Some(LAST_WORDS), true)
            }
            () = closing => (None, false),
        };
        count(if has_lapsed { Ended::Lapsed } else { Ended::Asked });
        // Streams end themselves with a last message; no new ones are taken; then the connection ends.
        close.send_replace(true);
        serving.as_mut().graceful_shutdown();
        let over = async {
            match grace {
                Some(grace) => sleep(grace).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = serving.as_mut() => return,
            () = over => {}
            why = lapsed, if !has_lapsed => {
                debug!(component = "server", %peer, %why, "connection ends before its time");
                drop(timeout(LAST_WORDS, serving).await);
            }
        }
        debug!(component = "server", %peer, "connection cut at the end of its grace");
    }
}

/// Why a connection ended, as far as what it answered tells.
fn why(ended: &hyper::Result<()>) -> Ended {
    let Err(error) = ended else { return Ended::Closed };
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(broken) = cause.downcast_ref::<io::Error>() {
            return if broken.kind() == io::ErrorKind::TimedOut { Ended::Stuck } else { Ended::Broken };
        }
        if let Some(cause) = cause.downcast_ref::<h2::Error>() {
            if let Some(broken) = cause.get_io() {
                return if broken.kind() == io::ErrorKind::TimedOut { Ended::Stuck } else { Ended::Broken };
            }
            return match cause.reason() {
                _ if cause.is_remote() => Ended::Closed,
                Some(Reason::ENHANCE_YOUR_CALM) => Ended::Flood,
                _ => Ended::Protocol,
            };
        }
        source = cause.source();
    }
    Ended::Broken
}
