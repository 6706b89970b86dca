//! The Rust client against the real server: what a service sees of its control plane, and the control plane
//! of its service, while either goes away and comes back.
//!
//! Every wait is for an event, and is bounded. The client reaches the server through a relay, so that a
//! test can take the network away and leave both ends alive.

#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "server/harness.rs"]
mod harness;
#[path = "client/relay.rs"]
mod relay;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use seaworthy_client::{
    ActiveCheck, Agent, Builder, Component, HealthState, LeaveOutcome, Lifecycle, Report, Status,
    proto::{grpc::health::v1::health_check_response::ServingStatus, seaworthy::v1 as pb},
};
use tokio::time::timeout;

use crate::{
    harness::{PATIENCE, TestServer},
    relay::Relay,
};

/// Shortest lease and shortest interval that there are: these tests wait for them.
const LEASE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(1);

/// Instance `orders/i-1` with a component that is pushed.
fn orders(control_plane: String) -> Builder {
    Agent::builder(control_plane, "orders")
        .instance_id("i-1")
        .version("1.2.3")
        .address("127.0.0.1:7001")
        .lease_ttl(LEASE)
        .component(Component::new("cache").interval(INTERVAL))
}

async fn attached(agent: &Agent) -> u64 {
    timeout(PATIENCE, agent.attached()).await.expect("in time").expect("it has not left")
}

/// Waits for a status, and answers it.
async fn until(agent: &Agent, wanted: impl FnMut(&Status) -> bool) -> Status {
    let mut status = agent.status();
    timeout(PATIENCE, status.wait_for(wanted)).await.expect("in time").expect("it watches").clone()
}

/// Waits until it is not attached, and answers why.
async fn until_away(agent: &Agent) -> String {
    match until(agent, |status| matches!(status, Status::Waiting { .. })).await {
        Status::Waiting { last_error, .. } => last_error,
        other => panic!("just seen as waiting, not {other:?}"),
    }
}

async fn instance(server: &TestServer) -> pb::Instance {
    let request = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
    let answer = server.fleet().await.get_instance(request).await.expect("registered");
    answer.into_inner().instance.expect("an instance")
}

/// Follows the health of `orders/i-1` until this is its cause.
async fn until_cause(server: &TestServer, cause: &str) {
    let request = pb::WatchHealthRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..pb::WatchHealthRequest::default()
    };
    let mut watch = server.health().await.watch_health(request).await.expect("watched").into_inner();
    let reached = async {
        while let Some(answer) = watch.message().await.expect("the watch goes on") {
            if answer.health.is_some_and(|health| health.cause == cause) {
                return;
            }
        }
        panic!("the watch ended");
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("the cause never became {cause:?}"));
}

/// An agent that was attached through the relay, and has lost its network.
async fn cut_off() -> (TestServer, Relay, Agent) {
    let server = TestServer::start().await;
    let mut relay = Relay::to(server.addresses.grpc);
    let agent = orders(relay.url()).attach().expect("a good description");
    assert_eq!(attached(&agent).await, 1);
    relay.cut().await;
    until_away(&agent).await;
    (server, relay, agent)
}

/// The newest tombstone of `orders/i-1`.
async fn tombstone(server: &TestServer) -> pb::Tombstone {
    let request = pb::ListInstancesRequest { show_removed: true, ..pb::ListInstancesRequest::default() };
    let listed = server.fleet().await.list_instances(request).await.expect("listed").into_inner();
    listed.removed.into_iter().next_back().expect("a tombstone")
}

async fn remove(server: &TestServer, message: &str) {
    let request = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        message: message.into(),
        ..pb::RemoveInstanceRequest::default()
    };
    server.fleet().await.remove_instance(request).await.expect("removed");
}

