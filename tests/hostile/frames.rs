//! Frames that cost the sender little: answered or ended, and nothing piles up.

use crate::{
    raw::{
        self, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, Raw, Said, call,
        frame, number,
    },
    victim::{MIB, Victim},
};

const ATTACH: &str = "/seaworthy.v1.FleetService/Attach";
/// Frames in one write.
const TOGETHER: usize = 1000;

/// One frame, many times.
fn many(one: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let piece = one.repeat(TOGETHER);
    std::iter::repeat_n(piece, count / TOGETHER)
}

/// What is answered is answered at the pace of whoever reads the answers.
#[tokio::test]
async fn a_flood_of_pings_or_settings_is_answered_one_by_one() {
    let change = [0, 4, 0, 0, 0, 0];
    for (one, answers) in [
        (frame(raw::PING, 0, 0, &[7; 8]), (|said| said.pongs) as fn(&Said) -> usize),
        (frame(raw::SETTINGS, 0, 0, &[]), |said| said.acks),
        (frame(raw::SETTINGS, 0, 0, &change.repeat(2000)), |said| said.acks),
    ] {
        let victim = Victim::start().await;
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.until(&mut said, |said| said.acks == 1).await;
        let count = 1000 * (TOGETHER / one.len().min(TOGETHER)).clamp(1, 20);
        let harm = many(&one, TOGETHER.max(count));
        assert!(raw.flood(harm, &mut said).await, "{said:?}");
        raw.until(&mut said, |said| answers(said) >= TOGETHER).await;
        assert_eq!(said.goodbye, None);
        victim.unharmed(16 * MIB).await;
    }
}

/// Frames that mean nothing here: no answer, no state, no end.
#[tokio::test]
async fn a_flood_of_frames_that_say_nothing_leaves_nothing_behind() {
    for one in [
        frame(raw::PRIORITY, 0, 99, &[0, 0, 0, 0, 16]),
        frame(0xbe, 0xff, 1, &[1; 100]),
        frame(raw::PING, raw::ACK, 0, &[3; 8]),
    ] {
        let victim = Victim::start().await;
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.flood(many(&one, 200_000), &mut said).await;
        raw.send(&frame(raw::PING, 0, 0, &[7; 8])).await.unwrap();
        raw.until(&mut said, |said| said.pongs == 1).await;
        victim.unharmed(8 * MIB).await;
    }
}

/// Pieces of a message that are empty, or nearly so: every one costs the server more than the client.
#[tokio::test]
async fn a_flood_of_empty_pieces_ends_the_connection() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.send(&call(1, ATTACH)).await.unwrap();
        raw.flood(many(&frame(raw::DATA, 0, 1, &[]), 100_000), &mut said).await;
        raw.end(&mut said).await;
        said.ended_with(ENHANCE_YOUR_CALM, "too_many_data_frames");
    };
    victim.good.beside(harm).await;
    victim.unharmed(16 * MIB).await;
}

#[tokio::test]
async fn windows_beyond_what_there_is_end_the_connection() {
    let victim = Victim::start().await;
    let wide = number(raw::WINDOW_UPDATE, 0, 0x7fff_ffff);
    let beyond = frame(raw::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]);
    let nothing = number(raw::WINDOW_UPDATE, 0, 0);
    for wrong in [wide, beyond, nothing] {
        let harm = || async {
            let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
            raw.flood([call(1, ATTACH), wrong.clone(), wrong.clone()].into_iter(), &mut said).await;
            raw.end(&mut said).await;
            said.ended_for(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]);
        };
        victim.good.beside(harm).await;
    }
    victim.unharmed(16 * MIB).await;
}

/// More bytes than the window allows.
#[tokio::test]
async fn bytes_beyond_the_window_end_the_stream_or_the_connection() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        // A message of 4 MiB that is said to come, on a stream whose window is a sixteenth of it.
        let head = [call(1, ATTACH), frame(raw::DATA, 0, 1, &[0, 0, 0x40, 0, 0])].concat();
        let pieces = std::iter::repeat_n(frame(raw::DATA, 0, 1, &[0; 16 * 1024]), 1000);
        raw.flood(std::iter::once(head).chain(pieces), &mut said).await;
        // Where the stream's window is the first to be passed the stream ends alone, and what comes after is let
        // fall; where it is the connection's, that ends. A server that keeps up has taken the message, and refuses it.
        raw.send(&frame(raw::PING, 0, 0, &[7; 8])).await.ok();
        raw.until_or_end(&mut said, |said| said.pongs == 1).await;
        match said.goodbye {
            Some((code, _)) => assert_eq!(code, FLOW_CONTROL_ERROR),
            None => assert!(said.resets.contains(&FLOW_CONTROL_ERROR) || said.heads == 1, "{said:?}"),
        }
    };
    victim.good.beside(harm).await;
    victim.unharmed(24 * MIB).await;
}

/// Frames that may not come, of a wrong size, or on a stream that cannot have them.
#[tokio::test]
async fn frames_that_may_not_come_end_the_connection() {
    let victim = Victim::start().await;
    let wrong = [
        frame(raw::PING, 0, 0, &[1; 7]),
        frame(raw::SETTINGS, 0, 0, &[1; 5]),
        frame(raw::SETTINGS, 0, 1, &[]),
        frame(raw::RST_STREAM, 0, 1, &[0; 3]),
        number(raw::RST_STREAM, 1, 8),
        number(raw::RST_STREAM, 0, 8),
        frame(raw::CONTINUATION, raw::END_HEADERS, 1, &[]),
        frame(raw::PUSH_PROMISE, raw::END_HEADERS, 1, &[0, 0, 0, 2]),
        call(2, ATTACH),
        frame(raw::DATA, 0, 0, b"x"),
        frame(raw::DATA, 0, 1, b"x"),
        frame(raw::DATA, 0x8, 1, &[255, 0]),
        vec![0xff; 64 * 1024],
    ];
    for wrong in wrong {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.send(&wrong).await.ok();
        raw.end(&mut said).await;
        said.ended_for(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
    }
    victim.unharmed(16 * MIB).await;
}
