//! Seaworthy under measurement: starting it, and a fleet to register in it.

use std::process::Command;

use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, GetStatusRequest, OpenSession, RegisterRequest, Registration,
    attach_request, attach_response, fleet_service_client::FleetServiceClient, open_session,
    system_service_client::SystemServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    Result,
    etcd::TTL_SECONDS,
    process::{Server, data_folder, free_address},
};

/// Services that the instances of a fleet belong to.
const SERVICES: usize = 100;
/// Labels of each instance: with their keys a little more than 1 KiB.
const LABELS: usize = 4;

/// Starts Seaworthy with its defaults and waits until it serves.
///
/// # Errors
/// It does not start.
pub(crate) async fn start(threads: usize) -> Result<Server> {
    let (address, data) = (free_address()?, data_folder()?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
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

/// Registers instance number `n` on a session that lets `ahead` messages wait to be sent.
///
/// # Errors
/// The session does not open.
pub(crate) async fn attach(
    channel: Channel,
    n: usize,
    ahead: usize,
) -> Result<(mpsc::Sender<AttachRequest>, Streaming<AttachResponse>)> {
    let (requests, queue) = mpsc::channel(ahead);
    let how = Some(open_session::How::Register(registration(n)));
    let open = attach_request::Message::Open(OpenSession { how });
    requests.send(AttachRequest { message: Some(open) }).await?;
    let mut answers = FleetServiceClient::new(channel).attach(ReceiverStream::new(queue)).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.message) {
        Some(attach_response::Message::Opened(_)) => Ok((requests, answers)),
        other => Err(format!("the session did not open: {other:?}").into()),
    }
}
