//! The life of an attachment against a scripted control plane that dies, forgets, stays silent and talks
//! nonsense: see `support/peer.rs`.
// Helpers of tests may do what tests may.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

#[path = "support/peer.rs"]
mod peer;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use peer::{PATIENCE, Peer, Place, Session, opened};
use seaworthy_client::{
    Agent, Builder, Component, LeaveOutcome, Lifecycle, LifecycleOrder, Report, Status,
    proto::seaworthy::v1::{
        self as wire, AttachResponse, CloseReason, HealthState, OpenSession, SessionReportRefused,
        attach_request::Message as Said, attach_response::Message as Say, open_session::How,
    },
};
use tokio::time::timeout;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

fn builder(url: impl Into<String>) -> Builder {
    Agent::builder(url, "orders").instance_id("orders-1").version("1.2.3")
}

fn with_cache(url: impl Into<String>) -> Builder {
    builder(url).component(Component::new("cache").interval(Duration::from_secs(60)))
}

fn request_id(open: &OpenSession) -> &str {
    match &open.how {
        Some(How::Register(register)) => &register.request_id,
        other => panic!("a registration was expected, not {other:?}"),
    }
}

fn token(open: &OpenSession) -> &str {
    match &open.how {
        Some(How::Register(register)) => &register.session_token,
        other => panic!("a registration was expected, not {other:?}"),
    }
}

fn resumes(open: &OpenSession) -> Option<(u64, &str)> {
    match &open.how {
        Some(How::Resume(resume)) => {
            let instance = resume.instance.as_ref().expect("who resumes");
            Some((instance.incarnation, &resume.session_token))
        }
        _ => None,
    }
}

fn refusal(code: Code, reason: &str) -> tonic::Status {
    let details = ErrorDetails::with_error_info(reason, "seaworthy.dev", HashMap::new());
    tonic::Status::with_error_details(code, "as the script says", details)
}

async fn wait_for(agent: &Agent, condition: impl FnMut(&Status) -> bool) -> Status {
    let mut status = agent.status();
    let seen = timeout(PATIENCE, status.wait_for(condition)).await.expect("in time").expect("open");
    seen.clone()
}

fn report_of<'a>(health: &'a wire::SessionHealth, component: &str) -> &'a wire::ComponentReport {
    let found = health.reports.iter().find(|report| report.component == component);
    found.unwrap_or_else(|| panic!("no report of {component} in {health:?}"))
}

#[tokio::test]
async fn registers_with_all_that_was_said() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url())
        .zone("eu-1")
        .address("127.0.0.1:7001")
        .label("team", "checkout")
        .depends_on("payments")
        .lease_ttl(Duration::from_secs(30))
        .component(Component::new("database").kind("sqlite").essential().check(|| async {}))
        .attach()
        .expect("attach");
    let (_session, open) = peer.registered(3, "sws_1").await;
    assert_eq!(agent.attached().await, Ok(3));
    assert_eq!(request_id(&open).len(), 32);
    let Some(How::Register(register)) = open.how else { panic!("a registration") };
    let registration = register.registration.expect("who registers");
    assert_eq!(registration.instance_id, "orders-1");
    assert_eq!((registration.zone.as_str(), registration.address.as_str()), ("eu-1", "127.0.0.1:7001"));
    assert_eq!(registration.labels["team"], "checkout");
    assert_eq!(registration.lease_ttl.expect("a ttl").seconds, 30);
    assert_eq!(registration.lifecycle(), wire::Lifecycle::Ready);
    let database = &registration.components[0];
    assert!(database.essential);
    assert_eq!((database.kind.as_str(), database.fail_threshold), ("sqlite", 3));
    assert_eq!(registration.declared_spec.expect("a spec").depends_on[0].service, "payments");
}

