//! `explain`: what is shown, and how it ends.

use seaworthy_client::proto::seaworthy::v1::{Cause, CauseRole, ExplainResponse, HealthState};

use super::{code, peer::Peer, run, stderr, stdout};

fn explained(state: HealthState) -> ExplainResponse {
    let cause = Cause {
        service: "orders".into(),
        role: CauseRole::Cause.into(),
        state: state.into(),
        text: "0 of 1 instance available, 1 needed".into(),
        root: true,
        ..Cause::default()
    };
    ExplainResponse {
        headline: "orders is as it is".into(),
        state: state.into(),
        causes: vec![cause],
        next_steps: vec!["look at it".into()],
        ..ExplainResponse::default()
    }
}

#[tokio::test]
async fn it_ends_as_what_was_asked_for_is() {
    for (state, expected) in [
        (HealthState::Healthy, 0),
        (HealthState::Degraded, 0),
        (HealthState::Unhealthy, 1),
        (HealthState::Unknown, 1),
    ] {
        let peer = Peer::explaining(explained(state)).await;
        let ended = run(&["--server", &peer.url, "explain", "orders"]).await;
        assert_eq!((code(&ended), stderr(&ended)), (expected, String::new()), "{state:?}");
        assert!(stdout(&ended).starts_with("orders is as it is\n"), "{}", stdout(&ended));
        assert!(stdout(&ended).ends_with("\nWhat to look at:\n  1. look at it\n"), "{}", stdout(&ended));
    }
}

#[tokio::test]
async fn it_takes_the_fleet_a_service_an_instance_or_a_component() {
    let peer = Peer::explaining(explained(HealthState::Unhealthy)).await;
    for target in [None, Some("orders"), Some("orders/i-1"), Some("orders/i-1/database")] {
        let mut args = vec!["--server", &peer.url, "-o", "json", "explain"];
        args.extend(target);
        let ended = run(&args).await;
        let document: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!((code(&ended), &document["headline"]), (1, &serde_json::json!("orders is as it is")));
        assert_eq!(document["causes"][0]["role"], "CAUSE_ROLE_CAUSE");
    }
    assert_eq!(peer.asked(), ["//", "orders//", "orders/i-1/", "orders/i-1/database"]);
    assert_eq!(code(&run(&["explain", "orders/"]).await), 2);
    let nobody = Peer::with(Vec::new()).await;
    assert_eq!(code(&run(&["--server", &nobody.url, "explain", "orders"]).await), 3);
}

#[tokio::test]
async fn shells_complete_the_new_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]).await);
        for word in ["explain", "history", "--since"] {
            assert!(script.contains(word.trim_start_matches("--")), "{shell} knows no {word}");
        }
    }
}
