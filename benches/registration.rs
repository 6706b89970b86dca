//! Durable registrations per second against etcd's lease grant and put.
//!
//! A registration is one instance with about 1 KiB of labels. Seaworthy takes it in one `Register`;
//! in etcd it is a lease, then a value of 1 KiB put under it. Both have it on disk when they answer.
//! The number in flight is spread over up to 4 connections. After each round the server is asked how
//! many it has, so that an answer without a record would be noticed.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::time::Instant;

use bytes::Bytes;
use seaworthy_client::proto::seaworthy::v1::RegisterResponse;
use support::{
    Result, etcd, fleet,
    load::{Meter, Sample, measure},
    pair::Pair,
    process::Server,
    report::{self, Goal},
    settings::Settings,
    wire::{Connection, framed},
};
use tokio::task::JoinSet;

/// How many are in flight, and what the ratio should be.
const LOADS: [(usize, Goal); 3] =
    [(1, Goal::AtLeast(1.0, 1.5)), (8, Goal::AtLeast(1.5, 3.0)), (64, Goal::AtLeast(2.0, 4.0))];
const MOST_CONNECTIONS: usize = 4;
const VALUE_BYTES: usize = 1024;

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        report::head("Durable registrations", etcd::NAME);
        for &threads in &settings.threads {
            for (in_flight, goal) in LOADS {
                let mut pair = Pair::default();
                for _ in 0..settings.rounds {
                    let server = fleet::start(threads).await?;
                    pair.ours.push(ours(&server, &settings, in_flight).await?);
                    drop(server);
                    let server = etcd::start(threads).await?;
                    pair.theirs.push(theirs(&server, &settings, in_flight).await?);
                }
                let with = format!("{in_flight} in flight, {threads} server thread(s)");
                pair.rate(&format!("registrations, {with}"), goal);
                pair.cpu(&format!("server CPU for each, {with}"), Goal::Shown);
                pair.latencies(&format!("latency, {with}"));
            }
        }
        Ok(())
    })
}

async fn ours(server: &Server, settings: &Settings, in_flight: usize) -> Result<Sample> {
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    let connections = server.connect_thin(in_flight.min(MOST_CONNECTIONS)).await?;
    for worker in 0..in_flight {
        workers.spawn(register(connections.nth(worker), meter.clone(), worker, in_flight));
    }
    let sample = measure(server, settings, &meter, workers).await?;
    same(meter.total(), fleet::count(server.connect(1).await?.remove(0)).await?)?;
    Ok(sample)
}

async fn register(connection: Connection, meter: Meter, first: usize, step: usize) -> Result<()> {
    let mut n = first;
    while meter.running() {
        let request = framed(&fleet::registration(n))?;
        let start = Instant::now();
        let _registered: RegisterResponse =
            connection.unary("/seaworthy.v1.FleetService/Register", request).await?;
        meter.answered_since(start);
        n += step;
    }
    Ok(())
}

async fn theirs(server: &Server, settings: &Settings, in_flight: usize) -> Result<Sample> {
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    let connections = server.connect_thin(in_flight.min(MOST_CONNECTIONS)).await?;
    for worker in 0..in_flight {
        workers.spawn(lease_and_put(connections.nth(worker), meter.clone(), worker, in_flight));
    }
    let sample = measure(server, settings, &meter, workers).await?;
    same(meter.total(), etcd::Client::new(connections.nth(0)).count().await?)?;
    Ok(sample)
}

async fn lease_and_put(connection: Connection, meter: Meter, first: usize, step: usize) -> Result<()> {
    let client = etcd::Client::new(connection);
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut n = first;
    while meter.running() {
        let start = Instant::now();
        let lease = client.grant().await?;
        client.put(format!("bench/instance-{n}"), value.clone(), lease).await?;
        meter.answered_since(start);
        n += step;
    }
    Ok(())
}

fn same(acknowledged: u64, held: u64) -> Result<()> {
    if acknowledged == held {
        return Ok(());
    }
    Err(format!("the server acknowledged {acknowledged} registrations and holds {held}").into())
}
