//! `history`: pages, limits and what is shown.

use seaworthy_client::proto::seaworthy::v1::{HealthState, HealthTransition};

use super::{code, peer::Peer, run, stderr, stdout};

fn change(sequence: u64, instance: &str, component: &str) -> HealthTransition {
    HealthTransition {
        sequence,
        time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000 + i64::try_from(sequence).unwrap(),
            nanos: 0,
        }),
        service: "orders".into(),
        instance_id: instance.into(),
        component: component.into(),
        incarnation: 1,
        from: HealthState::Healthy.into(),
        to: HealthState::Unhealthy.into(),
        cause: "the disk\nis \x1b[2Jgone".into(),
    }
}

/// Newest first, as the server answers: a component, its instance and its service, again and again.
fn changes(count: u64) -> Vec<HealthTransition> {
    let each = |sequence: u64| match sequence % 3 {
        0 => change(sequence, "", ""),
        1 => change(sequence, "i-1", "database"),
        _ => change(sequence, "i-1", ""),
    };
    (1..=count).rev().map(each).collect()
}

#[tokio::test]
async fn the_newest_changes_are_a_table_and_it_says_if_there_are_older_ones() {
    let peer = Peer::remembering(changes(4)).await;
    let ended = run(&["--server", &peer.url, "history", "--limit", "3"]).await;
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert_eq!(
        stdout(&ended),
        "TIME                  WHAT                 FROM     TO         CAUSE\n\
         2023-11-14T22:13:24Z  orders/i-1/database  healthy  unhealthy  the disk is \u{fffd}[2Jgone\n\
         2023-11-14T22:13:23Z  orders               healthy  unhealthy  the disk is \u{fffd}[2Jgone\n\
         2023-11-14T22:13:22Z  orders/i-1           healthy  unhealthy  the disk is \u{fffd}[2Jgone\n"
    );
    assert_eq!(stderr(&ended), "there are older ones; --limit shows more\n");
    let all = run(&["--server", &peer.url, "history", "-n", "4"]).await;
    assert_eq!((stdout(&all).lines().count(), stderr(&all)), (5, String::new()));
}

#[tokio::test]
async fn pages_become_one_document() {
    let peer = Peer::remembering(changes(1300)).await;
    let json = run(&["--server", &peer.url, "-o", "json", "history", "orders", "-n", "1200"]).await;
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let found = document["transitions"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["sequence"]), (1200, &serde_json::json!(1300)));
    assert_eq!(found[1199]["sequence"], 101);
    assert_eq!(found[0]["to"], "HEALTH_STATE_UNHEALTHY");
}

#[tokio::test]
async fn what_is_asked_for_is_left_to_the_server() {
    let peer = Peer::remembering(changes(900)).await;
    let json = ["--server", &peer.url, "-o", "json", "history", "orders/i-1/database", "--since", "1h"];
    let ended = run(&[&json[..], &["-n", "700"]].concat()).await;
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    // Two pages, both of the component and of the last hour, which nothing of that test lies in.
    assert_eq!(peer.asked(), ["orders/i-1/database since 1h", "orders/i-1/database since 1h"]);
    run(&["--server", &peer.url, "history", "orders"]).await;
    assert_eq!(peer.asked()[2], "orders//");
}

#[tokio::test]
async fn nothing_is_said_to_be_nothing() {
    let peer = Peer::remembering(Vec::new()).await;
    let ended = run(&["--server", &peer.url, "history", "orders"]).await;
    assert_eq!((code(&ended), stdout(&ended)), (0, String::new()));
    assert_eq!(stderr(&ended), "no changes of health are known\n");
    for wrong in
        [["--limit", "0"], ["--limit", "many"], ["orders/", "-n1"], ["--since", "soon"], ["--since", "0s"]]
    {
        assert_eq!(code(&run(&[&["history"], &wrong[..]].concat()).await), 2, "{wrong:?}");
    }
}
