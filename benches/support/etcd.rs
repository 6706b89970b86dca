//! etcd as a peer: building it, starting it, and as much of its API as a registry of leases needs.
//!
//! The messages are written out by hand from its published field numbers: a client crate would bring
//! its own ways of batching, and both sides are to be driven by the same code.

use std::{env, path::PathBuf, process::Command};

use bytes::Bytes;
use prost::Message;

use super::{
    Result,
    process::{Server, data_folder, free_address, target},
    wire::{Call, Connection, framed},
};

/// The version that `benches/peers/go.mod` pins.
pub(crate) const NAME: &str = "etcd 3.7.3";
/// Time to live of every lease, in seconds: none ends while it is measured.
pub(crate) const TTL_SECONDS: i64 = 600;

/// Builds etcd where it is missing, starts it with its defaults (fsync on), and waits until it serves.
///
/// # Errors
/// It cannot be built or started.
pub(crate) async fn start(threads: usize) -> Result<Server> {
    let program = build()?;
    let data = data_folder()?;
    let (clients, peers) = (free_address()?, free_address()?);
    let (client_url, peer_url) = (format!("http://{clients}"), format!("http://{peers}"));
    let mut command = Command::new(program);
    command.env("GOMAXPROCS", threads.to_string()).arg("--data-dir").arg(data.path().join("etcd"));
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("default={peer_url}")]);
    let mut server = Server::spawn(NAME, command, clients, data)?;
    server.serving().await?;
    Ok(server)
}

/// Which version is measured: the pinned one, or the one that `BENCH_ETCD` names the program of.
///
/// # Errors
/// The program does not run.
pub(crate) fn name() -> Result<String> {
    let Some(other) = env::var_os("BENCH_ETCD") else { return Ok(NAME.to_owned()) };
    let version = Command::new(other).arg("--version").output()?.stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let first = version.lines().next().unwrap_or_default();
    Ok(first.replace("etcd Version: ", "etcd "))
}

#[allow(clippy::print_stderr, reason = "a bench says why it takes long")]
fn build() -> Result<PathBuf> {
    if let Some(other) = env::var_os("BENCH_ETCD") {
        return Ok(other.into());
    }
    let program = target().join("tools").join("etcd");
    if !program.exists() {
        eprintln!("building etcd into {} (about two minutes, once)", program.display());
        let peers = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
        let mut go = Command::new("go");
        go.current_dir(peers).args(["build", "-trimpath", "-o"]).arg(&program);
        let status = go
            .arg("go.etcd.io/etcd/server/v3")
            .status()
            .map_err(|error| format!("run go build in benches/peers: {error}; install Go 1.26 or later"))?;
        if !status.success() {
            return Err(format!("go build in benches/peers ended with {status}").into());
        }
    }
    let version = Command::new(&program).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with("etcd Version: 3.7.3\n") {
        return Err(format!("{} is not {NAME} but {version}; delete it", program.display()).into());
    }
    Ok(program)
}

/// A client on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Client(Connection);

impl Client {
    /// Uses this connection.
    pub(crate) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// Grants a lease.
    ///
    /// # Errors
    /// The status of the call.
    pub(crate) async fn grant(&self) -> Result<i64> {
        let request = LeaseGrantRequest { ttl: TTL_SECONDS, id: 0 };
        let granted: LeaseGrantResponse = self.unary("/etcdserverpb.Lease/LeaseGrant", request).await?;
        Ok(granted.id)
    }

    /// Puts a value under a lease.
    ///
    /// # Errors
    /// The status of the call.
    pub(crate) async fn put(&self, key: String, value: Bytes, lease: i64) -> Result<()> {
        let request = PutRequest { key: key.into(), value, lease };
        let _done: PutResponse = self.unary("/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    /// Counts the keys.
    ///
    /// # Errors
    /// The status of the call.
    pub(crate) async fn count(&self) -> Result<u64> {
        // From the zero byte to the zero byte is every key.
        let all = Bytes::from_static(b"\0");
        let request = RangeRequest { key: all.clone(), range_end: all, count_only: true };
        let counted: RangeResponse = self.unary("/etcdserverpb.KV/Range", request).await?;
        Ok(counted.count.try_into()?)
    }

    async fn unary<A: Message + Default>(&self, path: &str, request: impl Message) -> Result<A> {
        self.0.unary(path, framed(&request)?).await
    }
}

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) raft_term: u64,
}

/// `etcdserverpb.LeaseGrantRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    pub(crate) ttl: i64,
    #[prost(int64, tag = "2")]
    pub(crate) id: i64,
}

/// `etcdserverpb.LeaseGrantResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseGrantResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    pub(crate) id: i64,
    #[prost(int64, tag = "3")]
    pub(crate) ttl: i64,
}

/// `etcdserverpb.LeaseKeepAliveRequest`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct LeaseKeepAliveRequest {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
}

/// `etcdserverpb.LeaseKeepAliveResponse`. A TTL of 0 says that there is no such lease.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseKeepAliveResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    pub(crate) id: i64,
    #[prost(int64, tag = "3")]
    pub(crate) ttl: i64,
}

/// `etcdserverpb.PutRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) lease: i64,
}

/// `etcdserverpb.PutResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
}

/// `etcdserverpb.WatchRequest`, as far as one new watch of one key needs it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

impl WatchRequest {
    /// Watches this key.
    pub(crate) fn of(key: &'static str) -> Self {
        Self { create: Some(WatchCreateRequest { key: Bytes::from_static(key.as_bytes()) }) }
    }
}

/// `etcdserverpb.WatchResponse`; the events are counted, not read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchResponse {
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub(crate) events: Vec<Bytes>,
}

/// `etcdserverpb.RangeRequest`, as far as counting needs it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) range_end: Bytes,
    #[prost(bool, tag = "9")]
    pub(crate) count_only: bool,
}

/// `etcdserverpb.RangeResponse`, as far as counting needs it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeResponse {
    #[prost(int64, tag = "4")]
    pub(crate) count: i64,
}

/// Opens a stream of keep-alives, and sends and hears the first one, of this lease.
///
/// # Errors
/// The stream does not open.
pub(crate) async fn keep_alive(connection: &Connection, lease: i64) -> Result<Call> {
    let first = LeaseKeepAliveRequest { id: lease };
    let mut call = connection.stream("/etcdserverpb.Lease/LeaseKeepAlive", &first).await?;
    kept_alive(&call.answer().await?, 0)?;
    Ok(call)
}

/// Up to which keep-alive all are answered, after one more answer.
///
/// # Errors
/// The lease is gone.
pub(crate) fn kept_alive(answer: &LeaseKeepAliveResponse, before: u64) -> Result<u64> {
    if answer.ttl <= 0 {
        return Err(format!("lease {} is gone", answer.id).into());
    }
    Ok(before + 1)
}
