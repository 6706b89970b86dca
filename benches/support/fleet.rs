//! Seaworthy under measurement: starting it, and a fleet to register in it.

use std::{env, net::SocketAddr, process::Command, sync::Arc};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, Component, ComponentReport, GetStatusRequest, HealthState, InstanceRef,
    OpenSession, RegisterRequest, RegisterResponse, Registration, attach_request, attach_response,
    open_session, system_service_client::SystemServiceClient,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{
    Result,
    etcd::TTL_SECONDS,
    process::{Server, data_folder, free_address},
    wire::{Call, Connection, Connections, framed},
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
    start_on(threads, Arc::new(data_folder()?)).await
}

/// The same on a data folder that may hold a fleet already.
///
/// # Errors
/// It does not start.
pub(crate) async fn start_on(threads: usize, data: Arc<TempDir>) -> Result<Server> {
    let address = free_address()?;
    let mut server = Server::spawn("seaworthy", command(threads, address, &data), address, data)?;
    server.serving().await?;
    Ok(server)
}

/// What starts it at an address.
pub(crate) fn command(threads: usize, address: SocketAddr, data: &TempDir) -> Command {
    let built = env::var_os("BENCH_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_seaworthy").into());
    let mut command = Command::new(built);
    command.env("TOKIO_WORKER_THREADS", threads.to_string()).arg("serve");
    command.arg("--data-dir").arg(data.path().join("seaworthy"));
    command.args(["--grpc-listen", &address.to_string(), "--http-listen", "127.0.0.1:0"]);
    command
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

/// Components of each instance of an ordinary fleet.
const COMPONENTS: [&str; 3] = ["database", "cache", "queue"];
/// Registrations of an ordinary fleet that are under way at once.
const REGISTERING: usize = 256;
/// Reports are due so seldom that no component falls silent while it is measured, in seconds.
const REPORT_SECONDS: i64 = 3600;

/// Asks to register instance number `n` of an ordinary fleet: three components, three short labels.
pub(crate) fn ordinary(n: usize) -> RegisterRequest {
    let component = |name: &&str| Component {
        name: (*name).to_owned(),
        kind: "postgres".to_owned(),
        essential: *name == "database",
        report_interval: Some(prost_types::Duration { seconds: REPORT_SECONDS, nanos: 0 }),
        fail_threshold: 1,
        ..Component::default()
    };
    let label = |(key, value): (&str, String)| (key.to_owned(), value);
    let labels =
        [("team", "checkout".to_owned()), ("node", format!("node-{}", n % 500)), ("pod", format!("p-{n}"))];
    RegisterRequest {
        registration: Some(Registration {
            service: format!("bench-{}", n % SERVICES),
            instance_id: format!("instance-{n}"),
            version: "1.0.0".to_owned(),
            zone: format!("zone-{}", n % 3),
            address: "10.0.0.1:8080".to_owned(),
            labels: labels.into_iter().map(label).collect(),
            components: COMPONENTS.iter().map(component).collect(),
            lease_ttl: Some(prost_types::Duration { seconds: TTL_SECONDS, nanos: 0 }),
            ..Registration::default()
        }),
        ..RegisterRequest::default()
    }
}

/// What the components of an ordinary instance say.
pub(crate) fn reports(state: HealthState) -> Vec<ComponentReport> {
    let message = if state == HealthState::Healthy { "" } else { "38 of 40 connections in use" };
    let report = |name: &&str| ComponentReport {
        component: (*name).to_owned(),
        state: state.into(),
        message: message.to_owned(),
        response_time: Some(prost_types::Duration { seconds: 0, nanos: 1_200_000 }),
        details: [("free_bytes".to_owned(), "123456789".to_owned())].into(),
    };
    COMPONENTS.iter().map(report).collect()
}

/// Who is registered, and the token that proves it.
pub(crate) type Registered = (InstanceRef, String);

/// Registers an ordinary fleet.
///
/// # Errors
/// A registration is refused.
pub(crate) async fn populate(connections: &Connections, instances: usize) -> Result<Vec<Registered>> {
    let registering = (0..instances).map(|n| {
        let connection = connections.nth(n);
        async move { register(&connection, n).await }
    });
    stream::iter(registering).buffered(REGISTERING).try_collect().await
}

/// Registers instance number `n` of an ordinary fleet.
///
/// # Errors
/// The registration is refused.
pub(crate) async fn register(connection: &Connection, n: usize) -> Result<Registered> {
    register_as(connection, ordinary(n)).await
}

/// Registers an instance.
///
/// # Errors
/// The registration is refused.
pub(crate) async fn register_as(connection: &Connection, request: RegisterRequest) -> Result<Registered> {
    let request = framed(&request)?;
    let answer: RegisterResponse = connection.unary("/seaworthy.v1.FleetService/Register", request).await?;
    let instance = answer.instance.ok_or("an answer without the instance")?;
    let incarnation = instance.incarnation;
    let Registration { service, instance_id, .. } = instance.registration.unwrap_or_default();
    Ok((InstanceRef { service, instance_id, incarnation }, answer.session_token))
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
    open(connection, registration(n)).await
}

/// Opens a session by a registration.
///
/// # Errors
/// The session does not open.
pub(crate) async fn open(connection: &Connection, registration: RegisterRequest) -> Result<Call> {
    let how = Some(open_session::How::Register(registration));
    let open =
        attach_request::Message::Open(OpenSession { how, takes_policies: false, takes_directives: false });
    let first = AttachRequest { message: Some(open) };
    let mut call = connection.stream("/seaworthy.v1.FleetService/Attach", &first).await?;
    match call.answer::<AttachResponse>().await?.message {
        Some(attach_response::Message::Opened(_)) => Ok(call),
        other => Err(format!("the session did not open: {other:?}").into()),
    }
}
