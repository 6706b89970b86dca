//! Reports, roll-ups, staleness, transitions.

use seaworthy_client::proto::{grpc::health::v1::health_check_response::ServingStatus, seaworthy::v1 as pb};
use tonic::Code;

use crate::harness::{TestServer, reason, register, registration, report};

#[tokio::test]
async fn a_broken_database_makes_component_instance_and_service_unhealthy_with_the_cause() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    assert_eq!(server.check("orders").await.unwrap(), ServingStatus::Serving);

    let instance = report(&mut health, &who, pb::HealthState::Unhealthy, "file is gone").await.unwrap();
    assert_eq!(instance.health(), pb::HealthState::Unhealthy);
    assert_eq!(instance.cause, "component database: file is gone");
    let component = &instance.components[0];
    assert_eq!((component.state(), component.consecutive_failures), (pb::HealthState::Unhealthy, 1));
    assert_eq!(component.average_response_time.unwrap().nanos, 2_000_000);
    let target = pb::GetHealthRequest { service: "orders".into(), ..pb::GetHealthRequest::default() };
    let service = health.get_health(target).await.unwrap().into_inner().health.unwrap();
    assert_eq!(service.state(), pb::HealthState::Unhealthy);
    assert_eq!(service.cause, "0 of 1 required instance available; i-1: component database: file is gone");
    for name in ["orders", "orders/i-1", "orders/i-1/database", "orders:readiness"] {
        assert_eq!(server.check(name).await.unwrap(), ServingStatus::NotServing, "{name}");
    }
    assert_eq!(server.check("orders/i-1:liveness").await.unwrap(), ServingStatus::Serving);

    let list =
        pb::ListTransitionsRequest { service: "orders".into(), ..pb::ListTransitionsRequest::default() };
    let transitions = health.list_transitions(list).await.unwrap().into_inner().transitions;
    let shown: Vec<_> = transitions
        .iter()
        .map(|change| (change.instance_id.as_str(), change.component.as_str(), change.from(), change.to()))
        .collect();
    let (good, bad, nobody_knows) =
        (pb::HealthState::Healthy, pb::HealthState::Unhealthy, pb::HealthState::Unknown);
    assert_eq!(
        shown,
        [
            ("", "", good, bad),
            ("i-1", "", good, bad),
            ("i-1", "database", good, bad),
            ("", "", nobody_knows, good),
            ("i-1", "", nobody_knows, good),
            ("i-1", "database", nobody_knows, good),
        ]
    );
    assert!(transitions[..3].iter().all(|change| change.cause.contains("file is gone")), "{transitions:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_component_that_flaps_is_shown_and_needs_two_good_reports() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let (good, bad) = (pb::HealthState::Healthy, pb::HealthState::Unhealthy);
    // What is said, what becomes of it, and whether it is flapping.
    for (said, is, flapping) in [
        (good, good, false),
        (bad, bad, false),
        (good, good, false),
        (bad, bad, false),
        (good, good, true),
        (bad, bad, true),
        (good, bad, true),
        (good, good, true),
    ] {
        let message = if said == bad { "gone" } else { "" };
        let instance = report(&mut health, &who, said, message).await.unwrap();
        let component = &instance.components[0];
        assert_eq!((component.state(), component.flapping), (is, flapping), "{component:?}");
        if flapping && is == bad {
            let changes = if said == bad { 5 } else { 6 };
            let cause = format!("flapping: {changes} changes in the last 20 reports; gone");
            assert_eq!(component.cause, cause);
            assert_eq!(instance.cause, format!("component database: {cause}"));
        }
    }
    let body = server.get("/health/services/orders/i-1").await.1;
    assert!(body.contains(r#""flapping":true"#), "{body}");
    let of = pb::ListTransitionsRequest { service: "orders".into(), ..pb::ListTransitionsRequest::default() };
    let transitions = health.list_transitions(of).await.unwrap().into_inner().transitions;
    let of_component = transitions.iter().filter(|change| !change.component.is_empty());
    assert_eq!(of_component.count(), 7, "each change is remembered all the same");
    server.stop().await;
}

#[tokio::test]
async fn a_silent_component_becomes_unknown() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let mut quick = registration("orders", "i-1");
    quick.components[0].report_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let who = register(&mut fleet, quick).await;
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    server.until("orders/i-1/database", ServingStatus::Serving).await;
    server.until("orders/i-1/database", ServingStatus::Unknown).await;
    server.until("orders", ServingStatus::Unknown).await;
    let instance = report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    assert_eq!(instance.health(), pb::HealthState::Healthy);
    server.stop().await;
}

#[tokio::test]
async fn only_the_holder_of_the_token_reports_and_all_or_nothing_counts() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let mut who = register(&mut fleet, registration("orders", "i-1")).await;
    let request = |component: &str| pb::ReportHealthRequest {
        instance: Some(who.instance.clone()),
        session_token: who.token.clone(),
        reports: ["database", component]
            .map(|component| pb::ComponentReport {
                component: component.into(),
                state: pb::HealthState::Healthy.into(),
                ..pb::ComponentReport::default()
            })
            .to_vec(),
        lifecycle: 0,
    };
    let refused = health.report_health(request("cache")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("reports[1].component:"), "{}", refused.message());
    assert_eq!(server.check("orders/i-1").await.unwrap(), ServingStatus::Unknown, "nothing was taken");
    let twice = health.report_health(request("database")).await.unwrap_err();
    assert!(twice.message().contains("twice"), "{}", twice.message());

    who.token = "sws_wrong".into();
    let refused = report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_TOKEN_INVALID"));
    server.stop().await;
}

#[tokio::test]
async fn a_token_may_come_in_the_metadata() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let mut request = tonic::Request::new(pb::ReportHealthRequest {
        instance: Some(who.instance),
        lifecycle: pb::Lifecycle::LameDuck.into(),
        ..pb::ReportHealthRequest::default()
    });
    request.metadata_mut().insert("seaworthy-session-token", who.token.parse().unwrap());
    let instance = health.report_health(request).await.unwrap().into_inner().instance.unwrap();
    assert_eq!(instance.lifecycle(), pb::Lifecycle::LameDuck);
    server.stop().await;
}

#[tokio::test]
async fn a_lifecycle_goes_forward() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let say = |lifecycle: pb::Lifecycle| pb::ReportHealthRequest {
        instance: Some(who.instance.clone()),
        session_token: who.token.clone(),
        reports: vec![],
        lifecycle: lifecycle.into(),
    };
    health.report_health(say(pb::Lifecycle::Stopping)).await.unwrap();
    let refused = health.report_health(say(pb::Lifecycle::Ready)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LIFECYCLE_ORDER"));
    let refused = health.report_health(say(pb::Lifecycle::Lost)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    server.stop().await;
}
