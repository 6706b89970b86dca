//! Reports of health per second with a large fleet registered, against the same with a small one.
//!
//! Both sides are Seaworthy: one server holds 100,000 instances, the other 100. The reports go round all
//! instances that are registered, over the same connections with the same number in flight, once as
//! they mostly are (all is as it was) and once with another state each time, which is remembered and
//! written down.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use seaworthy_client::proto::seaworthy::v1::{HealthState, ReportHealthRequest, ReportHealthResponse};
use support::{
    Result,
    fleet::{self, Registered},
    load::{Meter, Sample, measure},
    pair::Pair,
    process::Server,
    report::{self, Goal},
    settings::{self, Settings},
    wire::{Connection, framed},
};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;
const FEW: usize = 100;

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let many = settings::number("BENCH_INSTANCES", 100_000)?;
        report::head(&format!("Reports with {many} instances, against {FEW}"), "with few");
        for &threads in &settings.threads {
            for (what, flips) in [("reports of what was", false), ("reports of another state", true)] {
                let mut pair = Pair::default();
                for _ in 0..settings.rounds {
                    pair.ours.push(side(&settings, threads, many, flips).await?);
                    pair.theirs.push(side(&settings, threads, FEW, flips).await?);
                }
                let what = format!("{what}, {threads} server thread(s)");
                pair.rate(&what, Goal::AtLeast(0.8, 0.95));
                pair.cpu(&format!("server CPU for each, {what}"), Goal::Shown);
            }
        }
        Ok(())
    })
}

async fn side(settings: &Settings, threads: usize, instances: usize, flips: bool) -> Result<Sample> {
    let server: Server = fleet::start(threads).await?;
    let connections = server.connect_thin(CONNECTIONS).await?;
    let members = Arc::new(fleet::populate(&connections, instances).await?);
    // A first report is always news.
    let first = members.iter().enumerate().map(|(n, member)| {
        let connection = connections.nth(n);
        async move { call(&connection, request(member, HealthState::Healthy)?).await }
    });
    stream::iter(first).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    server.quiet().await?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..IN_FLIGHT {
        let (connection, members) = (connections.nth(worker), Arc::clone(&members));
        workers.spawn(report(connection, meter.clone(), members, worker, flips));
    }
    measure(&server, settings, &meter, workers).await
}

async fn report(
    connection: Connection,
    meter: Meter,
    members: Arc<Vec<Registered>>,
    first: usize,
    flips: bool,
) -> Result<()> {
    let mut n = first;
    while meter.running() {
        let round = n / members.len();
        let state =
            if flips && round.is_multiple_of(2) { HealthState::Degraded } else { HealthState::Healthy };
        call(&connection, request(&members[n % members.len()], state)?).await?;
        meter.answered(1);
        n += IN_FLIGHT;
    }
    Ok(())
}

async fn call(connection: &Connection, request: Bytes) -> Result<()> {
    let _answer: ReportHealthResponse =
        connection.unary("/seaworthy.v1.HealthService/ReportHealth", request).await?;
    Ok(())
}

fn request((instance, session_token): &Registered, state: HealthState) -> Result<Bytes> {
    framed(&ReportHealthRequest {
        instance: Some(instance.clone()),
        session_token: session_token.clone(),
        reports: fleet::reports(state),
        ..ReportHealthRequest::default()
    })
}
