//! `WatchPolicies`.

use seaworthy_client::proto::seaworthy::v1 as pb;
use tonic::{Code, Streaming};

use super::{Client, charges, client, delete, flags, put, sessions::force};
use crate::harness::{PATIENCE, TestServer, reason};

type Watch = Streaming<pb::WatchPoliciesResponse>;

async fn begin(client: &mut Client) -> Watch {
    client.watch_policies(pb::WatchPoliciesRequest {}).await.expect("a watch").into_inner()
}

async fn next(watch: &mut Watch) -> pb::WatchPoliciesResponse {
    let next = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
    next.expect("no error").expect("no end")
}

/// What a watch begins with.
pub(super) async fn first(client: &mut Client) -> pb::WatchPoliciesResponse {
    next(&mut begin(client).await).await
}

fn has(state: &pb::WatchPoliciesResponse, policy: &str) -> bool {
    state.policies.iter().any(|it| it.name == policy)
}

#[tokio::test]
async fn a_watch_begins_with_all_there_is_and_tells_each_change() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut watch = begin(&mut client).await;
    let state = next(&mut watch).await;
    assert!(has(&state, "control-plane") && !has(&state, "charges"), "{state:?}");
    assert!(state.flags.iter().any(|flag| flag.name == "control-plane.permits"), "{state:?}");
    let mut revision = state.revision;
    let mut told = async || {
        let state = next(&mut watch).await;
        assert!(state.revision > revision, "{} after {revision}", state.revision);
        revision = state.revision;
        state
    };
    put(&mut client, charges(1), None).await.unwrap();
    assert!(has(&told().await, "charges"));
    flags::put(&mut client, flags::switch("new-checkout"), None).await.unwrap();
    assert!(told().await.flags.iter().any(|flag| flag.name == "new-checkout"));
    let forced = force("orders", "i-1", "charge-card", pb::BreakerState::ForcedClosed, 60);
    client.override_breaker(forced.clone()).await.unwrap();
    let state = told().await;
    let said = &state.overrides[0];
    assert_eq!((said.service.as_str(), said.instance_id.as_str()), ("orders", "i-1"));
    assert_eq!((said.state(), said.creator.as_str()), (pb::BreakerState::ForcedClosed, "local"));
    assert_eq!(said.message, "the bank is down");
    client.override_breaker(pb::OverrideBreakerRequest { state: 1, ..forced }).await.unwrap();
    assert_eq!(told().await.overrides, []);
    delete(&mut client, "charges", None, false).await.unwrap();
    let state = told().await;
    assert!(!has(&state, "charges") && has(&state, "control-plane"));
    server.stop().await;
}

#[tokio::test]
async fn whoever_is_slow_is_told_the_newest_in_the_end() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut watch = begin(&mut client).await;
    let mut last = next(&mut watch).await;
    for amount in 1..=50 {
        put(&mut client, charges(amount), None).await.unwrap();
    }
    let amount = |state: &pb::WatchPoliciesResponse| {
        state.policies.iter().find(|it| it.name == "charges").map(|it| it.limits[0].amount)
    };
    while amount(&last) != Some(50) {
        let state = next(&mut watch).await;
        assert!(state.revision > last.revision && amount(&state) > amount(&last));
        last = state;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_watch_ends_when_the_server_drains() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut watch = begin(&mut client).await;
    next(&mut watch).await;
    server.stopper().ask("test");
    let ended = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time").unwrap_err();
    assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "SERVER_DRAINING"));
    server.ended().await;
}
