//! The HTTP side.

use seaworthy_client::proto::seaworthy::v1 as pb;
use serde_json::Value;

use crate::harness::{PATIENCE, TestServer, get, register, registration, report};

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

#[tokio::test]
async fn the_control_plane_speaks_of_itself_alone() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    report(&mut health, &who, pb::HealthState::Unhealthy, "gone").await.unwrap();
    for path in ["/health", "/health/details", "/health/live", "/health/ready", "/ready", "/status", "/"] {
        let (code, _) = server.get(path).await;
        assert_eq!(code, 200, "{path}: a sick fleet is no sick control plane");
    }
    let status = json(&server.get("/status").await.1);
    assert_eq!((&status["instances"], &status["phase"]), (&Value::from(1), &Value::from("Running")));
    assert!(server.get("/").await.1.contains("orders"));
    let (code, body) = server.get("/nowhere").await;
    assert_eq!((code, json(&body)["error"]["reason"].as_str()), (404, Some("NOT_FOUND")));
    server.stop().await;
}

#[tokio::test]
async fn the_fleet_is_asked_by_name() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let code = async |path: &str| server.get(path).await.0;
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    assert_eq!(code("/health/services/orders").await, 200);
    assert_eq!(code("/health/services/orders/i-1").await, 200);
    assert_eq!(code("/health/services/orders/i-1/database").await, 200);
    report(&mut health, &who, pb::HealthState::Unhealthy, "gone").await.unwrap();
    let (bad, body) = server.get("/health/services/orders/i-1").await;
    assert_eq!((bad, json(&body)["components"][0]["cause"].as_str()), (503, Some("gone")));
    assert_eq!(code("/health/services/orders").await, 503);
    assert_eq!(code("/health/services/payments").await, 404);
    assert_eq!(code("/health/services/Orders").await, 400);
    assert_eq!(code("/health/services/orders/i-1/cache").await, 404);
    server.stop().await;
}

#[tokio::test]
async fn prometheus_discovers_the_fleet_with_its_health() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/sd/prometheus").await, (200, "[]".to_owned()));
    let mut labelled = registration("orders", "i-1");
    labelled.labels.insert("team.name".into(), "checkout".into());
    register(&mut server.fleet().await, labelled).await;
    register(&mut server.fleet().await, registration("payments", "i-1")).await;
    let groups = json(&server.get("/sd/prometheus?service=orders").await.1);
    assert_eq!(groups.as_array().unwrap().len(), 1);
    assert_eq!(groups[0]["targets"][0], "127.0.0.1:7001");
    let labels = &groups[0]["labels"];
    assert_eq!(labels["__meta_seaworthy_health"], "unknown");
    assert_eq!(labels["__meta_seaworthy_lifecycle"], "ready");
    assert_eq!(labels["__meta_seaworthy_label_team_name"], "checkout");
    assert_eq!(json(&server.get("/sd/prometheus").await.1).as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_large_fleet_is_discovered_whole_and_each_once() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let mut expected = 0;
    for number in 0..700 {
        let mut one = registration(&format!("s-{}", number % 3), &format!("i-{number}"));
        // Whole pieces of the fleet have nothing to show: none at the start, none in the middle.
        if number % 3 != 1 {
            one.address = String::new();
        } else {
            one.address = format!("10.0.0.1:{}", 1000 + number);
            expected += 1;
        }
        register(&mut fleet, one).await;
    }
    let groups = json(&server.get("/sd/prometheus").await.1);
    let targets: std::collections::BTreeSet<_> =
        groups.as_array().unwrap().iter().map(|group| group["targets"][0].as_str().unwrap()).collect();
    assert_eq!((groups.as_array().unwrap().len(), targets.len()), (expected, expected));
    server.stop().await;
}

