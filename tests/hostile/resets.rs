//! Streams that end as soon as they begin.

use crate::{
    hpack,
    raw::{self, ENHANCE_YOUR_CALM, Raw, Said, call, frame, message, number, stream},
    victim::{MIB, Victim, in_time},
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Far more than any limit.
const MANY: u32 = 20_000;

/// CVE-2023-44487: calls that are taken back before anybody has looked at them.
#[tokio::test]
async fn calls_that_are_taken_back_at_once_end_the_connection() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        let one = |n| [call(stream(n), CHECK), number(raw::RST_STREAM, stream(n), raw::CANCEL)].concat();
        // A hundred in one write, so that there is no time to look.
        let pieces = (0..MANY / 100).map(|piece| (piece * 100..piece * 100 + 100).flat_map(one).collect());
        raw.flood(pieces, &mut said).await;
        raw.end(&mut said).await;
        said.ended_with(ENHANCE_YOUR_CALM, "too_many_resets");
    };
    victim.good.beside(harm).await;
    assert!(victim.figure(r#"seaworthy_connections_ended_total{why="flood"}"#).await > 0);
    victim.unharmed(16 * MIB).await;
}

/// The same, slowly: each call is looked at, and what it costs is the client's.
#[tokio::test]
async fn calls_that_are_taken_back_later_leave_nothing_behind() {
    let victim = Victim::start().await;
    let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
    for round in 0..50 {
        let streams = round * 100..round * 100 + 100;
        for n in streams.clone() {
            let ask = [call(stream(n), "/grpc.health.v1.Health/Watch"), message(stream(n), &[])];
            raw.send(&ask.concat()).await.unwrap();
        }
        // What is answered has been looked at.
        raw.until(&mut said, |said| said.heads > round as usize * 100 + 99).await;
        for n in streams {
            raw.send(&number(raw::RST_STREAM, stream(n), raw::CANCEL)).await.unwrap();
        }
    }
    assert_eq!(said.goodbye, None);
    in_time(async { while victim.figure("seaworthy_watchers").await > 0 {} }).await;
    victim.unharmed(16 * MIB).await;
}

/// CVE-2025-8671: the server is made to reset streams itself, which end for the protocol while their handlers run.
#[tokio::test]
async fn errors_that_make_the_server_reset_end_the_connection() {
    type Wrong = fn(u32) -> Vec<u8>;
    let errors: [(&str, Wrong); 2] = [
        ("a window that grows too far", |stream| number(raw::WINDOW_UPDATE, stream, 0x7fff_ffff)),
        ("a body of another length than its head says", |stream| {
            let head = [hpack::call(CHECK), hpack::literal("content-length", "5")].concat();
            let head = frame(raw::HEADERS, raw::END_HEADERS, stream + 2, &head);
            [head, frame(raw::DATA, raw::END_STREAM, stream + 2, b"x")].concat()
        }),
    ];
    for (what, wrong) in errors {
        let victim = Victim::start().await;
        let harm = || async {
            let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
            let one = |n| [call(stream(2 * n), CHECK), wrong(stream(2 * n))].concat();
            raw.flood((0..MANY).map(one), &mut said).await;
            raw.end(&mut said).await;
            let (code, text) = said.goodbye.clone().unwrap_or_else(|| panic!("{what}: {said:?}"));
            assert_eq!((code, text.as_str()), (ENHANCE_YOUR_CALM, "too_many_internal_resets"), "{what}");
            assert!(said.resets.len() <= 1100, "{what}: {} resets", said.resets.len());
        };
        victim.good.beside(harm).await;
        victim.unharmed(16 * MIB).await;
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_then_end_the_connection() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        // None of them is closed.
        raw.flood((0..MANY).map(|n| call(stream(n), "/seaworthy.v1.FleetService/Attach")), &mut said).await;
        raw.end(&mut said).await;
        said.ended_with(ENHANCE_YOUR_CALM, "too_many_internal_resets");
        assert!(said.resets.iter().all(|code| *code == raw::REFUSED_STREAM), "{said:?}");
    };
    victim.good.beside(harm).await;
    victim.unharmed(24 * MIB).await;
}
