//! The validated configuration and its defaults: the one place where the numbers stand.
//!
//! [`KEYS`](super::KEYS) says in a sentence what each value means and between which bounds it lies.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::{log::LogFormat, origin::Origin};

/// Everything that can be set. [`Default`] is the configuration of a server of which nothing was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Folder of the embedded store; relative to the working directory.
    pub data_dir: PathBuf,
    /// Written once the server serves; `None` writes none.
    pub ready_file: Option<PathBuf>,
    /// Whether to listen beyond loopback although nothing is encrypted or authenticated.
    pub insecure: bool,
    /// A level or a filter that [`parse_filter`](super::parse_filter) has accepted.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Where plain health is told, on a port of its own; `None` for nowhere.
    pub probe_listen: Option<SocketAddr>,
    /// How connections are encrypted.
    pub tls: Tls,
    /// Who may call.
    pub auth: Auth,
    /// What is written down of who did what.
    pub audit: Audit,
    /// What is logged of each request.
    pub access_log: AccessLog,
    /// The gRPC side.
    pub grpc: Grpc,
    /// The HTTP side.
    pub http: Http,
    /// The registry of instances.
    pub fleet: Fleet,
    /// Active checks of instances.
    pub checks: Checks,
    /// Where backups go, and their key.
    pub vault: Vault,
    /// The phases of stopping.
    pub shutdown: Shutdown,
    /// Policies that the file declares, as they stand there.
    pub policies: Vec<Declared>,
    /// Where the values came from that are not defaults.
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

/// One table of `[[policies]]` in the file. What it says is read by whoever knows policies.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// What stands there.
    pub table: toml::Table,
    /// Where it begins.
    pub origin: Origin,
}

// Tables have numbers that may be no numbers; two that are the same text are the same here.
impl Eq for Declared {}

/// Most that `grpc.max_message_bytes` may be.
pub const LARGEST_MESSAGE: usize = 64 << 20;

/// Settings of the gRPC listener and its connections.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Grpc {
    pub listen: SocketAddr,
    pub max_connections: NonZeroUsize,
    pub max_connections_per_peer: NonZeroUsize,
    pub handshake_timeout: Duration,
    pub max_connection_age: Duration,
    pub max_connection_age_grace: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    pub max_streams_per_connection: NonZeroU32,
    pub max_header_bytes: u32,
    pub max_message_bytes: usize,
    pub request_timeout: Duration,
}

/// Settings of the HTTP listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Http {
    pub listen: SocketAddr,
    pub metrics_listen: Option<SocketAddr>,
    pub max_connections: NonZeroUsize,
    pub max_connections_per_peer: NonZeroUsize,
    pub max_connection_age: Duration,
    pub idle_timeout: Duration,
    pub write_timeout: Duration,
    pub request_timeout: Duration,
    pub cors_origins: Vec<String>,
}

/// Where backups go, and what they are encrypted with.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Vault {
    pub place: Option<String>,
    pub options: Vec<Secretive>,
    pub key_file: Option<PathBuf>,
    pub key: Option<Secretive>,
    pub passphrase_file: Option<PathBuf>,
    pub accept_other: bool,
    pub at_once: NonZeroUsize,
    pub own_state_every: Duration,
}

/// A text that is not shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secretive(pub String);

impl std::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

/// How connections are encrypted, and by what others prove who they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Tls {
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub client_ca_file: Option<PathBuf>,
    pub crl_file: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// Whether a client has to show a certificate on the gRPC side.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientAuth {
    /// It may; who shows none proves who they are by a token.
    #[default]
    Optional,
    /// It must, or the handshake fails.
    Required,
}

/// Who may call, and how that is proved.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Auth {
    pub required: bool,
    pub trust_domain: String,
    pub rules_file: Option<PathBuf>,
    pub bootstrap_file: Option<PathBuf>,
    pub open_pages: OpenPages,
}

/// Pages of the HTTP side that need no proof, beside those of health.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenPages {
    /// `/metrics`.
    pub metrics: bool,
    /// `/status` and `/production-readiness`.
    pub status: bool,
    /// `/sd/prometheus`.
    pub discovery: bool,
}

/// What is written down of who did what.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Audit {
    pub file: Option<PathBuf>,
    pub retention: Duration,
    pub max_entries: NonZeroUsize,
    pub enrolments: bool,
}

/// What is logged of each request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct AccessLog {
    /// Thousandths of all requests.
    pub sample: u32,
}

/// Settings of the registry of instances.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Fleet {
    pub lease_ttl: Duration,
    pub lost_removal: Duration,
    pub tombstone_retention: Duration,
    pub max_instances: NonZeroUsize,
    pub max_services: NonZeroUsize,
    pub change_history: NonZeroUsize,
}

/// Settings of active checks.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Checks {
    pub ask_peers: bool,
    pub allowed_networks: Vec<IpNet>,
    pub max_concurrent: NonZeroUsize,
}

/// How long each phase of stopping may take; `total` cuts them all.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Shutdown {
    pub total: Duration,
    pub lame_duck: Duration,
    pub finish_requests: Duration,
    pub save_state: Duration,
    pub cleanup: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./seaworthy-data".into(),
            ready_file: None,
            insecure: false,
            log_level: "info".to_owned(),
            log_format: LogFormat::Auto,
            probe_listen: None,
            tls: Tls::default(),
            auth: Auth::default(),
            audit: Audit::default(),
            access_log: AccessLog { sample: 0 },
            grpc: Grpc::default(),
            http: Http::default(),
            fleet: Fleet::default(),
            checks: Checks::default(),
            vault: Vault::default(),
            shutdown: Shutdown::default(),
            policies: Vec::new(),
            origins: BTreeMap::new(),
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: loopback(50051),
            max_connections: count(20_000),
            max_connections_per_peer: count(2_000),
            handshake_timeout: Duration::from_secs(10),
            max_connection_age: minutes(30),
            max_connection_age_grace: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            max_streams_per_connection: NonZeroU32::MIN.saturating_add(127),
            max_header_bytes: 16 << 10,
            max_message_bytes: 4 << 20,
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            metrics_listen: None,
            max_connections: count(512),
            max_connections_per_peer: count(128),
            max_connection_age: minutes(10),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            cors_origins: Vec::new(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: false,
            trust_domain: "seaworthy.local".to_owned(),
            rules_file: None,
            bootstrap_file: None,
            open_pages: OpenPages::default(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, retention: minutes(90 * 24 * 60), max_entries: count(100_000), enrolments: false }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(15),
            lost_removal: minutes(5),
            tombstone_retention: minutes(24 * 60),
            max_instances: count(200_000),
            max_services: count(20_000),
            change_history: count(16_384),
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self { ask_peers: true, allowed_networks: Vec::new(), max_concurrent: count(128) }
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self {
            place: None,
            options: Vec::new(),
            key_file: None,
            key: None,
            passphrase_file: None,
            accept_other: false,
            at_once: count(2),
            own_state_every: minutes(60),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(40),
            lame_duck: Duration::from_secs(5),
            finish_requests: Duration::from_secs(30),
            save_state: Duration::from_secs(5),
            cleanup: Duration::from_secs(3),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}
