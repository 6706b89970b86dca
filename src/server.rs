//! Builds everything, serves it, and takes it down again in order.
//!
//! `bind` does all that can fail: data folder, store, fleet, ports. `run` serves until it is told to
//! stop, and then goes through the phases of `shutdown`. Nothing here is a rule of the domain.

mod accept;
mod after_streams;
mod age;
mod exit;
mod grpc;
mod http;
mod listen;
mod paced;
mod places;
mod preface;
mod ready_file;
pub mod reload;
pub mod shutdown;
pub mod signals;
mod wrong_port;

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tracing::{error, info};

use self::{
    accept::{Accept, Caps},
    reload::{Reload, configure_checks},
    shutdown::{Parts, Report},
    signals::Stop,
};
use crate::{
    api::{
        fleet::FleetApi, health::HealthApi, overview::Overview, parse::registration::Defaults,
        standard_health::StandardHealth, system::SystemApi, watch::Watchers,
    },
    checks,
    config::Config,
    error::{Error, Result},
    fleet::{self, Limits},
    guard::{
        Guard, active::Active, answers::AllAnswers, drain::Gate, questions::AllQuestions, record::Recorder,
    },
    id::Entropy,
    probe::permit::Rules,
    store,
    system::{Listener, Vitals},
    task::{self, Fatal, OnEnd, drain},
    telemetry::{log::LogHandle, notify},
    time::Clock,
};

/// Where the server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// Metrics, where they have a listener of their own.
    pub metrics: Option<SocketAddr>,
}

/// A server whose ports are bound and whose state is loaded.
pub struct Server {
    config: Arc<Config>,
    live: watch::Sender<Arc<Config>>,
    reload: Option<reload::Source>,
    clock: Clock,
    entropy: Entropy,
    fatal: Fatal,
    listeners: Listeners,
    addresses: Addresses,
    engine: store::embedded::Engine,
    fleet: fleet::Service,
    checks: checks::Service,
    routes: Arc<grpc::Routes>,
    overview: Overview,
}

#[derive(Debug)]
struct Listeners {
    grpc: TcpListener,
    http: TcpListener,
    metrics: Option<TcpListener>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the data folder, loads the state and binds the ports.
    ///
    /// # Errors
    /// The data folder is in use or unusable, the store is damaged, or a port cannot be bound.
    pub async fn bind(config: Arc<Config>, log: LogHandle) -> Result<Self> {
        Self::bind_with(config, log, Clock::start(), Entropy::system()).await
    }

