//! Components that the control plane asks itself: real servers that answer, refuse, are slow or go away.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use seaworthy_client::proto::{grpc::health::v1::health_check_response::ServingStatus, seaworthy::v1 as pb};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Held, PATIENCE, TestServer, heartbeat, reason, register, registration, report};

/// An HTTP server whose status the test sets; 0 accepts and never answers.
struct Web {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    async fn start(location: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (answers, counts, location) = (Arc::clone(&status), Arc::clone(&asked), location.to_owned());
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut peer, _)) = listener.accept().await {
                counts.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let Ok(_) = peer.read(&mut request).await else { continue };
                match answers.load(Ordering::SeqCst) {
                    0 => kept.push(peer),
                    status => {
                        let answer = format!("HTTP/1.1 {status} So\r\nlocation: {location}\r\n\r\n");
                        peer.write_all(answer.as_bytes()).await.ok();
                    }
                }
            }
        });
        Self { address, status, asked, task }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn http(path: &str) -> pb::active_check::Ask {
    pb::active_check::Ask::Http(pb::HttpCheck { path: path.into(), expected_statuses: vec![] })
}

/// A check that is due in an hour: only `CheckNow` runs it.
fn check(ask: pb::active_check::Ask, port: u16) -> pb::ActiveCheck {
    let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    pb::ActiveCheck { ask: Some(ask), port: port.into(), interval: Some(hour), ..pb::ActiveCheck::default() }
}

/// An instance with this check of its one component, that fails at once.
fn checked(check: pb::ActiveCheck) -> pb::Registration {
    let mut wanted = registration("orders", "i-1");
    wanted.components[0].check = Some(check);
    wanted.lease_ttl = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    wanted
}

fn now(component: &str) -> pb::CheckNowRequest {
    pb::CheckNowRequest { service: "orders".into(), instance_id: "i-1".into(), component: component.into() }
}

async fn check_now(server: &TestServer) -> pb::ComponentHealth {
    loop {
        match server.health().await.check_now(now("database")).await {
            // A machine that stood still meanwhile says so.
            Err(status) if status.code() == Code::Unavailable => {}
            answer => {
                let answer = answer.unwrap().into_inner();
                let [found] = &answer.components[..] else { panic!("one component: {answer:?}") };
                return found.clone();
            }
        }
    }
}

fn fields(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let violations = details.bad_request().unwrap().field_violations.clone();
    violations.into_iter().map(|one| (one.field, one.description)).collect()
}

async fn refused(server: &TestServer, check: pb::ActiveCheck) -> Vec<(String, String)> {
    let wanted = pb::RegisterRequest { registration: Some(checked(check)), ..Default::default() };
    fields(&server.fleet().await.register(wanted).await.unwrap_err())
}

