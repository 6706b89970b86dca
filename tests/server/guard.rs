//! What policies do to RPCs: limits, permits and breakers, over real gRPC.

use std::time::{Duration, Instant};

use seaworthy_client::proto::{
    grpc::health::v1::health_check_response::ServingStatus,
    seaworthy::v1::{self as pb, policy_service_client::PolicyServiceClient},
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::harness::{PATIENCE, TestServer, registration};

const GET: &str = "seaworthy.v1.FleetService/GetService";
pub(crate) const LIST: &str = "seaworthy.v1.FleetService/ListServices";

pub(crate) fn rpcs(method: &str) -> Option<pb::PolicyTarget> {
    let what = pb::policy_target::What::Rpcs(pb::RpcTarget { method: method.to_owned() });
    Some(pb::PolicyTarget { what: Some(what) })
}

pub(crate) fn limit(scope: pb::PolicyScope, amount: u32) -> pb::RateLimit {
    let period = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    pb::RateLimit { scope: scope.into(), amount, period, burst: amount, ..pb::RateLimit::default() }
}

pub(crate) fn limiting(method: &str, limits: Vec<pb::RateLimit>) -> pb::Policy {
    pb::Policy { name: "test".into(), target: rpcs(method), limits, ..pb::Policy::default() }
}

pub(crate) async fn put(server: &TestServer, policy: pb::Policy) {
    let request = pb::PutPolicyRequest { policy: Some(policy), if_revision: None };
    PolicyServiceClient::new(server.channel().await).put_policy(request).await.expect("put");
}

pub(crate) async fn list(channel: &Channel) -> Result<(), Status> {
    let mut fleet = pb::fleet_service_client::FleetServiceClient::new(channel.clone());
    fleet.list_services(pb::ListServicesRequest::default()).await.map(drop)
}

/// Asks until it is refused, as soon as the policy holds.
pub(crate) async fn refused(channel: &Channel) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match list(channel).await {
            Err(status) => return status,
            Ok(()) => assert!(Instant::now() < deadline, "it was never refused"),
        }
    }
}

#[tokio::test]
async fn who_is_over_a_limit_is_told_everything_that_helps() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    for algorithm in [
        pb::RateAlgorithm::TokenBucket,
        pb::RateAlgorithm::LeakyBucket,
        pb::RateAlgorithm::SlidingWindow,
        pb::RateAlgorithm::FixedWindow,
    ] {
        let burst = if algorithm == pb::RateAlgorithm::TokenBucket { 1 } else { 0 };
        let rule =
            pb::RateLimit { algorithm: algorithm.into(), burst, ..limit(pb::PolicyScope::Operation, 1) };
        put(&server, limiting(LIST, vec![rule])).await;
        let status = refused(&channel).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{algorithm:?}: {status:?}");
        let details = status.get_error_details();
        let info = details.error_info().expect("why");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("RATE_LIMITED", "seaworthy.dev"));
        assert_eq!(info.metadata["policy"], "test");
        assert_eq!(info.metadata["scope"], "OPERATION");
        assert_eq!(info.metadata["caller"], "127.0.0.1");
        let quota = &details.quota_failure().expect("what is used up").violations[0];
        assert_eq!(quota.subject, "127.0.0.1");
        let pause = details.retry_info().expect("when").retry_delay.expect("when");
        assert!(pause > Duration::ZERO && pause <= Duration::from_secs(3713), "{algorithm:?}: {pause:?}");
        let millis: u128 =
            status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(millis, pause.as_nanos().div_ceil(1_000_000));
    }
    server.stop().await;
}

