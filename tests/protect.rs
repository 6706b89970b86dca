//! Operations that a service protects by the Rust client, ruled and seen by the real control plane.

#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "server/harness.rs"]
mod harness;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use seaworthy_client::{
    Agent, Lifecycle,
    protect::{ProtectError, RefusalKind},
    proto::seaworthy::v1::{self as pb, policy_service_client::PolicyServiceClient},
};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::harness::{PATIENCE, TestServer};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

type Policies = PolicyServiceClient<Channel>;

async fn attach(server: &TestServer, id: &str) -> Agent {
    let agent = Agent::builder(server.url(), "orders").instance_id(id).attach().expect("a good description");
    timeout(PATIENCE, agent.attached()).await.expect("in time").expect("it has not left");
    agent
}

fn charge_card() -> Option<pb::PolicyTarget> {
    let of = pb::OperationTarget { service: "orders".into(), operation: "charge-card".into() };
    Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) })
}

async fn put(policies: &mut Policies, policy: pb::Policy) {
    policies.put_policy(pb::PutPolicyRequest { policy: Some(policy), if_revision: None }).await.expect("put");
}

/// One call: whether it succeeded, failed (None), or was refused.
async fn charge(agent: &Agent, works: bool) -> Result<(), Option<RefusalKind>> {
    let work = async || if works { Ok(()) } else { Err(io::Error::other("the bank is down")) };
    match agent.protect("charge-card", "shop", work).await {
        Ok(()) => Ok(()),
        Err(ProtectError::Refused(refusal)) => Err(Some(refusal.kind())),
        Err(ProtectError::Failed(_) | ProtectError::TimedOut) => Err(None),
    }
}

/// Looks until this is so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what} never came to be");
        sleep(LOOK).await;
    }
}

async fn breaker(policies: &mut Policies) -> Option<pb::Breaker> {
    let request = pb::GetBreakersRequest { service: "orders".into(), ..pb::GetBreakersRequest::default() };
    policies.get_breakers(request).await.expect("breakers").into_inner().breakers.into_iter().next()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reaches_a_running_service_and_is_kept_while_the_control_plane_is_away() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);
    assert_eq!(charge(&agent, true).await, Ok(()));
    let limit = pb::RateLimit {
        scope: pb::PolicyScope::Operation.into(),
        amount: 1,
        period: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..pb::RateLimit::default()
    };
    let limits = vec![limit];
    put(&mut policies, pb::Policy { name: "c".into(), target: charge_card(), limits, ..Default::default() })
        .await;
    until("the limit", async || charge(&agent, true).await == Err(Some(RefusalKind::Limited))).await;
    server.stop().await;
    assert_eq!(charge(&agent, true).await, Err(Some(RefusalKind::Limited)), "what was ruled is kept");
}

async fn limit(policies: &mut Policies, name: &str, operation: &str) {
    let of = pb::OperationTarget { service: "orders".into(), operation: operation.into() };
    let target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) });
    let limit = pb::RateLimit {
        scope: pb::PolicyScope::Operation.into(),
        amount: 1,
        period: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..pb::RateLimit::default()
    };
    put(policies, pb::Policy { name: name.into(), target, limits: vec![limit], ..pb::Policy::default() })
        .await;
}

