//! gRPC peers that ask for much and read nothing, on a connection that is alive otherwise.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Request};
use seaworthy_client::proto::seaworthy::v1 as pb;
use tokio::{task::JoinHandle, time::timeout};

use crate::harness::{PATIENCE, TestServer, http2, reason, register, registration};

/// A peer that lets the server send one byte on each stream, and answers PINGs.
async fn miser(server: &TestServer) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    http2(server.addresses.grpc, Builder::new().initial_window_size(1)).await
}

/// Asks, and answers the stream of the answer.
async fn ask(send: &SendRequest<Bytes>, path: &str, message: &impl prost::Message) -> RecvStream {
    let mut send = send.clone().ready().await.unwrap();
    let request = Request::post(format!("http://server{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    // What it takes packed, the server must not hold unpacked beside it.
    let request = request.header("grpc-accept-encoding", "gzip,identity");
    let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
    let encoded = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
    framed.extend(encoded);
    body.send_data(framed.into(), true).unwrap();
    timeout(PATIENCE, answer).await.expect("in time").unwrap().into_body()
}

/// The trailers of an answer that has no data; pending as long as its data is not read.
async fn trailers(mut answer: RecvStream) -> HeaderMap {
    match answer.trailers().await {
        Ok(Some(trailers)) => trailers,
        other => panic!("no trailers: {other:?}"),
    }
}

/// Registers instances of more than 120 KiB each: every component depends on all before it.
async fn with_large_instances(server: &TestServer, count: usize) {
    let mut fleet = server.fleet().await;
    let names: Vec<_> = (0..64).map(|at| format!("{at:0>60}")).collect();
    let components = names.iter().enumerate().map(|(at, name)| pb::Component {
        name: name.clone(),
        depends_on: names[..at].to_vec(),
        ..pb::Component::default()
    });
    let components: Vec<_> = components.collect();
    for number in 0..count {
        let id = format!("i-{number}");
        let components = components.clone();
        register(&mut fleet, pb::Registration { components, ..registration("orders", &id) }).await;
    }
}

#[tokio::test]
async fn what_nobody_reads_is_bounded() {
    let server = TestServer::start().await;
    with_large_instances(&server, 16).await;
    let (send, _connection) = miser(&server).await;
    let mut refused = FuturesUnordered::new();
    for _ in 0..40 {
        let page = pb::ListInstancesRequest::default();
        refused.push(trailers(ask(&send, "/seaworthy.v1.FleetService/ListInstances", &page).await));
    }
    // 16 MiB are held, and a page has about one.
    for _ in 0..40 - 17 {
        let trailers = timeout(PATIENCE, refused.next()).await.expect("in time").unwrap();
        let status = tonic::Status::from_header_map(&trailers).unwrap();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
        assert_eq!(reason(&status), "ANSWERS_UNREAD");
        assert_eq!(trailers["grpc-retry-pushback-ms"], "5000");
    }
    // Others have their answers, and so has this one what is small.
    let page = server.fleet().await.list_instances(pb::ListInstancesRequest::default()).await;
    assert!(!page.unwrap().into_inner().instances.is_empty());
    let small = pb::HeartbeatRequest::default();
    drop(ask(&send, "/seaworthy.v1.FleetService/Heartbeat", &small).await);
    server.stop().await;
}

/// Nobody asks a watch that waits to be read whether it has more to say.
#[tokio::test]
async fn a_watcher_that_does_not_read_does_not_hold_the_end() {
    let server = TestServer::start_with(|config| {
        config.shutdown.finish_requests = PATIENCE;
        config.shutdown.total = 2 * PATIENCE;
    })
    .await;
    // More than one piece: the second waits for a window.
    with_large_instances(&server, 16).await;
    let (watching, watched) = miser(&server).await;
    let watch = pb::WatchFleetRequest::default();
    let _watch = ask(&watching, "/seaworthy.v1.FleetService/WatchFleet", &watch).await;
    // Another reads: it has its last message all the same.
    let mut reads = server.fleet().await.watch_fleet(watch).await.unwrap().into_inner();
    let last = tokio::spawn(async move {
        loop {
            match reads.message().await {
                Ok(Some(_)) => {}
                ended => return ended.map(|_| ()).unwrap_err(),
            }
        }
    });
    let report = timeout(2 * PATIENCE, server.stop()).await.expect("in time");
    assert!(report.phases.iter().all(|phase| !phase.timed_out), "{report:?}");
    assert_eq!((report.connections_cut, report.requests_cut), (1, 1), "{report:?}");
    assert_eq!(reason(&last.await.unwrap()), "SERVER_DRAINING");
    drop(timeout(PATIENCE, watched).await.expect("cut"));
}

#[tokio::test]
async fn a_connection_ends_whose_answers_are_not_read() {
    let short = Duration::from_millis(500);
    let server = TestServer::start_with(|config| config.grpc.request_timeout = short).await;
    with_large_instances(&server, 1).await;
    // Who has asked for a stream only stays, though its answers are unread for longer.
    let (watching, watched) = miser(&server).await;
    let watch = pb::WatchFleetRequest::default();
    let _watch = ask(&watching, "/seaworthy.v1.FleetService/WatchFleet", &watch).await;
    let (send, connection) = miser(&server).await;
    let page = pb::ListInstancesRequest::default();
    let _held = ask(&send, "/seaworthy.v1.FleetService/ListInstances", &page).await;
    drop(timeout(PATIENCE, connection).await.expect("the connection ends"));
    let small = pb::HeartbeatRequest::default();
    drop(ask(&watching, "/seaworthy.v1.FleetService/Heartbeat", &small).await);
    assert!(!watched.is_finished(), "a watcher may be slow");
    server.stop().await;
}
