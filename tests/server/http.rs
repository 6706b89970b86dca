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
