//! `Explain`: the chain of causes in one answer, for the fleet, a service, an instance, a component.

use seaworthy_client::proto::seaworthy::v1::{self as pb, CauseRole, HealthState};
use tonic::Code;

use crate::harness::{TestServer, reason, register, registration, report};

fn request(service: &str, instance_id: &str, component: &str) -> pb::ExplainRequest {
    pb::ExplainRequest {
        service: service.into(),
        instance_id: instance_id.into(),
        component: component.into(),
    }
}

/// What each cause is about, what it has to do with the state, and whether it is the root.
fn chain(answer: &pb::ExplainResponse) -> Vec<(u32, String, CauseRole, bool)> {
    let about = |cause: &pb::Cause| {
        let parts = [&cause.service, &cause.instance_id, &cause.component].map(String::as_str);
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    };
    answer.causes.iter().map(|cause| (cause.depth, about(cause), cause.role(), cause.root)).collect()
}

#[tokio::test]
async fn a_broken_database_is_followed_from_whoever_asks_down_to_it() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let mut orders = registration("orders", "i-1");
    let needs = pb::Dependency { service: "payments".into(), kind: pb::DependencyKind::Hard.into() };
    orders.declared_spec = Some(pb::ServiceSpec { depends_on: vec![needs], ..Default::default() });
    let orders = register(&mut fleet, orders).await;
    let payments = register(&mut fleet, registration("payments", "p-1")).await;
    report(&mut health, &orders, HealthState::Healthy, "").await.unwrap();
    report(&mut health, &payments, HealthState::Unhealthy, "connection refused").await.unwrap();

    // By itself orders is well, and it says so.
    let answer = health.explain(request("orders", "", "")).await.unwrap().into_inner();
    assert_eq!(answer.state(), HealthState::Healthy);
    let so_far = "orders is healthy by itself; payments, which it needs, is unhealthy since ";
    assert!(answer.headline.starts_with(so_far), "{}", answer.headline);
    assert_eq!(answer.next_steps, ["look at payments: `seaworthy explain payments`"]);

    report(&mut health, &orders, HealthState::Unhealthy, "no answer").await.unwrap();
    let answer = health.explain(request("orders", "", "")).await.unwrap().into_inner();
    assert_eq!(answer.state(), HealthState::Unhealthy);
    assert_eq!(
        chain(&answer),
        [
            (0, "orders".into(), CauseRole::Cause, false),
            (1, "orders/i-1".into(), CauseRole::Cause, false),
            (2, "orders/i-1/database".into(), CauseRole::Cause, true),
            (1, "payments".into(), CauseRole::LikelyCause, true),
        ]
    );
    assert!(answer.headline.contains("i-1: component database: no answer"), "{}", answer.headline);
    assert!(answer.headline.ends_with(" and is a likely cause"), "{}", answer.headline);
    assert!(answer.since_time.is_some() && answer.causes.iter().all(|cause| cause.since_time.is_some()));
    assert_eq!(answer.next_steps[0], "look at component database of orders/i-1 first");

    let answer = health.explain(request("payments", "p-1", "")).await.unwrap().into_inner();
    assert!(answer.headline.starts_with("payments/p-1 is unhealthy since "), "{}", answer.headline);
    assert!(answer.headline.ends_with(": component database: connection refused"), "{}", answer.headline);
    let answer = health.explain(request("payments", "p-1", "database")).await.unwrap().into_inner();
    let expected = [(0, "payments/p-1/database".to_owned(), CauseRole::Cause, true)];
    assert_eq!(chain(&answer), expected);

    let answer = health.explain(request("", "", "")).await.unwrap().into_inner();
    assert!(answer.headline.contains("2 of 2 services not well"), "{}", answer.headline);
    assert!(answer.headline.contains("; begin with payments, unhealthy since "), "{}", answer.headline);
    assert_eq!(answer.next_steps, ["look at payments: `seaworthy explain payments`"]);
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_there_is_not_explained_and_who_was_removed_says_why() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let nothing = health.explain(request("", "", "")).await.unwrap().into_inner();
    assert_eq!(nothing.headline, "no services are known; nothing to explain");
    register(&mut fleet, registration("orders", "i-1")).await;
    register(&mut fleet, registration("orders", "i-2")).await;
    let removal = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-2".into(),
        message: "broken disk".into(),
        ..Default::default()
    };
    fleet.remove_instance(removal).await.unwrap();
    for (asked, expected) in [
        (request("shop", "", ""), "SERVICE_NOT_FOUND"),
        (request("orders", "i-9", ""), "INSTANCE_NOT_FOUND"),
        (request("orders", "i-2", ""), "INSTANCE_REMOVED"),
        (request("orders", "i-1", "cache"), "COMPONENT_NOT_FOUND"),
    ] {
        let refused = health.explain(asked).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::NotFound, expected.to_owned()));
        let removed = expected == "INSTANCE_REMOVED";
        assert!(!removed || refused.message().contains("broken disk"), "{}", refused.message());
    }
    server.stop().await;
}