    /// The same, with a clock and a source of randomness of the caller's.
    ///
    /// # Errors
    /// As `bind`.
    pub async fn bind_with(
        config: Arc<Config>,
        log: LogHandle,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self> {
        let (_stopper, stop) = Stop::by_hand();
        let bound = Self::bind_until(config, log, clock, entropy, Fatal::new(), stop).await?;
        bound.ok_or_else(|| Error::internal("the start was ended, and nobody asked for that"))
    }

    /// The same, unless it is told to stop before it is done: then None. What takes long is done elsewhere,
    /// so that being told is heard at once.
    ///
    /// # Errors
    /// As `bind`.
    async fn bind_until(
        config: Arc<Config>,
        log: LogHandle,
        clock: Clock,
        entropy: Entropy,
        fatal: Fatal,
        mut stop: Stop,
    ) -> Result<Option<Self>> {
        let options = store::embedded::Options {
            on_end: OnEnd::Fatal(fatal.clone()),
            ..store::embedded::Options::new(&config.data_dir, clock)
        };
        // A store that is being opened is left to itself: it bears that as it bears a crash.
        let opened = tokio::select! {
            opened = task::blocking("store open", move || store::embedded::open(options)) => opened,
            cause = stop.asked() => return Ok(ended_early(&cause)),
        };
        let (store, engine) = opened.map_err(Error::internal)??;
        let building = Self::bind_on(config, log, clock, entropy, fatal, store);
        let built = tokio::select! {
            built = task::spawn("start", OnEnd::Fine, building) => Some(built.map_err(Error::internal)?),
            cause = stop.asked() => ended_early(&cause),
        };
        let unbuilt = match built {
            Some(Ok(build)) => return Ok(Some(build(engine))),
            Some(Err(error)) => Err(error),
            None => Ok(None),
        };
        undo(engine).await;
        unbuilt
    }

    /// The same on a store that is open; answers what makes the server with the engine's owner.
    async fn bind_on(
        config: Arc<Config>,
        log: LogHandle,
        clock: Clock,
        entropy: Entropy,
        fatal: Fatal,
        store: store::Store,
    ) -> Result<impl FnOnce(store::embedded::Engine) -> Self> {
        let options = fleet::Options {
            limits: Limits {
                max_instances: config.fleet.max_instances.get(),
                max_services: config.fleet.max_services.get(),
                change_history: config.fleet.change_history.get(),
                lost_removal: config.fleet.lost_removal,
                tombstone_retention: config.fleet.tombstone_retention,
            },
        };
        let (fleet, service) = fleet::open(options, clock, entropy.clone(), store.clone()).await?;
        let guard = Guard {
            recorder: Arc::new(Recorder::new()),
            gate: Gate::default(),
            active: Active::default(),
            answers: AllAnswers::default(),
            questions: AllQuestions::default(),
            request_timeout: config.grpc.request_timeout,
            clock,
        };
        let live = watch::Sender::new(Arc::clone(&config));
        let listeners = Listeners {
            grpc: listen::bind("grpc.listen", config.grpc.listen)?,
            http: listen::bind("http.listen", config.http.listen)?,
            metrics: config
                .http
                .metrics_listen
                .map(|at| listen::bind("http.metrics_listen", at))
                .transpose()?,
        };
        let addresses = Addresses {
            grpc: listen::address(&listeners.grpc)?,
            http: listen::address(&listeners.http)?,
            metrics: listeners.metrics.as_ref().map(listen::address).transpose()?,
        };
        let own = [Some(addresses.grpc), Some(addresses.http), addresses.metrics];
        let mut options = checks::Options {
            max_concurrent: config.checks.max_concurrent.get(),
            rules: Arc::new(Rules {
                peers: config.checks.ask_peers,
                networks: Vec::new(),
                own: own.into_iter().flatten().collect(),
            }),
        };
        configure_checks(&mut options, &config);
        let (checks, checker) = checks::open(options, fleet.clone(), clock);
        let overview = Overview {
            checks,
            live: live.subscribe(),
            fleet,
            vitals: Vitals::start(clock),
            store,
            guard,
            watchers: Watchers::default(),
            log,
            http: addresses.http,
        };
        let routes = Arc::new(routes(&overview, &entropy, clock)?);
        let fleet = service;
        Ok(move |engine| Self {
            config,
            live,
            reload: None,
            clock,
            entropy,
            fatal,
            listeners,
            addresses,
            engine,
            fleet,
            checks: checker,
            routes,
            overview,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until it is told to stop, then stops in order. The exit is bounded by the configured
    /// total, whatever the other ends do.
    ///
    /// # Errors
    /// The ready file cannot be written.
    pub async fn run(self, mut stop: Stop) -> Result<Report> {
        let Self {
            config,
            live,
            reload,
            clock,
            entropy,
            fatal,
            listeners,
            addresses,
            engine,
            fleet,
            checks,
            routes,
            overview,
        } = self;
        let (grpc_drain, grpc_watch) = drain::channel();
        let (http_drain, http_watch) = drain::channel();
        let (fleet_drain, fleet_watch) = drain::channel();
        let (closing, close) = watch::channel(false);

        let _reloading = match reload {
            None => None,
            Some(source) => {
                let (live, fleet, log) = (live.clone(), overview.fleet.clone(), overview.log.clone());
                let reload = Reload { source, live, fleet, checks: overview.checks.clone(), log };
                Some(task::spawn("reload", OnEnd::Fine, reload.run()?))
            }
        };
        let critical = || OnEnd::Fatal(fatal.clone());
        // They end with the fleet, which takes what they find.
        let _checks = task::spawn("checks", critical(), checks.run(fleet_watch.clone()));
        let fleet = task::spawn("fleet", critical(), fleet.run(fleet_watch));
        let grpc = Accept {
            live: live.subscribe(),
            caps: |config| Caps {
                total: config.grpc.max_connections.get(),
                per_peer: config.grpc.max_connections_per_peer.get(),
            },
            listener: Listener::Grpc,
            vitals: overview.vitals.clone(),
            drain: grpc_watch,
        };
        let settings = grpc::Settings::new(&config.grpc, addresses.http, clock, entropy.clone());
        let serve_grpc = grpc::serve(settings, routes, overview.clone(), close.clone());
        let grpc = task::spawn("grpc", critical(), grpc.run(listeners.grpc, serve_grpc));
        let settings = http::Settings::new(&config.http, addresses.grpc, entropy);
        let http = |by, listener, router| {
            let accept = Accept {
                live: live.subscribe(),
                caps: |config| Caps {
                    total: config.http.max_connections.get(),
                    per_peer: config.http.max_connections_per_peer.get(),
                },
                listener: by,
                vitals: overview.vitals.clone(),
                drain: http_watch.clone(),
            };
            let serve = http::serve(settings.clone(), router, http_watch.clone());
            task::spawn("http", critical(), accept.run(listener, serve))
        };
        let mut pages =
            vec![http(Listener::Http, listeners.http, crate::api::http::router(overview.clone()))];
        if let Some(listener) = listeners.metrics {
            pages.push(http(Listener::Metrics, listener, crate::api::http::metrics_router(overview.clone())));
        }
        drop((close, http_watch));

        let written = config.ready_file.as_ref().map_or(Ok(()), |file| ready_file::write(file, &addresses));
        if let Err(error) = written {
            // This is an end as well, and bounded like every other.
            fatal.raise("ready file");
            undo(engine).await;
            return Err(error);
        }
        notify::ready();
        info!(component = "server", operation = "start", grpc = %addresses.grpc, http = %addresses.http, duration = clock.elapsed().as_secs_f64(), "serving");

        let cause = tokio::select! {
            cause = stop.asked() => (cause, false),
            name = fatal.raised() => (format!("task {name} ended"), true),
        };
        notify::stopping();
        // Whatever the unit says: systemd must not end it before its own deadlines have.
        notify::extend_timeout(config.shutdown.total + EXIT_MARGIN);
        let parts = Parts {
            config: config.shutdown.clone(),
            clock,
            overview,
            grpc_drain,
            grpc,
            closing,
            http_drain,
            pages,
            fleet_drain,
            fleet,
            engine,
        };
        let report = parts.stop(cause, stop).await;
        if let Some(file) = &config.ready_file {
            ready_file::remove(file);
        }
        Ok(report)
    }
}

/// Closes the store of a start that failed, which leaves no folder behind that it made.
async fn undo(engine: store::embedded::Engine) {
    // Why the start failed matters more than this.
    if let Err(cause) = engine.undo().await {
        error!(component = "server", operation = "start", %cause, "store did not close");
    }
}

/// Says that a start was ended, of which there is nothing.
fn ended_early<T>(cause: &str) -> Option<T> {
    info!(component = "server", operation = "start", cause, "told to stop before it served");
    None
}

fn routes(overview: &Overview, entropy: &Entropy, clock: Clock) -> Result<grpc::Routes> {
    let config = overview.config();
    let (fleet, watchers) = (overview.fleet.clone(), overview.watchers.clone());
    let checks = overview.checks.clone();
    let defaults =
        Defaults { lease_ttl: config.fleet.lease_ttl, entropy: entropy.clone(), checks: checks.clone() };
    let open_timeout = config.grpc.handshake_timeout;
    grpc::Routes::new(
        config.grpc.max_message_bytes,
        StandardHealth::new(fleet.clone(), overview.vitals.clone(), watchers.clone()),
        FleetApi::new(fleet.clone(), defaults, watchers.clone(), clock, open_timeout),
        HealthApi::new(fleet, checks, watchers),
        SystemApi::new(overview.clone()),
    )
}

/// Runs a server from its configuration to its end, stopped by the signals of the process. `reload` reads
/// the configuration again when SIGHUP asks for it; `started` is told where it listens. None: it was told to
/// stop before it served.
///
/// # Errors
/// It could not start.
pub async fn run(
    config: Config,
    log: LogHandle,
    reload: reload::Source,
    started: impl FnOnce(&Addresses, &Path),
) -> Result<Option<Report>> {
    let (stop, fatal) = (Stop::on_signals()?, Fatal::new());
    // From here on a signal ends the process, whatever becomes of the start.
    exit::bounded(stop.again(), fatal.clone(), config.shutdown.total + EXIT_MARGIN, log.clone())?;
    let config = Arc::new(config);
    let mut impatient = stop.again();
    let (clock, entropy) = (Clock::start(), Entropy::system());
    let binding = Server::bind_until(Arc::clone(&config), log, clock, entropy, fatal, stop.again());
    let bound = tokio::select! {
        bound = binding => bound?,
        _ = impatient.times(2) => None,
    };
    let Some(mut server) = bound else { return Ok(None) };
    server.reload = Some(reload);
    started(&server.addresses(), &config.data_dir);
    server.run(stop).await.map(Some)
}

/// Time that the end may take beyond its total before the process is ended from outside the runtime.
const EXIT_MARGIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::writer::BoxMakeWriter;

    use super::*;
    use crate::telemetry::log;

    async fn server(dir: &Path, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = Config::default();
        config.data_dir = dir.join("data");
        config.grpc.listen.set_port(0);
        config.http.listen.set_port(0);
        change(&mut config);
        let (_dispatch, log) =
            log::build("info", log::Shape::Json, BoxMakeWriter::new(std::io::sink)).unwrap();
        Server::bind(Arc::new(config), log).await.unwrap()
    }

    #[tokio::test]
    async fn a_dead_critical_task_ends_the_run_as_failed_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), |_| {}).await;
        let fatal = server.fatal.clone();
        let (_stopper, stop) = Stop::by_hand();
        let running = task::spawn("server", OnEnd::Fine, server.run(stop));
        task::spawn("fleet", OnEnd::Fatal(fatal), async {}).await.unwrap();
        let report = running.await.unwrap().unwrap();
        assert!(report.failed && report.state_saved, "{report:?}");
        assert_eq!(report.cause, "task fleet ended");
    }

    #[tokio::test]
    async fn a_ready_file_that_cannot_be_written_begins_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nowhere").join("ready.json");
        let server = server(dir.path(), |config| config.ready_file = Some(file)).await;
        let fatal = server.fatal.clone();
        let (_stopper, stop) = Stop::by_hand();
        assert!(server.run(stop).await.is_err());
        // Whoever bounds the exit hears of it.
        let heard = tokio::time::timeout(Duration::from_secs(20), fatal.raised()).await;
        assert_eq!(heard, Ok("ready file"));
    }
}
