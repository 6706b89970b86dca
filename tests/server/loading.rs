//! A start before its fleet is loaded: it answers at once, and shows nothing that is not so.

use std::time::Duration;

use seaworthy::{
    error::Reason,
    guard::rpc::{RPCS, WhileLoading},
};
use seaworthy_client::proto::{
    grpc::health::v1::{
        HealthCheckRequest, HealthListRequest, health_check_response::ServingStatus,
        health_client::HealthClient,
    },
    seaworthy::v1::{self as pb, fleet_service_client::FleetServiceClient},
};
use tokio::time::timeout;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    bad_input::call_at,
    harness::{PATIENCE, Registered, Starting, TestServer, get, heartbeat, reason, register, registration},
};

/// A server that listens and has not loaded its fleet, in which `orders/i-1` is.
async fn starting() -> (Starting, Registered) {
    let server = TestServer::start().await;
    let who = register(&mut server.fleet().await, registration("orders", "i-1")).await;
    (server.stop_and_listen().await, who)
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(health: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, tonic::Status> {
    Ok(health.check(named(service)).await?.into_inner().status())
}

#[tokio::test]
async fn it_is_alive_at_once_and_not_ready() {
    let (starting, _) = starting().await;
    let mut health = HealthClient::new(starting.channel().await);
    for (name, expected) in [
        ("", ServingStatus::NotServing),
        (":readiness", ServingStatus::NotServing),
        (":liveness", ServingStatus::Serving),
        (":startup", ServingStatus::Serving),
    ] {
        assert_eq!(check(&mut health, name).await.unwrap(), expected, "{name:?}");
    }
    let http = starting.addresses.http;
    assert_eq!(get(http, "/health/live", "*/*").await.0, 200);
    let server = starting.load().await;
    for name in ["", ":readiness", ":liveness", ":startup"] {
        assert_eq!(check(&mut health, name).await.unwrap(), ServingStatus::Serving, "{name:?}");
    }
    assert_eq!(server.get("/ready").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn every_rpc_that_needs_the_fleet_says_when_to_ask_again() {
    let (starting, _) = starting().await;
    let mut refused = 0;
    for rpc in RPCS.iter().filter(|rpc| rpc.loading == WhileLoading::Refused) {
        let said = call_at(starting.addresses.grpc, rpc.path, &[]).await;
        assert_eq!((said.code(), reason(&said).as_str()), (Code::Unavailable, "LOADING"), "{}", rpc.path);
        let delay = said.get_details_retry_info().expect("retry info").retry_delay;
        assert_eq!(delay, Some(Duration::from_millis(200)), "{}", rpc.path);
        assert!(said.message().contains("opening the store"), "{}", said.message());
        refused += 1;
    }
    assert!(refused >= 20, "{refused}");
    // Nobody is not there, and nobody is unknown, before anybody is known.
    let mut health = HealthClient::new(starting.channel().await);
    let said = check(&mut health, "orders").await.unwrap_err();
    assert_eq!((said.code(), reason(&said).as_str()), (Code::Unavailable, "LOADING"), "{said:?}");
    let said = health.list(HealthListRequest {}).await.unwrap_err();
    assert_eq!((said.code(), reason(&said).as_str()), (Code::Unavailable, "LOADING"), "{said:?}");
    starting.load().await.stop().await;
}

#[tokio::test]
async fn no_page_shows_an_empty_fleet() {
    let (starting, _) = starting().await;
    for path in ["/sd/prometheus", "/metrics", "/status", "/health", "/ready", "/health/services/orders"] {
        let (code, body) = get(starting.addresses.http, path, "*/*").await;
        assert_eq!(code, 503, "{path}: {body}");
        assert!(body.contains("\"LOADING\"") && body.contains("opening the store"), "{path}: {body}");
    }
    let server = starting.load().await;
    let (code, body) = server.get("/sd/prometheus").await;
    assert_eq!(code, 200);
    assert!(body.contains("127.0.0.1:7001"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn a_watch_waits_for_the_fleet_and_then_tells_of_it() {
    let (starting, _) = starting().await;
    let mut health = HealthClient::new(starting.channel().await);
    let mut own = health.watch(named("")).await.unwrap().into_inner();
    let mut orders = health.watch(named("orders")).await.unwrap().into_inner();
    let mut nobody = health.watch(named("nobody")).await.unwrap().into_inner();
    let first = timeout(PATIENCE, own.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    let server = starting.load().await;
    for (watch, expected) in [
        (&mut own, ServingStatus::Serving),
        // Registered, and not heard since.
        (&mut orders, ServingStatus::Unknown),
        (&mut nobody, ServingStatus::ServiceUnknown),
    ] {
        let next = timeout(PATIENCE, watch.message()).await.expect("in time").unwrap().unwrap();
        assert_eq!(next.status(), expected);
    }
    // It follows what it was told of.
    let mut late = registration("orders", "i-2");
    late.components.clear();
    register(&mut server.fleet().await, late).await;
    let next = timeout(PATIENCE, orders.message()).await.expect("in time").unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::Serving);
    server.stop().await;
}

#[tokio::test]
async fn a_heartbeat_is_asked_to_come_again_and_then_renews() {
    let (starting, who) = starting().await;
    let mut fleet = FleetServiceClient::new(starting.channel().await);
    let beat =
        pb::InstanceHeartbeat { instance: Some(who.instance.clone()), session_token: who.token.clone() };
    let refused = fleet.heartbeat(pb::HeartbeatRequest { heartbeats: vec![beat] }).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "LOADING"), "{refused:?}");
    let server = starting.load().await;
    assert_eq!(heartbeat(&mut fleet, &who).await.outcome(), pb::HeartbeatOutcome::Renewed);
    server.stop().await;
}

#[tokio::test]
async fn a_store_that_does_not_open_ends_what_listens() {
    let (starting, _) = starting().await;
    let log = starting.config.data_dir.join("store.log");
    std::fs::remove_file(log).unwrap();
    let Starting { addresses, listening, home, .. } = starting;
    let error = listening.load().await.unwrap_err();
    assert_eq!(error.reason(), Reason::RecordDamaged, "{error}");
    let closed = async {
        while tokio::net::TcpStream::connect(addresses.grpc).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("nobody listens any more");
    drop(home);
}
