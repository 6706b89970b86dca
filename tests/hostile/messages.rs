//! Messages that are whole, and are not what they say.

use std::io::Write as _;

use bytes::{BufMut as _, Bytes};
use flate2::{Compression, write::GzEncoder};
use http::Request;
use tonic::{Code, Status};

use crate::victim::{MIB, Victim, in_time};

/// Sends bytes as the body of a call, and answers how it ended.
async fn ask(victim: &Victim, path: &str, gzip: bool, body: Bytes) -> Status {
    let tcp = tokio::net::TcpStream::connect(victim.grpc).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://server{path}"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", if gzip { "gzip" } else { "identity" })
        .header("te", "trailers");
    let mut send = send.ready().await.unwrap();
    let (answer, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    // Who is refused at once takes no more.
    stream.send_data(body, true).ok();
    let answer = in_time(answer).await.expect("an answer");
    let ended = match Status::from_header_map(answer.headers()) {
        Some(refused) => refused,
        None => {
            let mut answer = answer.into_body();
            while let Some(data) = in_time(answer.data()).await {
                answer.flow_control().release_capacity(data.unwrap().len()).unwrap();
            }
            let trailers = in_time(answer.trailers()).await.unwrap().expect("trailers");
            Status::from_header_map(&trailers).expect("a status")
        }
    };
    connection.abort();
    ended
}

fn framed(gzip: bool, message: &[u8]) -> Bytes {
    let mut framed = vec![u8::from(gzip)];
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.extend_from_slice(message);
    framed.into()
}

fn zipped(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    framed(true, &encoder.finish().unwrap())
}

const HEARTBEAT: &str = "/seaworthy.v1.FleetService/Heartbeat";
const REGISTER: &str = "/seaworthy.v1.FleetService/Register";

/// 32 MiB of zeros are 32 KiB of gzip.
#[tokio::test]
async fn what_unpacks_to_more_than_a_message_is_refused() {
    let victim = Victim::start().await;
    let bomb = zipped(&vec![0; 32 * MIB]);
    for _ in 0..20 {
        let refused = ask(&victim, HEARTBEAT, true, bomb.clone()).await;
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    victim.unharmed(32 * MIB).await;
}

/// Two bytes on the wire are a hundred as a value: a message within the limit may not unfold to far more.
#[tokio::test]
async fn what_unfolds_to_far_more_than_its_bytes_is_refused() {
    let victim = Victim::start().await;
    let beats = [0x0a, 0x00].repeat(2 * MIB - 16);
    for (gzip, body) in [(false, framed(false, &beats)), (true, zipped(&beats))] {
        for path in [HEARTBEAT, "/seaworthy.v1.HealthService/ReportHealth", REGISTER] {
            let refused = ask(&victim, path, gzip, body.clone()).await;
            assert!(matches!(refused.code(), Code::InvalidArgument | Code::ResourceExhausted), "{refused:?}");
        }
    }
    victim.unharmed(64 * MIB).await;
}

/// A field within which these bytes are.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    [field.as_slice(), bytes].concat()
}

/// One byte on the wire is a number that is wrong, and two texts that say so.
#[tokio::test]
async fn numbers_that_are_all_wrong_are_not_told_one_by_one() {
    let victim = Victim::start().await;
    for (bytes, code) in [
        // Too short to be weighed.
        (60 * 1024, Code::InvalidArgument),
        (4 * MIB - 1024, Code::ResourceExhausted),
    ] {
        for capabilities in [field(5, &vec![0; bytes]), [0x28, 0].repeat(bytes / 2)] {
            let registration = field(1, &field(7, &capabilities));
            let refused = ask(&victim, REGISTER, true, zipped(&registration)).await;
            assert_eq!(refused.code(), code, "{refused:?}");
        }
    }
    victim.unharmed(48 * MIB).await;
}

/// A message within messages that end before it does: `fields` are those that it is in, and the last its own. Of it
/// only the length is in them, but for its last byte; what comes after that is `part`, again and again.
fn overrun(fields: &[u8], part: [u8; 2]) -> Vec<u8> {
    let parts = part.repeat(2 * MIB - 32);
    let (own, around) = fields.split_last().unwrap();
    // A length in more bytes than it needs, so that the last of them is zero.
    let digits = [0, 7, 14, 21].map(|shift| 0x80 | u8::try_from(parts.len() >> shift & 0x7f).unwrap());
    let mut within = [&[*own], digits.as_slice()].concat();
    for field in around.iter().rev() {
        within = [&[*field, u8::try_from(within.len()).unwrap()], within.as_slice()].concat();
    }
    [within.as_slice(), &[0], &parts].concat()
}

/// prost reads a message to its own end and compares it with the end of what it is in only then.
#[tokio::test]
async fn a_message_that_is_longer_than_what_it_is_in_is_not_unfolded() {
    let victim = Victim::start().await;
    for (path, fields, part) in [
        ("/seaworthy.v1.FleetService/Attach", [0x0a, 0x0a, 0x0a].as_slice(), [0x3a, 0]),
        (REGISTER, &[0x0a, 0x3a], [0x22, 0]),
        ("/seaworthy.v1.FleetService/PutService", &[0x12, 0x0a], [0x0a, 0]),
    ] {
        let refused = ask(&victim, path, true, zipped(&overrun(fields, part))).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
    }
    victim.unharmed(32 * MIB).await;
}

/// Groups within groups within groups: what is skipped is skipped to a bounded depth.
#[tokio::test]
async fn messages_nested_without_end_are_refused() {
    let victim = Victim::start().await;
    // A group of an unknown number, and messages in a field that holds them.
    let groups = [0xa3, 0x06].repeat(MIB);
    let mut within = Vec::new();
    for _ in 0..2000 {
        let mut next = vec![0x0a];
        prost::encoding::encode_varint(within.len() as u64, &mut next);
        next.append(&mut within);
        within = next;
    }
    for bytes in [groups, within] {
        for path in [HEARTBEAT, REGISTER, "/seaworthy.v1.FleetService/PutService"] {
            let refused = ask(&victim, path, false, framed(false, &bytes)).await;
            assert!(matches!(refused.code(), Code::InvalidArgument | Code::Internal), "{refused:?}");
        }
    }
    victim.unharmed(32 * MIB).await;
}

/// A length that is not there, text that is none, a field of another type, a number that never ends.
#[tokio::test]
async fn bytes_that_are_no_message_are_an_error_of_the_caller() {
    let victim = Victim::start().await;
    let lie = Bytes::from_static(&[0, 0, 0x10, 0, 0, 1, 2, 3]);
    let wrong: [&[u8]; 5] = [
        &[0x0a, 0xff],
        &[0x0a, 0x02, 0xff, 0xfe],
        &[0x08, 0x01],
        &[0xff; 11],
        &[0x0a, 0x80, 0x80, 0x80, 0x80, 0x7f],
    ];
    for path in [
        "/seaworthy.v1.FleetService/ListInstances",
        "/seaworthy.v1.FleetService/GetInstance",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ] {
        for body in wrong.iter().map(|wrong| framed(false, wrong)).chain([lie.clone()]) {
            let refused = ask(&victim, path, false, body.clone()).await;
            // tonic itself finds that a message ends early, and calls that internal.
            let code = if body == lie { Code::Internal } else { Code::InvalidArgument };
            assert_eq!(refused.code(), code, "{path}: {refused:?}");
        }
    }
    victim.unharmed(8 * MIB).await;
}
