//! Connections for much data: who announces large frames gets them in return, and everybody else has what they had.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use seaworthy_client::proto::seaworthy::v1 as pb;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    harness::{PATIENCE, TestServer, http2},
    tls::Encrypted,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
/// Numbers of settings.
const WINDOW: u16 = 4;
const FRAME: u16 = 5;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// What the server says first: frame, window of a stream, window of the connection.
type Given = (u32, u32, u32);

const ORDINARY: Given = (16 * KIB, 256 * KIB, MIB);

fn bulk(frame: u32) -> Given {
    (frame, 4 * MIB, 8 * MIB)
}

/// A connection that is open, and what it was given.
struct Opened<S> {
    _stream: S,
    given: Given,
}

/// Begins by announcing frames of this size, in two pieces, and reads what the server says.
async fn begin<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, announced: Option<u32>) -> Opened<S> {
    let mut first = Vec::new();
    if let Some(announced) = announced {
        first.put_u16(FRAME);
        first.put_u32(announced);
    }
    let head = [0, 0, u8::try_from(first.len()).unwrap(), SETTINGS, 0, 0, 0, 0, 0];
    stream.write_all(PREFACE).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&[head.as_slice(), &first].concat()).await.unwrap();
    stream.flush().await.unwrap();
    let (kind, payload) = frame(&mut stream).await;
    assert_eq!(kind, SETTINGS);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let settings: BTreeMap<u16, u32> =
        payload.chunks(6).map(|it| (u16::try_from(number(&it[..2])).unwrap(), number(&it[2..]))).collect();
    // The window of a connection is 64 KiB - 1 until it is said to be more.
    let (mut connection, mut seen) = (64 * KIB - 1, false);
    while !seen {
        let (kind, payload) = frame(&mut stream).await;
        if kind == WINDOW_UPDATE {
            connection += number(&payload);
            seen = true;
        }
    }
    let frame = settings.get(&FRAME).copied().unwrap_or(16 * KIB);
    Opened { _stream: stream, given: (frame, settings[&WINDOW], connection) }
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        (head[3], payload)
    };
    timeout(PATIENCE, read).await.expect("in time")
}

async fn open(server: &TestServer, announced: Option<u32>) -> Opened<TcpStream> {
    begin(TcpStream::connect(server.addresses.grpc).await.unwrap(), announced).await
}

#[tokio::test]
async fn large_frames_are_given_to_who_announces_them() {
    let server = TestServer::start().await;
    for (announced, given) in [
        (None, ORDINARY),
        (Some(16 * KIB), ORDINARY),
        (Some(64 * KIB), ORDINARY),
        (Some(128 * KIB), bulk(128 * KIB)),
        (Some(MIB), bulk(MIB)),
        (Some(16 * MIB - 1), bulk(MIB)),
    ] {
        assert_eq!(open(&server, announced).await.given, given, "{announced:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn large_frames_are_given_within_tls_too() {
    let encrypted = Encrypted::start().await;
    for (announced, given) in [(None, ORDINARY), (Some(MIB), bulk(MIB))] {
        let stream = encrypted.client(None).speaking(&["h2"]).connect(encrypted.grpc()).await.unwrap();
        assert_eq!(begin(stream, announced).await.given, given, "{announced:?}");
    }
    encrypted.server.stop().await;
}

/// Eight of one peer; then connections are as all others are, until one of them ends.
#[tokio::test]
async fn a_peer_has_few_of_them_and_is_never_refused() {
    let server = TestServer::start().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(open(&server, Some(MIB)).await);
        assert_eq!(held.last().unwrap().given, bulk(MIB));
    }
    assert_eq!(open(&server, Some(MIB)).await.given, ORDINARY);
    held.pop();
    let again = async { while open(&server, Some(MIB)).await.given != bulk(MIB) {} };
    timeout(PATIENCE, again).await.expect("the place comes back");
    server.stop().await;
}

/// A client that waits for the server's settings before it says its own is none that is meant, and is served.
#[tokio::test]
async fn who_says_nothing_after_the_preface_is_not_kept_waiting() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.addresses.grpc).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    assert_eq!(frame(&mut stream).await.0, SETTINGS);
    server.stop().await;
}

/// A message that comes in frames of 1 MiB is answered as any other.
#[tokio::test]
async fn a_large_message_comes_in_large_frames() {
    let server = TestServer::start().await;
    let (send, connection) =
        http2(server.addresses.grpc, h2::client::Builder::new().max_frame_size(MIB)).await;
    let mut send = send.ready().await.unwrap();
    // A field that nobody knows.
    let length = 3 * MIB;
    let mut message = BytesMut::new();
    message.put_slice(&[0xa2, 0x06]);
    prost::encoding::encode_varint(u64::from(length), &mut message);
    message.put_bytes(7, usize::try_from(length).unwrap());
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put(message);
    let request = http::Request::post("http://server/seaworthy.v1.SystemService/GetStatus")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    stream.send_data(body.freeze(), true).unwrap();
    let mut answer = timeout(PATIENCE, answer).await.expect("in time").unwrap().into_body();
    let mut answered = BytesMut::new();
    while let Some(data) = timeout(PATIENCE, answer.data()).await.expect("in time") {
        let data: Bytes = data.unwrap();
        answer.flow_control().release_capacity(data.len()).unwrap();
        answered.put(data);
    }
    let status = <pb::GetStatusResponse as prost::Message>::decode(answered.split_off(5)).unwrap();
    assert_eq!(status.phase(), pb::Phase::Running);
    connection.abort();
    server.stop().await;
}