#[tokio::test]
async fn an_absent_control_plane_is_waited_for() {
    let place = Place::reserve();
    let agent = with_cache(place.url()).attach().expect("attach");
    let waiting = wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
    let Status::Waiting { last_error, .. } = waiting else { panic!("just seen") };
    assert!(last_error.starts_with("cannot reach the control plane at http://127.0.0.1:"), "{last_error}");
    agent.push("cache", Report::degraded("cold")).expect("a component");
    let mut peer = Peer::start_at(&place).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let health = first_reports(&mut session).await;
    assert_eq!(report_of(&health, "cache").message, "cold");
}

/// The first message with reports.
async fn first_reports(session: &mut Session) -> wire::SessionHealth {
    loop {
        let health = session.health().await;
        if !health.reports.is_empty() {
            return health;
        }
    }
}

#[tokio::test]
async fn only_the_newest_of_many_reports_is_kept_while_it_is_away() {
    let place = Place::reserve();
    let agent = with_cache(place.url()).attach().expect("attach");
    for n in 0..10_000 {
        agent.push("cache", Report::unhealthy(format!("report {n}"))).expect("a component");
    }
    let mut peer = Peer::start_at(&place).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let health = first_reports(&mut session).await;
    assert_eq!(health.reports.len(), 1);
    assert_eq!(report_of(&health, "cache").message, "report 9999");
    // And what follows is one message for a new report, nothing from before.
    agent.push("cache", Report::healthy()).expect("a component");
    let health = first_reports(&mut session).await;
    assert_eq!(report_of(&health, "cache").state(), HealthState::Healthy);
}

#[tokio::test]
async fn a_restart_of_the_control_plane_is_survived_by_resuming_and_saying_everything_again() {
    let mut peer = Peer::start().await;
    let agent = with_cache(peer.url()).attach().expect("attach");
    agent.push("cache", Report::unhealthy("cold")).expect("a component");
    let (mut session, _) = peer.registered(4, "sws_4").await;
    first_reports(&mut session).await;
    agent.set_lifecycle(Lifecycle::LameDuck).expect("it may follow");
    assert_eq!(session.health().await.lifecycle(), wire::Lifecycle::LameDuck);
    let place = peer.place.clone();
    drop((session, peer));
    wait_for(&agent, |status| !matches!(status, Status::Attached { .. })).await;
    let mut peer = Peer::start_at(&place).await;
    let mut session = peer.session().await;
    assert_eq!(resumes(&session.open().await), Some((4, "sws_4")));
    session.opened(4, "").await;
    assert_eq!(session.health().await.lifecycle(), wire::Lifecycle::LameDuck);
    assert_eq!(report_of(&session.health().await, "cache").message, "cold");
    assert_eq!(agent.attached().await, Ok(4));
}

#[tokio::test]
async fn a_lost_answer_is_asked_again_with_the_same_request_id() {
    let mut peer = Peer::start().await;
    let _agent = builder(peer.url()).attach().expect("attach");
    let mut first = peer.session().await;
    let lost = first.open().await;
    drop(first);
    let again = peer.session().await.open().await;
    assert_eq!(request_id(&lost), request_id(&again));
}

#[tokio::test]
async fn a_registration_that_is_gone_is_made_anew() {
    for (code, reason) in [
        (Code::NotFound, "INSTANCE_NOT_FOUND"),
        (Code::FailedPrecondition, "INSTANCE_REMOVED"),
        (Code::Unauthenticated, "SESSION_TOKEN_INVALID"),
    ] {
        let mut peer = Peer::start().await;
        let agent = builder(peer.url()).attach().expect("attach");
        let (session, first) = peer.registered(1, "sws_1").await;
        session.refuse(tonic::Status::unavailable("the store is away")).await;
        let mut session = peer.session().await;
        assert_eq!(resumes(&session.open().await), Some((1, "sws_1")), "{reason}");
        session.refuse(refusal(code, reason)).await;
        let (_session, second) = peer.registered(2, "sws_2").await;
        assert_ne!(request_id(&first), request_id(&second), "{reason}");
        // It proves that the id is ours, should it live after all.
        assert_eq!((token(&first), token(&second)), ("", "sws_1"), "{reason}");
        wait_for(&agent, |status| *status == Status::Attached { incarnation: 2 }).await;
    }
}

