//! Seaworthy under measurement: starting it, and a fleet to register in it.

use std::{env, process::Command};

use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, GetStatusRequest, OpenSession, RegisterRequest, Registration,
    attach_request, attach_response, open_session, system_service_client::SystemServiceClient,
};
use tonic::transport::Channel;

use super::{
    Result,
    etcd::TTL_SECONDS,
    process::{Server, data_folder, free_address},
    wire::{Call, Connection},
};

/// Services that the instances of a fleet belong to.
const SERVICES: usize = 100;
/// Labels of each instance: with their keys a little more than 1 KiB.
const LABELS: usize = 4;

/// Starts Seaworthy with its defaults and waits until it serves. `BENCH_SERVER` names another build of
/// it, to compare two.
///
/// # Errors
/// It does not start.
pub(crate) async fn start(threads: usize) -> Result<Server> {
    let (address, data) = (free_address()?, data_folder()?);
    let built = env::var_os("BENCH_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_seaworthy").into());
    let mut command = Command::new(built);
    command.env("TOKIO_WORKER_THREADS", threads.to_string()).arg("serve");
    command.arg("--data-dir").arg(data.path().join("seaworthy"));
    command.args(["--grpc-listen", &address.to_string(), "--http-listen", "127.0.0.1:0"]);
    let mut server = Server::spawn("seaworthy", command, address, data)?;
    server.serving().await?;
    Ok(server)
}

/// Asks to register instance number `n`, with about 1 KiB of labels.
pub(crate) fn registration(n: usize) -> RegisterRequest {
    let label = |l: usize| (format!("label-{l}"), format!("{n:08}-{l}-").repeat(23));
    RegisterRequest {
        registration: Some(Registration {
            service: format!("bench-{}", n % SERVICES),
            instance_id: format!("instance-{n}"),
            version: "1.0.0".to_owned(),
            address: "127.0.0.1:8080".to_owned(),
            labels: (0..LABELS).map(label).collect(),
            lease_ttl: Some(prost_types::Duration { seconds: TTL_SECONDS, nanos: 0 }),
            ..Registration::default()
        }),
        ..RegisterRequest::default()
    }
}

/// How many instances the server has.
///
/// # Errors
/// The status of the call.
pub(crate) async fn count(channel: Channel) -> Result<u64> {
    Ok(SystemServiceClient::new(channel).get_status(GetStatusRequest {}).await?.into_inner().instances)
}

/// Registers instance number `n` on a session of its own.
///
/// # Errors
/// The session does not open.
pub(crate) async fn attach(connection: &Connection, n: usize) -> Result<Call> {
    let how = Some(open_session::How::Register(registration(n)));
    let open = attach_request::Message::Open(OpenSession { how });
    let first = AttachRequest { message: Some(open) };
    let mut call = connection.stream("/seaworthy.v1.FleetService/Attach", &first).await?;
    match call.answer::<AttachResponse>().await?.message {
        Some(attach_response::Message::Opened(_)) => Ok(call),
        other => Err(format!("the session did not open: {other:?}").into()),
    }
}
