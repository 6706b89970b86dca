//! Messages that come slowly, in part, or never.

use seaworthy_client::proto::seaworthy::v1::{self as pb, fleet_service_client::FleetServiceClient};
use tonic::transport::Endpoint;

use crate::{
    raw::{self, Raw, Said, call, frame, number, stream},
    victim::{MIB, Victim, in_time},
};

const REGISTER: &str = "/seaworthy.v1.FleetService/Register";
/// What is held of messages of one peer at the most, 64 MiB, and as much again. Unbounded they would be 2 GiB.
const HELD: usize = 128 * MIB;

/// Says that a message of 4 MiB comes, and sends all of it but its end, on as many streams as may be open.
///
/// Each is within every limit of its own. What the server holds of them together is bounded as well.
#[tokio::test]
async fn messages_that_never_end_are_bounded_together() {
    let victim = Victim::start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let raw = Raw::settled(victim.grpc).await;
        held.push(half_messages(raw, 256 * 1024).await);
    }
    many_signs_of_life_are_heard(&victim, 5).await;
    victim.unharmed(HELD).await;
}

/// The same on as many connections as one peer may have for much data, beside which it has ordinary ones.
#[tokio::test]
async fn they_are_bounded_on_connections_for_much_data_too() {
    let victim = Victim::start().await;
    let mut held = Vec::new();
    for n in 0..10 {
        let (raw, window) = (Raw::settled_with(victim.grpc, 1024 * 1024), 4 * 1024 * 1024);
        held.push(half_messages(raw.await, if n < 8 { window } else { 256 * 1024 }).await);
    }
    many_signs_of_life_are_heard(&victim, 5).await;
    victim.unharmed(2 * HELD).await;
}

/// A connection that has sent most of 128 messages of 4 MiB, as far as it was let. `window`: that of a stream.
async fn half_messages(mut raw: Raw, window: i64) -> (Raw, Said) {
    const STREAMS: u32 = 128;
    /// Frames of 16 KiB for one message: one short of 4 MiB.
    const FRAMES: u32 = 255;
    let mut said = Said::default();
    for n in 0..STREAMS {
        let begin = [call(stream(n), REGISTER), prefix(stream(n), 4 * MIB)];
        raw.send(&begin.concat()).await.unwrap();
    }
    // What the server has no window for it does not take; whose stream it has ended is not sent on.
    let mut windows = Windows::new(STREAMS, window);
    let (mut sent, mut over) = ([0; 128], [false; 128]);
    let piece = vec![0; 16 * 1024];
    loop {
        for n in 0..STREAMS {
            let at = n as usize;
            while !over[at] && sent[at] < FRAMES && windows.take(n, piece.len()) {
                raw.send(&frame(raw::DATA, 0, stream(n), &piece)).await.unwrap();
                sent[at] += 1;
            }
        }
        if (0..128).all(|at| over[at] || sent[at] == FRAMES) {
            return (raw, said);
        }
        let frame = raw.next().await.unwrap();
        said.count(&frame);
        match frame.kind {
            raw::WINDOW_UPDATE => windows.grow(&frame),
            raw::RST_STREAM | raw::HEADERS => over[((frame.stream - 1) / 2) as usize] = true,
            raw::GOAWAY => return (raw, said),
            _ => {}
        }
    }
}

/// Says that messages come, of which none does: a few bytes, and nobody else is refused for them.
#[tokio::test]
async fn what_is_announced_and_does_not_come_takes_no_room() {
    let victim = Victim::start().await;
    let mut held = Vec::new();
    for _ in 0..16 {
        let (mut raw, mut said) = (Raw::settled(victim.grpc).await, Said::default());
        for n in 0..4 {
            let begin = [call(stream(n), REGISTER), prefix(stream(n), 4 * MIB)];
            raw.send(&begin.concat()).await.unwrap();
        }
        raw.send(&frame(raw::PING, 0, 0, &[0; 8])).await.unwrap();
        raw.until(&mut said, |said| said.pongs == 1).await;
        held.push(raw);
    }
    many_signs_of_life_are_heard(&victim, 50).await;
    victim.unharmed(32 * MIB).await;
}

