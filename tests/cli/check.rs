//! `seaworthy check`.

use seaworthy_client::proto::seaworthy::v1::{Component, ComponentHealth, HealthState};

use crate::{code, instance, peer::Peer, run, stderr, stdout};

/// A peer whose one instance has this component.
async fn peer(state: HealthState, found: HealthState, cause: &str) -> Peer {
    let mut checked = instance("i-1", state, cause);
    checked.components = vec![ComponentHealth {
        component: Some(Component { name: "api".into(), ..Component::default() }),
        state: state.into(),
        reported_state: found.into(),
        cause: cause.into(),
        ..ComponentHealth::default()
    }];
    Peer::with(vec![checked]).await
}

#[tokio::test]
async fn the_answer_is_the_exit_code() {
    use HealthState::{Degraded, Healthy, Unhealthy, Unknown};
    for (state, found, expected) in [
        (Healthy, Healthy, 0),
        (Degraded, Degraded, 0),
        (Unhealthy, Unhealthy, 1),
        // Its threshold is not reached yet, but this run is what was asked for.
        (Healthy, Unhealthy, 1),
        (Unhealthy, Healthy, 1),
        (Unknown, HealthState::Unspecified, 1),
    ] {
        let peer = peer(state, found, "").await;
        let ended = run(&["--server", &peer.url, "check", "orders/i-1", "api"]).await;
        assert_eq!(code(&ended), expected, "{state:?} {found:?}: {}", stderr(&ended));
        assert_eq!(peer.asked(), ["orders/i-1/api"]);
    }
}

#[tokio::test]
async fn what_was_found_is_shown_with_its_cause_and_as_one_document() {
    let peer = peer(HealthState::Unhealthy, HealthState::Unhealthy, "no answer within 1s").await;
    let ended = run(&["--server", &peer.url, "check", "orders/i-1"]).await;
    assert!(
        stdout(&ended).contains("api") && stdout(&ended).contains("cause: no answer within 1s"),
        "{ended:?}"
    );
    assert_eq!(peer.asked(), ["orders/i-1/"]);
    let json = run(&["--server", &peer.url, "-o", "json", "check", "orders/i-1"]).await;
    assert_eq!(code(&json), 1);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["components"][0]["state"], "HEALTH_STATE_UNHEALTHY");
}

#[tokio::test]
async fn what_cannot_be_checked_is_refused_with_the_reason() {
    let peer = Peer::with(Vec::new()).await;
    let ended = run(&["--server", &peer.url, "check", "orders/i-1"]).await;
    assert_eq!(code(&ended), 5, "{}", stderr(&ended));
    assert!(stderr(&ended).contains("it has no active check"), "{}", stderr(&ended));
    assert_eq!(code(&run(&["check", "orders"]).await), 2);
}