/// Whole servers, over the network: a route and a method are operations, and who is refused is told so as their protocols say.
#[tokio::test(flavor = "multi_thread")]
async fn servers_by_http_and_grpc_are_protected_by_a_layer() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);

    let router = axum::Router::new()
        .route("/orders/{id}", axum::routing::get(|| async { "here" }))
        .route_layer(agent.operations().axum_layer());
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let web_address = web.local_addr().expect("bound");
    let web = tokio::spawn(async move { axum::serve(web, router).await });
    let get = async |path: &str| harness::get(web_address, path, "*/*").await;
    assert_eq!(get("/orders/1").await, (200, "here".to_owned()));
    limit(&mut policies, "web", "GET:/orders/{id}").await;
    until("the limit of the route", async || get("/orders/2").await.0 == 429).await;
    let refusal: serde_json::Value = serde_json::from_str(&get("/orders/3").await.1).expect("JSON");
    assert_eq!((&refusal["reason"], &refusal["policy"]), (&"RATE_LIMITED".into(), &"web".into()));
    assert!(refusal["retry_after_ms"].as_u64().is_some_and(|millis| millis > 3_000_000), "{refusal}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let health = tonic::transport::Server::builder()
        .layer(agent.operations().tonic_layer())
        .add_service(agent.health_service());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let grpc = tokio::spawn(health.serve_with_incoming(incoming));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let client = HealthClient::new(endpoint.connect().await.expect("it serves"));
    let check = async || client.clone().check(HealthCheckRequest { service: String::new() }).await;
    check().await.expect("nothing refuses it");
    limit(&mut policies, "grpc", "grpc.health.v1.Health/Check").await;
    until("the limit of the method", async || check().await.is_err()).await;
    let refused = check().await.expect_err("over the limit");
    let details = refused.get_error_details();
    let info = details.error_info().expect("why");
    assert_eq!((refused.code(), info.reason.as_str()), (tonic::Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(info.metadata["policy"], "grpc");
    assert!(details.retry_info().is_some_and(|info| info.retry_delay > Some(Duration::from_secs(3000))));
    assert!(details.quota_failure().is_some());

    agent.leave("done").await;
    web.abort();
    grpc.abort();
    server.stop().await;
}

/// The figures of a service are those of all its instances, and stay when one of them goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_operations_is_in_the_metrics_and_stays_there() {
    let server = TestServer::start().await;
    let (first, second) = (attach(&server, "i-1").await, attach(&server, "i-2").await);
    // What was done before the first report is not told apart from what was counted before.
    for agent in [&first, &second] {
        charge(agent, true).await.expect("nothing refuses it");
    }
    let counted = async |outcome: &str| {
        let text = server.get("/metrics").await.1;
        let line = format!(
            r#"seaworthy_operation_calls_total{{service="orders",operation="charge-card",outcome="{outcome}"}} "#
        );
        let value = text.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u64>().ok());
        (value, text)
    };
    let mut policies = PolicyServiceClient::new(server.channel().await);
    until("both reports", async || {
        let usage =
            policies.get_usage(pb::GetUsageRequest { service: "orders".into(), ..Default::default() }).await;
        let instances = usage.expect("usage").into_inner().instances;
        instances.iter().filter(|instance| !instance.operations.is_empty()).count() == 2
    })
    .await;
    for agent in [&first, &second] {
        for works in [true, true, false] {
            charge(agent, works).await.ok();
        }
    }
    until("four successes", async || counted("success").await.0 == Some(4)).await;
    until("two failures", async || counted("failure").await.0 == Some(2)).await;
    let (_, text) = counted("limited").await;
    for line in [
        r#"seaworthy_operation_duration_seconds_count{service="orders",operation="charge-card"} 6"#,
        r#"seaworthy_operation_breakers{service="orders",operation="charge-card",state="closed"} 2"#,
        r#"seaworthy_operation_in_flight{service="orders",operation="charge-card"} 0"#,
        r#"seaworthy_operation_in_flight_peak{service="orders",operation="charge-card"} 1"#,
        r#"seaworthy_operation_retries_total{service="orders",operation="charge-card"} 0"#,
        r#"seaworthy_operation_near_limit_total{service="orders",operation="charge-card"} 0"#,
        r#"seaworthy_operation_shadow_refused_total{service="orders",operation="charge-card"} 0"#,
        "seaworthy_operation_left_out_total 0",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    first.leave("done").await;
    let one_left = r#"operation="charge-card",state="closed"} 1"#;
    until("the breaker of the other alone", async || counted("success").await.1.contains(one_left)).await;
    assert_eq!(counted("success").await.0, Some(4));

    // Which policy refused what, and what one in shadow would have.
    limit(&mut policies, "bank", "charge-card").await;
    let shadow = pb::Policy {
        name: "tenant".into(),
        shadow: true,
        target: charge_card(),
        limits: vec![pb::RateLimit {
            scope: pb::PolicyScope::Caller.into(),
            amount: 1,
            period: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..pb::RateLimit::default()
        }],
        ..pb::Policy::default()
    };
    put(&mut policies, shadow).await;
    for part in [
        r#"policy="bank",part="limits",scope="operation",shadow="false",outcome="refused"} "#,
        r#"policy="tenant",part="limits",scope="caller",shadow="true",outcome="refused"} "#,
    ] {
        let line = format!(r#"seaworthy_operation_policy_decisions_total{{service="orders",{part}"#);
        until(part, async || {
            charge(&second, true).await.ok();
            let text = server.get("/metrics").await.1;
            text.lines().any(|found| {
                found
                    .strip_prefix(&line)
                    .is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0))
            })
        })
        .await;
    }
    second.leave("done").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_with_its_dependency_is_seen_and_recovers() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let breaker_rule = pb::CircuitBreaker {
        consecutive_failures: 3,
        open: second,
        max_open: second,
        probes: 2,
        ..pb::CircuitBreaker::default()
    };
    let policy = pb::Policy {
        name: "bank".into(),
        target: charge_card(),
        breaker: Some(breaker_rule),
        ..pb::Policy::default()
    };
    put(&mut policies, policy).await;
    until("the policy", async || {
        let usage =
            policies.get_usage(pb::GetUsageRequest { service: "orders".into(), ..Default::default() }).await;
        usage.unwrap().into_inner().instances.iter().any(|instance| instance.policy_revision > 0)
    })
    .await;
    // The bank goes down, and comes back.
    let works = AtomicBool::new(false);
    until("an open breaker", async || {
        charge(&agent, works.load(Ordering::Relaxed)).await == Err(Some(RefusalKind::Broken))
    })
    .await;
    until("the sight of it", async || {
        breaker(&mut policies).await.is_some_and(|seen| seen.state() == pb::BreakerState::Open)
    })
    .await;
    let seen = breaker(&mut policies).await.expect("it is reported");
    assert_eq!((seen.instance_id.as_str(), seen.operation.as_str()), ("i-1", "charge-card"));
    works.store(true, Ordering::Relaxed);
    until("recovery", async || charge(&agent, works.load(Ordering::Relaxed)).await.is_ok()).await;
    until("the sight of recovery", async || {
        charge(&agent, true).await.ok();
        breaker(&mut policies).await.is_some_and(|seen| seen.state() == pb::BreakerState::Closed)
    })
    .await;
    agent.leave("done").await;
    server.stop().await;
}

