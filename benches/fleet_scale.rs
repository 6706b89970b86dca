//! Reports of health per second with a large fleet registered, against the same with a small one.
//!
//! Both sides are Seaworthy: one server holds 100,000 instances, the other 100. The reports go round all
//! instances that are registered, over the same connections with the same number in flight, once as
//! they mostly are (all is as it was) and once with another message each time, which whoever watches is
//! told. What a report costs that changes a state, and is written down, is shown for the large fleet
//! alone: in the small one the same few would change hundreds of times a second, which is flapping, and held.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use seaworthy_client::proto::seaworthy::v1::{
    ComponentReport, HealthState, ReportHealthRequest, ReportHealthResponse,
};
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
            for news in [News::None, News::Message, News::State] {
                let mut pair = Pair::default();
                for _ in 0..settings.rounds {
                    pair.ours.push(side(&settings, threads, many, news).await?);
                    if news != News::State {
                        pair.theirs.push(side(&settings, threads, FEW, news).await?);
                    }
                }
                let (what, goal) = match news {
                    News::None => ("reports of what was", Goal::AtLeast(0.8, 0.95)),
                    News::Message => ("reports of another message", Goal::AtLeast(0.8, 0.95)),
                    News::State => ("reports of another state", Goal::Shown),
                };
                let what = format!("{what}, {threads} server thread(s)");
                pair.rate(&what, goal);
                pair.cpu(&format!("server CPU for each, {what}"), Goal::Shown);
            }
        }
        Ok(())
    })
}

/// What is new in a report.
#[derive(Clone, Copy, Eq, PartialEq)]
enum News {
    None,
    Message,
    State,
}

impl News {
    /// What the reports of even rounds say, and those of odd ones. The first round says something new.
    fn reports(self) -> [Vec<ComponentReport>; 2] {
        let well = || fleet::reports(HealthState::Healthy);
        match self {
            Self::None => [well(), well()],
            Self::Message => {
                let says = |message: &str| {
                    let mut reports = well();
                    reports.iter_mut().for_each(|report| message.clone_into(&mut report.message));
                    reports
                };
                [says("38 of 40 connections in use"), says("39 of 40 connections in use")]
            }
            Self::State => [fleet::reports(HealthState::Degraded), well()],
        }
    }
}

async fn side(settings: &Settings, threads: usize, instances: usize, news: News) -> Result<Sample> {
    let server: Server = fleet::start(threads).await?;
    let connections = server.connect_thin(CONNECTIONS).await?;
    let members = fleet::populate(&connections, instances).await?;
    // A first report is always news.
    let well = fleet::reports(HealthState::Healthy);
    let first = members.iter().enumerate().map(|(n, member)| {
        let (connection, well) = (connections.nth(n), &well);
        async move { call(&connection, request(member, well)?).await }
    });
    stream::iter(first).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    server.quiet().await?;
    // Put together beforehand, so that what is measured is the server.
    let [even, odd] = news.reports();
    let all = |reports: &[ComponentReport]| -> Result<Vec<Bytes>> {
        // One after the other in memory.
        let (mut whole, mut lengths) = (BytesMut::new(), Vec::with_capacity(members.len()));
        for member in &members {
            let request = request(member, reports)?;
            lengths.push(request.len());
            whole.extend_from_slice(&request);
        }
        let mut whole = whole.freeze();
        Ok(lengths.into_iter().map(|length| whole.split_to(length)).collect())
    };
    let requests = Arc::new([all(&even)?, all(&odd)?]);
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..IN_FLIGHT {
        let (connection, requests) = (connections.nth(worker), Arc::clone(&requests));
        workers.spawn(report(connection, meter.clone(), requests, worker));
    }
    measure(&server, settings, &meter, workers).await
}

async fn report(
    connection: Connection,
    meter: Meter,
    requests: Arc<[Vec<Bytes>; 2]>,
    first: usize,
) -> Result<()> {
    let instances = requests[0].len();
    let mut n = first;
    while meter.running() {
        let round = &requests[n / instances % 2];
        call(&connection, round[n % instances].clone()).await?;
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

fn request((instance, session_token): &Registered, reports: &[ComponentReport]) -> Result<Bytes> {
    framed(&ReportHealthRequest {
        instance: Some(instance.clone()),
        session_token: session_token.clone(),
        reports: reports.to_vec(),
        ..ReportHealthRequest::default()
    })
}
