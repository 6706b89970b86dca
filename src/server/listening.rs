//! The first part of a start: the ports are bound and answer at once, and the fleet is yet to be loaded.
//!
//! What comes meanwhile is answered by `grpc.health.v1`, for the control plane itself, and by reflection; all
//! else is refused with how far the loading is. Nothing of a fleet is shown before all of it is there: that
//! is for [`Server::run`].

use std::{fmt, path::PathBuf, sync::Arc};

use tokio::sync::watch;
use tracing::info;

use super::{
    Addresses, Identity, Server,
    accept::{Accept, Caps},
    ended_early, grpc, http, listen, nobody_asked,
    probe_port::{self, Probe},
    reload::{audit_limits, configure_checks},
    routes::{ProbeRouter, Routes},
    signals::Stop,
    transport::Encryption,
    undo, vault,
};
use crate::{
    api::{
        self,
        audited::Audited,
        declared,
        enrolment::Enrolment,
        http::front::Front,
        overview::{Folder, Overview},
        parse::registration::Defaults,
        standard_health::StandardHealth,
        watch::Watchers,
    },
    audit, backup, checks,
    config::Config,
    error::{Error, Result},
    fleet::{self, Limits, loading::Progress},
    guard::{
        Guard, Held,
        access::AccessLog,
        active::Active,
        bounds::{ANSWERS, BULK_ANSWERS, BULK_QUESTIONS, QUESTIONS},
        drain::Gate,
        protection::{self, Protection},
        record::Recorder,
        transfers::Transfers,
    },
    id::Entropy,
    identity::{
        authenticator::{Authenticator, Options},
        tokens::{self, OnRevoked},
        watched,
    },
    operation, policy,
    probe::{machine::Machine, permit::Rules},
    restore,
    store::{self, Store},
    system::{Listener, Vitals, key_kept::KeyKept},
    task::{self, Fatal, Group, OnEnd, Task, drain},
    telemetry::{log::LogHandle, notify},
    time::Clock,
    tls,
};

/// Where the first admin's token is written, in the data folder.
const BOOTSTRAP_FILE: &str = "bootstrap-token";

/// A server that listens, and does not know its fleet yet. Dropping it ends it.
pub struct Listening {
    config: Arc<Config>,
    log: LogHandle,
    clock: Clock,
    entropy: Entropy,
    fatal: Fatal,
    held: store::embedded::Held,
    progress: Progress,
    watchers: Watchers,
    doors: Doors,
}

/// Whatever takes connections, what stands in front of those who come, and what closes it.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) addresses: Addresses,
    pub(super) live: watch::Sender<Arc<Config>>,
    pub(super) vitals: Vitals,
    pub(super) guard: Guard,
    /// Where requests go, and where `grpc.health.v1` finds the fleet.
    pub(super) routes: Arc<Routes>,
    pub(super) fleet: watch::Sender<Option<fleet::Handle>>,
    pub(super) pages: Front,
    pub(super) metrics: Front,
    pub(super) probe: Front,
    /// None: nothing is encrypted.
    pub(super) tls: Option<tls::Handle>,
    pub(super) grpc_drain: drain::Signal,
    pub(super) http_drain: drain::Signal,
    pub(super) closing: watch::Sender<bool>,
    pub(super) grpc: Task<Group<()>>,
    pub(super) http: Vec<Task<Group<()>>>,
    /// Reads the files of TLS again, for as long as there are doors.
    _reading: Option<Task<()>>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("addresses", &self.doors.addresses).finish_non_exhaustive()
    }
}

