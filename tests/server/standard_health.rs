//! `grpc.health.v1`, exactly as the protocol says. The client is tonic-health's own.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use seaworthy_client::proto::{
    grpc::health::v1::{HealthListRequest, health_check_response::ServingStatus as OurStatus},
    seaworthy::v1 as pb,
};
use tonic::Code;

use crate::harness::{PATIENCE, TestServer, register, registration, report};

#[tokio::test]
async fn check_of_an_unknown_name_is_not_found_and_of_a_bad_one_invalid() {
    let server = TestServer::start().await;
    assert_eq!(server.check("").await.unwrap(), OurStatus::Serving);
    for name in ["orders", "orders/i-1", "orders/i-1/database", "orders:liveness"] {
        assert_eq!(server.check(name).await.unwrap_err().code(), Code::NotFound, "{name}");
    }
    for name in ["Orders", "orders:health", "orders//database"] {
        assert_eq!(server.check(name).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn watch_of_an_unknown_name_stays_open_until_it_appears() {
    let server = TestServer::start().await;
    let mut watch = HealthClient::new(server.channel().await)
        .watch(HealthCheckRequest { service: "orders/i-1".into() })
        .await
        .unwrap()
        .into_inner();
    let mut next =
        async || tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    assert_eq!(next().await, ServingStatus::Unknown);
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    assert_eq!(next().await, ServingStatus::Serving);
    report(&mut health, &who, pb::HealthState::Unhealthy, "gone").await.unwrap();
    assert_eq!(next().await, ServingStatus::NotServing);
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    fleet.remove_instance(remove).await.unwrap();
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
    server.stop().await;
}

#[tokio::test]
async fn list_answers_all_names_up_to_a_hundred() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    for number in 0..99 {
        register(&mut fleet, registration(&format!("s-{number}"), "i-1")).await;
    }
    let mut health = server.standard_health().await;
    let listed = health.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    assert_eq!(listed.len(), 100, "99 services and the control plane");
    assert_eq!(listed[""].status(), OurStatus::Serving);
    assert_eq!(listed["s-7"].status(), OurStatus::Unknown);
    register(&mut fleet, registration("one-too-many", "i-1")).await;
    let refused = health.list(HealthListRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_says_not_serving_while_it_still_answers() {
    let server = TestServer::start_with(|config| config.shutdown.lame_duck = PATIENCE).await;
    let mut health = server.standard_health().await;
    server.stopper().ask("test");
    server.until("", OurStatus::NotServing).await;
    let check = |service: &str| seaworthy_client::proto::grpc::health::v1::HealthCheckRequest {
        service: service.into(),
    };
    let live = health.check(check(":liveness")).await.unwrap().into_inner();
    assert_eq!(live.status(), OurStatus::Serving);
    // Work is still taken in the lame-duck time.
    register(&mut server.fleet().await, registration("orders", "i-1")).await;
    server.stopper().ask("again");
    drop(health);
    assert!(server.ended().await.aborted);
}