/// Every state, as a breaker of a running service really gets there, and as it is seen.
#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_breaker_is_reached_and_seen() {
    use pb::BreakerState::{Closed, ForcedClosed, ForcedOpen, HalfOpen, MetricsOnly, Open};
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);
    // Long enough to be seen open: instances look twice a second whether there is anything to tell.
    let open = Some(prost_types::Duration { seconds: 4, nanos: 0 });
    let rule = |mode: pb::BreakerMode| pb::Policy {
        name: "bank".into(),
        target: charge_card(),
        breaker: Some(pb::CircuitBreaker {
            mode: mode.into(),
            consecutive_failures: 2,
            open,
            max_open: open,
            probes: 1,
            ..pb::CircuitBreaker::default()
        }),
        ..pb::Policy::default()
    };
    let seen = async |policies: &mut Policies, state: pb::BreakerState| {
        until(state.as_str_name(), async || {
            breaker(policies).await.is_some_and(|seen| seen.state() == state)
        })
        .await;
    };

    // It counts, and refuses nothing.
    put(&mut policies, rule(pb::BreakerMode::MetricsOnly)).await;
    until("METRICS_ONLY in force", async || {
        charge(&agent, true).await.ok();
        breaker(&mut policies).await.is_some_and(|seen| seen.state() == MetricsOnly)
    })
    .await;
    for _ in 0..4 {
        assert_eq!(charge(&agent, false).await, Err(None), "it lets through what fails");
    }

    // Two failures open it; each call after that is refused.
    put(&mut policies, rule(pb::BreakerMode::Unspecified)).await;
    until("an open breaker", async || charge(&agent, false).await == Err(Some(RefusalKind::Broken))).await;
    seen(&mut policies, Open).await;

    // A probe that takes its time is the only one in; it is seen half-open meanwhile.
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let released = tokio::sync::Mutex::new(Some(released));
    let probe = agent.handle();
    let probe = tokio::spawn(async move {
        loop {
            let work = async || {
                if let Some(released) = released.lock().await.take() {
                    released.await.ok();
                }
                Ok::<_, io::Error>(())
            };
            if probe.protect("charge-card", "shop", work).await.is_ok() {
                return;
            }
            sleep(LOOK).await;
        }
    });
    seen(&mut policies, HalfOpen).await;
    assert_eq!(charge(&agent, true).await, Err(Some(RefusalKind::Broken)), "exactly one probe is let in");
    release.send(()).expect("the probe waits for it");
    timeout(PATIENCE, probe).await.expect("in time").expect("no panic");
    seen(&mut policies, Closed).await;

    // By hand, one way and the other: forced closed it lets through what fails, however often.
    for (state, refused) in [(ForcedOpen, true), (ForcedClosed, false)] {
        policies
            .override_breaker(pb::OverrideBreakerRequest {
                service: "orders".into(),
                operation: "charge-card".into(),
                state: state.into(),
                ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                ..pb::OverrideBreakerRequest::default()
            })
            .await
            .expect("forced");
        seen(&mut policies, state).await;
        for _ in 0..4 {
            let expected = if refused { Err(Some(RefusalKind::Broken)) } else { Err(None) };
            assert_eq!(charge(&agent, false).await, expected, "{state:?}");
        }
    }
    agent.leave("done").await;
    server.stop().await;
}

