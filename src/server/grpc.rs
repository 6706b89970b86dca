//! gRPC connections: HTTP/2 with every limit set, the guard, and the way to each service.

use std::{
    convert::Infallible,
    error::Error as _,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use h2::Reason;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Status, body::Body, codec::CompressionEncoding};
use tower::{Service, util::BoxCloneSyncService};
use tracing::{debug, warn};

use super::{accept::Accepted, age, paced::Paced, wrong_port};
use crate::{
    api::{
        fleet::FleetApi,
        health::HealthApi,
        proto::{
            DESCRIPTORS,
            health::health_server::HealthServer,
            server::{
                fleet_service_server::FleetServiceServer, health_service_server::HealthServiceServer,
                system_service_server::SystemServiceServer,
            },
        },
        standard_health::StandardHealth,
        system::SystemApi,
    },
    config,
    error::{Error, Result},
    guard::{
        Guard, answers::Answers, bounds::SEND_BUFFER, caller::Connection, closing::Ending, drain::Gate,
        proofs::Proofs, questions::Coming, subscriptions::Subscriptions,
    },
    id::Entropy,
    peer::Peer,
    system::{Ended, Vitals},
    task::local::{LocalTasks, Spawner},
    time::Clock,
};

/// How long a connection may take to end on which somebody's proof does not count any more.
const LOST_GRACE: Duration = Duration::from_millis(500);
/// Window of one stream: control messages are small, and many streams share a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a question to the reflection service: names of files, symbols and extensions.
const REFLECTION_REQUEST: usize = 16 * 1024;
/// Streams that a client may reset before we have looked at them (rapid reset, CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams that we may reset for a client's errors before we give up on the connection.
const LOCAL_RESETS: usize = 1024;

type BoxFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type BoxService = BoxCloneSyncService<Request<Inbound>, Response<Body>, Infallible>;
/// A request as the guard hands it on.
type Inbound = Ending<Coming<Incoming>>;

/// The way to each service.
#[derive(Debug)]
pub(super) struct Routes {
    standard_health: HealthServer<StandardHealth>,
    reflection: BoxService,
    reflection_alpha: BoxService,
    /// What needs the fleet. Until then the gate lets nobody through to it.
    loaded: OnceLock<Loaded>,
    gate: Gate,
    largest: usize,
}

/// The way to the services that need the fleet.
#[derive(Debug)]
struct Loaded {
    fleet: FleetServiceServer<FleetApi>,
    health: HealthServiceServer<HealthApi>,
    system: SystemServiceServer<SystemApi>,
}

impl Routes {
    /// Serves what needs no fleet. `largest`: bytes of the largest message that is taken.
    ///
    /// What is asked may be packed, and what is answered is not: tonic holds an answer unpacked spawner what it packed
    /// for as long as that waits to be read, where nobody counts it.
    ///
    /// # Errors
    /// The descriptors that were compiled in are damaged.
    pub(super) fn new(largest: usize, standard_health: StandardHealth, gate: Gate) -> Result<Self> {
        use CompressionEncoding::Gzip;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                // So that a client without stubs can read the details of an error.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                // Each version of reflection would list itself only.
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
                .include_reflection_service(false)
        };
        Ok(Self {
            standard_health: HealthServer::new(standard_health)
                .max_decoding_message_size(largest)
                .accept_compressed(Gzip),
            reflection: BoxCloneSyncService::new(
                reflection()
                    .build_v1()
                    .map_err(Error::internal)?
                    .max_decoding_message_size(REFLECTION_REQUEST),
            ),
            reflection_alpha: BoxCloneSyncService::new(
                reflection()
                    .build_v1alpha()
                    .map_err(Error::internal)?
                    .max_decoding_message_size(REFLECTION_REQUEST),
            ),
            loaded: OnceLock::new(),
            gate,
            largest,
        })
    }

    /// Serves what needs the fleet as well, from now on.
    pub(super) fn open(&self, fleet: FleetApi, health: HealthApi, system: SystemApi) {
        use CompressionEncoding::Gzip;
        self.loaded.get_or_init(|| Loaded {
            fleet: FleetServiceServer::new(fleet)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            health: HealthServiceServer::new(health)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            system: SystemServiceServer::new(system)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
        });
        self.gate.open();
    }

    fn call(&self, request: Request<Inbound>) -> BoxFuture {
        let service = request.uri().path().rsplit_once('/').map(|(service, _)| service);
        match (service, self.loaded.get()) {
            (Some("/grpc.health.v1.Health"), _) => self.standard_health.clone().call(request),
            (Some("/seaworthy.v1.FleetService"), Some(loaded)) => loaded.fleet.clone().call(request),
            (Some("/seaworthy.v1.HealthService"), Some(loaded)) => loaded.health.clone().call(request),
            (Some("/seaworthy.v1.SystemService"), Some(loaded)) => loaded.system.clone().call(request),
            (Some("/grpc.reflection.v1.ServerReflection"), _) => self.reflection.clone().call(request),
            (Some("/grpc.reflection.v1alpha.ServerReflection"), _) => {
                self.reflection_alpha.clone().call(request)
            }
            _ => {
                let path = request.uri().path().to_owned();
                Box::pin(async move {
                    Ok(Status::unimplemented(format!(
                        "{path} is not served here; see the reflection service"
                    ))
                    .into_http())
                })
            }
        }
    }
}

