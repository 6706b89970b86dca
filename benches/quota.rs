//! A limit that a whole fleet shares: what 100 instances let through together, against what the limit says.
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
        OperationTarget, Policy, PolicyScope, PolicyTarget, PutPolicyRequest, RateLimit,
        policy_service_client::PolicyServiceClient, policy_target::What,
    },
};
use support::{
    Result, fleet,
    report::{self, Goal},
    settings::Settings,
};
use tokio::{task::JoinSet, time};

const INSTANCES: u32 = 100;
/// What all of them may do in a second.
const LIMIT: u32 = 2000;
/// How long slices have to settle.
const SETTLE: Duration = Duration::from_secs(8);
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
        Ok(())
    })
}

/// By how many percent more or less is let through than the limit says.
async fn round(demand: Demand, settings: &Settings) -> Result<f64> {
    let server = fleet::start(2).await?;
    let channel = server.connect(1).await?.pop().ok_or("no connection")?;
    PolicyServiceClient::new(channel)
        .put_policy(PutPolicyRequest { policy: Some(shared()), if_revision: None })
        .await?;
    let mut agents = Vec::new();
    for n in 0..INSTANCES {
        let url = format!("http://{}", server.address());
        agents.push(Agent::builder(url, SERVICE).instance_id(format!("i-{n}")).attach()?);
    }
    for agent in &agents {
        agent.attached().await?;
    }
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
    let of = OperationTarget { service: SERVICE.to_owned(), operation: OPERATION.to_owned() };
    let limit = RateLimit {
        scope: PolicyScope::Operation.into(),
        amount: LIMIT,
        burst: INSTANCES * 2,
        fleet_wide: true,
        ..RateLimit::default()
    };
    Policy {
        name: "shared".to_owned(),
        target: Some(PolicyTarget { what: Some(What::Operations(of)) }),
        limits: vec![limit],
        ..Policy::default()
    }
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