impl Listening {
    /// Binds the ports and answers on them. The data folder is held already, so that of two servers of one
    /// folder the second is told so.
    ///
    /// # Errors
    /// A port cannot be bound. A data folder that was made for this is removed again.
    pub(super) fn bind(
        config: Arc<Config>,
        log: LogHandle,
        clock: Clock,
        entropy: Entropy,
        fatal: Fatal,
        held: store::embedded::Held,
        tls: Option<(tls::Handle, tls::Service)>,
    ) -> Result<Self> {
        let (progress, watchers) = (Progress::default(), Watchers::default());
        match Doors::open(&config, clock, &entropy, &fatal, &progress, &watchers, tls) {
            Ok(doors) => Ok(Self { config, log, clock, entropy, fatal, held, progress, watchers, doors }),
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

    /// Opens the store and loads the fleet; answering goes on meanwhile.
    ///
    /// # Errors
    /// The store is damaged, from a newer release, or cannot be read.
    pub async fn load(self) -> Result<Server> {
        let (_stopper, stop) = Stop::by_hand();
        let loaded = self.load_until(stop).await?;
        loaded.ok_or_else(nobody_asked)
    }

    /// The same, unless it is told to stop before it is done: then None. What takes long is done elsewhere,
    /// so that being told is heard at once.
    ///
    /// # Errors
    /// As `load`.
    pub(super) async fn load_until(self, mut stop: Stop) -> Result<Option<Server>> {
        let Self { config, log, clock, entropy, fatal, held, progress, watchers, doors } = self;
        notify::status("Loading");
        let Addresses { grpc, http, .. } = doors.addresses;
        info!(component = "server", operation = "start", %grpc, %http, "listening, loading the fleet");
        // A store that is being opened is left to itself: it bears that as it bears a crash.
        let opened = tokio::select! {
            opened = task::blocking("store open", move || held.open()) => opened,
            cause = stop.asked() => return Ok(ended_early(&cause)),
        };
        let (store, engine) = opened.map_err(Error::internal)??;
        let loading = load_rooms(
            Arc::clone(&config),
            clock,
            entropy.clone(),
            store.clone(),
            doors.guard.authenticator.clone(),
            progress,
        );
        let loaded = tokio::select! {
            loaded = task::spawn("load", OnEnd::Fine, loading) => Some(loaded.map_err(Error::internal)?),
            cause = stop.asked() => ended_early(&cause),
        };
        let rooms = match loaded {
            Some(Ok(rooms)) => rooms,
            Some(Err(error)) => {
                undo(engine).await;
                return Err(error);
            }
            None => {
                undo(engine).await;
                return Ok(None);
            }
        };
        let Rooms { audit, fleet, policies, operations, backing, identity } = rooms;
        let (audit, auditor) = audit;
        let (fleet, service) = fleet;
        let (policies, ruler) = policies;
        let (operations, keeper) = operations;
        let Backing { backups, backer, restores, restorer, key_kept } = backing;
        let (identity, rules) = identity;
        let (checks, checker) =
            checks::open(checks_options(&config, doors.addresses, clock), fleet.clone(), clock);
        let protection = protection::Service::new(doors.guard.protection.clone(), policies.clone());
        let overview = Overview {
            audit,
            checks,
            backups,
            restores,
            key_kept,
            operations,
            policies,
            live: doors.live.subscribe(),
            fleet,
            vitals: doors.vitals.clone(),
            store,
            guard: doors.guard.clone(),
            watchers,
            folder: Folder::new(clock),
            rules,
            log,
            http: doors.addresses.http,
            tls: doors.tls.clone(),
        };
        Ok(Some(Server {
            config,
            reload: None,
            clock,
            entropy,
            fatal,
            engine,
            audit: auditor,
            fleet: service,
            identity,
            protection,
            operations: keeper,
            backups: backer,
            restores: restorer,
            policies: ruler,
            checks: checker,
            overview,
            doors,
        }))
    }
}

impl Doors {
    fn open(
        config: &Arc<Config>,
        clock: Clock,
        entropy: &Entropy,
        fatal: &Fatal,
        progress: &Progress,
        watchers: &Watchers,
        tls: Option<(tls::Handle, tls::Service)>,
    ) -> Result<Self> {
        // Before any port is bound.
        let rules = config.auth.rules_file.as_deref().map(watched::read).transpose()?.unwrap_or_default();
        let grpc = listen::bind("grpc.listen", config.grpc.listen)?;
        let http = listen::bind("http.listen", config.http.listen)?;
        let metrics = config.http.metrics_listen.map(|at| listen::bind("http.metrics_listen", at));
        let metrics = metrics.transpose()?;
        let probe = config.probe_listen.map(|at| listen::bind("probe_listen", at)).transpose()?;
        let addresses = Addresses {
            grpc: listen::address(&grpc)?,
            http: listen::address(&http)?,
            metrics: metrics.as_ref().map(listen::address).transpose()?,
            probe: probe.as_ref().map(listen::address).transpose()?,
        };
        let live = watch::Sender::new(Arc::clone(config));
        let vitals = Vitals::start(clock);
        let (fleet, known) = watch::channel(None);
        let options =
            Options { required: config.auth.required, trust_domain: config.auth.trust_domain.clone() };
        let authenticator = Authenticator::new(options, rules, clock);
        let guard = Guard {
            recorder: Arc::new(Recorder::new()),
            authenticator,
            access: AccessLog::new(config.access_log.sample),
            audit: Arc::default(),
            gate: Gate::loading(progress.clone()),
            active: Active::default(),
            protection: Protection::new(),
            held: Held::new(ANSWERS, QUESTIONS),
            bulk: Held::new(BULK_ANSWERS, BULK_QUESTIONS),
            max_message_bytes: config.grpc.max_message_bytes,
            request_timeout: config.grpc.request_timeout,
            clock,
        };
        let health = StandardHealth::new(known, progress.clone(), vitals.clone(), watchers.clone());
        let probe_health = ProbeRouter::new(health.clone(), config.grpc.max_message_bytes);
        let routes = Arc::new(Routes::new(config.grpc.max_message_bytes, health, guard.gate.clone())?);

        let (grpc_drain, grpc_watch) = drain::channel();
        let (http_drain, http_watch) = drain::channel();
        let (closing, close) = watch::channel(false);
        let critical = || OnEnd::Fatal(fatal.clone());
        let (tls, reading) = tls.unzip();
        let reading = reading.map(|reading| task::spawn("tls", critical(), reading.run(http_watch.clone())));
        let encryption = |side| tls.clone().map(|tls| Encryption { tls, side, clock });
        let accept = Accept {
            live: live.subscribe(),
            caps: |config| Caps {
                total: config.grpc.max_connections.get(),
                per_peer: config.grpc.max_connections_per_peer.get(),
            },
            listener: Listener::Grpc,
            vitals: vitals.clone(),
            drain: grpc_watch,
        };
        let grpc_settings = |encryption| {
            grpc::Settings::new(config.grpc.clone(), addresses.http, encryption, clock, entropy.clone())
        };
        let settings = grpc_settings(encryption(|credentials| &credentials.grpc));
        let serve = grpc::serve(settings, Arc::clone(&routes), guard.clone(), vitals.clone(), close);
        let grpc = task::spawn("grpc", critical(), accept.run(grpc, serve));
        let http_settings = |encryption| {
            let access = guard.access.clone();
            http::Settings::new(&config.http, addresses.grpc, encryption, access, clock, entropy.clone())
        };
        let settings = http_settings(encryption(|credentials| &credentials.http));
        let accept = |by| Accept {
            live: live.subscribe(),
            caps: |config| Caps {
                total: config.http.max_connections.get(),
                per_peer: config.http.max_connections_per_peer.get(),
            },
            listener: by,
            vitals: vitals.clone(),
            drain: http_watch.clone(),
        };
        let serve_http = |by, listener, front: &Front| {
            let serve = http::serve(settings.clone(), front.router(), vitals.clone(), by, http_watch.clone());
            task::spawn("http", critical(), accept(by).run(listener, serve))
        };
        let (pages, page) = (Front::new(progress.clone()), Front::new(progress.clone()));
        let mut http = vec![serve_http(Listener::Http, http, &pages)];
        http.extend(metrics.map(|listener| serve_http(Listener::Metrics, listener, &page)));
        let probe_page = Front::new(progress.clone());
        http.extend(probe.map(|listener| {
            let serve = probe_port::serve(Probe {
                grpc: grpc_settings(None),
                http: http_settings(None),
                // Its watches are there to the end of everything, and hold up nothing before.
                guard: Guard { active: Active::default(), ..guard.clone() },
                health: probe_health,
                pages: probe_page.router(),
                vitals: vitals.clone(),
                drain: http_watch.clone(),
            });
            task::spawn("probe", critical(), accept(Listener::Probe).run(listener, serve))
        }));
        let metrics = page;
        Ok(Self {
            addresses,
            live,
            vitals,
            guard,
            routes,
            fleet,
            pages,
            metrics,
            probe: probe_page,
            tls,
            grpc_drain,
            http_drain,
            closing,
            grpc,
            http,
            _reading: reading,
        })
    }

    /// Lets everybody in: the fleet is there. Health says so last.
    pub(super) fn let_in(&self, overview: &Overview, entropy: &Entropy, clock: Clock) {
        let config = overview.config();
        let (fleet, watchers) = (overview.fleet.clone(), overview.watchers.clone());
        let checks = overview.checks.clone();
        let defaults = Defaults { lease_ttl: config.fleet.lease_ttl, entropy: entropy.clone() };
        let patience = config.grpc.handshake_timeout;
        self.guard.audit.get_or_init(|| overview.audit.clone());
        let audited = Audited::new(overview.audit.clone(), entropy.clone());
        let transfers = Transfers::default();
        self.routes.open(
            api::backup::BackupApi::new(
                overview.backups.clone(),
                overview.key_kept.clone(),
                transfers.clone(),
                audited.clone(),
                clock,
            ),
            api::restore::RestoreApi::new(overview.restores.clone(), transfers, audited.clone()),
            api::fleet::FleetApi::new(
                Enrolment::new(fleet.clone(), checks.clone(), overview.policies.clone(), defaults),
                audited.clone(),
                watchers.clone(),
                clock,
                patience,
            ),
            api::health::HealthApi::new(fleet.clone(), checks, watchers.clone()),
            api::operation::OperationApi::new(overview.operations.clone(), audited.clone(), watchers.clone()),
            api::policy::PolicyApi::new(
                overview.policies.clone(),
                self.guard.protection.rules().clone(),
                fleet.clone(),
                audited.clone(),
                watchers,
            ),
            api::system::SystemApi::new(overview.clone(), audited),
        );
        self.pages.open(api::http::router(overview.clone()));
        self.metrics.open(api::http::metrics_router(overview.clone()));
        self.probe.open(api::http::probe_router(overview.clone()));
        self.fleet.send_replace(Some(fleet));
    }
}

/// Reads who may do what, and lets it count.
async fn open_identity(
    config: &Config,
    clock: Clock,
    entropy: &Entropy,
    store: Store,
    authenticator: &Authenticator,
) -> Result<(Identity, Option<watched::Handle>)> {
    let auth = &config.auth;
    let changed = authenticator.clone();
    let file = || auth.bootstrap_file.clone().unwrap_or_else(|| config.data_dir.join(BOOTSTRAP_FILE));
    let options = tokens::Options {
        bootstrap: auth.required.then(file),
        on_revoked: OnRevoked::new(move || changed.changed()),
    };
    let (handle, tokens) = tokens::open(options, clock, entropy.clone(), store).await?;
    authenticator.open(handle);
    let watched = |file: &PathBuf| watched::Service::new(file.clone(), authenticator.clone());
    let (known, rules) = auth.rules_file.as_ref().map(watched).unzip();
    Ok((Identity { tokens, rules }, known))
}

/// What is loaded before anybody is let in: whoever asks, and whoever runs.
struct Rooms {
    audit: (audit::Handle, audit::Service),
    fleet: (fleet::Handle, fleet::Service),
    policies: (policy::Handle, policy::Service),
    operations: (operation::Handle, operation::Service),
    backing: Backing,
    identity: (Identity, Option<watched::Handle>),
}

/// The rooms that write and read the vault.
struct Backing {
    backups: backup::Handle,
    backer: backup::Service,
    restores: restore::Handle,
    restorer: restore::Service,
    key_kept: KeyKept,
}

async fn load_rooms(
    config: Arc<Config>,
    clock: Clock,
    entropy: Entropy,
    store: Store,
    authenticator: Authenticator,
    progress: Progress,
) -> Result<Rooms> {
    let to_audit = audit::Options { file: config.audit.file.clone(), limits: audit_limits(&config) };
    let audit = audit::open(to_audit, clock, store.clone()).await?;
    let fleet = fleet::open(fleet_options(&config), clock, entropy.clone(), store.clone(), &progress).await?;
    let policies = open_policies(&config, clock, store.clone()).await?;
    let options = operation::Options::default();
    let (operations, keeper, orphans) =
        operation::open(options, clock, entropy.clone(), store.clone()).await?;
    let operating = (&operations, orphans);
    let backing = open_backups(&config, clock, &entropy, &store, &fleet.0, &policies.0, operating).await?;
    let identity = open_identity(&config, clock, &entropy, store, &authenticator).await?;
    Ok(Rooms { audit, fleet, policies, operations: (operations, keeper), backing, identity })
}

/// Opens the vault, and the rooms that write and read it.
async fn open_backups(
    config: &Config,
    clock: Clock,
    entropy: &Entropy,
    store: &Store,
    fleet: &fleet::Handle,
    policies: &policy::Handle,
    (operations, orphans): (&operation::Handle, Vec<operation::Orphan>),
) -> Result<Backing> {
    let vault = vault::open(config, clock, store).await?;
    let key_kept = KeyKept::open(store.clone()).await?;
    let options = backup::Options {
        at_once: config.vault.at_once.get(),
        own_state_every: Some(config.vault.own_state_every),
        ..backup::Options::default()
    };
    let parts = backup::Parts {
        clock,
        entropy: entropy.clone(),
        fleet: fleet.clone(),
        operations: operations.clone(),
        vault,
        store: store.clone(),
        policies: policies.clone(),
        orphans,
    };
    let (backups, backer) = backup::open(options, parts).await?;
    let (restores, restorer) =
        restore::new(entropy.clone(), fleet.clone(), operations.clone(), backups.clone());
    Ok(Backing { backups, backer, restores, restorer, key_kept })
}

/// Reads what is ruled, from the store and from the configuration.
async fn open_policies(
    config: &Config,
    clock: Clock,
    store: Store,
) -> Result<(policy::Handle, policy::Service)> {
    let options = policy::Options { declared: declared::policies(&config.policies)? };
    policy::open(options, clock, store).await
}

fn fleet_options(config: &Config) -> fleet::Options {
    fleet::Options {
        limits: Limits {
            max_instances: config.fleet.max_instances.get(),
            max_services: config.fleet.max_services.get(),
            change_history: config.fleet.change_history.get(),
            lost_removal: config.fleet.lost_removal,
            tombstone_retention: config.fleet.tombstone_retention,
        },
    }
}

fn checks_options(config: &Config, addresses: Addresses, clock: Clock) -> checks::Options {
    let Addresses { grpc, http, metrics, probe } = addresses;
    let mut options = checks::Options {
        max_concurrent: config.checks.max_concurrent.get(),
        asks: true,
        rules: Arc::new(Rules {
            peers: config.checks.ask_peers,
            networks: Vec::new(),
            own: [Some(grpc), Some(http), metrics, probe].into_iter().flatten().collect(),
            machine: Machine::new(clock),
        }),
        request_timeout: config.grpc.request_timeout,
    };
    configure_checks(&mut options, config);
    options
}
