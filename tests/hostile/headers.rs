//! Headers that are too many, too long, too late, or more than they look.

use crate::{
    hpack,
    raw::{self, ENHANCE_YOUR_CALM, Raw, Said, call, frame, stream},
    victim::{MIB, Victim},
};

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Sends these frames to one victim after another connection, and checks how each ends.
async fn ends(pieces: impl Fn() -> Vec<Vec<u8>>, codes: &[u32]) {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.flood(pieces().into_iter(), &mut said).await;
        raw.end(&mut said).await;
        said.ended_for(codes);
    };
    victim.good.beside(harm).await;
    victim.unharmed(16 * MIB).await;
}

/// Over the limit is answered with 431; far over it ends the connection.
#[tokio::test]
async fn many_headers_are_refused() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        for n in 0..50 {
            let many = (0..1000).flat_map(|at| hpack::literal(&format!("x-{at}"), "a")).collect::<Vec<_>>();
            let block = [hpack::call(CHECK), many].concat();
            raw.send(&frame(raw::HEADERS, raw::END_HEADERS, stream(n), &block)).await.unwrap();
            raw.until(&mut said, |said| said.heads + said.resets.len() > n as usize).await;
        }
        assert_eq!(said.goodbye, None, "the connection lives");
    };
    victim.good.beside(harm).await;
    victim.unharmed(16 * MIB).await;
}

#[tokio::test]
async fn one_giant_header_ends_the_connection() {
    ends(
        || {
            let giant = [hpack::call(CHECK), hpack::literal("x-giant", &"a".repeat(MIB))].concat();
            let mut pieces = giant.chunks(16 * 1024);
            let first = frame(raw::HEADERS, 0, 1, pieces.next().unwrap());
            let rest = pieces.map(|piece| frame(raw::CONTINUATION, 0, 1, piece));
            std::iter::once(first).chain(rest).collect()
        },
        &[ENHANCE_YOUR_CALM, raw::COMPRESSION_ERROR],
    )
    .await;
}

/// CVE-2024-27316 and its kin: a head that never ends, in frames of any size.
#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    for piece in [hpack::literal("x", "y"), Vec::new(), hpack::literal("x", &"y".repeat(1000))] {
        ends(
            || {
                let first = frame(raw::HEADERS, 0, 1, &hpack::call(CHECK));
                let rest = (0..2000).map(|_| frame(raw::CONTINUATION, 0, 1, &piece));
                std::iter::once(first).chain(rest).collect()
            },
            &[ENHANCE_YOUR_CALM],
        )
        .await;
    }
}

/// A header of 4 KB, kept in the table, and named by one byte each: 15 KB say 60 MB.
#[tokio::test]
async fn headers_that_unpack_to_far_more_end_the_connection() {
    ends(
        || {
            let bomb = hpack::kept("x-bomb", &"b".repeat(4000));
            let block = [hpack::call(CHECK), bomb, vec![hpack::again(); 11_000]].concat();
            vec![frame(raw::HEADERS, raw::END_HEADERS, 1, &block)]
        },
        &[ENHANCE_YOUR_CALM],
    )
    .await;
}

/// The same bomb, in calls that each stay within the limit: what is unpacked is held for one call alone.
#[tokio::test]
async fn headers_within_the_limit_may_not_add_up() {
    let victim = Victim::start().await;
    let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
    let bomb = hpack::kept("x-bomb", &"b".repeat(3900));
    let attach = "/seaworthy.v1.FleetService/Attach";
    raw.send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &[hpack::call(attach), bomb].concat())).await.unwrap();
    let block = [hpack::call(attach), vec![hpack::again(); 3]].concat();
    let calls = (1..100).map(|n| frame(raw::HEADERS, raw::END_HEADERS, stream(n), &block));
    assert!(raw.flood(calls, &mut said).await, "{said:?}");
    raw.send(&frame(raw::PING, 0, 0, &[0; 8])).await.unwrap();
    raw.until(&mut said, |said| said.pongs == 1).await;
    victim.unharmed(16 * MIB).await;
}

#[tokio::test]
async fn headers_that_are_no_headers_end_the_connection() {
    // A table entry that does not exist; a number that never ends; a string that is longer than its frame.
    for block in [vec![0xff, 0xff, 0x7f], vec![0xff; 64], vec![0, 0x7f, 0xff, 0xff, 0x03, b'x']] {
        ends(
            || vec![frame(raw::HEADERS, raw::END_HEADERS, 1, &block), call(3, CHECK)],
            &[raw::COMPRESSION_ERROR, raw::PROTOCOL_ERROR],
        )
        .await;
    }
}
