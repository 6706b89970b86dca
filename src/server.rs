//! Builds everything, serves it, and takes it down again in order.
//!
//! `listen` takes the data folder, reads the files of TLS and takes the ports, which answer from then on (`listening`);
//! `load` opens the store and reads the fleet: all that can fail. `run` serves until it is told to stop, and then goes
//! through the phases of `shutdown`. Nothing here is a rule of the domain.

mod accept;
mod age;
mod behaviours;
mod bulk;
mod exit;
mod grpc;
mod http;
mod listen;
mod listening;
mod paced;
mod places;
mod preface;
mod probe_port;
mod ready_file;
pub mod reload;
mod routes;
pub mod shutdown;
pub mod signals;
mod transport;
mod vault;
mod wrong_port;

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tracing::{error, info};

pub use self::listening::Listening;
use self::{
    listening::Doors,
    reload::Reload,
    shutdown::{Parts, Report},
    signals::Stop,
};
use crate::{
    api::overview::Overview,
    audit, backup, checks,
    config::Config,
    error::{Error, Result},
    fleet,
    guard::protection,
    id::Entropy,
    identity, operation, policy, restore, store,
    task::{self, Fatal, OnEnd, drain},
    telemetry::{log::LogHandle, notify},
    time::Clock,
    tls,
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
    /// The control plane's own health, where it is told without encryption.
    pub probe: Option<SocketAddr>,
}

/// What holds over time of who may do what.
#[derive(Debug)]
struct Identity {
    tokens: identity::tokens::Service,
    /// None: there is no rule file.
    rules: Option<identity::watched::Service>,
}

impl Identity {
    /// Runs until the drain begins; then finishes what was queued.
    async fn run(self, drain: drain::Watch) {
        let Self { tokens, rules } = self;
        let rules = async {
            if let Some(rules) = rules {
                rules.run(drain.clone()).await;
            }
        };
        tokio::join!(tokens.run(drain.clone()), rules);
    }
}