/// By each algorithm and in each scope a running service refuses what is too much, and says until when.
#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_and_scope_refuses_in_a_running_service() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let algorithms = [
        pb::RateAlgorithm::TokenBucket,
        pb::RateAlgorithm::LeakyBucket,
        pb::RateAlgorithm::SlidingWindow,
        pb::RateAlgorithm::FixedWindow,
    ];
    let scopes = [pb::PolicyScope::Global, pb::PolicyScope::Operation, pb::PolicyScope::Caller];
    for algorithm in algorithms {
        for scope in scopes {
            let name = format!("{}-{}", algorithm.as_str_name(), scope.as_str_name());
            let name = name.to_lowercase().replace('_', "-");
            let operation = format!("op-{name}");
            let of = pb::OperationTarget { service: "orders".into(), operation: operation.clone() };
            let limit = pb::RateLimit {
                algorithm: algorithm.into(),
                scope: scope.into(),
                amount: 1,
                period: Some(prost_types::Duration { seconds: 30 * 24 * 3600, nanos: 0 }),
                ..pb::RateLimit::default()
            };
            let target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) });
            let policy =
                pb::Policy { name: name.clone(), target, limits: vec![limit], ..pb::Policy::default() };
            put(&mut policies, policy).await;
            let call = async |caller: &str| {
                let done = agent.protect(&operation, caller, async || Ok::<_, io::Error>(())).await;
                match done {
                    Ok(()) => None,
                    Err(ProtectError::Refused(refusal)) => Some(refusal),
                    Err(other) => panic!("{name}: {other}"),
                }
            };
            until(&name, async || call("shop").await.is_some()).await;
            let refusal = call("shop").await.expect("over the limit");
            assert_eq!((refusal.kind(), refusal.policy()), (RefusalKind::Limited, Some(name.as_str())));
            assert!(refusal.retry_after().is_some_and(|pause| pause > Duration::from_secs(60)), "{refusal}");
            let other = call("another").await;
            assert_eq!(other.is_none(), scope == pb::PolicyScope::Caller, "{name}: {other:?}");
        }
    }
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_forces_every_instance_and_ends_by_itself() {
    let server = TestServer::start().await;
    let agents = [attach(&server, "i-1").await, attach(&server, "i-2").await];
    let mut policies = PolicyServiceClient::new(server.channel().await);
    for agent in &agents {
        assert_eq!(charge(agent, true).await, Ok(()));
    }
    let forced = policies
        .override_breaker(pb::OverrideBreakerRequest {
            service: "orders".into(),
            operation: "charge-card".into(),
            state: pb::BreakerState::ForcedOpen.into(),
            ttl: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            message: "the bank is down".into(),
            ..pb::OverrideBreakerRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(forced.instances, 2);
    for agent in &agents {
        until("the override", async || charge(agent, true).await == Err(Some(RefusalKind::Broken))).await;
    }
    // It ends there although the control plane is gone.
    server.stop().await;
    for agent in &agents {
        until("its end", async || charge(agent, true).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_changes_what_a_running_service_does() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);
    assert!(!agent.flags().bool("new-checkout", false));
    let variant = |name: &str, value| pb::FlagVariant {
        name: name.into(),
        value: Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(value)) }),
    };
    let flag = pb::Flag {
        name: "new-checkout".into(),
        variants: vec![variant("on", true), variant("off", false)],
        default_variant: "off".into(),
        rules: vec![pb::FlagRule {
            services: vec!["orders".into()],
            variant: "on".into(),
            ..Default::default()
        }],
        ..pb::Flag::default()
    };
    policies.put_flag(pb::PutFlagRequest { flag: Some(flag), if_revision: None }).await.unwrap();
    until("the flag", async || agent.flags().bool("new-checkout", false)).await;
    policies
        .delete_flag(pb::DeleteFlagRequest { name: "new-checkout".into(), ..Default::default() })
        .await
        .unwrap();
    until("its end", async || !agent.flags().bool("new-checkout", false)).await;
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_over_the_fleet_is_shared_by_its_instances() {
    const AMOUNT: u32 = 60;
    let server = TestServer::start().await;
    let agents =
        Arc::new([attach(&server, "i-1").await, attach(&server, "i-2").await, attach(&server, "i-3").await]);
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let limit = pb::RateLimit {
        scope: pb::PolicyScope::Operation.into(),
        amount: AMOUNT,
        burst: 3,
        fleet_wide: true,
        ..pb::RateLimit::default()
    };
    let limits = vec![limit];
    put(&mut policies, pb::Policy { name: "c".into(), target: charge_card(), limits, ..Default::default() })
        .await;
    // All ask for far more than there is; once slices have settled, they never get more than there is together.
    let counted = async |seconds: u64| {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut charged = [0_u32; 3];
        while Instant::now() < until {
            for (agent, charged) in agents.iter().zip(&mut charged) {
                *charged += u32::from(charge(agent, true).await.is_ok());
            }
            sleep(Duration::from_millis(2)).await;
        }
        charged
    };
    let keeps = async |seconds| {
        let began = Instant::now();
        let charged = counted(seconds).await;
        let allowed = f64::from(AMOUNT) * began.elapsed().as_secs_f64();
        // Each may have one more in its bucket.
        let all = f64::from(charged.iter().sum::<u32>());
        all <= allowed * 1.05 + 9.0 && charged.iter().all(|one| *one > 0)
    };
    until("slices that add up to the limit", async || keeps(1).await).await;
    assert!(keeps(4).await, "and they go on so");
    server.stop().await;
}

/// While it drains, and once it has left: it is still seen by the control plane in the one case, and not in the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_attached_service_that_drains_takes_no_more_work_nor_one_that_has_left() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let handle = agent.handle();
    let turned_away = Err(Some(RefusalKind::TurnedAway));
    handle.set_lifecycle(Lifecycle::Ready).unwrap();
    assert_eq!(charge(&agent, true).await, Ok(()));
    // What is under way is finished.
    let under_way = handle.operations().admit("charge-card", "shop").await.unwrap();
    handle.set_lifecycle(Lifecycle::Draining).unwrap();
    assert_eq!(charge(&agent, true).await, turned_away);
    let mut fleet = server.fleet().await;
    let get = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
    until("the drain is seen", async || {
        let seen = fleet.get_instance(get.clone()).await.unwrap().into_inner().instance.unwrap();
        seen.lifecycle() == pb::Lifecycle::Draining && seen.attached
    })
    .await;
    under_way.succeeded();
    let counted = &handle.operations().report().operations[0];
    assert_eq!((counted.successes, counted.in_flight), (2, 0));
    agent.leave("done").await;
    let left = handle.protect("charge-card", "shop", async || Ok::<_, io::Error>(())).await;
    let Err(ProtectError::Refused(refusal)) = left else { panic!("{left:?}") };
    assert_eq!(refusal.kind(), RefusalKind::TurnedAway);
    server.stop().await;
}

