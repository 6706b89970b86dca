//! The least that a gRPC server in Rust can be: tonic with tonic-health and nothing else.
//!
//! It is the bench itself, started with an argument, so that both sides are built alike.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use tonic::transport::Server as Tonic;

use super::{
    Result,
    process::{Server, data_folder, free_address},
};

/// The argument that makes a bench the server.
const ARGUMENT: &str = "serve-bare-health";

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

/// What starts it, and where it will listen.
///
/// # Errors
/// No free port.
pub(crate) fn command(threads: usize) -> Result<(Command, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(env::current_exe()?);
    command.args([ARGUMENT, &address.port().to_string()]);
    command.env("TOKIO_WORKER_THREADS", threads.to_string());
    Ok((command, address))
}

/// Serves until killed, when this process was started to do that; otherwise answers false at once.
///
/// # Errors
/// It cannot listen.
pub(crate) fn serve_if_asked() -> Result<bool> {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return Ok(false);
    }
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // The name "" serves from the beginning.
        let (_reporter, health) = tonic_health::server::health_reporter();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Tonic::builder().add_service(health).serve(address).await
    })?;
    Ok(true)
}
