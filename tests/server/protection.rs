//! Many that are lost at once: rather the network than they.

use std::time::Duration;

use seaworthy_client::proto::{grpc::health::v1::health_check_response::ServingStatus, seaworthy::v1 as pb};

use crate::harness::{TestServer, heartbeat, register, registration};

/// A registration whose lease ends after two seconds.
fn short(service: &str, id: &str) -> pb::Registration {
    let lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    pb::Registration { lease_ttl, ..registration(service, id) }
}

#[tokio::test]
async fn all_of_a_service_that_is_lost_at_once_stays_until_it_is_heard() {
    let server = TestServer::start_with(|config| config.fleet.lost_removal = Duration::from_secs(1)).await;
    let mut fleet = server.fleet().await;
    // Enough others that three losses are no large part of the fleet.
    for at in 0..20 {
        let lease_ttl = Some(prost_types::Duration { seconds: 600, nanos: 0 });
        let patient = pb::Registration { lease_ttl, ..registration("stock", &format!("i-{at}")) };
        register(&mut fleet, patient).await;
    }
    let one = register(&mut fleet, short("orders", "i-1")).await;
    register(&mut fleet, short("orders", "i-2")).await;
    let instance = async |id: &str| {
        let of = pb::GetInstanceRequest { service: "orders".into(), instance_id: id.into() };
        server.fleet().await.get_instance(of).await.unwrap().into_inner().instance.unwrap()
    };
    let service = async || {
        let of = pb::GetServiceRequest { name: "orders".into() };
        server.fleet().await.get_service(of).await.unwrap().into_inner().service.unwrap()
    };
    for id in ["i-1", "i-2"] {
        server.until(&format!("orders/{id}:liveness"), ServingStatus::NotServing).await;
    }
    // One that is lost alone after them is removed before them.
    register(&mut fleet, short("alone", "i-1")).await;
    server.until("alone:liveness", ServingStatus::NotServing).await;
    server.until("alone", ServingStatus::ServiceUnknown).await;
    let lost = instance("i-1").await;
    assert_eq!((lost.lifecycle(), lost.health()), (pb::Lifecycle::Lost, pb::HealthState::Unknown));
    assert_eq!(lost.cause, "lost: not heard within its lease of 2s; protected: many were lost at once");
    let protection = service().await.protection.expect("protected");
    assert_eq!(
        (protection.protected_instances, protection.end_time),
        (2, instance("i-2").await.protection_end_time)
    );
    assert_eq!(service().await.health(), pb::HealthState::Unhealthy, "counts stay honest");
    let discovered = server.get("/sd/prometheus?service=orders").await.1;
    assert_eq!(discovered.matches(r#""__meta_seaworthy_protected":"true""#).count(), 2, "{discovered}");
    let metrics = server.get("/metrics").await.1;
    assert!(metrics.contains("seaworthy_fleet_protected_instances 2"), "{metrics}");
    assert!(metrics.contains("seaworthy_fleet_protections_total 1"), "{metrics}");
    assert!(server.get("/status").await.1.contains(r#""protected_instances":2"#));

    // The one is heard, the other is removed by an operator: nothing is left of it.
    assert_eq!(heartbeat(&mut fleet, &one).await.outcome(), pb::HeartbeatOutcome::Renewed);
    assert_eq!(instance("i-1").await.protection_end_time, None);
    assert_eq!(service().await.protection.unwrap().protected_instances, 1);
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-2".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    fleet.remove_instance(remove).await.unwrap();
    assert_eq!(service().await.protection, None);
    server.stop().await;
}
