//! Streams that do not listen end with their connection all the same.

use std::time::Duration;

use seaworthy::system::Phase;
use seaworthy_client::proto::seaworthy::v1 as pb;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use crate::harness::{PATIENCE, TestServer, reason};

/// Long enough that a stream which held the end would be seen to have held it.
async fn patient() -> TestServer {
    TestServer::start_with(|config| {
        config.shutdown.finish_requests = PATIENCE;
        config.shutdown.total = 2 * PATIENCE;
        config.grpc.handshake_timeout = 2 * PATIENCE;
    })
    .await
}

/// Stops it, and sees that nothing held it to a deadline and nothing was cut.
async fn stops_freely(server: TestServer) {
    let report = server.stop().await;
    let finish = report.phases.iter().find(|phase| phase.phase == Phase::FinishActiveRequests).unwrap();
    assert!(!finish.timed_out, "{report:?}");
    assert_eq!((report.connections_cut, report.requests_cut), (0, 0), "{report:?}");
}

fn told_to_go(ended: &Status) {
    assert_eq!((ended.code(), reason(ended).as_str()), (Code::Unavailable, "SERVER_DRAINING"), "{ended:?}");
}

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("in time")
}

#[tokio::test]
async fn an_idle_reflection_stream_does_not_hold_the_end() {
    let server = patient().await;
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    let question = MessageRequest::ListServices(String::new());
    ask.send(ServerReflectionRequest { host: String::new(), message_request: Some(question) }).await.unwrap();
    let mut client = ServerReflectionClient::new(server.channel().await);
    let mut answers = client.server_reflection_info(ReceiverStream::new(asked)).await.unwrap().into_inner();
    assert!(in_time(answers.message()).await.unwrap().is_some());
    let ended = tokio::spawn(async move { answers.message().await });
    stops_freely(server).await;
    told_to_go(&in_time(ended).await.unwrap().unwrap_err());
    drop(ask);
}

#[tokio::test]
async fn a_session_that_never_opens_does_not_hold_the_end() {
    let server = patient().await;
    let mut fleet = server.fleet().await;
    let silent = tokio_stream::pending::<pb::AttachRequest>();
    let waiting = tokio::spawn(async move { fleet.attach(silent).await.map(|_| ()) });
    // The stream is there once the server says so.
    server.until_active(1).await;
    stops_freely(server).await;
    told_to_go(&in_time(waiting).await.unwrap().unwrap_err());
}

/// A server stream whose one request never comes, on a connection that reaches its age.
#[tokio::test]
async fn a_watch_without_its_request_ends_with_its_connection() {
    let server = TestServer::start_with(|config| {
        config.grpc.max_connection_age = Duration::from_secs(1);
        config.grpc.max_connection_age_grace = PATIENCE;
    })
    .await;
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::WatchFleetRequest, pb::WatchFleetResponse>::default();
    let path = "/seaworthy.v1.FleetService/WatchFleet".parse().unwrap();
    let silent = tonic::Request::new(tokio_stream::pending());
    let ended = match in_time(client.streaming(silent, path, codec)).await {
        Ok(answers) => in_time(answers.into_inner().next()).await.unwrap().map(|_| ()).unwrap_err(),
        Err(ended) => ended,
    };
    told_to_go(&ended);
    server.stop().await;
}
