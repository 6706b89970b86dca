//! What policies cost, and what they are for: `GetInstance` with all limits and permits on against the same server with
//! none, and `RemoveInstance` with a breaker too; and a well-behaved caller beside one that calls at 50 times its limit, against a bare server that refuses at once.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command},
    time::{Duration, Instant},
};

use bytes::Bytes;
use seaworthy_client::proto::seaworthy::v1::{
    Flag, FlagValue, FlagVariant, GetInstanceRequest, GetInstanceResponse, HealthState, PermitLimit, Policy,
    PolicyScope, PolicyTarget, PutFlagRequest, PutPolicyRequest, RateLimit, RemoveInstanceRequest,
    RemoveInstanceResponse, ReportHealthRequest, ReportHealthResponse, RpcTarget, flag_value::Kind,
    policy_service_client::PolicyServiceClient, policy_target::What,
};
use support::{
    Result, bare,
    fleet::{self, Registered},
    load::{Meter, Sample, measure},
    pair::Pair,
    process::Server,
    report::{self, Goal},
    settings::Settings,
    wire::{Connection, Connections, framed},
};
use tokio::{net::TcpSocket, task::JoinSet, time};

/// Connections, and requests in flight on all of them together.
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;
/// More than is called.
const PLENTY: u32 = 100_000_000;
/// What the one who floods may call in a second, and how much more it does.
const LIMIT: u32 = 200;
const TIMES: u32 = 50;
/// Calls of a flood that leave together, so that the generator does not become what is measured.
const BURST: u32 = 50;
/// Where the flood comes from: another address is another caller.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Calls of the well-behaved caller at once, and its pause after each answer.
const WELL_BEHAVED: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);
/// The argument that makes the bench a flood: the address follows.
const FLOOD: &str = "flood";
const REPORT: &str = "/seaworthy.v1.HealthService/ReportHealth";

fn main() -> Result<()> {
    if bare::serve_if_asked()? {
        return Ok(());
    }
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(FLOOD) {
        let to = arguments.next().ok_or("to whom?")?.parse()?;
        return support::run(flood(to));
    }
    support::run(async {
        let settings = Settings::read()?;
        for asked in [Asked::Get, Asked::Remove] {
            report::head(asked.title(), "the same without policies");
            for &threads in &settings.threads {
                let mut pair = Pair::default();
                for round in 0..settings.rounds {
                    for limited in [round % 2 == 0, round % 2 == 1] {
                        let sample = calls(asked, threads, limited, &settings).await?;
                        if limited { pair.ours.push(sample) } else { pair.theirs.push(sample) }
                    }
                }
                let with = format!("{threads} server thread(s)");
                pair.rate(&format!("requests, {with}"), Goal::AtLeast(0.90, 0.97));
                pair.cpu(&format!("server CPU per request, {with}"), Goal::Shown);
                pair.latencies(&format!("latency, {with}"));
            }
        }
        report::head(
            "p99 of ReportHealth, 4 in flight, beside a caller at 50 times its limit",
            "bare tonic that refuses at once",
        );
        for &threads in &settings.threads {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for round in 0..settings.rounds {
                for ours_is_next in [round % 2 == 0, round % 2 == 1] {
                    if ours_is_next {
                        let server = fleet::start(threads).await?;
                        put(&server, slow_down_the_flooder()).await?;
                        ours.push(beside_a_flood(&server, &settings).await?);
                    } else {
                        let server = bare::start_reporting(threads).await?;
                        theirs.push(beside_a_flood(&server, &settings).await?);
                    }
                }
            }
            let of = |samples: &[Sample], figure: fn(&Sample) -> f64| {
                samples.iter().map(figure).collect::<Vec<_>>()
            };
            let line = |what: &str, unit: &str, figure, goal| {
                report::line(what, unit, &of(&ours, figure), &of(&theirs, figure), goal);
            };
            line(
                &format!("p99, {threads} server thread(s)"),
                " µs",
                |one| one.p99_us,
                Goal::AtMost(1.5, 1.1),
            );
            line("(median)", " µs", |one| one.p50_us, Goal::Shown);
            line("(cores that the server kept busy)", "", |one| one.busy, Goal::Shown);
        }
        Ok(())
    })
}

/// What is called.
#[derive(Clone, Copy)]
enum Asked {
    /// `GetInstance`: depends on nothing, so that no breaker stands before it.
    Get,
    /// `RemoveInstance` of one that is not there, with `allow_missing`: as little work, and it is one that writes, behind the
    /// breaker of the store.
    Remove,
}

impl Asked {
    fn title(self) -> &'static str {
        match self {
            Asked::Get => "GetInstance, 64 in flight, all limits and permits on",
            Asked::Remove => "RemoveInstance of nothing, 64 in flight, all limits, permits and a breaker on",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Asked::Get => "/seaworthy.v1.FleetService/GetInstance",
            Asked::Remove => "/seaworthy.v1.FleetService/RemoveInstance",
        }
    }

    fn request(self, service: String, instance_id: String) -> Result<Bytes> {
        match self {
            Asked::Get => framed(&GetInstanceRequest { service, instance_id }),
            Asked::Remove => framed(&RemoveInstanceRequest {
                service,
                instance_id: format!("{instance_id}-that-is-not-there"),
                allow_missing: true,
                ..RemoveInstanceRequest::default()
            }),
        }
    }

    async fn ask(self, connection: &Connection, request: Bytes) -> Result<()> {
        let as_it_should = match self {
            Asked::Get => {
                connection.unary::<GetInstanceResponse>(self.path(), request).await?.instance.is_some()
            }
            Asked::Remove => {
                connection.unary::<RemoveInstanceResponse>(self.path(), request).await?.tombstone.is_none()
            }
        };
        if as_it_should { Ok(()) } else { Err("answered something else".into()) }
    }
}

