//! A limit that a whole fleet shares: what 100 instances let through together, against what the limit says; and how long a
//! change of policies takes until it holds on all of them.
//!
//! The instances are agents of the Rust client in this process, each with a session of its own; what they ask for differs from
//! one to the next (even, skewed, and moving). Slices settle for some seconds before it is measured.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use seaworthy_client::{
    Agent,
    protect::Operations,
    proto::seaworthy::v1::{
        BreakerMode, CircuitBreaker, ListServicesRequest, OperationTarget, Policy, PolicyScope, PolicyTarget,
        PutPolicyRequest, RateLimit, RpcTarget, fleet_service_client::FleetServiceClient,
        policy_service_client::PolicyServiceClient, policy_target::What,
    },
};
use support::{
    Result, fleet,
    process::Server,
    report::{self, Goal},
    settings::Settings,
};
use tokio::{task::JoinSet, time};

const INSTANCES: u32 = 100;
/// What all of them may do in a second.
const LIMIT: u32 = 2000;
/// How long slices have to settle.
const SETTLE: Duration = Duration::from_secs(8);
/// Between two looks whether a change holds.
const LOOK: Duration = Duration::from_millis(1);
/// How often each instance asks.
const TICK: Duration = Duration::from_millis(50);
const SERVICE: &str = "orders";
const OPERATION: &str = "charge-card";

/// What an instance asks for in a second, of one that would do.
type Demand = fn(u32) -> f64;

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        report::head("A limit of 2000 a second over 100 instances", "what it says");
        let shapes: [(&str, Demand); 3] = [
            ("all ask for twice their part", |_| 2.0),
            ("ten ask for nearly all, the others for little", |n| if n < 10 { 15.0 } else { 0.2 }),
            ("each asks for another part, up to four times its own", |n| 4.0 * f64::from(n % 10 + 1) / 10.0),
        ];
        for (what, demand) in shapes {
            let mut errors = Vec::new();
            for _ in 0..settings.rounds {
                errors.push(round(demand, &settings).await?);
            }
            report::figure(&format!("error, {what}"), " %", &errors, &[], Goal::AtMost(5.0, 1.0));
        }
        report::head("A change of policies, with 100 instances attached", "nobody");
        let (mut on_all, mut on_server) = (Vec::new(), Vec::new());
        for _ in 0..settings.rounds {
            let (instances, rpcs) = change().await?;
            on_all.push(instances);
            on_server.push(rpcs);
        }
        report::figure("holds on all instances after", " ms", &on_all, &[], Goal::AtMost(1000.0, 100.0));
        report::figure("holds of RPCs after", " ms", &on_server, &[], Goal::AtMost(1000.0, 100.0));
        Ok(())
    })
}

/// From asking to put a policy until it holds: on every instance, and of an RPC of the control plane. In milliseconds.
async fn change() -> Result<(f64, f64)> {
    let server = fleet::start(2).await?;
    let channel = server.connect(1).await?.pop().ok_or("no connection")?;
    let agents = attach(&server).await?;
    let mut client = PolicyServiceClient::new(channel.clone());
    let began = Instant::now();
    let breaker = CircuitBreaker { mode: BreakerMode::ForcedOpen.into(), ..CircuitBreaker::default() };
    let policy = Policy { breaker: Some(breaker), ..of_operation("closed") };
    client.put_policy(PutPolicyRequest { policy: Some(policy), if_revision: None }).await?;
    for agent in &agents {
        while agent.operations().admit(OPERATION, "bench").await.is_ok() {
            time::sleep(LOOK).await;
        }
    }
    let instances = millis(began);

    let mut fleet = FleetServiceClient::new(channel);
    let limit =
        RateLimit { scope: PolicyScope::Operation.into(), amount: 1, period: hour(), ..RateLimit::default() };
    let method = "seaworthy.v1.FleetService/ListServices".to_owned();
    let target = Some(PolicyTarget { what: Some(What::Rpcs(RpcTarget { method })) });
    let policy = Policy { name: "seldom".to_owned(), target, limits: vec![limit], ..Policy::default() };
    let began = Instant::now();
    client.put_policy(PutPolicyRequest { policy: Some(policy), if_revision: None }).await?;
    while fleet.list_services(ListServicesRequest::default()).await.is_ok() {
        time::sleep(LOOK).await;
    }
    Ok((instances, millis(began)))
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn hour() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 3600, nanos: 0 })
}

/// So many agents, each with its session.
async fn attach(server: &Server) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for n in 0..INSTANCES {
        let url = format!("http://{}", server.address());
        agents.push(Agent::builder(url, SERVICE).instance_id(format!("i-{n}")).attach()?);
    }
    for agent in &agents {
        agent.attached().await?;
    }
    Ok(agents)
}

/// By how many percent more or less is let through than the limit says.
async fn round(demand: Demand, settings: &Settings) -> Result<f64> {
    let server = fleet::start(2).await?;
    let channel = server.connect(1).await?.pop().ok_or("no connection")?;
    PolicyServiceClient::new(channel)
        .put_policy(PutPolicyRequest { policy: Some(shared()), if_revision: None })
        .await?;
    let agents = attach(&server).await?;
    let admitted = Arc::new(AtomicU64::new(0));
    let mut asking = JoinSet::new();
    for (n, agent) in (0..).zip(&agents) {
        let each = demand(n) * f64::from(LIMIT) / f64::from(INSTANCES);
        asking.spawn(ask(agent.operations().clone(), each, Arc::clone(&admitted)));
    }
    time::sleep(SETTLE).await;
    let (before, since) = (admitted.load(Relaxed), Instant::now());
    time::sleep(settings.window.max(Duration::from_secs(5))).await;
    let through = (admitted.load(Relaxed) - before) as f64;
    let allowed = f64::from(LIMIT) * since.elapsed().as_secs_f64();
    asking.shutdown().await;
    Ok((through / allowed - 1.0).abs() * 100.0)
}

fn shared() -> Policy {
    let limit = RateLimit {
        scope: PolicyScope::Operation.into(),
        amount: LIMIT,
        burst: INSTANCES * 2,
        fleet_wide: true,
        ..RateLimit::default()
    };
    Policy { limits: vec![limit], ..of_operation("shared") }
}

fn of_operation(name: &str) -> Policy {
    let of = OperationTarget { service: SERVICE.to_owned(), operation: OPERATION.to_owned() };
    let target = Some(PolicyTarget { what: Some(What::Operations(of)) });
    Policy { name: name.to_owned(), target, ..Policy::default() }
}

/// Asks so often in a second, a few at each tick.
async fn ask(operations: Operations, each: f64, admitted: Arc<AtomicU64>) {
    let (mut owed, mut last) = (0.0, Instant::now());
    loop {
        time::sleep(TICK).await;
        owed += each * last.elapsed().as_secs_f64();
        last = Instant::now();
        while owed >= 1.0 {
            owed -= 1.0;
            if let Ok(call) = operations.admit(OPERATION, "bench").await {
                call.succeeded();
                admitted.fetch_add(1, Relaxed);
            }
        }
    }
}
