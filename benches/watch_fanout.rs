//! One change of health to 1,000 watchers over 16 connections, until the last one has it, against etcd's
//! watch of a key.
//!
//! A watcher is a stream of its own on both sides. In Seaworthy an instance's components change their state and
//! each watcher gets one message; in etcd a value is put under the key that is watched. The claim is the watch of
//! an instance's health. The time runs from sending the change, on a connection of its own, to the last watcher's
//! message. One change at a time: the next one follows when all have had the last, after a pause, in which nothing
//! more may come.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{
    future::ready,
    time::{Duration, Instant},
};

use bytes::Bytes;
use seaworthy_client::proto::seaworthy::v1::{
    HealthState, ReportHealthRequest, ReportHealthResponse, WatchFleetRequest, WatchHealthRequest,
};
use support::{
    Result,
    etcd::{self, WatchRequest},
    fleet::{self, Registered},
    followers::Followers,
    process::Server,
    report::{self, Goal, quantile},
    settings::{self, Settings},
    wire::{Connection, framed},
};
use tokio::time::{sleep, timeout};

const CONNECTIONS: usize = 16;
const KEY: &str = "bench/health";
/// Changes that are not measured.
const WARM_UP: usize = 20;
/// Times that a state is reported again before it changes: who changes it with every report is flapping, and its
/// good reports are then no changes.
const AGAIN: usize = 6;
/// Between one change and the next.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);
/// Of etcd's value: less than any message of Seaworthy's.
const VALUE_BYTES: usize = 128;

/// What the watchers follow.
#[derive(Clone, Copy, Debug)]
enum What {
    Instance,
    Component,
    Service,
    /// Instances of one service, and the service: a change of both is two messages.
    Fleet,
}

impl What {
    fn title(self) -> &'static str {
        match self {
            What::Instance => "health of an instance",
            What::Component => "health of a component",
            What::Service => "health of a service",
            What::Fleet => "the fleet, one service",
        }
    }

    fn messages(self) -> usize {
        match self {
            What::Instance | What::Component | What::Service => 1,
            What::Fleet => 2,
        }
    }
}

const WHAT: [What; 4] = [What::Instance, What::Component, What::Service, What::Fleet];

/// What was measured of one side in one round.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Milliseconds until the last watcher had it.
    p50: f64,
    p99: f64,
    /// Microseconds of the server's CPU for each message.
    cpu: f64,
    /// Bytes of a message.
    bytes: f64,
}

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let watchers = settings::number("BENCH_WATCHERS", 1000)?;
        let changes = settings::number("BENCH_CHANGES", 200)?;
        let name = etcd::name()?;
        report::head(&format!("One change to {watchers} watchers, {CONNECTIONS} connections"), &name);
        for &threads in &settings.threads {
            let (mut ours, mut theirs) = ([const { Vec::new() }; WHAT.len()], Vec::new());
            for _ in 0..settings.rounds {
                for (what, ours) in WHAT.into_iter().zip(&mut ours) {
                    ours.push(seaworthy(threads, watchers, changes, what).await?);
                    if matches!(what, What::Instance) {
                        theirs.push(peer(threads, watchers, changes).await?);
                    }
                }
            }
            let of = |measured: &[Measured], figure: fn(&Measured) -> f64| {
                measured.iter().map(figure).collect::<Vec<_>>()
            };
            for (what, ours) in WHAT.into_iter().zip(&ours) {
                let title = what.title();
                let goal = match what {
                    What::Instance => Goal::AtMost(1.0 / 2.0, 1.0 / 3.0),
                    What::Component | What::Service | What::Fleet => Goal::Shown,
                };
                let line = |what: &str, unit: &str, figure: fn(&Measured) -> f64, goal: Goal| {
                    let title = format!("{title}, {what}, {threads} server thread(s)");
                    report::line(&title, unit, &of(ours, figure), &of(&theirs, figure), goal);
                };
                line("last watcher, p50", " ms", |it| it.p50, goal);
                line("last watcher, p99", " ms", |it| it.p99, Goal::Shown);
                line("server CPU for each message", " µs", |it| it.cpu, Goal::Shown);
                line("length of a message", " bytes", |it| it.bytes, Goal::Shown);
            }
        }
        Ok(())
    })
}

