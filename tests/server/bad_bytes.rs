//! Bytes that are no message, on the stream of a session: written frame by frame, since no client
//! library would send them.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use prost::Message as _;
use seaworthy_client::proto::seaworthy::v1::{self as pb, attach_request::Message as Say, open_session::How};
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{PATIENCE, TestServer, http2, reason, registration};

/// A session, in bytes.
struct Raw {
    send: SendStream<Bytes>,
    answer: RecvStream,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A message behind its prefix: not compressed, and its length.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat().into()
}

fn open() -> Bytes {
    open_as("i-1")
}

fn open_as(instance: &str) -> Bytes {
    let register = pb::RegisterRequest {
        registration: Some(registration("orders", instance)),
        ..pb::RegisterRequest::default()
    };
    let open = pb::OpenSession {
        how: Some(How::Register(register)),
        takes_policies: false,
        takes_directives: false,
    };
    framed(&pb::AttachRequest { message: Some(Say::Open(open)) }.encode_to_vec())
}

async fn attach(send: SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post("http://server/seaworthy.v1.FleetService/Attach")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut send = send.ready().await.unwrap();
    send.send_request(request.body(()).unwrap(), false).unwrap()
}

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("in time")
}

impl Raw {
    /// Sends what is to come first, and takes the head of the answer.
    async fn begin(server: &TestServer, first: Bytes) -> Result<Self, Status> {
        let (send, connection) = http2(server.addresses.grpc, &Builder::new()).await;
        let (answer, mut send) = attach(send).await;
        send.send_data(first, false).unwrap();
        let answer = in_time(answer).await.unwrap();
        match Status::from_header_map(answer.headers()) {
            Some(refused) => Err(refused),
            None => Ok(Self { send, answer: answer.into_body(), connection }),
        }
    }

    /// What the stream ends with, whatever comes before.
    async fn ended(mut self) -> Status {
        while let Some(data) = in_time(self.answer.data()).await {
            drop(data.unwrap());
        }
        let trailers = in_time(self.answer.trailers()).await.unwrap().expect("trailers");
        self.connection.abort();
        Status::from_header_map(&trailers).expect("a status")
    }
}

