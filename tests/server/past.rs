//! `ListTransitions`: whose changes, of when, and what became of those that left.

use seaworthy_client::proto::seaworthy::v1::{self as pb, HealthState};

use crate::harness::{TestServer, register, registration, report};

/// Two components, that fail at the first bad report.
fn with_disk(id: &str) -> pb::Registration {
    let mut registration = registration("orders", id);
    let disk = pb::Component { name: "disk".into(), ..registration.components[0].clone() };
    registration.components.push(disk);
    registration
}

async fn listed(server: &TestServer, request: pb::ListTransitionsRequest) -> Vec<pb::HealthTransition> {
    let mut health = server.health().await;
    let request = pb::ListTransitionsRequest { service: "orders".into(), ..request };
    health.list_transitions(request).await.unwrap().into_inner().transitions
}

#[tokio::test]
async fn changes_are_listed_by_component_and_by_time() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    for id in ["i-1", "i-2"] {
        let who = register(&mut fleet, with_disk(id)).await;
        for state in [HealthState::Healthy, HealthState::Unhealthy] {
            let reports = ["database", "disk"].map(|component| pb::ComponentReport {
                component: component.into(),
                state: state.into(),
                ..Default::default()
            });
            let request = pb::ReportHealthRequest {
                instance: Some(who.instance.clone()),
                session_token: who.token.clone(),
                reports: reports.to_vec(),
                lifecycle: 0,
            };
            health.report_health(request).await.unwrap();
        }
    }
    let disk = pb::ListTransitionsRequest { component: "disk".into(), ..Default::default() };
    let found = listed(&server, disk.clone()).await;
    let shown: Vec<_> = found.iter().map(|change| (change.instance_id.as_str(), change.to())).collect();
    assert_eq!(
        shown,
        [
            ("i-2", HealthState::Unhealthy),
            ("i-2", HealthState::Healthy),
            ("i-1", HealthState::Unhealthy),
            ("i-1", HealthState::Healthy),
        ]
    );
    assert!(found.iter().all(|change| change.component == "disk"), "{found:?}");
    let of_one = pb::ListTransitionsRequest { instance_id: "i-1".into(), ..disk.clone() };
    assert_eq!(listed(&server, of_one).await.len(), 2);

    // From the first one on, and before the last one; the one bound is in, the other is not.
    let (newest, oldest) = (found[0].time, found[3].time);
    let from = pb::ListTransitionsRequest { start_time: oldest, ..disk.clone() };
    assert_eq!(listed(&server, from).await.len(), 4);
    let until = pb::ListTransitionsRequest { end_time: newest, ..disk.clone() };
    let earlier = listed(&server, until).await;
    assert!(!earlier.is_empty() && earlier.len() < 4, "{earlier:?}");
    let later = newest.map(|time| prost_types::Timestamp { seconds: time.seconds + 60, ..time });
    let future = pb::ListTransitionsRequest { start_time: later, ..Default::default() };
    assert_eq!(listed(&server, future).await, []);

    // Pages of what is asked for are full, and end.
    let mut page = pb::ListTransitionsRequest { service: "orders".into(), page_size: 3, ..disk };
    let first = health.list_transitions(page.clone()).await.unwrap().into_inner();
    assert_eq!(first.transitions, found[..3]);
    page.page_token = first.next_page_token;
    let last = health.list_transitions(page).await.unwrap().into_inner();
    assert_eq!((last.transitions.as_slice(), last.next_page_token.as_str()), (&found[3..], ""));
    server.stop().await;
}

#[tokio::test]
async fn who_was_removed_has_a_last_word_in_the_history_also_after_a_restart() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    register(&mut fleet, registration("orders", "i-2")).await;
    report(&mut health, &who, HealthState::Healthy, "").await.unwrap();
    let leave = pb::DeregisterRequest {
        instance: Some(who.instance.clone()),
        session_token: who.token.clone(),
        message: "deploy".into(),
    };
    fleet.deregister(leave).await.unwrap();
    drop((fleet, health));
    let of_one = pb::ListTransitionsRequest { instance_id: "i-1".into(), ..Default::default() };
    let before = listed(&server, of_one.clone()).await;
    let last = &before[0];
    assert_eq!((last.from(), last.to()), (HealthState::Healthy, HealthState::Unknown));
    assert_eq!(last.cause, "removed: it deregistered (deploy)");
    let told = |found: Vec<pb::HealthTransition>| -> Vec<(u64, String)> {
        found.into_iter().map(|change| (change.sequence, change.cause)).collect()
    };
    let server = server.restart().await;
    assert_eq!(told(listed(&server, of_one).await), told(before));
    server.stop().await;
}
