//! The least that a gRPC server in Rust can be: tonic with tonic-health and nothing else.
//!
//! It is the bench itself, started with an argument, so that both sides are built alike.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use seaworthy::api::proto::server::health_service_server::HealthServiceServer;
use tonic::transport::Server as Tonic;

use super::{
    Result,
    process::{Server, data_folder, free_address},
    reporting::Reporting,
};

/// The argument that makes a bench the server.
const ARGUMENT: &str = "serve-bare-health";
/// The same, with the limits of Seaworthy's connections.
const LIMITED: &str = "serve-bare-limited";
/// The same, with a service that takes reports and refuses calls without any at once.
const REPORTING: &str = "serve-bare-reporting";

/// Starts the bench as a bare server and waits until it serves.
///
/// # Errors
/// It does not start.
pub(crate) async fn start(threads: usize) -> Result<Server> {
    let (command, address) = command(threads)?;
    let mut server = Server::spawn("bare tonic", command, address, data_folder()?)?;
    server.serving().await?;
    Ok(server)
}

/// Starts the bench as a bare server that has the limits of Seaworthy's connections, and waits until it serves.
///
/// # Errors
/// It does not start.
pub(crate) async fn start_limited(threads: usize) -> Result<Server> {
    let (command, address) = with_argument(LIMITED, threads)?;
    let mut server = Server::spawn("bare tonic", command, address, data_folder()?)?;
    server.serving().await?;
    Ok(server)
}

/// Starts the bench as a bare server that takes reports, and waits until it serves.
///
/// # Errors
/// It does not start.
pub(crate) async fn start_reporting(threads: usize) -> Result<Server> {
    let (command, address) = with_argument(REPORTING, threads)?;
    let mut server = Server::spawn("bare tonic", command, address, data_folder()?)?;
    server.serving().await?;
    Ok(server)
}

/// What starts it, and where it will listen.
///
/// # Errors
/// No free port.
pub(crate) fn command(threads: usize) -> Result<(Command, SocketAddr)> {
    with_argument(ARGUMENT, threads)
}

fn with_argument(argument: &str, threads: usize) -> Result<(Command, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(env::current_exe()?);
    command.args([argument, &address.port().to_string()]);
    command.env("TOKIO_WORKER_THREADS", threads.to_string());
    Ok((command, address))
}

/// Serves until killed, when this process was started to do that; otherwise answers false at once.
///
/// # Errors
/// It cannot listen.
pub(crate) fn serve_if_asked() -> Result<bool> {
    let mut arguments = env::args().skip(1);
    let kind = arguments.next();
    let (limited, reporting) = match kind.as_deref() {
        Some(ARGUMENT) => (false, false),
        Some(LIMITED) => (true, false),
        Some(REPORTING) => (true, true),
        _ => return Ok(false),
    };
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // The name "" serves from the beginning.
        let (_reporter, health) = tonic_health::server::health_reporter();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = if limited { with_limits(Tonic::builder()) } else { Tonic::builder() };
        let reporting = reporting.then(|| HealthServiceServer::new(Reporting::new()));
        server.add_service(health).add_optional_service(reporting).serve(address).await
    })?;
    Ok(true)
}

/// The limits of `src/server/grpc.rs` and the defaults of the configuration, as far as tonic has them.
fn with_limits(server: Tonic) -> Tonic {
    server
        .max_concurrent_streams(128)
        .http2_max_header_list_size(16 << 10)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(1024))
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
}
