//! Sessions that said something long once: what is left of it with each.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::Request;
use prost::Message as _;
use seaworthy_client::proto::seaworthy::v1::{self as pb, attach_request::Message as Say, open_session::How};
use tokio::net::TcpStream;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::victim::{MIB, Victim, in_time};

/// Sessions on one connection.
const SESSIONS: usize = 32;

/// A message behind its prefix.
fn framed(packed: bool, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(packed)], length.as_slice(), message].concat().into()
}

fn zipped(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    framed(true, &encoder.finish().unwrap())
}

fn heartbeat(sequence: u64) -> Vec<u8> {
    pb::AttachRequest { message: Some(Say::Heartbeat(pb::SessionHeartbeat { sequence })) }.encode_to_vec()
}

/// A heartbeat of almost 4 MiB: with a field that nobody knows.
fn long_heartbeat(sequence: u64) -> Vec<u8> {
    let mut long = heartbeat(sequence);
    let unknown = vec![0; 4 * MIB - 64];
    prost::encoding::bytes::encode(1000, &unknown, &mut long);
    long
}

async fn connected(victim: &Victim) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(victim.grpc).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    // It ends with the last who holds a stream of it.
    tokio::spawn(connection);
    send
}

/// A session, in bytes.
struct Raw {
    send: SendStream<Bytes>,
    answer: RecvStream,
}

impl Raw {
    async fn open(send: &SendRequest<Bytes>, n: usize) -> Self {
        let request = Request::post("http://server/seaworthy.v1.FleetService/Attach")
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "gzip")
            .header("te", "trailers");
        let mut send = send.clone().ready().await.unwrap();
        let asked: (ResponseFuture, SendStream<Bytes>) =
            send.send_request(request.body(()).unwrap(), false).unwrap();
        let (answer, mut send) = asked;
        let registration = pb::Registration {
            service: "orders".into(),
            instance_id: format!("i-{n}"),
            ..pb::Registration::default()
        };
        let register =
            pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() };
        let open = pb::OpenSession {
            how: Some(How::Register(register)),
            takes_policies: true,
            takes_directives: false,
        };
        let open = pb::AttachRequest { message: Some(Say::Open(open)) }.encode_to_vec();
        send.send_data(framed(false, &open), false).unwrap();
        let mut raw = Self { send, answer: in_time(answer).await.unwrap().into_body() };
        raw.answered().await.expect("opened");
        raw
    }

    /// Something that the server answers, or its last words.
    async fn answered(&mut self) -> Result<(), Status> {
        match in_time(self.answer.data()).await {
            Some(data) => {
                let length = data.unwrap().len();
                self.answer.flow_control().release_capacity(length).unwrap();
                Ok(())
            }
            None => {
                let trailers = in_time(self.answer.trailers()).await.unwrap().expect("trailers");
                Err(Status::from_header_map(&trailers).expect("a status"))
            }
        }
    }

    async fn say(&mut self, message: Bytes) -> Result<(), Status> {
        self.send.send_data(message, false).unwrap();
        self.answered().await
    }
}

/// One session after the other says something long, and then what sessions say: nothing is left of it.
async fn little_is_left(long: Bytes) {
    let victim = Victim::start().await;
    let send = connected(&victim).await;
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        let mut session = Raw::open(&send, n).await;
        session.say(long.clone()).await.expect("heard");
        for sequence in 2..4 {
            session.say(framed(false, &heartbeat(sequence))).await.expect("heard");
        }
        sessions.push(session);
    }
    // One of them at a time, a few times over; all of them would be four times as much.
    victim.unharmed(32 * MIB).await;
}

#[tokio::test]
async fn a_long_message_is_let_go_with_the_next() {
    little_is_left(framed(false, &long_heartbeat(1))).await;
}

#[tokio::test]
async fn what_was_unpacked_is_let_go_with_the_next() {
    little_is_left(zipped(&long_heartbeat(1))).await;
}

/// What comes behind a long message in the same frame lies in the same buffer.
#[tokio::test]
async fn a_long_message_is_let_go_where_others_come_right_behind_it() {
    let long = framed(false, &long_heartbeat(1));
    let short = framed(false, &heartbeat(2));
    little_is_left([long, short.clone(), short].concat().into()).await;
}

/// Sessions that say something long and nothing after it: it is held, and counted for as long.
async fn what_is_held_is_bounded(long: Bytes) {
    let victim = Victim::start().await;
    let send = connected(&victim).await;
    let (mut sessions, mut refused) = (Vec::new(), 0);
    for n in 0..SESSIONS {
        let mut session = Raw::open(&send, n).await;
        match session.say(long.clone()).await {
            Ok(()) => sessions.push(session),
            Err(status) => {
                let details = status.get_error_details();
                assert_eq!(details.error_info().unwrap().reason, "MESSAGES_UNFINISHED", "{status:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((sessions.len(), refused), (4, SESSIONS - 4), "16 MiB are held for a connection");
    // Those that go on give back what they held.
    for session in &mut sessions {
        session.say(framed(false, &heartbeat(2))).await.expect("heard");
    }
    let mut next = Raw::open(&send, SESSIONS).await;
    next.say(long).await.expect("heard");
    victim.unharmed(48 * MIB).await;
}

#[tokio::test]
async fn a_long_message_without_a_next_is_counted() {
    what_is_held_is_bounded(framed(false, &long_heartbeat(1))).await;
}

#[tokio::test]
async fn what_was_unpacked_is_counted_until_the_next() {
    what_is_held_is_bounded(zipped(&long_heartbeat(1))).await;
}
