//! Bytes that are no message, on the stream of a session: written frame by frame, since no client
//! library would send them.

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use prost::Message as _;
use seaworthy_client::proto::seaworthy::v1::{self as pb, attach_request::Message as Say, open_session::How};
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::{Code, Status};

use crate::harness::{PATIENCE, TestServer, reason, registration};

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
    let register = pb::RegisterRequest {
        registration: Some(registration("orders", "i-1")),
        ..pb::RegisterRequest::default()
    };
    let open = pb::OpenSession { how: Some(How::Register(register)) };
    framed(&pb::AttachRequest { message: Some(Say::Open(open)) }.encode_to_vec())
}

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("in time")
}

impl Raw {
    /// Sends what is to come first, and takes the head of the answer.
    async fn begin(server: &TestServer, first: Bytes) -> Result<Self, Status> {
        let tcp = TcpStream::connect(server.addresses.grpc).await.unwrap();
        let (send, connection) = h2::client::handshake(tcp).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::post("http://server/seaworthy.v1.FleetService/Attach")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut send = send.ready().await.unwrap();
        let (answer, mut send) = send.send_request(request.body(()).unwrap(), false).unwrap();
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
    let announced = [&[0], too_long.to_be_bytes().as_slice()].concat();
    let half = open().slice(..9);
    vec![
        ("no message", framed(&[0xff; 3]), false, Code::InvalidArgument, "INVALID_FIELD"),
        ("no such flag", Bytes::from_static(&[7, 0, 0, 0, 0]), false, Code::InvalidArgument, "INVALID_FIELD"),
        ("half a message", half, true, Code::InvalidArgument, "INVALID_FIELD"),
        ("too long", announced.into(), false, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
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
    let metrics = server.get("/metrics").await.1;
    let ended =
        metrics.lines().filter(|line| line.starts_with("rpc_server_calls_total") && line.contains("Attach"));
    let ended: Vec<_> = ended.collect();
    assert!(ended.iter().all(|line| line.contains("\"CANCELLED\"") || line.contains("\"OK\"")), "{ended:?}");
    server.stop().await;
}