/// What becomes of a proxy's 401, 403 and 404, and of its other refusals.
#[tokio::test]
async fn a_refusal_that_is_not_the_control_planes_costs_no_registration() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    for code in [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::AlreadyExists,
        Code::InvalidArgument,
    ] {
        session.refuse(tonic::Status::new(code, "RBAC: access denied")).await;
        session = peer.session().await;
        assert_eq!(resumes(&session.open().await), Some((1, "sws_1")), "{code:?}");
    }
    session.refuse(tonic::Status::permission_denied("RBAC: access denied")).await;
    let waiting = wait_for(&agent, |status| match status {
        Status::Waiting { last_error, .. } => last_error.contains("RBAC"),
        _ => false,
    });
    let Status::Waiting { last_error, .. } = waiting.await else { panic!("just seen") };
    assert_eq!(
        last_error,
        "PermissionDenied, without a reason of the control plane's (a proxy before it?): RBAC: access denied"
    );
    let leaving = tokio::spawn(agent.leave("deploy"));
    assert_eq!(peer.deregistered().await.session_token, "sws_1");
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
}

#[tokio::test]
async fn who_was_refused_with_a_registration_takes_it_back_when_it_leaves() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (session, _) = peer.registered(3, "sws_3").await;
    session.refuse(refusal(Code::PermissionDenied, "OF_A_NEWER_RELEASE")).await;
    wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
    let leaving = tokio::spawn(agent.leave("deploy"));
    let asked = timeout(PATIENCE, peer.deregistered()).await.expect("it is asked");
    assert_eq!((asked.instance.expect("who leaves").incarnation, &*asked.session_token), (3, "sws_3"));
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
}

#[tokio::test]
async fn another_holder_of_the_id_is_waited_for() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    for _ in 0..3 {
        let mut session = peer.session().await;
        assert!(!request_id(&session.open().await).is_empty());
        session.refuse(refusal(Code::AlreadyExists, "INSTANCE_ALIVE")).await;
    }
    let (_session, _) = peer.registered(9, "sws_9").await;
    assert_eq!(agent.attached().await, Ok(9));
}

#[tokio::test]
async fn who_is_superseded_stops_says_so_and_keeps_its_own_health() {
    for reason in [CloseReason::StaleIncarnation, CloseReason::Superseded] {
        let mut peer = Peer::start().await;
        let agent = with_cache(peer.url()).attach().expect("attach");
        let (session, _) = peer.registered(1, "sws_1").await;
        session.close(reason, None).await;
        let status = wait_for(&agent, |status| matches!(status, Status::Superseded { .. })).await;
        let Status::Superseded { retry_in, message } = status else { panic!("just seen") };
        assert!(retry_in >= Duration::from_secs(10), "slowly");
        assert!(message.ends_with("as the script says"), "{message}");
        agent.push("cache", Report::healthy()).expect("a component");
        assert!(agent.health().is_ready());
    }
}

#[tokio::test]
async fn a_draining_control_plane_is_resumed_when_it_says() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (session, _) = peer.registered(1, "sws_1").await;
    session.close(CloseReason::Draining, Some(Duration::from_millis(300))).await;
    let status = wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
    let Status::Waiting { retry_in, .. } = status else { panic!("just seen") };
    assert!(retry_in >= Duration::from_millis(300) && retry_in <= Duration::from_millis(360), "{retry_in:?}");
    assert_eq!(resumes(&peer.session().await.open().await), Some((1, "sws_1")));
}

#[tokio::test]
async fn a_control_plane_that_acknowledges_nothing_is_left_and_resumed() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (mut silent, _) = peer.registered(1, "sws_1").await;
    // It takes what is sent, so the connection is fine; it only says nothing of use.
    let mut heartbeats = 0;
    let until_it_goes = async {
        while let Some(message) = silent.next().await {
            heartbeats += u32::from(matches!(message, Said::Heartbeat(_)));
            // An acknowledgement of what was never said does not count.
            silent.ack(1_000).await;
        }
    };
    timeout(PATIENCE, until_it_goes).await.expect("it goes in time");
    assert!(heartbeats >= 2, "{heartbeats} heartbeats in a lease");
    let status = wait_for(&agent, |status| !matches!(status, Status::Attached { .. })).await;
    if let Status::Waiting { last_error, .. } = status {
        assert_eq!(last_error, "the control plane acknowledged nothing for 2s");
    }
    assert_eq!(resumes(&peer.session().await.open().await), Some((1, "sws_1")));
}