#[tokio::test]
async fn scopes_count_together_what_they_say() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    // Of another RPC than the one that is used up.
    let other = async || {
        let mut fleet = pb::fleet_service_client::FleetServiceClient::new(channel.clone());
        let asked = fleet.get_service(pb::GetServiceRequest { name: "nobody".into() }).await;
        asked.expect_err("nobody is there").code()
    };
    for (scope, expected) in [
        (pb::PolicyScope::Operation, Code::NotFound),
        (pb::PolicyScope::Global, Code::ResourceExhausted),
        (pb::PolicyScope::Caller, Code::ResourceExhausted),
    ] {
        let policy = pb::Policy { target: rpcs(""), ..limiting("", vec![limit(scope, 1)]) };
        put(&server, policy).await;
        assert_eq!(refused(&channel).await.code(), Code::ResourceExhausted);
        if scope == pb::PolicyScope::Operation {
            assert_eq!(other().await, expected, "{scope:?}");
            assert_eq!(other().await, Code::ResourceExhausted, "it has used up its own");
        } else {
            assert_eq!(other().await, expected, "{scope:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn signs_of_life_and_what_lifts_a_limit_pass_whatever_is_used_up() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let request =
        pb::RegisterRequest { registration: Some(registration("orders", "i-1")), ..Default::default() };
    let registered = fleet.register(request).await.unwrap().into_inner();
    let instance = registered.instance.unwrap();
    let policy = pb::Policy {
        target: None,
        permits: vec![pb::PermitLimit {
            scope: pb::PolicyScope::Global.into(),
            max_in_flight: 1,
            ..pb::PermitLimit::default()
        }],
        ..limiting("", vec![limit(pb::PolicyScope::Global, 1)])
    };
    put(&server, policy).await;
    let channel = server.channel().await;
    assert_eq!(refused(&channel).await.code(), Code::ResourceExhausted);
    // A flood, beside which instances live.
    let floods: Vec<_> = (0..8)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    assert!(list(&channel).await.is_err());
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let named = pb::InstanceRef {
            service: "orders".into(),
            instance_id: "i-1".into(),
            incarnation: instance.incarnation,
        };
        let beat =
            pb::InstanceHeartbeat { instance: Some(named), session_token: registered.session_token.clone() };
        let beats =
            fleet.heartbeat(pb::HeartbeatRequest { heartbeats: vec![beat] }).await.unwrap().into_inner();
        assert_eq!(beats.results[0].outcome(), pb::HeartbeatOutcome::Renewed);
        assert_eq!(server.check("").await.unwrap(), ServingStatus::Serving);
    }
    for flood in floods {
        flood.await.unwrap();
    }
    // Who has to lift it can.
    let mut policies = PolicyServiceClient::new(channel.clone());
    policies
        .delete_policy(pb::DeletePolicyRequest { name: "test".into(), ..Default::default() })
        .await
        .expect("it is exempt");
    let deadline = Instant::now() + PATIENCE;
    while list(&channel).await.is_err() {
        assert!(Instant::now() < deadline, "the limit is still there");
    }
    server.stop().await;
}

/// A policy that is about everything may say what services alone have: it says nothing of RPCs.
#[tokio::test]
async fn what_is_of_services_alone_refuses_no_rpc() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let shared = pb::RateLimit { fleet_wide: true, ..limit(pb::PolicyScope::Global, 1) };
    let policy = pb::Policy {
        target: None,
        resources: Some(pb::ResourceLimit { max_memory_bytes: 1, ..pb::ResourceLimit::default() }),
        ..limiting("", vec![shared])
    };
    put(&server, policy).await;
    for _ in 0..20 {
        list(&channel).await.expect("the process has more than a byte, and is no fleet");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_limit_of_one_caller_is_not_felt_by_another() {
    let server = TestServer::start().await;
    let policy =
        pb::Policy { caller: "127.0.0.2".into(), ..limiting("", vec![limit(pb::PolicyScope::Caller, 1)]) };
    put(&server, policy).await;
    let channel = server.channel().await;
    // Whom it is of is refused, which shows that it holds.
    let other = tonic::transport::Endpoint::from_shared(server.url()).unwrap();
    let other =
        other.local_address(Some([127, 0, 0, 2].into())).connect().await.expect("from another address");
    assert_eq!(
        refused(&other).await.get_error_details().error_info().unwrap().metadata["caller"],
        "127.0.0.2"
    );
    for _ in 0..50 {
        list(&channel).await.expect("it is somebody else's limit");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_policy_in_shadow_refuses_nothing_and_is_counted() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let policy = pb::Policy { shadow: true, ..limiting(LIST, vec![limit(pb::PolicyScope::Operation, 1)]) };
    put(&server, policy).await;
    let mut policies = PolicyServiceClient::new(channel.clone());
    let deadline = Instant::now() + PATIENCE;
    loop {
        list(&channel).await.expect("it only counts");
        let usage = policies.get_usage(pb::GetUsageRequest::default()).await.unwrap().into_inner();
        let row = usage.limits.iter().find(|row| row.policy == "test");
        if let Some(row) = row.filter(|row| row.refused > 2) {
            assert!(row.shadow && row.allowed == 1, "{row:?}");
            assert_eq!(row.last_refused, [LIST]);
            break;
        }
        assert!(Instant::now() < deadline, "it was never counted");
    }
    server.stop().await;
}

#[tokio::test]
async fn poison_of_one_caller_opens_no_breaker() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    // More than any rule of the breaker would bear.
    for _ in 0..100 {
        let wrong = pb::PutServiceRequest { name: "Not a name".into(), ..pb::PutServiceRequest::default() };
        assert_eq!(fleet.put_service(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let good = pb::PutServiceRequest {
        name: "orders".into(),
        spec: Some(pb::ServiceSpec::default()),
        if_revision: None,
    };
    fleet.put_service(good).await.expect("others are served");
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let breakers =
        policies.get_breakers(pb::GetBreakersRequest::default()).await.unwrap().into_inner().breakers;
    let store =
        breakers.iter().find(|it| it.service.is_empty() && it.operation == "store").expect("the store's");
    assert_eq!(store.state(), pb::BreakerState::Closed);
    assert_eq!(store.consecutive_failures, 0);
    assert!(store.calls >= 1, "{store:?}");
    server.stop().await;
}

#[tokio::test]
async fn flags_turn_the_control_planes_own_limits_off_and_on() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    put(&server, limiting(LIST, vec![limit(pb::PolicyScope::Operation, 1)])).await;
    assert_eq!(refused(&channel).await.code(), Code::ResourceExhausted);
    let variant = |name: &str, value| pb::FlagVariant {
        name: name.into(),
        value: Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(value)) }),
    };
    let mut policies = PolicyServiceClient::new(channel.clone());
    let flag = pb::Flag {
        name: "control-plane.rate-limits".into(),
        variants: vec![variant("on", true), variant("off", false)],
        default_variant: "off".into(),
        ..pb::Flag::default()
    };
    policies.put_flag(pb::PutFlagRequest { flag: Some(flag.clone()), if_revision: None }).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while list(&channel).await.is_err() {
        assert!(Instant::now() < deadline, "the limit still holds");
    }
    let on = pb::Flag { default_variant: "on".into(), ..flag };
    policies.put_flag(pb::PutFlagRequest { flag: Some(on), if_revision: None }).await.unwrap();
    assert_eq!(refused(&channel).await.code(), Code::ResourceExhausted);
    server.stop().await;
}

#[tokio::test]
async fn policies_of_the_file_hold_and_one_that_was_put_comes_before_them() {
    let table: toml::Table = toml::from_str(&format!(
        "name = \"file\"\ntarget = {{ rpcs = {{ method = \"{GET}\" }} }}\n\
         limits = [{{ scope = \"POLICY_SCOPE_OPERATION\", amount = 1, period = \"3600s\" }}]"
    ))
    .unwrap();
    let origin = seaworthy::config::Origin::File { path: "seaworthy.toml".into(), line: 1 };
    let declared = seaworthy::config::Declared { table, origin };
    let server = TestServer::start_with(|config| config.policies.push(declared)).await;
    let mut fleet = server.fleet().await;
    let get = pb::GetServiceRequest { name: "nobody".into() };
    assert_eq!(fleet.get_service(get.clone()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(fleet.get_service(get.clone()).await.unwrap_err().code(), Code::ResourceExhausted);
    put(&server, limiting(GET, vec![limit(pb::PolicyScope::Operation, 1000)])).await;
    let deadline = Instant::now() + PATIENCE;
    while fleet.get_service(get.clone()).await.unwrap_err().code() != Code::NotFound {
        assert!(Instant::now() < deadline, "the file's still decides");
    }
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let request = pb::ExplainPolicyRequest { call: rpcs(GET), caller: String::new() };
    let parts = policies.explain_policy(request).await.unwrap().into_inner().parts;
    let limits = parts.iter().find(|part| part.part == "limits OPERATION").expect("there are limits");
    assert_eq!((limits.policy.as_str(), limits.hidden.as_slice()), ("test", ["file".to_owned()].as_slice()));
    server.stop().await;
}