/// What is sent, whether the stream ends with it, and what is answered.
fn wrong(server: &TestServer) -> Vec<(&'static str, Bytes, bool, Code, &'static str)> {
    let too_long = u32::try_from(server.config.grpc.max_message_bytes).unwrap() + 1;
    // With the first byte of what is announced.
    let announced = |length: u32| Bytes::from([&[0], length.to_be_bytes().as_slice(), &[0]].concat());
    let half = open().slice(..9);
    vec![
        ("no message", framed(&[0xff; 3]), false, Code::InvalidArgument, "INVALID_FIELD"),
        ("no such flag", Bytes::from_static(&[7, 0, 0, 0, 0]), false, Code::InvalidArgument, "INVALID_FIELD"),
        ("half a message", half, true, Code::InvalidArgument, "INVALID_FIELD"),
        ("too long", announced(too_long), false, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        ("far too long", announced(1 << 30), false, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
    ]
}

#[tokio::test]
async fn bytes_that_are_no_message_end_an_open_session_with_a_reason() {
    let server = TestServer::start().await;
    for (what, bytes, ends, code, why) in wrong(&server) {
        let mut raw = Raw::begin(&server, open()).await.unwrap();
        assert!(in_time(raw.answer.data()).await.is_some(), "opened");
        raw.send.send_data(bytes, ends).unwrap();
        let ended = raw.ended().await;
        assert_eq!((ended.code(), reason(&ended).as_str()), (code, why), "{what}: {ended:?}");
        // The lease of one must not stand in the way of the next.
        let key = pb::RemoveInstanceRequest {
            service: "orders".into(),
            instance_id: "i-1".into(),
            ..pb::RemoveInstanceRequest::default()
        };
        server.fleet().await.remove_instance(key).await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_open_no_session() {
    let server = TestServer::start().await;
    for (what, bytes, ends, code, why) in wrong(&server) {
        if ends {
            continue; // the head of the answer comes only once the stream has ended
        }
        let refused = Raw::begin(&server, bytes).await.err().expect(what);
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, why), "{what}: {refused:?}");
    }
    server.stop().await;
}

/// Nothing is wrong with what it sent: it went away.
#[tokio::test]
async fn a_client_that_resets_its_stream_is_no_error() {
    let server = TestServer::start().await;
    let mut raw = Raw::begin(&server, open()).await.unwrap();
    assert!(in_time(raw.answer.data()).await.is_some(), "opened");
    raw.send.send_reset(h2::Reason::CANCEL);
    let mut fleet = server.fleet().await;
    let detached = async {
        loop {
            let key = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
            let instance = fleet.get_instance(key).await.unwrap().into_inner().instance.unwrap();
            if !instance.attached {
                return instance;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(in_time(detached).await.lifecycle(), pb::Lifecycle::Ready, "its lease runs on");
    // It is counted where it ends, which is a moment after it was let go.
    let counted = async {
        loop {
            let metrics = server.get("/metrics").await.1;
            let ends = |line: &&str| line.starts_with("rpc_server_calls_total") && line.contains("Attach");
            let ended: Vec<_> = metrics.lines().filter(ends).map(str::to_owned).collect();
            if !ended.is_empty() {
                return ended;
            }
        }
    };
    let ended = in_time(counted).await;
    assert!(ended.iter().all(|line| line.contains("\"CANCELLED\"") || line.contains("\"OK\"")), "{ended:?}");
    server.stop().await;
}

/// Most of a message of 4 MiB.
fn most_of_one() -> Bytes {
    let mut most = framed(&vec![0; 4 << 20]).to_vec();
    most.pop();
    most.into()
}

#[track_caller]
fn says_when_to_come_back(refused: &Status) {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(refused), "MESSAGES_UNFINISHED", "{refused:?}");
    let pause = refused.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
    assert_eq!(pause, Some(Duration::from_secs(5)), "{refused:?}");
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "5000");
}

/// One more than a connection has room for.
const TOO_MANY: usize = 5;

#[tokio::test]
async fn messages_that_do_not_fit_open_no_session_and_are_told_why() {
    let server = TestServer::start().await;
    let (send, _connection) = http2(server.addresses.grpc, &Builder::new()).await;
    let mut calls = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..TOO_MANY {
        let (answer, mut stream) = attach(send.clone()).await;
        stream.send_data(most_of_one(), false).unwrap();
        held.push(stream);
        calls.spawn(answer);
    }
    let refused = in_time(calls.join_next()).await.unwrap().unwrap().unwrap();
    says_when_to_come_back(&Status::from_header_map(refused.headers()).expect("refused"));
    server.stop().await;
}

#[tokio::test]
async fn messages_that_do_not_fit_end_an_open_session_and_are_told_why() {
    let server = TestServer::start().await;
    let (send, _connection) = http2(server.addresses.grpc, &Builder::new()).await;
    let mut sessions = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    for n in 0..TOO_MANY {
        let (answer, mut stream) = attach(send.clone()).await;
        stream.send_data(open_as(&format!("i-{n}")), false).unwrap();
        let mut answer = in_time(answer).await.unwrap().into_body();
        assert!(in_time(answer.data()).await.is_some(), "opened");
        stream.send_data(most_of_one(), false).unwrap();
        held.push(stream);
        sessions.spawn(async move {
            while let Some(data) = answer.data().await {
                drop(data.unwrap());
            }
            answer.trailers().await.unwrap().expect("trailers")
        });
    }
    let trailers = in_time(sessions.join_next()).await.unwrap().unwrap();
    says_when_to_come_back(&Status::from_header_map(&trailers).expect("a status"));
    server.stop().await;
}

/// Signs of life come another way for as long as anybody likes: the message has to end all the same.
#[tokio::test]
async fn a_message_that_does_not_end_ends_an_open_session() {
    let server = TestServer::start_with(|config| config.grpc.request_timeout = Duration::from_secs(1)).await;
    let mut raw = Raw::begin(&server, open()).await.unwrap();
    let opened = in_time(raw.answer.data()).await.expect("opened").unwrap();
    let Some(pb::attach_response::Message::Opened(opened)) =
        pb::AttachResponse::decode(opened.slice(5..)).unwrap().message
    else {
        panic!("opened");
    };
    let instance = opened.instance.unwrap();
    let named = pb::InstanceRef {
        service: "orders".into(),
        instance_id: "i-1".into(),
        incarnation: instance.incarnation,
    };
    let beat = pb::InstanceHeartbeat { instance: Some(named), session_token: opened.session_token };
    let mut fleet = server.fleet().await;
    let heard = async {
        loop {
            let beats = pb::HeartbeatRequest { heartbeats: vec![beat.clone()] };
            fleet.heartbeat(beats).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    raw.send.send_data(framed(&[0; 100]).slice(..50), false).unwrap();
    let ended = tokio::select! {
        ended = raw.ended() => ended,
        () = heard => unreachable!(),
    };
    says_when_to_come_back(&ended);
    server.stop().await;
}
