//! How the control plane is, gathered from every room: for `SystemService`, the HTTP side and the
//! metrics page alike.

mod folder;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::{
    audit, backup, checks,
    config::Config,
    fleet::{Handle, Totals, snapshot::Revision},
    guard::Guard,
    identity::watched,
    operation, policy, restore,
    store::{self, Store},
    system::{
        Connections, Phase, Vitals,
        key_kept::KeyKept,
        readiness::{self, Check, Encrypted, Facts},
    },
    telemetry::{log::LogHandle, process},
    tls,
};

pub use self::folder::Folder;
use super::watch::Watchers;

/// Whoever can be asked how the control plane is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Who did what.
    pub audit: audit::Handle,
    /// The active checks.
    pub checks: checks::Handle,
    /// Backups.
    pub backups: backup::Handle,
    /// Restores.
    pub restores: restore::Handle,
    /// Whether the key of the vault is kept elsewhere too.
    pub key_kept: KeyKept,
    /// What takes its time.
    pub operations: operation::Handle,
    /// What is ruled while the fleet runs.
    pub policies: policy::Handle,
    /// The configuration in force, which may change while running.
    pub live: watch::Receiver<Arc<Config>>,
    /// The registry.
    pub fleet: Handle,
    /// What is counted of the control plane itself.
    pub vitals: Vitals,
    /// The store.
    pub store: Store,
    /// The layers that every RPC passes.
    pub guard: Guard,
    /// Watches that are open.
    pub watchers: Watchers,
    /// Where data is.
    pub folder: Folder,
    /// The log's level.
    pub log: LogHandle,
    /// How the rule file is. None: there is none.
    pub rules: Option<watched::Handle>,
    /// Where the HTTP side listens.
    pub http: SocketAddr,
    /// What connections are encrypted with; None where none are.
    pub tls: Option<tls::Handle>,
}

/// How the control plane is at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Version of this build.
    pub version: &'static str,
    /// Identifies this run.
    pub boot_epoch: String,
    /// When this run started.
    pub started: SystemTime,
    /// How long it has run.
    pub uptime: Duration,
    /// Where it is in its life.
    pub phase: Phase,
    /// The fleet, counted.
    pub totals: Totals,
    /// Watches that are open.
    pub watchers: u64,
    /// Connections on the gRPC port.
    pub connections: Connections,
    /// Requests that are being answered, streams included.
    pub active_requests: u64,
    /// Revision of the fleet.
    pub fleet_revision: Revision,
    /// The store.
    pub store: store::Status,
    /// The wall clock.
    pub now: SystemTime,
    /// Where the HTTP side listens.
    pub http: SocketAddr,
    /// Connections that the gRPC port takes at the most.
    pub max_connections: u64,
}

/// Files and sockets of this process. None is what cannot be read, or has no bound.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// Open now.
    pub open: Option<u64>,
    /// So many may be.
    pub most: Option<u64>,
}

impl Overview {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.live.borrow())
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            boot_epoch: self.fleet.boot_epoch().to_owned(),
            started: self.vitals.started(),
            uptime: self.vitals.uptime(),
            phase: self.vitals.phase(),
            totals: self.fleet.totals(),
            watchers: self.watchers.count(),
            connections: self.vitals.connections(),
            active_requests: self.guard.active.count(),
            fleet_revision: self.fleet.revision(),
            store: self.store.status(),
            now: self.fleet.wall(),
            http: self.http,
            max_connections: self.config().grpc.max_connections.get() as u64,
        }
    }

    /// Files and sockets, counted: one by one, which is not for probes.
    pub fn files(&self) -> Files {
        Files { open: process::open_files(), most: max_open_files() }
    }

    /// The production-readiness report. Takes two seconds where the data folder's file system hangs. Cancel
    /// safe.
    pub async fn readiness(&self) -> Vec<Check> {
        let disk = self.folder.disk(&self.config().data_dir).await;
        let (totals, store) = (self.fleet.totals(), self.store.status());
        let (config, audit) = (self.config(), self.audit.status());
        let beyond = |listen: &SocketAddr| !listen.ip().to_canonical().is_loopback();
        // What is told on the port for probes may be told to anybody.
        let listens =
            [Some(&config.grpc.listen), Some(&config.http.listen), config.http.metrics_listen.as_ref()];
        let others = [config.http.metrics_listen, config.probe_listen];
        let pages = 1 + others.iter().flatten().count();
        let connections = config.grpc.max_connections.get() + pages * config.http.max_connections.get();
        readiness::report(&Facts {
            data_dir: config.data_dir.clone(),
            disk,
            store_writable: store.writable,
            store_trouble: store.trouble,
            audit_trouble: audit.trouble,
            audit_broken: audit.broken,
            audit_broken_before: audit.broken_before,
            beyond_loopback: listens.into_iter().flatten().any(beyond),
            rules_trouble: self.rules.as_ref().and_then(watched::Handle::trouble),
            instances: totals.instances,
            max_instances: config.fleet.max_instances.get() as u64,
            lost: totals.lost,
            open_files: max_open_files(),
            max_connections: connections as u64,
            stopping: self.vitals.phase() > Phase::Running,
            key_unconfirmed: self.key_unconfirmed(&config),
            auth_required: config.auth.required,
            tls: self.tls.as_ref().map(|tls| Encrypted {
                problem: tls.status().problem,
                expiries: tls.credentials().expiries.clone(),
            }),
            now: self.fleet.wall(),
        })
    }
}

impl Overview {
    /// Id of the key that was made beside the vault, where nobody has said that it is kept elsewhere too. A key that was given
    /// is kept by whoever gave it.
    fn key_unconfirmed(&self, config: &Config) -> Option<String> {
        let vault = &config.vault;
        let given = vault.key.is_some() || vault.key_file.is_some() || vault.passphrase_file.is_some();
        let id = self.backups.vault().key_id();
        (!given && !self.key_kept.is_kept(&id)).then_some(id)
    }
}

fn max_open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}