/// A server that listens and whose fleet is loaded.
pub struct Server {
    config: Arc<Config>,
    reload: Option<reload::Source>,
    clock: Clock,
    entropy: Entropy,
    fatal: Fatal,
    engine: store::embedded::Engine,
    audit: audit::Service,
    fleet: fleet::Service,
    identity: Identity,
    operations: operation::Service,
    backups: backup::Service,
    restores: restore::Service,
    policies: policy::Service,
    protection: protection::Service,
    checks: checks::Service,
    overview: Overview,
    doors: Doors,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.doors.addresses).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the data folder, binds the ports and loads the fleet.
    ///
    /// # Errors
    /// The data folder is in use or unusable, a file of TLS is unusable, the store is damaged, or a port cannot be
    /// bound.
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
        let listening = Self::listen_until(config, log, clock, entropy, Fatal::new(), stop).await?;
        listening.ok_or_else(nobody_asked)?.load().await
    }

    /// Takes the data folder and binds the ports, and answers on them: that the fleet is yet to be loaded.
    ///
    /// # Errors
    /// The data folder is in use or unusable, a file of TLS is unusable, or a port cannot be bound.
    pub async fn listen(config: Arc<Config>, log: LogHandle) -> Result<Listening> {
        let (_stopper, stop) = Stop::by_hand();
        let (clock, entropy) = (Clock::start(), Entropy::system());
        let listening = Self::listen_until(config, log, clock, entropy, Fatal::new(), stop).await?;
        listening.ok_or_else(nobody_asked)
    }

    /// The same, unless it is told to stop before it is done: then None. What may take long is done
    /// elsewhere, so that being told is heard at once.
    ///
    /// # Errors
    /// As `listen`.
    async fn listen_until(
        config: Arc<Config>,
        log: LogHandle,
        clock: Clock,
        entropy: Entropy,
        fatal: Fatal,
        mut stop: Stop,
    ) -> Result<Option<Listening>> {
        let options = store::embedded::Options {
            on_end: OnEnd::Fatal(fatal.clone()),
            ..store::embedded::Options::new(&config.data_dir, clock)
        };
        let held = tokio::select! {
            held = task::blocking("data folder", move || store::embedded::hold(options)) => held,
            cause = stop.asked() => return Ok(ended_early(&cause)),
        };
        let held = held.map_err(Error::internal)??;
        let options = tls::Options { config: config.tls.clone(), clock };
        let tls = tokio::select! {
            tls = task::blocking("tls files", move || tls::open(options)) => tls.map_err(Error::internal).flatten(),
            cause = stop.asked() => {
                held.undo();
                return Ok(ended_early(&cause));
            }
        };
        match tls {
            Ok(tls) => Listening::bind(config, log, clock, entropy, fatal, held, tls).map(Some),
            Err(error) => {
                held.undo();
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.doors.addresses
    }

    /// The operations, for whoever carries some out beside the server.
    pub fn operations(&self) -> operation::Handle {
        self.overview.operations.clone()
    }

    /// Serves until it is told to stop, then stops in order. The exit is bounded by the configured
    /// total, whatever the other ends do.
    ///
    /// # Errors
    /// The ready file cannot be written, or the operating system does not let us hear of SIGHUP.
    pub async fn run(self, mut stop: Stop) -> Result<Report> {
        let Self {
            config,
            reload,
            clock,
            entropy,
            fatal,
            engine,
            audit,
            fleet,
            identity,
            operations,
            backups,
            restores,
            policies,
            protection,
            checks,
            overview,
            doors,
        } = self;
        let addresses = doors.addresses;
        // Whatever can be known to fail does so before anybody is let in.
        let reloading = reload.map(|source| {
            let (live, fleet, log) = (doors.live.clone(), overview.fleet.clone(), overview.log.clone());
            let (checks, tls) = (overview.checks.clone(), overview.tls.clone());
            let (audit, access) = (overview.audit.clone(), overview.guard.access.clone());
            let policies = overview.policies.clone();
            Reload { source, live, fleet, checks, tls, audit, access, policies, log }.run()
        });
        let ready = config.ready_file.as_deref().map(|file| ready_file::write(file, &addresses));
        let (reloading, ready) = match (reloading.transpose(), ready.transpose()) {
            (Ok(reloading), Ok(ready)) => (reloading, ready),
            (Err(error), _) => return Err(unstarted("reload", error, &fatal, engine).await),
            (_, Err(error)) => return Err(unstarted("ready file", error, &fatal, engine).await),
        };
        let (fleet_drain, fleet_watch) = drain::channel();
        let (checks_drain, checks_watch) = drain::channel();
        let (audit_drain, audit_watch) = drain::channel();

        let _reloading = reloading.map(|reloading| task::spawn("reload", OnEnd::Fine, reloading));
        let critical = || OnEnd::Fatal(fatal.clone());
        let _protection = task::spawn("protection", critical(), protection.run(checks_watch.clone()));
        let behaviours =
            behaviours::follow(overview.policies.clone(), overview.checks.clone(), checks_watch.clone());
        let _behaviours = task::spawn("behaviours", critical(), behaviours);
        let _checks = task::spawn("checks", critical(), checks.run(checks_watch));
        let identity = task::spawn("identity", critical(), identity.run(fleet_watch.clone()));
        let backups = task::spawn("backup", critical(), backups.run(fleet_watch.clone()));
        let restores = task::spawn("restore", critical(), restores.run(fleet_watch.clone()));
        let operations = task::spawn("operation", critical(), operations.run(fleet_watch.clone()));
        let policies = task::spawn("policy", critical(), policies.run(fleet_watch.clone()));
        let fleet = task::spawn("fleet", critical(), fleet.run(fleet_watch));
        let audit = task::spawn("audit", critical(), audit.run(audit_watch));
        doors.let_in(&overview, &entropy, clock);

        let unpublished = ready.and_then(|ready| ready.publish().err());
        let cause = match &unpublished {
            // Somebody may have been let in: it ends as any other server.
            Some(error) => {
                fatal.raise("ready file");
                (error.to_string(), true)
            }
            None => {
                notify::ready();
                info!(component = "server", operation = "start", grpc = %addresses.grpc, http = %addresses.http, duration = clock.elapsed().as_secs_f64(), "serving");
                tokio::select! {
                    cause = stop.asked() => (cause, false),
                    name = fatal.raised() => (format!("task {name} ended"), true),
                }
            }
        };
        notify::stopping();
        // Whatever the unit says: systemd must not end it before its own deadlines have.
        notify::extend_timeout(config.shutdown.total + EXIT_MARGIN);
        let parts = Parts {
            config: config.shutdown.clone(),
            clock,
            overview,
            doors,
            checks_drain,
            fleet_drain,
            fleet,
            identity,
            operations,
            backups,
            restores,
            policies,
            audit_drain,
            audit,
            engine,
        };
        let report = parts.stop(cause, stop).await;
        if let Some(file) = &config.ready_file {
            ready_file::remove(file);
        }
        unpublished.map_or(Ok(report), Err)
    }
}

/// Undoes a start for want of something. This is an end as well, and bounded like every other.
async fn unstarted(
    what: &'static str,
    error: Error,
    fatal: &Fatal,
    engine: store::embedded::Engine,
) -> Error {
    fatal.raise(what);
    undo(engine).await;
    error
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

/// A stop that only a caller's own hand could have asked for.
fn nobody_asked() -> Error {
    Error::internal("the start was ended, and nobody asked for that")
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
    let loading = async {
        let listening =
            Server::listen_until(Arc::clone(&config), log, clock, entropy, fatal, stop.again()).await?;
        match listening {
            Some(listening) => listening.load_until(stop.again()).await,
            None => Ok(None),
        }
    };
    let loaded = tokio::select! {
        loaded = loading => loaded?,
        _ = impatient.times(2) => None,
    };
    let Some(mut server) = loaded else { return Ok(None) };
    server.reload = Some(reload);
    started(&server.addresses(), &config.data_dir);
    server.run(stop).await.map(Some)
}

/// Time that the end may take beyond its total before the process is ended from outside the runtime.
const EXIT_MARGIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        task::{Context, Wake},
    };

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
        let (fatal, let_in) = (server.fatal.clone(), server.doors.fleet.subscribe());
        let (_stopper, stop) = Stop::by_hand();
        assert!(server.run(stop).await.is_err());
        // Whoever bounds the exit hears of it.
        let heard = tokio::time::timeout(Duration::from_secs(20), fatal.raised()).await;
        assert_eq!(heard, Ok("ready file"));
        assert!(let_in.borrow().is_none(), "nobody was let in");
        let left = std::fs::read_dir(dir.path().join("data")).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        // A key may have been seen, and copied: it stays with what it opens, and with the store that knows which vault that is.
        assert_eq!(left, ["lock", "store.log", "store.mark", "vault", "vault.key"]);
    }

    /// Makes a folder where it is told to.
    struct InTheWay(PathBuf);

    impl Wake for InTheWay {
        fn wake(self: Arc<Self>) {
            std::fs::create_dir(&self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn a_ready_file_that_does_not_get_its_name_ends_it_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        let server = server(dir.path(), |config| {
            config.ready_file = Some(file.clone());
            config.shutdown.lame_duck = Duration::ZERO;
        });
        let server = server.await;
        let (vitals, fatal) = (server.doors.vitals.clone(), server.fatal.clone());
        // Once everybody is let in, and so between the writing of the file and its name.
        let mut let_in = server.doors.fleet.subscribe();
        let mut let_in = Box::pin(async move { let_in.changed().await.is_ok() });
        let waker = Arc::new(InTheWay(file.clone())).into();
        assert!(let_in.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let (_stopper, stop) = Stop::by_hand();
        let error = server.run(stop).await.unwrap_err();
        assert!(file.is_dir(), "it came in the way");
        assert!(error.to_string().starts_with("cannot write the ready file"), "{error}");
        assert_eq!(fatal.raised().await, "ready file");
        // Somebody may have been let in meanwhile.
        assert_eq!(vitals.phase(), crate::system::Phase::Terminated);
        assert!(dir.path().join("data").exists());
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "the data, and what came in the way");
    }
}
