//! `WatchFleet` and `WatchHealth`.

use seaworthy_client::proto::seaworthy::v1::{self as pb, watch_fleet_response::Message};
use tonic::{Code, Streaming};

use crate::harness::{PATIENCE, TestServer, heartbeat, register, registration, report};

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

/// A registration with as many components as there may be.
fn fat(service: &str, id: &str) -> pb::Registration {
    let component = |number| pb::Component {
        name: format!("component-{number}"),
        fail_threshold: 1,
        ..pb::Component::default()
    };
    pb::Registration { components: (0..64).map(component).collect(), ..registration(service, id) }
}

#[tokio::test]
async fn no_answer_is_too_large_for_a_client_however_much_instances_say() {
    const COUNT: usize = 20;
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    for number in 0..COUNT {
        let who = register(&mut fleet, fat(&format!("orders-{number}"), "i-1")).await;
        let report = |number| pb::ComponentReport {
            component: format!("component-{number}"),
            state: pb::HealthState::Unhealthy.into(),
            message: "x".repeat(4096),
            details: (0..16).map(|at| (format!("key-{at}"), "x".repeat(256))).collect(),
            ..pb::ComponentReport::default()
        };
        let request = pb::ReportHealthRequest {
            instance: Some(who.instance),
            session_token: who.token,
            reports: (0..64).map(report).collect(),
            lifecycle: 0,
        };
        health.report_health(request).await.unwrap();
    }
    let mut stream = fleet.watch_fleet(watch("", None)).await.unwrap().into_inner();
    assert_eq!(full_state(&mut stream).await.1, COUNT);

    let mut request = pb::ListInstancesRequest { page_size: 1000, ..pb::ListInstancesRequest::default() };
    let mut instances = std::collections::BTreeSet::new();
    loop {
        let page = fleet.list_instances(request.clone()).await.unwrap().into_inner();
        let named = page.instances.into_iter().map(|instance| instance.registration.unwrap().service);
        instances.extend(named);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(instances.len(), COUNT);

    let mut request = pb::ListTransitionsRequest { page_size: 1000, ..pb::ListTransitionsRequest::default() };
    let mut sequences = Vec::new();
    loop {
        let page = health.list_transitions(request.clone()).await.unwrap().into_inner();
        sequences.extend(page.transitions.iter().map(|transition| transition.sequence));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert!(sequences.len() >= COUNT * 65, "every component and every instance: {}", sequences.len());
    assert!(sequences.is_sorted_by(|newer, older| newer > older), "newest first, each once");
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_that_reads_slowly_while_everything_changes_knows_what_a_list_answers() {
    use pb::fleet_change::Change;
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    for number in 0..40 {
        register(&mut fleet, fat("orders", &format!("i-{number:02}"))).await;
    }
    for number in 0..1500 {
        register(&mut fleet, registration("payments", &format!("i-{number:04}"))).await;
    }
    let mut stream = fleet.watch_fleet(watch("", None)).await.unwrap().into_inner();
    let mut known = std::collections::BTreeMap::new();
    let learn = |known: &mut std::collections::BTreeMap<_, _>, instance: pb::Instance| {
        let of = instance.registration.unwrap();
        known.insert((of.service, of.instance_id), (instance.incarnation, instance.revision));
    };
    let (mut number, mut complete, mut last) = (0, false, None);
    loop {
        // One removal and one arrival for each message that is read: behind and ahead of the reader.
        if !complete {
            let service = if number % 2 == 0 { "orders" } else { "payments" };
            let instance_id =
                if number % 2 == 0 { format!("i-{number:02}") } else { format!("i-{number:04}") };
            let remove = pb::RemoveInstanceRequest {
                service: service.into(),
                instance_id,
                allow_missing: true,
                ..pb::RemoveInstanceRequest::default()
            };
            fleet.remove_instance(remove).await.unwrap();
            register(&mut fleet, registration("invoices", &format!("i-{number}"))).await;
            number += 1;
        }
        let response = next(&mut stream).await;
        match response.message {
            Some(Message::Snapshot(part)) => {
                part.instances.into_iter().for_each(|instance| learn(&mut known, instance));
                if part.complete {
                    complete = true;
                    register(&mut fleet, registration("zebra", "the-last")).await;
                }
            }
            Some(Message::Change(change)) => match change.change.unwrap() {
                Change::Instance(instance) => learn(&mut known, instance),
                Change::Removed(grave) => {
                    let of = grave.instance.unwrap();
                    let was = known.remove(&(of.service, of.instance_id));
                    assert!(was.is_some(), "only what was told before is taken back");
                }
                Change::Service(service) => last = Some(service.name),
                Change::ServiceRemoved(_) => {}
            },
            _ => {}
        }
        if complete && last.as_deref() == Some("zebra") {
            break;
        }
    }
    assert!(number > 3, "full state came in several parts: {number}");
    let mut listed = std::collections::BTreeMap::new();
    let mut request = pb::ListInstancesRequest { page_size: 1000, ..pb::ListInstancesRequest::default() };
    loop {
        let page = fleet.list_instances(request.clone()).await.unwrap().into_inner();
        page.instances.into_iter().for_each(|instance| learn(&mut listed, instance));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(known, listed);
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

/// Watchers of one instance would otherwise hear of every change of all others of its service.
#[tokio::test]
async fn a_watch_of_one_instance_says_nothing_of_its_siblings() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let sibling = register(&mut fleet, registration("orders", "i-2")).await;
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    let target = |component: &str| pb::WatchHealthRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        component: component.into(),
    };
    let mut watches = Vec::new();
    for component in ["", "database"] {
        let mut watch = health.watch_health(target(component)).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await.health.unwrap().state(), pb::HealthState::Healthy);
        watches.push(watch);
    }
    for round in 0..20 {
        // It is heard, and what it says is no news: only figures move.
        heartbeat(&mut fleet, &who).await;
        report(&mut health, &who, pb::HealthState::Healthy, &round.to_string()).await.unwrap();
        let other = [pb::HealthState::Healthy, pb::HealthState::Unhealthy][round % 2];
        report(&mut health, &sibling, other, "").await.unwrap();
    }
    report(&mut health, &who, pb::HealthState::Unhealthy, "disk is gone").await.unwrap();
    for mut watch in watches {
        let now = next(&mut watch).await.health.unwrap();
        assert_eq!(now.state(), pb::HealthState::Unhealthy, "the next message is the next change");
        assert!(now.cause.contains("disk is gone"), "{}", now.cause);
    }
    // A new life is news, also where the old one had not said anything either.
    let mut watch = health.watch_health(target("")).await.unwrap().into_inner();
    next(&mut watch).await;
    let mut anew = pb::RegisterRequest {
        registration: Some(registration("orders", "i-1")),
        ..pb::RegisterRequest::default()
    };
    anew.session_token = who.token.clone();
    fleet.register(anew).await.unwrap();
    assert_eq!(next(&mut watch).await.health.unwrap().instance.unwrap().incarnation, 2);
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
