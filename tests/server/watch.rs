//! `WatchFleet` and `WatchHealth`.

use seaworthy_client::proto::seaworthy::v1::{self as pb, watch_fleet_response::Message};
use tonic::{Code, Streaming};

use crate::harness::{PATIENCE, TestServer, register, registration, report};

async fn next<T>(stream: &mut Streaming<T>) -> T {
    tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("in time")
        .expect("no error")
        .expect("not the end")
}

/// Reads a reset and full state; answers its reason, how much there was, and the cursor.
async fn full_state(
    stream: &mut Streaming<pb::WatchFleetResponse>,
) -> (pb::ResetReason, usize, pb::WatchCursor) {
    let Some(Message::Reset(reset)) = next(stream).await.message else { panic!("a reset comes first") };
    let mut instances = 0;
    loop {
        let response = next(stream).await;
        let Some(Message::Snapshot(part)) = response.message else { panic!("parts of full state") };
        instances += part.instances.len();
        if part.complete {
            return (reset.reason(), instances, response.cursor.expect("a cursor"));
        }
        assert!(response.cursor.is_none(), "half of the state is no place to resume from");
    }
}

fn watch(service: &str, resume_after: Option<pb::WatchCursor>) -> pb::WatchFleetRequest {
    pb::WatchFleetRequest { service: service.into(), resume_after }
}

#[tokio::test]
async fn full_state_first_then_every_change_and_resuming_goes_on_there() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    register(&mut fleet, registration("orders", "i-1")).await;
    let mut stream = fleet.watch_fleet(watch("", None)).await.unwrap().into_inner();
    let (reason, instances, cursor) = full_state(&mut stream).await;
    assert_eq!((reason, instances), (pb::ResetReason::Initial, 1));

    register(&mut fleet, registration("orders", "i-2")).await;
    let response = next(&mut stream).await;
    let Some(Message::Change(pb::FleetChange { change: Some(pb::fleet_change::Change::Instance(changed)) })) =
        response.message
    else {
        panic!("the new instance")
    };
    assert_eq!(changed.registration.unwrap().instance_id, "i-2");
    assert!(response.cursor.unwrap().revision > cursor.revision);
    drop(stream);

    // What happened meanwhile is not missed.
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    fleet.remove_instance(remove).await.unwrap();
    let mut stream = fleet.watch_fleet(watch("orders", Some(cursor.clone()))).await.unwrap().into_inner();
    let mut removed = None;
    while removed.is_none() {
        if let Some(Message::Change(pb::FleetChange {
            change: Some(pb::fleet_change::Change::Removed(grave)),
        })) = next(&mut stream).await.message
        {
            removed = grave.instance;
        }
    }
    assert_eq!(removed.unwrap().instance_id, "i-1");

    let other = pb::WatchCursor { boot_epoch: "boot-other".into(), ..cursor };
    let mut stream = fleet.watch_fleet(watch("", Some(other))).await.unwrap().into_inner();
    assert_eq!(full_state(&mut stream).await.0, pb::ResetReason::OtherEpoch);
    server.stop().await;
}

#[tokio::test]
async fn who_is_too_far_behind_is_told_and_starts_over() {
    let server = TestServer::start_with(|config| config.fleet.change_history = 4.try_into().unwrap()).await;
    let mut fleet = server.fleet().await;
    register(&mut fleet, registration("orders", "i-0")).await;
    let mut stream = fleet.watch_fleet(watch("", None)).await.unwrap().into_inner();
    let (_, _, cursor) = full_state(&mut stream).await;
    drop(stream);
    for number in 1..20 {
        register(&mut fleet, registration("orders", &format!("i-{number}"))).await;
    }
    let mut stream = fleet.watch_fleet(watch("", Some(cursor))).await.unwrap().into_inner();
    let (reason, instances, _) = full_state(&mut stream).await;
    assert_eq!((reason, instances), (pb::ResetReason::TooFarBehind, 20));
    server.stop().await;
}

#[tokio::test]
async fn full_state_comes_in_parts_and_one_service_alone_if_asked() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    for number in 0..600 {
        register(&mut fleet, registration("orders", &format!("i-{number}"))).await;
    }
    register(&mut fleet, registration("payments", "i-1")).await;
    let mut all = fleet.watch_fleet(watch("", None)).await.unwrap().into_inner();
    assert_eq!(full_state(&mut all).await.1, 601);
    let mut one = fleet.watch_fleet(watch("payments", None)).await.unwrap().into_inner();
    assert_eq!(full_state(&mut one).await.1, 1);
    register(&mut fleet, registration("orders", "another")).await;
    register(&mut fleet, registration("payments", "i-2")).await;
    let Some(Message::Change(pb::FleetChange { change: Some(pb::fleet_change::Change::Instance(changed)) })) =
        next(&mut one).await.message
    else {
        panic!("only its own service")
    };
    assert_eq!(changed.registration.unwrap().service, "payments");
    server.stop().await;
}

#[tokio::test]
async fn health_is_followed_from_before_it_is_known_until_after() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let target = pb::WatchHealthRequest { service: "orders".into(), ..pb::WatchHealthRequest::default() };
    let mut stream = health.watch_health(target).await.unwrap().into_inner();
    assert!(!next(&mut stream).await.known);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let seen = next(&mut stream).await;
    assert_eq!(seen.health.unwrap().state(), pb::HealthState::Unknown);
    report(&mut health, &who, pb::HealthState::Unhealthy, "gone").await.unwrap();
    let mut last = next(&mut stream).await.health.unwrap();
    while last.state() != pb::HealthState::Unhealthy {
        last = next(&mut stream).await.health.unwrap();
    }
    assert!(last.cause.contains("gone"), "{}", last.cause);
    server.stop().await;
}

#[tokio::test]
async fn watches_end_with_unavailable_when_the_server_stops() {
    let server = TestServer::start().await;
    let mut stream = server.fleet().await.watch_fleet(watch("", None)).await.unwrap().into_inner();
    full_state(&mut stream).await;
    server.stopper().ask("test");
    let ended = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time").unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    drop(stream);
    let report = server.ended().await;
    assert_eq!(report.connections_cut, 0, "{report:?}");
}
