//! One change of health to 1,000 watchers over 16 connections, until the last one has it, against etcd's
//! watch of a key.
//!
//! A watcher is a stream of its own on both sides. In Seaworthy a component's state changes and its
//! watchers get its health; in etcd a value of the same length is put under the key that is watched. The
//! time runs from sending the change, on a connection of its own, to the last watcher's message. One
//! change at a time: the next one follows when all have had the last, after a pause.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message;
use seaworthy_client::proto::seaworthy::v1::{
    HealthState, ReportHealthRequest, ReportHealthResponse, WatchFleetRequest, WatchFleetResponse,
    WatchHealthRequest, WatchHealthResponse, watch_fleet_response,
};
use support::{
    Result,
    etcd::{self, WatchRequest, WatchResponse},
    fleet::{self, Registered},
    process::Server,
    report::{self, Goal, quantile},
    settings::{self, Settings},
    wire::{Call, Connection, framed},
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

const CONNECTIONS: usize = 16;
const KEY: &str = "bench/health";
/// Changes that are not measured.
const WARM_UP: usize = 20;
/// Between one change and the next.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);
/// What a message of Seaworthy's about one component takes, roughly: the length of etcd's value.
const VALUE_BYTES: usize = 128;

/// What the watchers follow.
#[derive(Clone, Copy)]
enum What {
    Component,
    Fleet,
}

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let watchers = settings::number("BENCH_WATCHERS", 1000)?;
        let changes = settings::number("BENCH_CHANGES", 200)?;
        let name = etcd::name()?;
        report::head(&format!("One change to {watchers} watchers, {CONNECTIONS} connections"), &name);
        for &threads in &settings.threads {
            let [mut ours, mut fleets, mut theirs] = [const { Vec::new() }; 3];
            for _ in 0..settings.rounds {
                ours.push(seaworthy(threads, watchers, changes, What::Component).await?);
                theirs.push(peer(threads, watchers, changes).await?);
                fleets.push(seaworthy(threads, watchers, changes, What::Fleet).await?);
            }
            let goal = Goal::AtMost(1.0 / 2.0, 1.0 / 3.0);
            let with = format!("{threads} server thread(s)");
            let theirs = [0, 1].map(|n| theirs.iter().map(|t: &[f64; 3]| t[n]).collect::<Vec<_>>());
            let cpu = |of: &[[f64; 3]]| of.iter().map(|t| t[2]).collect::<Vec<_>>();
            let of = |n: usize, of: &[[f64; 3]]| of.iter().map(|t| t[n]).collect::<Vec<_>>();
            report::line(
                &format!("health of a component, last watcher, p50, {with}"),
                " ms",
                &of(0, &ours),
                &theirs[0],
                goal,
            );
            report::line(&format!("p99, {with}"), " ms", &of(1, &ours), &theirs[1], Goal::Shown);
            report::figure(
                &format!("server CPU for each message, {with}"),
                " µs",
                &cpu(&ours),
                &[],
                Goal::Shown,
            );
            report::line(
                &format!("the fleet, last watcher, p50, {with}"),
                " ms",
                &of(0, &fleets),
                &theirs[0],
                Goal::Shown,
            );
            report::line(&format!("p99, {with}"), " ms", &of(1, &fleets), &theirs[1], Goal::Shown);
        }
        Ok(())
    })
}

/// Who has had the change that is under way.
#[derive(Debug, Default)]
struct Round {
    left: AtomicUsize,
    done: Notify,
}