#[tokio::test]
async fn http_is_judged_by_its_status_and_no_redirect_is_followed() {
    let server = TestServer::start().await;
    let elsewhere = Web::start("").await;
    let web = Web::start(&format!("http://{}/", elsewhere.address)).await;
    register(&mut server.fleet().await, checked(check(http("/health"), web.address.port()))).await;
    for (status, state) in [
        (200, pb::HealthState::Healthy),
        (429, pb::HealthState::Degraded),
        (204, pb::HealthState::Healthy),
        (302, pb::HealthState::Unhealthy),
        (503, pb::HealthState::Unhealthy),
    ] {
        web.says(status);
        let found = check_now(&server).await;
        assert_eq!((found.state(), found.reported_state()), (state, state), "{status}: {found:?}");
        assert_eq!(found.details["status"], status.to_string());
        assert!(found.last_response_time.is_some());
    }
    let found = check_now(&server).await;
    assert!(found.cause.ends_with("/health answered 503"), "{}", found.cause);
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 0, "a redirect was followed");
    let (_, metrics) = server.get("/metrics").await;
    let runs = |outcome: &str, count: u32| {
        let line =
            format!("seaworthy_active_check_runs_total{{kind=\"http\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    };
    runs("healthy", 2);
    runs("degraded", 1);
    runs("unhealthy", 3);
    assert!(metrics.contains("seaworthy_active_checks{kind=\"http\"} 1\n"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_is_unhealthy() {
    let server = TestServer::start().await;
    let web = Web::start("").await;
    web.says(0);
    let mut slow = check(http("/"), web.address.port());
    slow.timeout = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    register(&mut server.fleet().await, checked(slow)).await;
    let found = check_now(&server).await;
    assert_eq!(found.state(), pb::HealthState::Unhealthy);
    assert_eq!(found.cause, "no answer within 50ms");
    server.stop().await;
}

#[tokio::test]
async fn grpc_health_is_asked_by_name() {
    let server = TestServer::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("orders", tonic_health::ServingStatus::Serving).await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
    let serving = tokio::spawn(serving);
    let ask = pb::active_check::Ask::Grpc(pb::GrpcCheck { service: "orders".into() });
    register(&mut server.fleet().await, checked(check(ask, port))).await;
    assert_eq!(check_now(&server).await.state(), pb::HealthState::Healthy);
    reporter.set_service_status("orders", tonic_health::ServingStatus::NotServing).await;
    let found = check_now(&server).await;
    assert_eq!((found.state(), &*found.cause), (pb::HealthState::Unhealthy, "it says NOT_SERVING"));
    reporter.clear_service_status("orders").await;
    let found = check_now(&server).await;
    assert!(found.cause.starts_with("NotFound: "), "{}", found.cause);
    serving.abort();
    server.stop().await;
}

/// Checks that are due each second.
fn each_second(mut check: pb::ActiveCheck) -> pb::ActiveCheck {
    check.interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    check
}

const COMPONENT: &str = "orders/i-1/database";

#[tokio::test]
async fn a_listener_that_goes_and_comes_back_is_noticed_by_itself_also_after_a_restart() {
    let (server, held) = (TestServer::start().await, Held::port());
    let Held { address, .. } = &held;
    let listener = TcpListener::bind(address).await.unwrap();
    let tcp = pb::active_check::Ask::Tcp(pb::TcpCheck {});
    let who = register(&mut server.fleet().await, checked(each_second(check(tcp, address.port())))).await;
    server.until(COMPONENT, ServingStatus::Serving).await;
    server.until("orders/i-1", ServingStatus::Serving).await;
    drop(listener);
    server.until(COMPONENT, ServingStatus::NotServing).await;
    server.until("orders/i-1", ServingStatus::NotServing).await;

    let server = server.restart().await;
    let get = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
    server.until(COMPONENT, ServingStatus::NotServing).await;
    let back = server.fleet().await.get_instance(get).await.unwrap().into_inner().instance.unwrap();
    assert!(!back.confirmed, "a check is no sign of life");
    assert_eq!(back.health(), pb::HealthState::Unknown, "nobody is judged who was not heard");
    assert_eq!(
        back.registration.unwrap().components[0].check.as_ref().unwrap().port,
        u32::from(address.port())
    );
    let _listener = TcpListener::bind(address).await.unwrap();
    heartbeat(&mut server.fleet().await, &who).await;
    server.until("orders/i-1", ServingStatus::Serving).await;
    server.stop().await;
}

#[tokio::test]
async fn whom_a_registration_may_have_asked_is_decided_when_it_comes() {
    let server = TestServer::start_with(|config| {
        config.checks.allowed_networks = vec!["10.1.0.0/16".parse().unwrap(), "0.0.0.0/0".parse().unwrap()];
    })
    .await;
    let closed = TestServer::start().await;
    let tcp = || pb::active_check::Ask::Tcp(pb::TcpCheck {});
    let at = |host: &str, port: u16| pb::ActiveCheck { host: host.into(), ..check(tcp(), port) };
    const HOST: &str = "registration.components[0].check.host";
    const PORT: &str = "registration.components[0].check.port";
    // Outside of what is allowed, which the refusal names.
    let found = refused(&closed, at("10.1.2.3", 80)).await;
    assert_eq!(found[0].0, HOST);
    assert!(found[0].1.contains("checks.allowed_networks"), "{found:?}");
    // No network that is so wide opens what is no ordinary address.
    let found = refused(&server, at("169.254.169.254", 80)).await;
    assert!(found[0].0 == HOST && found[0].1.contains("link-local"), "{found:?}");
    // Its own ports, whoever asks for them.
    for port in [server.addresses.grpc.port(), server.addresses.http.port()] {
        assert_eq!(refused(&server, at("", port)).await[0].0, PORT);
        assert_eq!(refused(&server, at("127.0.0.1", port)).await[0].0, HOST);
    }
    register(&mut server.fleet().await, checked(at("10.1.2.3", 80))).await;
    // Nobody may have names looked up where no network is named.
    let found = refused(&closed, at("nobody.invalid", 80)).await;
    assert!(found[0].0 == HOST && found[0].1.contains("checks.allowed_networks"), "{found:?}");
    // A name is looked at when it is asked; what cannot be looked up says nothing of who is behind it.
    let mut named = checked(at("nobody.invalid", 80));
    named.components[0].check.as_mut().unwrap().timeout =
        Some(prost_types::Duration { seconds: 20, nanos: 0 });
    named.instance_id = "i-2".into();
    register(&mut server.fleet().await, named).await;
    let wanted = pb::CheckNowRequest { instance_id: "i-2".into(), ..now("database") };
    let found = server.health().await.check_now(wanted).await.unwrap_err();
    assert_eq!((found.code(), &*reason(&found)), (Code::Unavailable, "NOT_CHECKED"));
    assert!(found.message().contains("nobody.invalid"), "{}", found.message());
    let get = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-2".into() };
    let shown = server.fleet().await.get_instance(get).await.unwrap().into_inner().instance.unwrap();
    assert_eq!(shown.components[0].state(), pb::HealthState::Unknown, "{shown:?}");
    server.stop().await;
    closed.stop().await;
}

#[tokio::test]
async fn what_is_checked_takes_no_reports() {
    let server = TestServer::start().await;
    let tcp = pb::active_check::Ask::Tcp(pb::TcpCheck {});
    let who = register(&mut server.fleet().await, checked(check(tcp, 1))).await;
    let error = report(&mut server.health().await, &who, pb::HealthState::Healthy, "").await.unwrap_err();
    let found = fields(&error);
    assert_eq!(found[0].0, "reports[0].component");
    assert!(found[0].1.contains("has an active check"), "{found:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_interval_of_a_check_is_that_of_its_component() {
    let server = TestServer::start().await;
    let tcp = || pb::active_check::Ask::Tcp(pb::TcpCheck {});
    let mut wanted = checked(each_second(check(tcp(), 1)));
    let request = pb::RegisterRequest { registration: Some(wanted.clone()), ..Default::default() };
    let answer = server.fleet().await.register(request).await.unwrap().into_inner();
    let declared = answer.instance.unwrap().registration.unwrap().components.remove(0);
    let check = declared.check.unwrap();
    assert_eq!(declared.report_interval, check.interval);
    assert_eq!(check.timeout.unwrap().nanos, 500_000_000, "half of a short interval");
    wanted.instance_id = "i-2".into();
    wanted.components[0].report_interval = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    let request = pb::RegisterRequest { registration: Some(wanted), ..Default::default() };
    let error = server.fleet().await.register(request).await.unwrap_err();
    assert_eq!(fields(&error)[0].0, "registration.components[0].report_interval");
    server.stop().await;
}

#[tokio::test]
async fn check_now_says_why_it_cannot() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let unknown = health.check_now(now("")).await.unwrap_err();
    assert_eq!((unknown.code(), &*reason(&unknown)), (Code::NotFound, "INSTANCE_NOT_FOUND"));
    let mut plain = registration("orders", "i-1");
    plain.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    let who = register(&mut fleet, plain.clone()).await;
    for component in ["", "database"] {
        let none = health.check_now(now(component)).await.unwrap_err();
        assert_eq!((none.code(), &*reason(&none)), (Code::FailedPrecondition, "NO_ACTIVE_CHECK"));
        assert!(none.message().contains("components.check"), "{}", none.message());
    }
    let unknown = health.check_now(now("cache")).await.unwrap_err();
    assert_eq!((unknown.code(), &*reason(&unknown)), (Code::NotFound, "COMPONENT_NOT_FOUND"));

    // A check that passes keeps nobody alive, and the lost are not checked.
    let web = Web::start("").await;
    plain.components[0].check = Some(each_second(check(http("/"), web.address.port())));
    let request = pb::RegisterRequest {
        registration: Some(plain),
        session_token: who.token,
        ..pb::RegisterRequest::default()
    };
    fleet.register(request).await.unwrap();
    assert_eq!(check_now(&server).await.state(), pb::HealthState::Healthy);
    let lost = async {
        loop {
            match health.check_now(now("")).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(status) => return status,
            }
        }
    };
    let lost = tokio::time::timeout(PATIENCE, lost).await.expect("it is lost");
    assert_eq!((lost.code(), &*reason(&lost)), (Code::FailedPrecondition, "NOT_CHECKED"));
    // Before the check, or while it ran.
    assert!(lost.message().contains("lost"), "{}", lost.message());
    server.stop().await;
}

#[tokio::test]
async fn who_is_lost_while_a_check_runs_is_not_said_to_be_checked() {
    let server = TestServer::start().await;
    let web = Web::start("").await;
    web.says(0);
    let mut slow = check(http("/"), web.address.port());
    slow.timeout = Some(prost_types::Duration { seconds: 6, nanos: 0 });
    let mut wanted = checked(slow);
    wanted.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    register(&mut server.fleet().await, wanted).await;
    let lost = server.health().await.check_now(now("")).await.unwrap_err();
    assert_eq!((lost.code(), &*reason(&lost)), (Code::FailedPrecondition, "NOT_CHECKED"));
    server.stop().await;
}

#[tokio::test]
async fn all_checks_of_an_instance_run_and_are_answered_in_order() {
    let server = TestServer::start().await;
    let web = Web::start("").await;
    let mut wanted = checked(check(http("/"), web.address.port()));
    let one = wanted.components[0].clone();
    for name in ["plain", "third", "fourth", "fifth"] {
        let check = (name != "plain").then(|| check(http("/"), web.address.port()));
        wanted.components.push(pb::Component { name: name.into(), check, ..one.clone() });
    }
    register(&mut server.fleet().await, wanted).await;
    let answer = server.health().await.check_now(now("")).await.unwrap().into_inner();
    let names: Vec<_> = answer.components.iter().map(|it| it.component.clone().unwrap().name).collect();
    assert_eq!(names, ["database", "third", "fourth", "fifth"]);
    assert!(answer.components.iter().all(|it| it.report_count == 1), "{answer:?}");
    assert_eq!(web.asked.load(Ordering::SeqCst), 4);
    server.stop().await;
}

/// A check that takes half a minute and gets no answer.
fn endless(web: &Web) -> pb::ActiveCheck {
    web.says(0);
    let mut slow = check(http("/"), web.address.port());
    slow.timeout = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    slow
}

#[tokio::test]
async fn who_waits_for_a_check_for_too_long_is_told_what_it_waited_for() {
    let server = TestServer::start_with(|config| config.grpc.request_timeout = Duration::from_secs(1)).await;
    let web = Web::start("").await;
    register(&mut server.fleet().await, checked(endless(&web))).await;
    let late = server.health().await.check_now(now("")).await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::DeadlineExceeded, "CHECKS_BUSY"), "{late:?}");
    assert!(late.get_error_details().retry_info().is_some(), "{late:?}");
    server.stop().await;
}

/// Somebody who waits for a check that does not end, and is under way; and whom it asks.
async fn who_waits(server: &TestServer) -> (Web, JoinHandle<Result<Response<pb::CheckNowResponse>, Status>>) {
    let web = Web::start("").await;
    register(&mut server.fleet().await, checked(endless(&web))).await;
    let mut health = server.health().await;
    let waiting = tokio::spawn(async move { health.check_now(now("")).await });
    let begun = async {
        while web.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("it runs");
    (web, waiting)
}

#[tokio::test]
async fn who_waits_for_a_check_while_the_server_drains_is_sent_on() {
    let server = TestServer::start().await;
    let (_web, waiting) = who_waits(&server).await;
    let report = server.stop().await;
    let sent_on = waiting.await.unwrap().unwrap_err();
    assert_eq!((sent_on.code(), &*reason(&sent_on)), (Code::Unavailable, "SERVER_DRAINING"), "{sent_on:?}");
    assert_eq!(report.requests_cut, 0, "{report:?}");
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_check() {
    let server = TestServer::start().await;
    let (_web, waiting) = who_waits(&server).await;
    // Whoever waits for it goes, and what they waited for ends with the server.
    waiting.abort();
    let report = server.stop().await;
    assert!(
        report.state_saved && report.phases.iter().all(|phase| !phase.timed_out || phase.took < PATIENCE)
    );
}

#[tokio::test]
async fn nobody_is_asked_while_a_flag_turns_checks_off() {
    let server = TestServer::start().await;
    let web = Web::start("").await;
    let mut fleet = server.fleet().await;
    register(&mut fleet, checked(check(http("/"), web.address.port()))).await;
    assert_eq!(check_now(&server).await.state(), pb::HealthState::Healthy);
    let off = pb::FlagVariant {
        name: "off".into(),
        value: Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(false)) }),
    };
    let flag = pb::Flag {
        name: "control-plane.active-checks".into(),
        variants: vec![off],
        default_variant: "off".into(),
        ..pb::Flag::default()
    };
    let mut policies = pb::policy_service_client::PolicyServiceClient::new(server.channel().await);
    policies.put_flag(pb::PutFlagRequest { flag: Some(flag), if_revision: None }).await.unwrap();
    let refused = async {
        loop {
            if let Err(status) = server.health().await.check_now(now("database")).await {
                return status;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("it is off");
    assert!(refused.message().contains("turned off"), "{refused:?}");
    let asked = web.asked.load(Ordering::Relaxed);
    server.health().await.check_now(now("database")).await.unwrap_err();
    assert_eq!(web.asked.load(Ordering::Relaxed), asked);
    policies
        .delete_flag(pb::DeleteFlagRequest {
            name: "control-plane.active-checks".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let again = async { while server.health().await.check_now(now("database")).await.is_err() {} };
    tokio::time::timeout(PATIENCE, again).await.expect("it is on again");
    server.stop().await;
}