/// One round of calls, with every limit that there is, or with none.
async fn calls(asked: Asked, threads: usize, limited: bool, settings: &Settings) -> Result<Sample> {
    let server = fleet::start(threads).await?;
    if limited {
        put(&server, every_limit(asked)).await?;
    } else {
        for name in ["rate-limits", "permits", "circuit-breakers"] {
            turn_off(&server, &format!("control-plane.{name}")).await?;
        }
    }
    let connections = server.connect_thin(CONNECTIONS).await?;
    let (instance, _) = fleet::register(&connections.nth(0), 0).await?;
    let request = asked.request(instance.service, instance.instance_id)?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..IN_FLIGHT {
        let (connection, meter, request) = (connections.nth(worker), meter.clone(), request.clone());
        workers.spawn(async move {
            while meter.running() {
                let start = Instant::now();
                asked.ask(&connection, request.clone()).await?;
                meter.answered_since(start);
            }
            Ok(())
        });
    }
    measure(&server, settings, &meter, workers).await
}

/// Every scope, each with plenty.
fn every_limit(asked: Asked) -> Policy {
    let limit =
        |scope: PolicyScope| RateLimit { scope: scope.into(), amount: PLENTY, ..RateLimit::default() };
    let permits = |scope: PolicyScope| PermitLimit {
        scope: scope.into(),
        max_in_flight: 1_000_000,
        ..PermitLimit::default()
    };
    let scopes = [PolicyScope::Global, PolicyScope::Operation, PolicyScope::Caller];
    Policy {
        name: "bench".to_owned(),
        target: rpc(asked.path().trim_start_matches('/')),
        limits: scopes.map(limit).into(),
        permits: scopes[..2].iter().map(|scope| permits(*scope)).collect(),
        ..Policy::default()
    }
}

fn slow_down_the_flooder() -> Policy {
    let limit = RateLimit { scope: PolicyScope::Caller.into(), amount: LIMIT, ..RateLimit::default() };
    Policy {
        name: "bench".to_owned(),
        target: rpc(REPORT.trim_start_matches('/')),
        caller: FLOODER.to_string(),
        limits: vec![limit],
        ..Policy::default()
    }
}

fn rpc(method: &str) -> Option<PolicyTarget> {
    Some(PolicyTarget { what: Some(What::Rpcs(RpcTarget { method: method.to_owned() })) })
}

async fn put(server: &Server, policy: Policy) -> Result<()> {
    let channel = server.connect(1).await?.pop().ok_or("no connection")?;
    let request = PutPolicyRequest { policy: Some(policy), if_revision: None };
    PolicyServiceClient::new(channel).put_policy(request).await?;
    Ok(())
}

async fn turn_off(server: &Server, name: &str) -> Result<()> {
    let off =
        FlagVariant { name: "off".to_owned(), value: Some(FlagValue { kind: Some(Kind::BoolValue(false)) }) };
    let (name, default_variant) = (name.to_owned(), "off".to_owned());
    let flag = Flag { name, variants: vec![off], default_variant, ..Flag::default() };
    let channel = server.connect(1).await?.pop().ok_or("no connection")?;
    PolicyServiceClient::new(channel)
        .put_flag(PutFlagRequest { flag: Some(flag), if_revision: None })
        .await?;
    Ok(())
}

/// The well-behaved caller, while another one floods.
async fn beside_a_flood(server: &Server, settings: &Settings) -> Result<Sample> {
    let connections = server.connect_thin(1).await?;
    // The bare server knows no registry: it takes any instance.
    let registered = fleet::register(&connections.nth(0), 0).await;
    let (instance, session_token) = registered.unwrap_or_else(|_| Registered::default());
    let request = framed(&ReportHealthRequest {
        instance: Some(instance),
        session_token,
        reports: fleet::reports(HealthState::Healthy),
        ..ReportHealthRequest::default()
    })?;
    let _flood = Flood::start(server.address())?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..WELL_BEHAVED {
        let (connection, meter, request) = (connections.nth(worker), meter.clone(), request.clone());
        workers.spawn(async move {
            while meter.running() {
                let start = Instant::now();
                let answer: ReportHealthResponse = connection.unary(REPORT, request.clone()).await?;
                answer.instance.ok_or("answered without an instance")?;
                meter.answered_since(start);
                time::sleep(PAUSE).await;
            }
            Ok(())
        });
    }
    measure(server, settings, &meter, workers).await
}

/// The process that floods, until this is dropped.
struct Flood(Child);

impl Flood {
    fn start(to: SocketAddr) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        Ok(Self(command.args([FLOOD, &to.to_string()]).spawn()?))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Calls at so many times the limit, whatever is answered: without reports, which the bare server refuses.
async fn flood(to: SocketAddr) -> Result<()> {
    let connections = Connections::open_over(to, 1, async || {
        let socket = TcpSocket::new_v4()?;
        socket.bind((FLOODER, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
    .await?;
    let request = framed(&ReportHealthRequest::default())?;
    let mut pace = time::interval(Duration::from_secs(1) * BURST / (LIMIT * TIMES));
    pace.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let mut calls = JoinSet::new();
        for _ in 0..BURST {
            let (connection, request): (Connection, _) = (connections.nth(0), request.clone());
            calls.spawn(async move {
                // Refused is what it is to be.
                drop(connection.unary::<ReportHealthResponse>(REPORT, request).await);
            });
        }
        calls.join_all().await;
    }
}