/// Where no policy asks for a breaker none is forced, and nobody is told that one was.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_of_what_has_no_breaker_reaches_nobody() {
    let server = TestServer::start().await;
    let agent = attach(&server, "i-1").await;
    let mut policies = PolicyServiceClient::new(server.channel().await);
    assert_eq!(charge(&agent, true).await, Ok(()));
    until("its breaker is seen", async || breaker(&mut policies).await.is_some()).await;
    // It takes the place of the built-in one.
    let retry = Some(pb::Retry::default());
    put(&mut policies, pb::Policy { name: "operations".into(), retry, ..pb::Policy::default() }).await;
    until("its breaker is seen no more", async || breaker(&mut policies).await.is_none()).await;
    let force = pb::OverrideBreakerRequest {
        service: "orders".into(),
        operation: "charge-card".into(),
        state: pb::BreakerState::ForcedOpen.into(),
        ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..pb::OverrideBreakerRequest::default()
    };
    let forced = policies.override_breaker(force).await.unwrap().into_inner();
    assert_eq!(forced.instances, 0);
    assert_eq!(charge(&agent, true).await, Ok(()));
    // One that comes back takes what holds.
    let gone = pb::DeletePolicyRequest { name: "operations".into(), ..Default::default() };
    policies.delete_policy(gone).await.unwrap();
    until("it is forced", async || charge(&agent, true).await == Err(Some(RefusalKind::Broken))).await;
    agent.leave("done").await;
    server.stop().await;
}
