//! What is asked of a connection, and what is refused.

use std::time::Duration;

use h2::client::Builder;
use seaworthy_client::proto::{grpc::health::v1::health_check_response::ServingStatus, seaworthy::v1 as pb};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::harness::{PATIENCE, TestServer, http2};

/// Reads until the other end closes; true if it did in time.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn garbage_and_slowness_before_the_preface_end_the_connection() {
    let server =
        TestServer::start_with(|config| config.grpc.handshake_timeout = Duration::from_millis(300)).await;
    let mut garbage = TcpStream::connect(server.addresses.grpc).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut garbage).await);
    let mut slow = TcpStream::connect(server.addresses.grpc).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    assert!(is_closed(&mut slow).await);
    assert_eq!(server.check("").await.unwrap(), ServingStatus::Serving);
    let status = server.system().await.get_status(pb::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.phase(), pb::Phase::Running);
    server.stop().await;
}

#[tokio::test]
async fn connections_of_one_peer_are_bounded_and_come_back() {
    let server =
        TestServer::start_with(|config| config.grpc.max_connections_per_peer = 3.try_into().unwrap()).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(server.channel().await);
    }
    let mut refused = TcpStream::connect(server.addresses.grpc).await.unwrap();
    assert!(is_closed(&mut refused).await);
    held.clear();
    // The place is free again as soon as the server has seen the end of one.
    server.until("", ServingStatus::Serving).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_lives() {
    let server = TestServer::start_with(|config| config.grpc.max_message_bytes = 64 * 1024).await;
    let mut fleet = server.fleet().await;
    let beat = pb::InstanceHeartbeat { instance: None, session_token: "x".repeat(100_000) };
    let refused = fleet.heartbeat(pb::HeartbeatRequest { heartbeats: vec![beat] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    fleet.list_services(pb::ListServicesRequest::default()).await.unwrap();
    server.stop().await;
}

/// tonic passes no limit to hyper unless told, which removes hyper's own.
#[tokio::test]
async fn streams_of_one_connection_are_bounded() {
    let server = TestServer::start_with(|config| {
        config.grpc.max_streams_per_connection = 4.try_into().unwrap();
    })
    .await;
    let tcp = TcpStream::connect(server.addresses.grpc).await.unwrap();
    let (_send, mut connection) = h2::client::handshake(tcp).await.unwrap();
    // The server's settings arrive with the first frames.
    let settled = async {
        loop {
            if connection.max_concurrent_send_streams() == 4 {
                return;
            }
            tokio::select! {
                ended = &mut connection => panic!("ended: {ended:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the limit is announced");
    server.stop().await;
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let server = TestServer::start().await;
    let (send, connection) = http2(server.addresses.grpc, &Builder::new()).await;
    let mut send = send.ready().await.unwrap();
    let mut request = http::Request::post("http://server/grpc.health.v1.Health/Check");
    for number in 0..40 {
        request = request.header(format!("x-{number}"), "v".repeat(1000));
    }
    let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
    let refused = match tokio::time::timeout(PATIENCE, answer).await.expect("in time") {
        Ok(response) => response.status() == 431,
        Err(_) => true,
    };
    assert!(refused);
    connection.abort();
    assert_eq!(server.check("").await.unwrap(), ServingStatus::Serving);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_ends_at_its_age_and_its_streams_say_goodbye() {
    let server = TestServer::start_with(|config| {
        config.grpc.max_connection_age = Duration::from_secs(1);
        config.grpc.max_connection_age_grace = Duration::from_secs(1);
    })
    .await;
    let mut watch =
        server.fleet().await.watch_fleet(pb::WatchFleetRequest::default()).await.unwrap().into_inner();
    let ended = loop {
        match tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a reason is given"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    server.stop().await;
}

/// Opens an RPC, and never sends the message that it waits for.
#[tokio::test]
async fn a_stream_whose_question_never_comes_is_not_waited_for() {
    let short = Duration::from_millis(300);
    let server = TestServer::start_with(|config| config.grpc.request_timeout = short).await;
    let (send, connection) = http2(server.addresses.grpc, &Builder::new()).await;
    for path in ["/seaworthy.v1.FleetService/WatchFleet", "/grpc.health.v1.Health/Watch"] {
        let mut send = send.clone().ready().await.unwrap();
        let request = http::Request::post(format!("http://server{path}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let (answer, _open) = send.send_request(request.body(()).unwrap(), false).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).expect("refused");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{path}: {status:?}");
        assert_eq!(crate::harness::reason(&status), "REQUEST_TIMEOUT");
    }
    connection.abort();
    server.stop().await;
}

#[tokio::test]
async fn a_question_to_reflection_is_small() {
    use tonic_reflection::pb::{
        v1::{self, server_reflection_client::ServerReflectionClient},
        v1alpha::{self, server_reflection_client::ServerReflectionClient as AlphaClient},
    };
    let server = TestServer::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let mut alpha = AlphaClient::new(server.channel().await);
    // The same question, on both sides of what a question may be.
    for (bytes, is_answered) in [(15 * 1024, true), (17 * 1024, false)] {
        let (host, all) = ("x".repeat(bytes), String::new());
        let list = Some(v1::server_reflection_request::MessageRequest::ListServices(all.clone()));
        let asked = v1::ServerReflectionRequest { host: host.clone(), message_request: list };
        let answers = client.server_reflection_info(tokio_stream::once(asked)).await;
        let answer = answers.unwrap().into_inner().message().await;
        assert_eq!(matches!(answer, Ok(Some(_))), is_answered, "{bytes}");
        let list = Some(v1alpha::server_reflection_request::MessageRequest::ListServices(all));
        let asked = v1alpha::ServerReflectionRequest { host, message_request: list };
        let answers = alpha.server_reflection_info(tokio_stream::once(asked)).await;
        let answer = answers.unwrap().into_inner().message().await;
        assert_eq!(matches!(answer, Ok(Some(_))), is_answered, "{bytes}, v1alpha");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_report_counts_the_files_of_every_listener() {
    let server = TestServer::start_with(|config| {
        config.grpc.max_connections = 10.try_into().unwrap();
        config.http.max_connections = 20.try_into().unwrap();
        config.http.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let (_, report) = server.get("/production-readiness").await;
    // And 64 for everything else.
    assert!(report.contains(&format!("{} are wanted", 10 + 2 * 20 + 64)), "{report}");
    server.stop().await;
}