#[tokio::test]
async fn acknowledged_heartbeats_count_up_and_keep_the_session() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    // Longer than the lease of two seconds.
    let mut expected = 1;
    while expected <= 5 {
        match session.next().await.expect("the session goes on") {
            Said::Heartbeat(heartbeat) => assert_eq!(heartbeat.sequence, expected),
            _ => continue,
        }
        session.ack(expected).await;
        expected += 1;
    }
    assert_eq!(agent.attached().await, Ok(1));
}

#[tokio::test]
async fn leaving_is_confirmed_and_everything_is_said_before() {
    let mut peer = Peer::start().await;
    let agent = with_cache(peer.url()).attach().expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    agent.attached().await.expect("attached");
    let handle = agent.handle();
    agent.set_lifecycle(Lifecycle::Draining).expect("it may follow");
    let leaving = tokio::spawn(agent.leave("deploy"));
    let mut lifecycle = wire::Lifecycle::Unspecified;
    let message = loop {
        match session.next().await.expect("it says that it leaves") {
            Said::Health(health) => lifecycle = health.lifecycle(),
            Said::Leave(leave) => break leave.message,
            _ => {}
        }
    };
    assert_eq!((message.as_str(), lifecycle), ("deploy", wire::Lifecycle::Draining));
    session.close(CloseReason::Left, None).await;
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
    assert_eq!(*handle.status().borrow(), Status::Left);
    assert!(handle.attached().await.is_err());
    assert!(!handle.health().is_ready());
}

#[tokio::test]
async fn dropping_the_agent_leaves_too() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    agent.attached().await.expect("attached");
    drop(agent);
    assert_eq!(session.until_leave().await.as_deref(), Some("the agent was dropped"));
}

#[tokio::test]
async fn leaving_between_two_sessions_takes_the_registration_back() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (session, _) = peer.registered(5, "sws_5").await;
    session.close(CloseReason::Draining, Some(Duration::from_secs(60))).await;
    wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
    let leaving = tokio::spawn(agent.leave("deploy"));
    let asked = peer.deregistered().await;
    assert_eq!(asked.instance.expect("who leaves").incarnation, 5);
    assert_eq!((asked.session_token.as_str(), asked.message.as_str()), ("sws_5", "deploy"));
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
}

#[tokio::test]
async fn leaving_that_meets_the_end_of_the_session_goes_on_by_a_call() {
    type Ending = fn(Session) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let endings: [(&str, Ending); 3] = [
        ("draining", |session| Box::pin(session.close(CloseReason::Draining, None))),
        ("refused", |session| Box::pin(session.refuse(tonic::Status::unavailable("aged")))),
        ("broken", |session| Box::pin(async move { drop(session) })),
    ];
    for (what, end) in endings {
        let mut peer = Peer::start().await;
        // Once is nothing: there is time left to ask again.
        peer.is_busy(1);
        let agent = builder(peer.url()).attach().expect("attach");
        let (mut session, _) = peer.registered(5, "sws_5").await;
        agent.attached().await.expect("attached");
        let leaving = tokio::spawn(agent.leave("deploy"));
        assert_eq!(session.until_leave().await.as_deref(), Some("deploy"));
        end(session).await;
        assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered, "{what}");
        let asked = peer.deregistered().await;
        assert_eq!((asked.session_token.as_str(), asked.message.as_str()), ("sws_5", "deploy"), "{what}");
        assert_eq!(asked.instance.expect("who leaves").incarnation, 5, "{what}");
    }
}