/// What the guard stands in front of. Cheap to clone.
#[derive(Clone, Debug)]
struct Router(Arc<Routes>);

impl Service<Request<Inbound>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Inbound>) -> BoxFuture {
        self.0.call(request)
    }
}

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
    clock: Clock,
    entropy: Entropy,
}

impl Settings {
    /// `http` is where those belong who speak HTTP/1.
    pub(super) fn new(limits: config::Grpc, http: SocketAddr, clock: Clock, entropy: Entropy) -> Self {
        Self { limits, http_port: http.port(), clock, entropy }
    }

    /// Every limit, set: what tonic and hyper leave open is set here.
    fn http2(&self, spawner: Spawner) -> http2::Builder<Spawner> {
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
        http2
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
        let (settings, router) = (settings.clone(), Router(Arc::clone(&routes)));
        let (guard, vitals, close) = (guard.clone(), vitals.clone(), close.clone());
        let spawner = Spawner::default();
        let clock = settings.clock;
        let serving = connection(settings, router, guard, vitals, close, accepted, spawner.clone());
        Box::pin(LocalTasks::new(clock, spawner, serving))
    }
}

async fn connection(
    settings: Settings,
    router: Router,
    guard: Guard,
    vitals: Vitals,
    mut close: watch::Receiver<bool>,
    accepted: Accepted,
    spawner: Spawner,
) {
    let Accepted { stream, peer, counted } = accepted;
    let first = wrong_port::expect_http2(stream, settings.http_port);
    let stream = tokio::select! {
        first = timeout(settings.limits.handshake_timeout, first) => match first {
            Ok(Ok(stream)) => stream,
            failed => {
                vitals.handshake_failed();
                debug!(component = "server", %peer, ?failed, "no HTTP/2 preface");
                return;
            }
        },
        // Who has not begun by then is not waited for.
        _ = close.wait_for(|close| *close) => return,
    };
    let (closing, is_closing) = watch::channel(false);
    let answers = Answers::new(guard.answers.connection(peer.ip()));
    let questions = guard.questions.connection(peer.ip());
    let certificate = None;
    let proofs = Arc::new(Proofs::new(guard.authenticator.clone(), Peer::of(peer.ip()), certificate.clone()));
    let subscriptions = Subscriptions::new(spawner.clone());
    let from = Connection { peer, certificate, closing: is_closing, subscriptions };
    let layers = guard.layers(from, Arc::clone(&proofs), answers.clone(), questions);
    let service = Guarded(layers.service(router));
    // hyper waits for ever until its goodbye is taken, so that its own keepalive ends nobody who takes nothing.
    let paced = TokioIo::new(Paced::new(stream, settings.write_patience()));
    let mut serving = std::pin::pin!(settings.http2(spawner.clone()).serve_connection(paced, service));
    let since = settings.clock.elapsed();
    let end = tokio::select! {
        ended = serving.as_mut() => {
            vitals.connection_ended(why(&ended));
            debug!(component = "server", %peer, ?ended, duration = (settings.clock.elapsed() - since).as_secs_f64(), "connection ended");
            return;
        }
        // Who does not read is not told anything either: there is no goodbye.
        () = answers.unread(guard.request_timeout) => {
            vitals.connection_ended(Ended::Unread);
            warn!(component = "server", %peer, "connection ended: an answer was not read in time");
            return;
        }
        () = sleep(age::jittered(settings.limits.max_connection_age, &settings.entropy)) => End::Aged,
        () = proofs.lost() => End::Lost,
        // An error means that the server is gone.
        _ = close.wait_for(|close| *close) => End::Stopping,
    };
    vitals.connection_ended(Ended::Asked);
    // Streams end themselves with a last message; no new ones are taken; then the connection ends.
    closing.send_replace(true);
    serving.as_mut().graceful_shutdown();
    let grace = match end {
        // The server's own deadline bounds this: it stops what is left.
        End::Stopping => {
            drop(serving.await);
            return;
        }
        End::Aged => settings.limits.max_connection_age_grace,
        End::Lost => LOST_GRACE,
    };
    if timeout(grace, serving).await.is_err() {
        debug!(component = "server", %peer, ?end, "connection cut at the end of its grace");
    }
    drop(counted);
}

/// Why a connection is asked to end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The server stops.
    Stopping,
    /// It is old.
    Aged,
    /// What proved who calls on it does not count any more.
    Lost,
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
