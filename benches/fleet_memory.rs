//! Memory of the server for each attached instance: registry and session.
//!
//! 100,000 instances over 1,000 connections, each with three components that have all reported, on a
//! server with all of its limits on. What the server holds more than before the first connection is
//! divided by the number of instances. There is no peer: the figure is judged by itself.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::cast_precision_loss, reason = "counts of instances are far below 2^52")]

mod support;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, HealthState, SessionHealth, SessionHeartbeat, attach_request,
    attach_response,
};
use support::{
    Result, fleet,
    process::Server,
    report::{self, Goal},
    settings::{self, Settings},
    wire::{Call, Connection},
};

const CONNECTIONS: usize = 1000;
/// Sessions that are opened at once.
const OPENING: usize = 256;

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let instances = settings::number("BENCH_INSTANCES", 100_000)?;
        let title = format!("Memory for each of {instances} attached instances, {CONNECTIONS} connections");
        report::head(&title, "none");
        for &threads in &settings.threads {
            let (mut connected, mut attached) = (Vec::new(), Vec::new());
            for _ in 0..settings.rounds {
                let server = fleet::start(threads).await?;
                let [connections, sessions] = take(&server, instances).await?;
                connected.push(connections);
                attached.push(sessions);
            }
            let with = format!("{threads} server thread(s)");
            let goal = Goal::AtMost(16.0, 6.0);
            report::figure(&format!("for each instance, {with}"), " KiB", &attached, &[], goal);
            report::figure(&format!("(for each connection, {with})"), " KiB", &connected, &[], Goal::Shown);
        }
        Ok(())
    })
}

/// KiB for each connection, and for each instance with its share of that.
async fn take(server: &Server, instances: usize) -> Result<[f64; 2]> {
    server.quiet().await?;
    let empty = server.resident_mib()?;
    let connections = server.connect_thin(CONNECTIONS).await?;
    server.quiet().await?;
    let connected = server.resident_mib()?;
    let opening = (0..instances).map(|n| {
        let connection = connections.nth(n);
        async move { attach(&connection, n).await }
    });
    let sessions: Vec<Call> = stream::iter(opening).buffer_unordered(OPENING).try_collect().await?;
    server.quiet().await?;
    let attached = server.resident_mib()?;
    let held = fleet::count(server.connect(1).await?.remove(0)).await?;
    if held != instances as u64 || sessions.len() != instances {
        return Err(format!("{instances} were attached, and the server holds {held}").into());
    }
    Ok([(connected - empty) * 1024.0 / CONNECTIONS as f64, (attached - empty) * 1024.0 / instances as f64])
}

/// Opens a session, reports all components, and waits until that was taken.
async fn attach(connection: &Connection, n: usize) -> Result<Call> {
    use attach_request::Message::{Health, Heartbeat};
    let mut call = fleet::open(connection, fleet::ordinary(n)).await?;
    let health = SessionHealth { reports: fleet::reports(HealthState::Healthy), ..SessionHealth::default() };
    call.send(&AttachRequest { message: Some(Health(health)) })?;
    call.send(&AttachRequest { message: Some(Heartbeat(SessionHeartbeat { sequence: 1 })) })?;
    match call.answer::<AttachResponse>().await?.message {
        Some(attach_response::Message::HeartbeatAck(_)) => Ok(call),
        other => Err(format!("instead of an acknowledgement: {other:?}").into()),
    }
}
