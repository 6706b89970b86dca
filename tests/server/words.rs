//! Every state has one spelling for people: `unhealthy`, `lame_duck`. The API and `-o json` have the
//! contract's names instead.

use seaworthy_client::proto::seaworthy::v1 as pb;
use serde_json::Value;

use crate::harness::{TestServer, register, registration, report};

/// Every text below a key of one of these names.
fn states(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["status", "lifecycle", "outcome"].contains(&name.as_str()) => {
                        found.push(text.to_owned());
                    }
                    _ => states(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| states(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn states_are_lower_case_words_wherever_http_tells_them() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    report(&mut health, &who, pb::HealthState::Unhealthy, "gone").await.unwrap();
    let lame_duck = pb::ReportHealthRequest {
        instance: Some(who.instance.clone()),
        session_token: who.token.clone(),
        lifecycle: pb::Lifecycle::LameDuck.into(),
        ..pb::ReportHealthRequest::default()
    };
    health.report_health(lame_duck).await.unwrap();

    for (path, expected) in [
        ("/health", &["healthy"][..]),
        ("/health/live", &["alive"]),
        ("/health/ready", &["ready"]),
        ("/health/details", &["healthy"]),
        ("/production-readiness", &["pass", "warn"]),
        ("/health/services/orders", &["unhealthy", "lame_duck"]),
        ("/health/services/orders/i-1", &["unhealthy", "lame_duck"]),
        ("/health/services/orders/i-1/database", &["unhealthy"]),
    ] {
        let (_, body) = server.get(path).await;
        let mut found = Vec::new();
        states(&serde_json::from_str(&body).unwrap(), &mut found);
        assert!(expected.iter().all(|word| found.iter().any(|text| text == word)), "{path}: {found:?}");
        let is_word = |text: &String| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(found.iter().all(is_word), "{path}: {found:?}");
    }
    let metrics = server.get("/metrics").await.1;
    let line = "seaworthy_instances{health=\"unhealthy\",lifecycle=\"lame_duck\"} 1";
    let other = "seaworthy_instances{lifecycle=\"lame_duck\",health=\"unhealthy\"} 1";
    assert!(metrics.contains(line) || metrics.contains(other), "{metrics}");
    assert!(server.get("/").await.1.contains("unhealthy, 0 of 1 available"));
    server.stop().await;
}

#[tokio::test]
async fn one_thing_is_not_spoken_of_as_several() {
    let server = TestServer::start().await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    report(&mut health, &who, pb::HealthState::Unhealthy, "gone").await.unwrap();
    let details = server.get("/health/details").await.1;
    assert!(details.contains("1 instance of 1 service, 0 sessions"), "{details}");
    let service = server.get("/health/services/orders").await.1;
    assert!(service.contains("0 of 1 required instance available; i-1: "), "{service}");
    server.stop().await;
}