#[tokio::test]
async fn the_report_names_what_would_not_do_in_production() {
    let server = TestServer::start().await;
    let (code, body) = server.get("/production-readiness").await;
    let report = json(&body);
    assert_eq!((code, report["outcome"].as_str()), (200, Some("warn")), "{body}");
    let checks = report["checks"].as_array().unwrap();
    let identity = checks.iter().find(|check| check["id"] == "identity.authenticated").unwrap();
    assert!(!identity["hint"].as_str().unwrap().is_empty());
    let answer = server.system().await.get_readiness(pb::GetReadinessRequest {}).await.unwrap().into_inner();
    assert_eq!(answer.checks.len(), checks.len());
    server.stop().await;
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = TestServer::start_with(|config| {
        config.http.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    register(&mut server.fleet().await, registration("orders", "i-1")).await;
    server.check("nobody").await.unwrap_err();
    let own = server.addresses.metrics.expect("a listener of its own");
    let text = get(own, "/metrics", "text/plain").await.1;
    for line in [
        r#"rpc_server_call_duration_seconds_count{rpc_method="seaworthy.v1.FleetService/Register""#,
        r#"rpc_server_calls_total{rpc_method="grpc.health.v1.Health/Check",rpc_response_status_code="NOT_FOUND"} 1"#,
        r#"seaworthy_instances{"#,
        "seaworthy_store_commits_total",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let open = get(own, "/metrics", "application/openmetrics-text; version=1.0.0").await.1;
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert_eq!(get(own, "/status", "*/*").await.0, 404, "metrics alone");
    server.stop().await;
}

#[tokio::test]
async fn metrics_say_how_services_are_and_move_with_them() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let orders = register(&mut fleet, registration("orders", "i-1")).await;
    let payments = register(&mut fleet, registration("payments", "i-1")).await;
    report(&mut health, &orders, pb::HealthState::Unhealthy, "gone").await.unwrap();
    report(&mut health, &payments, pb::HealthState::Healthy, "").await.unwrap();
    let has = async |lines: &[&str]| {
        let text = server.get("/metrics").await.1;
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
        text
    };
    has(&[
        r#"seaworthy_services{health="healthy"} 1"#,
        r#"seaworthy_services{health="degraded"} 0"#,
        r#"seaworthy_services{health="unhealthy"} 1"#,
        r#"seaworthy_service_health{service="orders",health="unhealthy"} 1"#,
        r#"seaworthy_service_health{service="orders",health="healthy"} 0"#,
        r#"seaworthy_service_health{service="payments",health="healthy"} 1"#,
        r#"seaworthy_instances{lifecycle="ready",health="healthy"} 1"#,
        r#"seaworthy_instances{lifecycle="ready",health="unhealthy"} 1"#,
        "seaworthy_available_instances 1",
        "seaworthy_service_health_left_out 0",
    ])
    .await;
    report(&mut health, &orders, pb::HealthState::Healthy, "").await.unwrap();
    let remove = pb::RemoveInstanceRequest {
        service: "payments".into(),
        instance_id: "i-1".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    fleet.remove_instance(remove).await.unwrap();
    let text = has(&[
        r#"seaworthy_services{health="healthy"} 1"#,
        r#"seaworthy_services{health="unhealthy"} 0"#,
        r#"seaworthy_service_health{service="orders",health="healthy"} 1"#,
        r#"seaworthy_instances{lifecycle="ready",health="healthy"} 1"#,
        "seaworthy_available_instances 1",
    ])
    .await;
    assert!(!text.contains("payments") && !text.contains(r#"health="unhealthy"} 1"#), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn no_more_than_a_thousand_services_have_a_figure_of_their_own() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    for number in 0..1003 {
        let spec = Some(pb::ServiceSpec::default());
        let put = pb::PutServiceRequest { name: format!("s-{number}"), spec, if_revision: None };
        fleet.put_service(put).await.unwrap();
    }
    let text = server.get("/metrics").await.1;
    let shown = text.lines().filter(|line| line.starts_with("seaworthy_service_health{")).count();
    assert_eq!(shown, 4 * 1000);
    for line in ["seaworthy_service_health_left_out 3", r#"seaworthy_services{health="unknown"} 1003"#] {
        assert!(text.contains(line), "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn probes_say_no_while_the_server_stops() {
    let server = TestServer::start_with(|config| config.shutdown.lame_duck = PATIENCE).await;
    let held = server.channel().await;
    server.stopper().ask("test");
    server
        .until(
            "",
            seaworthy_client::proto::grpc::health::v1::health_check_response::ServingStatus::NotServing,
        )
        .await;
    for (path, code) in [("/ready", 503), ("/health/ready", 503), ("/health", 503), ("/health/live", 200)] {
        assert_eq!(server.get(path).await.0, code, "{path}");
    }
    server.stopper().ask("again");
    drop(held);
    server.ended().await;
}