#[tokio::test]
async fn components_that_are_pushed_and_checked_arrive_with_their_causes() {
    let server = TestServer::start().await;
    let broken = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&broken);
    let check = move || {
        let broken = asked.load(Ordering::SeqCst);
        async move { if broken { Err(io::Error::other("the disk is gone")) } else { Ok(()) } }
    };
    let database = Component::new("database").kind("sqlite").essential().fail_threshold(1);
    let agent = orders(server.url())
        .depends_on("payments")
        .label("team", "checkout")
        .component(database.interval(INTERVAL).check(check))
        .attach()
        .expect("a good description");
    assert_eq!(attached(&agent).await, 1);

    agent.push("cache", Report::degraded("cold").detail("hit_rate", 0.12)).expect("a component");
    server.until("orders/i-1/database", ServingStatus::Serving).await;
    server.until("orders/i-1/cache", ServingStatus::Serving).await;
    let seen = instance(&server).await;
    assert_eq!((seen.health(), seen.cause.as_str()), (pb::HealthState::Degraded, "component cache: cold"));
    let cache = seen.components.iter().find(|one| one.message == "cold").expect("the pushed one");
    assert_eq!(cache.details["hit_rate"], "0.12");
    let registration = seen.registration.expect("what was declared");
    assert_eq!(registration.labels["team"], "checkout");
    assert_eq!(registration.declared_spec.expect("a specification").depends_on[0].service, "payments");

    broken.store(true, Ordering::SeqCst);
    server.until("orders/i-1/database", ServingStatus::NotServing).await;
    server.until("orders", ServingStatus::NotServing).await;
    let seen = instance(&server).await;
    assert_eq!(seen.cause, "component database: the disk is gone");
    assert_eq!(agent.health().verdict().cause, seen.cause, "both ends say the same");

    broken.store(false, Ordering::SeqCst);
    server.until("orders", ServingStatus::Serving).await;
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn what_the_control_plane_checks_is_its_word_and_not_the_services() {
    let server = TestServer::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let api = Component::new("api")
        .essential()
        .depends_on("cache")
        .fail_threshold(1)
        .active_check(ActiveCheck::tcp(port).interval(INTERVAL));
    let agent = orders(server.url()).component(api).attach().expect("attached");
    attached(&agent).await;
    server.until("orders/i-1/api", ServingStatus::Serving).await;
    drop(listener);
    server.until("orders/i-1/api", ServingStatus::NotServing).await;
    server.until("orders/i-1", ServingStatus::NotServing).await;
    // The service itself says nothing of it, and is not judged by it.
    agent.handle().push("api", Report::healthy()).expect_err("not the service's to say");
    agent.handle().push("cache", Report::healthy()).expect("pushed");
    let health = agent.handle().health();
    assert!(health.component("api").is_none());
    assert_eq!(health.verdict().state, HealthState::Healthy);
    server.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_control_plane_is_not_noticed() {
    let server = TestServer::start().await;
    let agent = orders(server.url()).attach().expect("a good description");
    agent.push("cache", Report::degraded("cold")).expect("a component");
    assert_eq!(attached(&agent).await, 1);
    server.until("orders/i-1/cache", ServingStatus::Serving).await;

    let server = server.restart().await;
    // It is heard again, as the same incarnation, and what was pushed before is said again.
    server.until("orders/i-1/cache", ServingStatus::Serving).await;
    let seen = instance(&server).await;
    assert_eq!((seen.incarnation, seen.confirmed, seen.cause.as_str()), (1, true, "component cache: cold"));
    assert_eq!(attached(&agent).await, 1);
    assert_eq!(agent.health().verdict().cause, "component cache: cold");
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_loads_its_fleet_is_waited_for() {
    let server = TestServer::start().await;
    let agent = orders(server.url()).attach().expect("a good description");
    assert_eq!(attached(&agent).await, 1);
    let starting = server.stop_and_listen().await;
    let loading = |status: &Status| matches!(status, Status::Waiting { last_error, .. } if last_error.ends_with("[LOADING]"));
    until(&agent, loading).await;

    let server = starting.load().await;
    until(&agent, |status| *status == Status::Attached { incarnation: 1 }).await;
    assert!(instance(&server).await.confirmed);
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_is_absent_at_the_start_is_found_when_it_comes() {
    let mut relay = Relay::closed();
    let agent = orders(relay.url()).attach().expect("an absent control plane is no error");
    let why = until_away(&agent).await;
    assert!(why.starts_with("cannot reach the control plane at http://127.0.0.1:"), "{why}");
    agent.push("cache", Report::unhealthy("said while it was away")).expect("a component");
    assert_eq!(agent.health().verdict().cause, "component cache: said while it was away");

    let server = TestServer::start().await;
    relay.open(server.addresses.grpc);
    assert_eq!(attached(&agent).await, 1);
    server.until("orders/i-1/cache", ServingStatus::NotServing).await;
    assert_eq!(instance(&server).await.cause, "component cache: said while it was away");
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn a_lost_network_costs_the_lease_and_not_the_registration() {
    let (server, mut relay, agent) = cut_off().await;
    server.until("orders/i-1:liveness", ServingStatus::NotServing).await;
    assert_eq!(instance(&server).await.lifecycle(), pb::Lifecycle::Lost);

    relay.open(server.addresses.grpc);
    assert_eq!(attached(&agent).await, 1, "its token is still good");
    server.until("orders/i-1:liveness", ServingStatus::Serving).await;
    assert_eq!(instance(&server).await.lifecycle(), pb::Lifecycle::Ready);
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn leaving_is_gone_at_once_with_the_reason_kept() {
    let server = TestServer::start().await;
    let agent = orders(server.url()).attach().expect("a good description");
    attached(&agent).await;
    agent.set_lifecycle(Lifecycle::Draining).expect("it may follow");
    assert_eq!(agent.leave("deploy").await, LeaveOutcome::Deregistered);
    let left = tombstone(&server).await;
    assert_eq!((left.reason(), left.message.as_str()), (pb::RemovalReason::Deregistered, "deploy"));

    let agent = orders(server.url()).attach().expect("a good description");
    assert_eq!(attached(&agent).await, 2, "who comes back is a new incarnation");
    let handle = agent.handle();
    drop(agent);
    server.until("orders/i-1", ServingStatus::ServiceUnknown).await;
    let left = tombstone(&server).await;
    assert_eq!(
        (left.reason(), left.message.as_str()),
        (pb::RemovalReason::Deregistered, "the agent was dropped")
    );
    let mut status = handle.status();
    let told = timeout(PATIENCE, status.wait_for(|status| *status == Status::Left)).await;
    told.expect("in time").expect("it watches");
    assert!(handle.attached().await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn leaving_while_the_control_plane_is_away_is_bounded_and_the_lease_does_the_rest() {
    let (server, _relay, agent) = cut_off().await;
    let left = timeout(PATIENCE, agent.leave("deploy")).await.expect("bounded");
    assert_eq!(left, LeaveOutcome::Unconfirmed);
    server.until("orders/i-1:liveness", ServingStatus::NotServing).await;
    server.stop().await;
}

#[tokio::test]
async fn who_is_removed_says_so_and_takes_its_time() {
    let server = TestServer::start().await;
    let agent = orders(server.url()).attach().expect("a good description");
    attached(&agent).await;
    remove(&server, "worn out").await;
    let status = until(&agent, |status| matches!(status, Status::Waiting { .. })).await;
    let Status::Waiting { retry_in, last_error } = status else { panic!("just seen") };
    assert!(last_error.contains("removed") && last_error.contains("worn out"), "{last_error}");
    assert!(retry_in >= Duration::from_secs(10), "an operator meant it: {retry_in:?}");
    assert_eq!(agent.leave("done").await, LeaveOutcome::NotRegistered);
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_with_the_reason_and_replaced_by_a_registration() {
    let (server, mut relay, agent) = cut_off().await;
    remove(&server, "worn out").await;

    let mut told = agent.status();
    relay.open(server.addresses.grpc);
    let refused = |status: &Status| matches!(status, Status::Waiting { last_error, .. } if last_error.contains("[INSTANCE_REMOVED]"));
    let why = timeout(PATIENCE, told.wait_for(refused)).await.expect("in time").expect("it watches").clone();
    let Status::Waiting { last_error, .. } = why else { panic!("just seen") };
    assert!(last_error.contains("orders/i-1 was removed") && last_error.contains("worn out"), "{last_error}");
    until(&agent, |status| *status == Status::Attached { incarnation: 2 }).await;
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn a_second_process_of_one_id_waits_until_the_first_has_left() {
    let server = TestServer::start().await;
    let first = orders(server.url()).attach().expect("a good description");
    assert_eq!(attached(&first).await, 1);
    let second = orders(server.url()).attach().expect("a good description");
    let why = until_away(&second).await;
    assert!(why.contains("its lease lives") && why.ends_with("[INSTANCE_ALIVE]"), "{why}");
    assert_eq!(*first.status().borrow(), Status::Attached { incarnation: 1 }, "the holder is left alone");

    first.leave("make way").await;
    assert_eq!(attached(&second).await, 2);
    assert_eq!(instance(&server).await.incarnation, 2);
    second.leave("done").await;
    server.stop().await;
}

#[tokio::test]
async fn a_storm_of_pushed_reports_becomes_a_few_messages_and_ends_with_the_newest() {
    const PUSHES: u32 = 10_000;
    let server = TestServer::start().await;
    let agent = orders(server.url()).attach().expect("a good description");
    attached(&agent).await;
    for number in 0..PUSHES {
        // Every push turns the component over: were each of them sent, each would be a change.
        let report = match number % 2 {
            0 => Report::unhealthy(format!("push {number}")),
            _ => Report::degraded(format!("push {number}")),
        };
        agent.push("cache", report).expect("a component");
        // The session may take it before the next one comes.
        tokio::task::yield_now().await;
    }
    agent.push("cache", Report::unhealthy("the last")).expect("a component");
    until_cause(&server, "component cache: the last").await;
    let request = pb::ListTransitionsRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        page_size: 1000,
        ..pb::ListTransitionsRequest::default()
    };
    let changes = server.health().await.list_transitions(request).await.expect("listed").into_inner();
    assert!(
        !changes.transitions.is_empty() && changes.transitions.len() < 100,
        "{}",
        changes.transitions.len()
    );
    agent.leave("done").await;
    server.stop().await;
}