#[tokio::test]
async fn a_session_that_opens_while_it_leaves_is_taken_back_even_when_it_breaks() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let mut session = peer.session().await;
    session.open().await;
    let handle = agent.handle();
    let mut health = handle.watch_health();
    let leaving = tokio::spawn(agent.leave("deploy"));
    health.changed().await.expect("it leaves");
    session.opened(5, "sws_5").await;
    assert_eq!(session.until_leave().await.as_deref(), Some("deploy"));
    drop(session);
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
    assert_eq!(peer.deregistered().await.session_token, "sws_5");
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_not_said_to_be_none() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let mut session = peer.session().await;
    session.open().await;
    // It may have been written down before the control plane began to stop.
    session.close(CloseReason::Draining, Some(Duration::from_secs(60))).await;
    wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
    assert_eq!(agent.leave("deploy").await, LeaveOutcome::Unconfirmed);
    // Neither do these say that nothing was done.
    for lost in [
        refusal(Code::Unavailable, "SERVER_DRAINING"),
        refusal(Code::Unavailable, "STORE_UNAVAILABLE"),
        refusal(Code::DeadlineExceeded, "REQUEST_TIMEOUT"),
        tonic::Status::unavailable("upstream connect error"),
    ] {
        let agent = builder(peer.url()).attach().expect("attach");
        let mut session = peer.session().await;
        session.open().await;
        session.refuse(lost.clone()).await;
        wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
        assert_eq!(agent.leave("deploy").await, LeaveOutcome::Unconfirmed, "{lost:?}");
    }

    let agent = builder(peer.url()).attach().expect("attach");
    let mut session = peer.session().await;
    session.open().await;
    let leaving = tokio::spawn(agent.leave("deploy"));
    drop(session);
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Unconfirmed);
}

