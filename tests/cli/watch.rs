//! `fleet watch` when the other end dies, or is not ready yet.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use seaworthy_client::proto::seaworthy::v1::{
    FleetChange, HealthState, WatchCursor, WatchFleetResponse, WatchReset, WatchSnapshot,
    fleet_change::Change, watch_fleet_response::Message,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};
use tonic::Status;

use super::{
    PATIENCE, instance,
    peer::{Peer, Watch},
    seaworthy,
};

fn response(message: Message, revision: u64) -> Result<WatchFleetResponse, Status> {
    let cursor = Some(WatchCursor { boot_epoch: "e-1".into(), revision });
    Ok(WatchFleetResponse { message: Some(message), cursor })
}

fn reset(revision: u64) -> Result<WatchFleetResponse, Status> {
    response(Message::Reset(WatchReset::default()), revision)
}

fn snapshot(ids: &[&str], complete: bool, revision: u64) -> Result<WatchFleetResponse, Status> {
    let instances = ids.iter().map(|id| instance(id, HealthState::Healthy, "")).collect();
    let part = WatchSnapshot { instances, complete, ..WatchSnapshot::default() };
    response(Message::Snapshot(part), revision)
}

fn change(id: &str, revision: u64) -> Result<WatchFleetResponse, Status> {
    let change = Some(Change::Instance(instance(id, HealthState::Unhealthy, "disk is gone")));
    response(Message::Change(FleetChange { change }), revision)
}

fn start(args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = seaworthy(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap()
}

async fn interrupt(mut child: Child) -> i32 {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code().unwrap()
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_when_the_server_dies() {
    let first = Watch {
        messages: vec![
            reset(7),
            snapshot(&["i-1"], false, 7),
            snapshot(&["i-2"], true, 7),
            change("i-1", 8),
            Err(Status::unavailable("the server drains")),
        ],
        hold: false,
    };
    let second = Watch { messages: vec![change("i-2", 9)], hold: true };
    let peer = Peer::watched(vec![first, second]).await;
    let (child, mut lines) = start(&["--server", &peer.url, "fleet", "watch"]);
    for expected in ["orders/i-1 ", "orders/i-2 ", "orders/i-1 ", "orders/i-2 "] {
        let line = next(&mut lines).await;
        assert!(line.contains(expected), "{line}");
    }
    let asked: Vec<_> = peer.cursors().into_iter().map(|cursor| cursor.map(|it| it.revision)).collect();
    assert_eq!(asked, [None, Some(8)]);

    let third = Watch { messages: vec![change("i-3", 10)], hold: true };
    let peer = peer.reborn(vec![third]).await;
    let line = next(&mut lines).await;
    assert!(line.contains("orders/i-3 ") && line.ends_with("unhealthy  disk is gone"), "{line}");
    let asked: Vec<_> = peer.cursors().into_iter().map(|cursor| cursor.map(|it| it.revision)).collect();
    assert_eq!(asked, [Some(9)]);

    assert_eq!(interrupt(child).await, 130);
}

#[tokio::test]
async fn half_a_snapshot_is_asked_for_again() {
    let cut = Watch {
        messages: vec![reset(7), snapshot(&["i-1"], false, 7), Err(Status::unavailable("gone"))],
        hold: false,
    };
    let whole = Watch { messages: vec![reset(7), snapshot(&["i-1", "i-2"], true, 7)], hold: true };
    let peer = Peer::watched(vec![cut, whole]).await;
    let (child, mut lines) = start(&["--server", &peer.url, "-o", "json", "fleet", "watch"]);
    let mut seen = String::new();
    while !seen.contains("i-2") {
        seen = next(&mut lines).await;
        let object: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(object["cursor"]["boot_epoch"], "e-1");
    }
    assert_eq!(peer.cursors(), [None, None]);
    assert_eq!(interrupt(child).await, 130);
}

#[tokio::test]
async fn a_server_that_still_loads_is_waited_for_from_the_first_time_on() {
    let not_yet = || Watch { messages: vec![Err(Status::unavailable("loading the fleet"))], hold: false };
    let loaded = Watch { messages: vec![reset(7), snapshot(&["i-1"], true, 7)], hold: true };
    let peer = Peer::watched(vec![not_yet(), not_yet(), loaded]).await;
    let (child, mut lines) = start(&["--server", &peer.url, "fleet", "watch"]);
    let line = next(&mut lines).await;
    assert!(line.contains("orders/i-1 "), "{line}");
    assert_eq!(interrupt(child).await, 130);

    for refusal in [Status::permission_denied("not yours"), Status::resource_exhausted("too many watches")] {
        let refused = Watch { messages: vec![Err(refusal)], hold: false };
        let peer = Peer::watched(vec![refused]).await;
        let (mut child, _) = start(&["--server", &peer.url, "fleet", "watch"]);
        assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(5));
    }
}