impl Round {
    fn served(&self) {
        if self.left.fetch_sub(1, Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

async fn seaworthy(threads: usize, watchers: usize, changes: usize, what: What) -> Result<[f64; 3]> {
    let server = fleet::start(threads).await?;
    let connections = server.connect_thin(CONNECTIONS).await?;
    let own = server.connect_thin(1).await?;
    let writer = own.nth(0);
    let member = fleet::register(&writer, 0).await?;
    change(&writer, &member, 0).await?;
    let (round, mut workers) = (Arc::new(Round::default()), JoinSet::new());
    for n in 0..watchers {
        let connection = connections.nth(n);
        match what {
            What::Component => {
                let first = WatchHealthRequest {
                    service: member.0.service.clone(),
                    instance_id: member.0.instance_id.clone(),
                    component: "database".to_owned(),
                };
                let mut call = connection.ask("/seaworthy.v1.HealthService/WatchHealth", &first).await?;
                call.answer::<WatchHealthResponse>().await?;
                workers.spawn(follow::<WatchHealthResponse>(call, Arc::clone(&round), |_| true));
            }
            What::Fleet => {
                let first = WatchFleetRequest::default();
                let mut call = connection.ask("/seaworthy.v1.FleetService/WatchFleet", &first).await?;
                while !complete(&call.answer().await?) {}
                workers.spawn(follow::<WatchFleetResponse>(call, Arc::clone(&round), is_instance));
            }
        }
    }
    // Cancelled below: the watchers follow until then.
    let times = rounds(&server, &round, watchers, changes, |n| change(&writer, &member, n)).await;
    workers.abort_all();
    times
}

fn complete(message: &WatchFleetResponse) -> bool {
    use watch_fleet_response::Message::Snapshot;
    matches!(&message.message, Some(Snapshot(part)) if part.complete)
}

/// Each change of an instance is followed by one of its service.
fn is_instance(message: &WatchFleetResponse) -> bool {
    use seaworthy_client::proto::seaworthy::v1::fleet_change::Change::Instance;
    use watch_fleet_response::Message::Change;
    matches!(&message.message, Some(Change(change)) if matches!(change.change, Some(Instance(_))))
}

async fn change(connection: &Connection, (instance, token): &Registered, n: usize) -> Result<()> {
    let state = if n.is_multiple_of(2) { HealthState::Healthy } else { HealthState::Degraded };
    let request = ReportHealthRequest {
        instance: Some(instance.clone()),
        session_token: token.clone(),
        reports: fleet::reports(state),
        ..ReportHealthRequest::default()
    };
    let request = framed(&request)?;
    let _answer: ReportHealthResponse =
        connection.unary("/seaworthy.v1.HealthService/ReportHealth", request).await?;
    Ok(())
}

async fn peer(threads: usize, watchers: usize, changes: usize) -> Result<[f64; 3]> {
    let server = etcd::start(threads).await?;
    let connections = server.connect_thin(CONNECTIONS).await?;
    let own = server.connect_thin(1).await?;
    let client = etcd::Client::new(own.nth(0));
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let lease = client.grant().await?;
    let (round, mut workers) = (Arc::new(Round::default()), JoinSet::new());
    for n in 0..watchers {
        let first = WatchRequest::of(KEY);
        let mut call = connections.nth(n).stream("/etcdserverpb.Watch/Watch", &first).await?;
        if !call.answer::<WatchResponse>().await?.created {
            return Err("a watch was not created".into());
        }
        workers
            .spawn(follow::<WatchResponse>(call, Arc::clone(&round), |message| !message.events.is_empty()));
    }
    let put = |_| client.put(KEY.to_owned(), value.clone(), lease);
    let times = rounds(&server, &round, watchers, changes, put).await;
    workers.abort_all();
    times
}

async fn follow<A: Message + Default>(
    mut call: Call,
    round: Arc<Round>,
    counts: fn(&A) -> bool,
) -> Result<()> {
    loop {
        if counts(&call.answer().await?) {
            round.served();
        }
    }
}

/// Milliseconds until the last watcher had it, p50 and p99, and microseconds of the server's CPU for each
/// message.
#[allow(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
async fn rounds<F>(
    server: &Server,
    round: &Round,
    watchers: usize,
    changes: usize,
    change: impl Fn(usize) -> F,
) -> Result<[f64; 3]>
where
    F: Future<Output = Result<()>>,
{
    let (mut times, mut cpu) = (Vec::with_capacity(changes), 0.0);
    for n in 1..=WARM_UP + changes {
        if n == WARM_UP + 1 {
            cpu = server.cpu_seconds()?;
        }
        round.left.store(watchers, Relaxed);
        let start = Instant::now();
        let all = async {
            round.done.notified().await;
            Ok(start.elapsed())
        };
        let (last, ()) = timeout(PATIENCE, async { tokio::try_join!(all, change(n)) })
            .await
            .map_err(|_| format!("{} watchers were not served in time", round.left.load(Relaxed)))??;
        if n > WARM_UP {
            times.push(last.as_secs_f64() * 1e3);
        }
        sleep(PAUSE).await;
    }
    let cpu = (server.cpu_seconds()? - cpu) * 1e6 / (changes * watchers) as f64;
    Ok([quantile(&times, 0.5), quantile(&times, 0.99), cpu])
}