#[tokio::test]
async fn a_registration_that_was_refused_is_none() {
    let not_written = ErrorDetails::with_error_info(
        "STORE_UNAVAILABLE",
        "seaworthy.dev",
        HashMap::from([("outcome".to_owned(), "not_written".to_owned())]),
    );
    for refused in [
        refusal(Code::InvalidArgument, "INVALID_FIELD"),
        refusal(Code::ResourceExhausted, "FLEET_FULL"),
        refusal(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        refusal(Code::Unavailable, "LOADING"),
        tonic::Status::with_error_details(Code::Unavailable, "the disk is full", not_written),
    ] {
        let mut peer = Peer::start().await;
        let agent = builder(peer.url()).attach().expect("attach");
        let mut session = peer.session().await;
        session.open().await;
        session.refuse(refused.clone()).await;
        wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
        assert_eq!(agent.leave("deploy").await, LeaveOutcome::NotRegistered, "{refused:?}");
    }
}

#[tokio::test]
async fn leaving_is_bounded_whatever_the_control_plane_does() {
    let place = Place::reserve();
    let never = builder(place.url()).attach().expect("attach");
    wait_for(&never, |status| matches!(status, Status::Waiting { .. })).await;
    let left = timeout(PATIENCE, never.leave("deploy")).await;
    assert_eq!(left.expect("bounded"), LeaveOutcome::NotRegistered);

    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (mut silent, _) = peer.registered(1, "sws_1").await;
    agent.attached().await.expect("attached");
    let handle = agent.handle();
    let leaving = tokio::spawn(agent.leave("deploy"));
    assert_eq!(silent.until_leave().await.as_deref(), Some("deploy"));
    assert!(!handle.health().is_ready(), "probes are turned away while it leaves");
    let left = timeout(PATIENCE, leaving).await.expect("bounded");
    assert_eq!(left.expect("no panic"), LeaveOutcome::Unconfirmed);
}

#[tokio::test]
async fn nonsense_does_not_disturb() {
    let mut peer = Peer::start().await;
    let agent = with_cache(peer.url()).attach().expect("attach");
    let mut session = peer.session().await;
    session.open().await;
    // A kind that this library does not know, then times that make no sense.
    session.say_raw(AttachResponse { message: None }).await;
    session.say(opened(1, "sws_1", -5)).await;
    assert_eq!(agent.attached().await, Ok(1));
    for _ in 0..1000 {
        session.say_raw(AttachResponse { message: None }).await;
        session.say(opened(7, "sws_7", 0)).await;
        session.ack(u64::MAX).await;
        let (field, message) = ("health.reports[0]".to_owned(), "no".to_owned());
        session.say(Say::ReportRefused(SessionReportRefused { sequence: 9, field, message })).await;
    }
    agent.push("cache", Report::healthy()).expect("a component");
    assert_eq!(first_reports(&mut session).await.reports.len(), 1);
    assert_eq!(agent.attached().await, Ok(1));
    // Speaking before the session is open ends the try, not the client.
    drop(session);
    let mut early = peer.session().await;
    early.open().await;
    early.ack(1).await;
    assert!(early.next().await.is_none());
    let (_session, _) = peer.registered(2, "").await;
    agent.attached().await.expect("attached");
}

#[tokio::test]
async fn checks_that_panic_or_hang_become_reports_and_others_go_on() {
    let mut peer = Peer::start().await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = {
        let runs = Arc::clone(&runs);
        move || {
            runs.fetch_add(1, Ordering::Relaxed);
            async {}
        }
    };
    let second = Duration::from_secs(1);
    let component = |name: &str| Component::new(name).interval(second).timeout(second / 10);
    let _agent = builder(peer.url())
        .component(component("panics").check(panics))
        .component(component("hangs").check(std::future::pending::<()>))
        .component(component("works").check(counted))
        .attach()
        .expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let mut last = HashMap::new();
    while last.len() < 3 || runs.load(Ordering::Relaxed) < 2 {
        for report in session.health().await.reports {
            last.insert(report.component.clone(), report);
        }
    }
    assert_eq!(last["panics"].message, "the check panicked: on purpose");
    assert_eq!(last["hangs"].message, "check did not answer within 100ms");
    assert_eq!(last["works"].state(), HealthState::Healthy);
    assert!(last["works"].response_time.is_some());
}

async fn panics() -> Report {
    panic!("on purpose")
}

#[tokio::test]
async fn what_is_due_together_travels_together() {
    let mut peer = Peer::start().await;
    let names: Vec<String> = (0..40).map(|n| format!("c{n}")).collect();
    let builder = names.iter().fold(builder(peer.url()), |all, name| {
        all.component(Component::new(name).interval(Duration::from_secs(1)).check(|| async {}))
    });
    let _agent = builder.attach().expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    // What was known when the session opened, and what came of the first run a little later.
    let (mut reports, mut messages) = (0, 0);
    while reports < 40 {
        reports += session.health().await.reports.len();
        messages += 1;
    }
    assert!(messages < 20, "{reports} reports in {messages} messages");
}

#[tokio::test]
async fn what_cannot_follow_is_refused_at_once_and_changes_nothing() {
    let mut peer = Peer::start().await;
    let agent = builder(peer.url()).attach().expect("attach");
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let refused = agent.set_lifecycle(Lifecycle::Starting).expect_err("it is ready");
    assert_eq!(refused, LifecycleOrder { now: Lifecycle::Ready, wanted: Lifecycle::Starting });
    assert_eq!(
        refused.to_string(),
        "cannot set the lifecycle: an instance that is ready cannot become starting"
    );
    agent.set_lifecycle(Lifecycle::Stopping).expect("from anywhere");
    agent.set_lifecycle(Lifecycle::Ready).expect_err("too late");
    assert_eq!(agent.health().lifecycle(), Lifecycle::Stopping);
    let mut said = session.health().await.lifecycle();
    if said == wire::Lifecycle::Ready {
        said = session.health().await.lifecycle();
    }
    assert_eq!(said, wire::Lifecycle::Stopping);
}

#[tokio::test]
async fn a_push_of_an_unknown_component_says_so() {
    let agent = builder("http://127.0.0.1:1").attach().expect("attach");
    let error = agent.push("cash", Report::healthy()).expect_err("unknown");
    assert_eq!(error.to_string(), "cannot push health of component `cash`: it was not given to the builder");
}
