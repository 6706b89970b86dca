//! Heartbeats of many instances together, as an agent sends them, against etcd with many leases on
//! one keep-alive stream.
//!
//! 10,000 instances, 4 connections. Seaworthy takes `Heartbeat` calls of 1,000 instances, one call in
//! flight on each connection. etcd has one stream on each connection, with 64 keep-alives outstanding
//! (256 in all); and, so that both have as many in flight, with 1,000 (4,000 in all).
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use seaworthy_client::proto::seaworthy::v1::{
    HeartbeatOutcome, HeartbeatRequest, HeartbeatResponse, InstanceHeartbeat, InstanceRef,
    fleet_service_client::FleetServiceClient,
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
    wire::{Connection, framed},
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

const CONNECTIONS: usize = 4;
const TOGETHER: usize = 1000;
/// Keep-alives of etcd outstanding on each stream.
const OUTSTANDING: [u64; 2] = [64, 1000];
const OPENING: usize = 64;
const VALUE_BYTES: usize = 1024;

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let instances = settings::number("BENCH_INSTANCES", 10_000)?;
        report::head(&format!("Heartbeats of many together, {instances} instances"), etcd::NAME);
        for &threads in &settings.threads {
            for outstanding in OUTSTANDING {
                let mut pair = Pair::default();
                for _ in 0..settings.rounds {
                    pair.ours.push(ours(&fleet::start(threads).await?, &settings, instances).await?);
                    let server = etcd::start(threads).await?;
                    pair.theirs.push(theirs(&server, &settings, instances, outstanding).await?);
                }
                let with = format!(
                    "etcd with {} outstanding, {threads} server thread(s)",
                    CONNECTIONS as u64 * outstanding
                );
                pair.rate(&format!("heartbeats, {with}"), Goal::AtLeast(2.0, 8.0));
                pair.cpu(&format!("server CPU per heartbeat, {with}"), Goal::Shown);
            }
        }
        Ok(())
    })
}

async fn ours(server: &Server, settings: &Settings, instances: usize) -> Result<Sample> {
    let channels = server.connect(CONNECTIONS).await?;
    let registering = (0..instances).map(|n| register(channels[n % CONNECTIONS].clone(), n));
    let fleet: Vec<_> = stream::iter(registering).buffer_unordered(OPENING).try_collect().await?;
    // Written once: what an agent spends on its messages is not the server's.
    let batch = |some: &[InstanceHeartbeat]| {
        let batch = HeartbeatRequest { heartbeats: some.to_vec() };
        Ok((batch.heartbeats.len(), framed(&batch)?))
    };
    let batches: Vec<_> = fleet.chunks(TOGETHER).map(batch).collect::<Result<_>>()?;
    let connections = server.connect_thin(CONNECTIONS).await?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..CONNECTIONS {
        let batches = batches.iter().skip(worker).step_by(CONNECTIONS).cloned().collect();
        workers.spawn(heartbeat(connections.nth(worker), meter.clone(), batches));
    }
    measure(server, settings, &meter, workers).await
}

async fn register(channel: Channel, n: usize) -> Result<InstanceHeartbeat> {
    let request = fleet::registration(n);
    let registered = FleetServiceClient::new(channel).register(request).await?.into_inner();
    let instance = registered.instance.ok_or("no instance in the answer")?;
    let registration = instance.registration.ok_or("no registration in the answer")?;
    let instance = InstanceRef {
        service: registration.service,
        instance_id: registration.instance_id,
        incarnation: instance.incarnation,
    };
    Ok(InstanceHeartbeat { instance: Some(instance), session_token: registered.session_token })
}

async fn heartbeat(connection: Connection, meter: Meter, batches: Vec<(usize, Bytes)>) -> Result<()> {
    for (instances, batch) in batches.iter().cycle() {
        if !meter.running() {
            break;
        }
        let answer: HeartbeatResponse =
            connection.unary("/seaworthy.v1.FleetService/Heartbeat", batch.clone()).await?;
        let renewed =
            answer.results.iter().filter(|result| result.outcome() == HeartbeatOutcome::Renewed).count();
        if renewed != *instances {
            return Err(format!("{renewed} of {instances} were renewed").into());
        }
        meter.answered(renewed as u64);
    }
    Ok(())
}

async fn theirs(server: &Server, settings: &Settings, instances: usize, outstanding: u64) -> Result<Sample> {
    let connections = server.connect_thin(CONNECTIONS).await?;
    let granting = (0..instances).map(|n| lease(connections.nth(n), n));
    let leases: Vec<i64> = stream::iter(granting).buffer_unordered(OPENING).try_collect().await?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for (worker, share) in leases.chunks(instances.div_ceil(CONNECTIONS)).enumerate() {
        let leases = share.to_vec();
        let call = etcd::keep_alive(&connections.nth(worker), leases[0]).await?;
        let request = move |sequence: u64| LeaseKeepAliveRequest { id: in_turn(&leases, sequence) };
        workers.spawn(keep(meter.clone(), outstanding, call, request, etcd::kept_alive));
    }
    measure(server, settings, &meter, workers).await
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is an index into the leases")]
fn in_turn(leases: &[i64], sequence: u64) -> i64 {
    leases[(sequence % leases.len() as u64) as usize]
}

async fn lease(connection: Connection, n: usize) -> Result<i64> {
    let client = etcd::Client::new(connection);
    let id = client.grant().await?;
    client.put(format!("bench/instance-{n}"), Bytes::from(vec![b'v'; VALUE_BYTES]), id).await?;
    Ok(id)
}