async fn seaworthy(threads: usize, watchers: usize, changes: usize, what: What) -> Result<Measured> {
    let server = fleet::start(threads).await?;
    let own = server.connect_thin(1).await?;
    let writer = own.nth(0);
    let member = fleet::register(&writer, 0).await?;
    change(&writer, &member, 0).await?;
    let (service, instance_id) = (member.0.service.clone(), member.0.instance_id.clone());
    let health = |instance_id: &str, component: &str| WatchHealthRequest {
        service: service.clone(),
        instance_id: instance_id.to_owned(),
        component: component.to_owned(),
    };
    let first = match what {
        What::Instance => framed(&health(&instance_id, ""))?,
        What::Component => framed(&health(&instance_id, "database"))?,
        What::Service => framed(&health("", ""))?,
        What::Fleet => framed(&WatchFleetRequest { service: service.clone(), ..Default::default() })?,
    };
    let path = match what {
        What::Instance | What::Component | What::Service => "/seaworthy.v1.HealthService/WatchHealth",
        What::Fleet => "/seaworthy.v1.FleetService/WatchFleet",
    };
    let mut followers = Followers::open(server.address(), CONNECTIONS).await?;
    for n in 0..watchers {
        followers.watch(n, path, &first, true).await?;
    }
    let rounds = Rounds { changes, watchers, messages: what.messages() };
    let change = |n| change(&writer, &member, n);
    rounds.run(&server, &followers, change, change).await
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

async fn peer(threads: usize, watchers: usize, changes: usize) -> Result<Measured> {
    let server = etcd::start(threads).await?;
    let own = server.connect_thin(1).await?;
    let client = etcd::Client::new(own.nth(0));
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let lease = client.grant().await?;
    let first = framed(&WatchRequest::of(KEY))?;
    let mut followers = Followers::open(server.address(), CONNECTIONS).await?;
    for n in 0..watchers {
        followers.watch(n, "/etcdserverpb.Watch/Watch", &first, false).await?;
    }
    let put = |_| client.put(KEY.to_owned(), value.clone(), lease);
    Rounds { changes, watchers, messages: 1 }.run(&server, &followers, put, |_| ready(Ok(()))).await
}

/// How one side is measured.
struct Rounds {
    changes: usize,
    watchers: usize,
    /// To each watcher for each change.
    messages: usize,
}

impl Rounds {
    #[allow(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
    async fn run<F, A>(
        &self,
        server: &Server,
        followers: &Followers,
        change: impl Fn(usize) -> F,
        again: impl Fn(usize) -> A,
    ) -> Result<Measured>
    where
        F: Future<Output = Result<()>>,
        A: Future<Output = Result<()>>,
    {
        followers.settled(self.watchers).await?;
        let (mut times, mut cpu, mut bytes) = (Vec::with_capacity(self.changes), 0.0, 0);
        for n in 1..=WARM_UP + self.changes {
            if n == WARM_UP + 1 {
                cpu = server.cpu_seconds()?;
                bytes = followers.bytes();
            }
            followers.await_more(self.watchers * self.messages);
            let start = Instant::now();
            let all = async {
                followers.reached().await?;
                Ok(start.elapsed())
            };
            let (last, ()) = timeout(PATIENCE, async { tokio::try_join!(all, change(n)) })
                .await
                .map_err(|_| format!("change {n} did not reach all in time"))??;
            if n > WARM_UP {
                times.push(last.as_secs_f64() * 1e3);
            }
            for _ in 0..AGAIN {
                again(n).await?;
            }
            sleep(PAUSE).await;
            if followers.beyond() > 0 {
                return Err(format!("change {n}: {} messages too many", followers.beyond()).into());
            }
        }
        let messages = (self.changes * self.watchers * self.messages) as f64;
        Ok(Measured {
            p50: quantile(&times, 0.5),
            p99: quantile(&times, 0.99),
            cpu: (server.cpu_seconds()? - cpu) * 1e6 / messages,
            bytes: (followers.bytes() - bytes) as f64 / messages,
        })
    }
}
