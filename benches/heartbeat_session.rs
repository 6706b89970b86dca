//! Heartbeats of instances that each hold a session of their own, against etcd with one keep-alive
//! stream per lease.
//!
//! 10,000 instances over 100 connections, each registered with about 1 KiB. With a window of 1 an
//! instance sends its next heartbeat when the last one is acknowledged: one message, one answer, on
//! both sides. With a window of 16 Seaworthy may acknowledge several by one message, as its protocol
//! says, where etcd answers each. A heartbeat counts when it is acknowledged.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, SessionHeartbeat, SessionHeartbeatAck, attach_request, attach_response,
};
use support::{
    Result,
    etcd::{self, LeaseKeepAliveRequest},
    fleet,
    keepalive::keep,
    load::{Meter, Sample, measure},
    pair::Pair,
    process::Server,
    report::{self, Goal},
    settings::{self, Settings},
    wire::{Call, Connection},
};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 100;
/// Instances that register at once before the measurement.
const OPENING: usize = 256;
const WINDOWS: [u64; 2] = [1, 16];
const VALUE_BYTES: usize = 1024;

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let instances = settings::number("BENCH_INSTANCES", 10_000)?;
        report::head(&format!("Session heartbeats, {instances} instances, 100 connections"), etcd::NAME);
        for &threads in &settings.threads {
            for window in WINDOWS {
                let (mut pair, mut memory) = (Pair::default(), (Vec::new(), Vec::new()));
                for _ in 0..settings.rounds {
                    let server = fleet::start(threads).await?;
                    pair.ours.push(ours(&server, &settings, instances, window).await?);
                    memory.0.push(server.resident_mib()?);
                    drop(server);
                    let server = etcd::start(threads).await?;
                    pair.theirs.push(theirs(&server, &settings, instances, window).await?);
                    memory.1.push(server.resident_mib()?);
                }
                let with = format!("window {window}, {threads} server thread(s)");
                pair.rate(&format!("heartbeats, {with}"), Goal::AtLeast(2.5, 6.0));
                pair.cpu(&format!("server CPU per heartbeat, {with}"), Goal::AtMost(1.0 / 3.0, 1.0 / 6.0));
                report::line(&format!("memory after, {with}"), " MiB", &memory.0, &memory.1, Goal::Shown);
            }
        }
        Ok(())
    })
}

async fn ours(server: &Server, settings: &Settings, instances: usize, window: u64) -> Result<Sample> {
    let connections = server.connect_thin(CONNECTIONS).await?;
    let opening = (0..instances).map(|n| {
        let connection = connections.nth(n);
        async move { fleet::attach(&connection, n).await }
    });
    let sessions: Vec<_> = stream::iter(opening).buffer_unordered(OPENING).try_collect().await?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for call in sessions {
        workers.spawn(keep(meter.clone(), window, call, heartbeat, acknowledged));
    }
    measure(server, settings, &meter, workers).await
}

fn heartbeat(sequence: u64) -> AttachRequest {
    AttachRequest { message: Some(attach_request::Message::Heartbeat(SessionHeartbeat { sequence })) }
}

fn acknowledged(answer: &AttachResponse, _before: u64) -> Result<u64> {
    match &answer.message {
        Some(attach_response::Message::HeartbeatAck(SessionHeartbeatAck { sequence })) => Ok(*sequence),
        other => Err(format!("instead of an acknowledgement: {other:?}").into()),
    }
}

async fn theirs(server: &Server, settings: &Settings, instances: usize, window: u64) -> Result<Sample> {
    let connections = server.connect_thin(CONNECTIONS).await?;
    let opening = (0..instances).map(|n| lease(connections.nth(n), n));
    let leases: Vec<_> = stream::iter(opening).buffer_unordered(OPENING).try_collect().await?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for (id, call) in leases {
        let request = move |_| LeaseKeepAliveRequest { id };
        workers.spawn(keep(meter.clone(), window, call, request, etcd::kept_alive));
    }
    measure(server, settings, &meter, workers).await
}

/// Grants a lease, puts 1 KiB under it, and opens its stream of keep-alives.
async fn lease(connection: Connection, n: usize) -> Result<(i64, Call)> {
    let client = etcd::Client::new(connection.clone());
    let id = client.grant().await?;
    client.put(format!("bench/instance-{n}"), Bytes::from(vec![b'v'; VALUE_BYTES]), id).await?;
    Ok((id, etcd::keep_alive(&connection, id).await?))
}
