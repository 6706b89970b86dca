//! What a restart of the control plane means to its fleet: nothing.

use seaworthy_client::proto::{grpc::health::v1::health_check_response::ServingStatus, seaworthy::v1 as pb};

use seaworthy::{error::Reason, server::Server};

use crate::harness::{TestServer, heartbeat, log, reason, register, registration, report};

#[tokio::test]
async fn a_restart_brings_everything_back_and_shows_no_outage() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    let spec = pb::ServiceSpec { protected: true, ..pb::ServiceSpec::default() };
    fleet
        .put_service(pb::PutServiceRequest { name: "orders".into(), spec: Some(spec), if_revision: None })
        .await
        .unwrap();
    let server = server.restart().await;

    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let get = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
    let back = fleet.get_instance(get.clone()).await.unwrap().into_inner().instance.unwrap();
    assert_eq!((back.lifecycle(), back.health()), (pb::Lifecycle::Ready, pb::HealthState::Unknown));
    assert!(!back.confirmed, "never shown healthy before it is heard");
    assert_eq!(server.check("orders").await.unwrap(), ServingStatus::Unknown, "no outage either");
    assert!(server.get("/sd/prometheus").await.1.contains("127.0.0.1:7001"), "still discovered");

    // The service goes on with the token that it has, and does not notice.
    assert_eq!(heartbeat(&mut fleet, &who).await.outcome(), pb::HeartbeatOutcome::Renewed);
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    let back = fleet.get_instance(get).await.unwrap().into_inner().instance.unwrap();
    assert_eq!((back.confirmed, back.health(), back.incarnation), (true, pb::HealthState::Healthy, 1));
    let service =
        fleet.get_service(pb::GetServiceRequest { name: "orders".into() }).await.unwrap().into_inner();
    let service = service.service.unwrap();
    assert_eq!((service.spec_source(), service.spec.unwrap().protected), (pb::SpecSource::Operator, true));

    // The past is still known.
    let list =
        pb::ListTransitionsRequest { service: "orders".into(), ..pb::ListTransitionsRequest::default() };
    let transitions = health.list_transitions(list).await.unwrap().into_inner().transitions;
    assert!(transitions.len() >= 6, "three before and three after the restart: {transitions:?}");
    let newest_first = transitions.windows(2).all(|pair| pair[0].sequence > pair[1].sequence);
    assert!(newest_first, "{transitions:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_folder_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let mut config = seaworthy::config::Config::default();
    config.data_dir = temp.path().join("new/data");
    config.grpc.listen.set_port(0);
    config.http.listen = taken.local_addr().unwrap();
    let config = std::sync::Arc::new(config);
    let error = Server::bind(config, log()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AddressUnusable, "{error}");
    assert!(!temp.path().join("new").exists(), "made for nothing");
}

#[tokio::test]
async fn a_folder_whose_store_is_gone_does_not_start_an_empty_fleet() {
    let server = TestServer::start().await;
    register(&mut server.fleet().await, registration("orders", "i-1")).await;
    let (config, home) = (server.config.clone(), server.keep());
    server.stop().await;
    std::fs::remove_file(config.data_dir.join("store.log")).unwrap();
    let error = Server::bind(std::sync::Arc::new(config), log()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RecordDamaged, "{error}");
    assert!(error.message().contains("store.log is missing"), "{error}");
    drop(home);
}

#[tokio::test]
async fn who_does_not_come_back_after_a_restart_is_lost_after_one_lease() {
    let server = TestServer::start().await;
    let mut short = registration("orders", "i-1");
    short.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    register(&mut server.fleet().await, short).await;
    let server = server.restart().await;
    server.until("orders/i-1:liveness", ServingStatus::Serving).await;
    server.until("orders/i-1:liveness", ServingStatus::NotServing).await;
    server.stop().await;
}

#[tokio::test]
async fn tombstones_survive_a_restart() {
    let server = TestServer::start().await;
    let who = register(&mut server.fleet().await, registration("orders", "i-1")).await;
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        message: "broken".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    server.fleet().await.remove_instance(remove).await.unwrap();
    let server = server.restart().await;
    let late = heartbeat(&mut server.fleet().await, &who).await;
    assert_eq!(late.outcome(), pb::HeartbeatOutcome::Removed);
    assert!(late.message.contains("broken"));
    assert_eq!(
        register(&mut server.fleet().await, registration("orders", "i-1")).await.instance.incarnation,
        2
    );
    server.stop().await;
}

#[tokio::test]
async fn a_revision_of_a_specification_never_comes_back() {
    let server = TestServer::start().await;
    let put = |if_revision| pb::PutServiceRequest {
        name: "orders".into(),
        spec: Some(pb::ServiceSpec::default()),
        if_revision,
    };
    let put_now = async |server: &TestServer| {
        let answer = server.fleet().await.put_service(put(None)).await.unwrap().into_inner();
        answer.service.unwrap().spec_revision
    };
    let first = put_now(&server).await;
    let delete = pb::DeleteServiceRequest {
        name: "orders".into(),
        confirm_name: "orders".into(),
        ..pb::DeleteServiceRequest::default()
    };
    server.fleet().await.delete_service(delete).await.unwrap();
    let server = server.restart().await;
    let second = put_now(&server).await;
    assert!(second > first, "{second} after {first}");
    let late = server.fleet().await.put_service(put(Some(first))).await.unwrap_err();
    assert_eq!(reason(&late), "REVISION_MISMATCH");
    let server = server.restart().await;
    server.fleet().await.put_service(put(Some(second))).await.expect("a restart changes no revision");
    server.stop().await;
}