/// The largest batch of heartbeats that is allowed, on a connection of its own.
pub async fn many_signs_of_life_are_heard(victim: &Victim, times: usize) {
    let channel = Endpoint::from_shared(format!("http://{}", victim.grpc)).unwrap().connect().await.unwrap();
    let mut fleet = FleetServiceClient::new(channel);
    let beat = |n| {
        let instance =
            pb::InstanceRef { service: "orders".into(), instance_id: format!("i-{n}"), incarnation: 1 };
        pb::InstanceHeartbeat { instance: Some(instance), session_token: "x".repeat(90) }
    };
    let beats = pb::HeartbeatRequest { heartbeats: (0..1000).map(beat).collect() };
    for _ in 0..times {
        let heard = in_time(fleet.heartbeat(beats.clone())).await.expect("answered");
        assert_eq!(heard.into_inner().results.len(), 1000);
    }
}

fn prefix(stream: u32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    frame(raw::DATA, 0, stream, &[&[0], length.as_slice()].concat())
}

/// What may still be sent.
struct Windows {
    all: i64,
    each: Vec<i64>,
}

impl Windows {
    fn new(streams: u32, window: i64) -> Self {
        // What HTTP/2 begins with; the rest is granted by what the server says. The streams' windows are
        // announced by its SETTINGS. Each prefix was five bytes.
        Self { all: 65_535 - 5 * i64::from(streams), each: vec![window - 5; streams as usize] }
    }

    fn take(&mut self, n: u32, bytes: usize) -> bool {
        let (bytes, each) = (i64::try_from(bytes).unwrap(), &mut self.each[n as usize]);
        let fits = self.all >= bytes && *each >= bytes;
        if fits {
            self.all -= bytes;
            *each -= bytes;
        }
        fits
    }

    fn grow(&mut self, frame: &raw::Frame) {
        let by = i64::from(u32::from_be_bytes(frame.payload[..].try_into().unwrap()));
        match frame.stream {
            0 => self.all += by,
            stream => self.each[((stream - 1) / 2) as usize] += by,
        }
    }
}

/// A question that comes byte by byte is not waited for longer than a question may take.
#[tokio::test]
async fn a_message_that_comes_byte_by_byte_is_not_waited_for() {
    let victim = Victim::with("[grpc]\nrequest_timeout = '300ms'\n").await;
    let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
    for (n, path) in
        ["FleetService/Register", "FleetService/WatchFleet", "FleetService/Attach"].iter().enumerate()
    {
        let id = stream(u32::try_from(n).unwrap());
        raw.send(&[call(id, &format!("/seaworthy.v1.{path}")), prefix(id, 1000)].concat()).await.unwrap();
    }
    let drips = (0..).flat_map(|_| (0..2).map(|n| frame(raw::DATA, 0, stream(n), b"x")));
    let (drips, mut seen) = (drips.take(500), 0);
    for drip in drips {
        if seen >= 2 {
            break;
        }
        raw.send(&drip).await.unwrap();
        raw.send(&frame(raw::PING, 0, 0, &[0; 8])).await.unwrap();
        let pongs = said.pongs;
        raw.until(&mut said, |said| said.pongs > pongs).await;
        seen = said.heads;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    // A head that is the whole answer: DEADLINE_EXCEEDED.
    raw.until(&mut said, |said| said.heads >= 2).await;
    raw.send(&number(raw::RST_STREAM, stream(2), raw::CANCEL)).await.unwrap();
    let ended = r#"rpc_server_calls_total{rpc_method="seaworthy.v1.FleetService/Register",rpc_response_status_code="DEADLINE_EXCEEDED"}"#;
    assert_eq!(victim.figure(ended).await, 1);
    victim.unharmed(16 * MIB).await;
}
