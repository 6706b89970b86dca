use std::collections::HashMap;

use h2::Reason;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use tonic::{Request, client::Grpc, metadata::MetadataMap, transport::Endpoint};
use tonic_prost::ProstCodec;
use tonic_types::ErrorDetails;

use super::*;
use crate::rt;

const fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

/// A status as a server sends it.
fn said(code: Code, reason: &str, domain: &str, outcome: &str, pause: Option<Duration>) -> Status {
    let mut details = ErrorDetails::new();
    if !reason.is_empty() {
        let metadata =
            [(OUTCOME.to_owned(), outcome.to_owned())].into_iter().filter(|(_, it)| !it.is_empty());
        details.set_error_info(reason, domain, metadata.collect::<HashMap<_, _>>());
    }
    if pause.is_some() {
        details.set_retry_info(pause);
    }
    Status::with_error_details(code, "words", details)
}

#[test]
fn codes_as_a_table() {
    for number in 0..=16 {
        let code = Code::from_i32(number);
        let (without, with) = match code {
            Code::Unavailable | Code::Aborted => (Advice::IfSafe(None), Advice::IfSafe(millis(700))),
            Code::ResourceExhausted => (Advice::Never, Advice::IfSafe(millis(700))),
            _ => (Advice::Never, Advice::Never),
        };
        assert_eq!(advice(&Status::new(code, "words")), without, "{code:?}");
        assert_eq!(advice(&said(code, "", "", "", millis(700))), with, "{code:?}");
    }
}

#[test]
fn reasons_of_a_control_plane_as_a_table() {
    use Code::{Aborted, DeadlineExceeded, FailedPrecondition, Internal, ResourceExhausted, Unavailable};
    let pause = millis(1000);
    let (safe, always) = (Advice::IfSafe(pause), Advice::Always(pause));
    for (code, reason, outcome, expected) in [
        (Unavailable, "LOADING", "", always),
        (Unavailable, "CIRCUIT_OPEN", "", always),
        (Unavailable, "NOT_TAKING_WORK", "", always),
        (Unavailable, "AUDIT_UNAVAILABLE", "", always),
        (Unavailable, "AUDIT_UNAVAILABLE", "changed", Advice::Never),
        (Unavailable, "STORE_UNAVAILABLE", "", safe),
        (Unavailable, "STORE_UNAVAILABLE", "unknown", safe),
        (Unavailable, "STORE_UNAVAILABLE", "not_written", always),
        // Said of what has begun as well.
        (Unavailable, "SERVER_DRAINING", "", safe),
        (Unavailable, "SERVER_DRAINING", "not_written", always),
        (Unavailable, "OF_A_NEWER_RELEASE", "", safe),
        (Unavailable, "OF_A_NEWER_RELEASE", "not_written", always),
        (ResourceExhausted, "RATE_LIMITED", "", always),
        (ResourceExhausted, "TOO_MANY_IN_FLIGHT", "", always),
        (ResourceExhausted, "RESOURCES_LOW", "", always),
        (ResourceExhausted, "CHECKS_BUSY", "", always),
        (ResourceExhausted, "AUTHENTICATION_LIMITED", "", always),
        // The work was done; only its answer did not fit.
        (ResourceExhausted, "ANSWERS_UNREAD", "", safe),
        (ResourceExhausted, "MESSAGES_UNFINISHED", "", safe),
        (ResourceExhausted, "OF_A_NEWER_RELEASE", "", safe),
        (Aborted, "STORE_CONFLICT", "", safe),
        (DeadlineExceeded, "CHECKS_BUSY", "", Advice::Never),
        (DeadlineExceeded, "REQUEST_TIMEOUT", "not_written", Advice::Never),
        (FailedPrecondition, "REVISION_MISMATCH", "", Advice::Never),
        (Internal, "INTERNAL", "not_written", Advice::Never),
    ] {
        let status = said(code, reason, DOMAIN, outcome, pause);
        assert_eq!(advice(&status), expected, "{code:?} {reason} {outcome}");
    }
}

#[test]
fn without_a_pause_nothing_is_exhausted_for_now_whatever_the_reason() {
    for (reason, outcome) in [("FLEET_FULL", ""), ("CHECKS_BUSY", ""), ("MESSAGE_TOO_LARGE", "not_written")] {
        let status = said(Code::ResourceExhausted, reason, DOMAIN, outcome, None);
        assert_eq!(advice(&status), Advice::Never, "{reason}");
    }
    // It is there, and does not say when.
    let mut details = ErrorDetails::new();
    details.set_retry_info(None);
    let status = Status::with_error_details(Code::ResourceExhausted, "words", details);
    assert_eq!(advice(&status), Advice::IfSafe(None));
}

#[test]
fn reasons_of_other_domains_and_damaged_details_are_not_believed() {
    for outcome in ["", "not_written", "changed"] {
        let foreign = said(Code::Unavailable, "LOADING", "elsewhere.example", outcome, None);
        assert_eq!(advice(&foreign), Advice::IfSafe(None));
    }
    let damaged = |code| Status::with_details(code, "words", vec![0xff; 40].into());
    assert_eq!(advice(&damaged(Code::Unavailable)), Advice::IfSafe(None));
    assert_eq!(advice(&damaged(Code::ResourceExhausted)), Advice::Never);
}

#[test]
fn pushback_as_a_table() {
    for (pushbacks, expected) in [
        (&["0"][..], Some(millis(0))),
        (&["1500"], Some(millis(1500))),
        (&["2147483647"], Some(millis(2_147_483_647))),
        (&["2147483648"], None),
        (&["-1"], None),
        (&["-0"], None),
        (&["+5"], None),
        (&["007"], None),
        (&["00"], None),
        (&["1.5"], None),
        (&["1e3"], None),
        (&["5s"], None),
        (&[" 5"], None),
        (&[""], None),
        (&["\u{661}"], None),
        (&["5", "5"], None),
        (&["5", "-1"], None),
    ] {
        let pushed = |code| {
            // The pause of the other kind is not asked any more.
            let mut status = said(code, "", "", "", millis(700));
            for pushback in pushbacks {
                let header = http::HeaderValue::from_bytes(pushback.as_bytes()).unwrap();
                let mut headers = std::mem::take(status.metadata_mut()).into_headers();
                headers.append(PUSHBACK, header);
                *status.metadata_mut() = MetadataMap::from_headers(headers);
            }
            advice(&status)
        };
        let expected = expected.map_or(Advice::Pushback, Advice::IfSafe);
        assert_eq!(pushed(Code::Unavailable), expected, "{pushbacks:?}");
        assert_eq!(pushed(Code::ResourceExhausted), expected, "{pushbacks:?}");
        // A pause does not make it worth to repeat what is wrong.
        assert_eq!(pushed(Code::InvalidArgument), Advice::Never, "{pushbacks:?}");
    }
}

#[test]
fn pushback_is_enough_to_say_when_to_come_back() {
    let mut status = Status::resource_exhausted("words");
    status.metadata_mut().insert(PUSHBACK, "30".parse().unwrap());
    assert_eq!(advice(&status), Advice::IfSafe(millis(30)));
}

/// What a call of this endpoint fails with.
async fn call(endpoint: Endpoint) -> Status {
    let mut client = Grpc::new(endpoint.connect_lazy());
    let path = http::uri::PathAndQuery::from_static("/a.Service/Call");
    let answered = async {
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        client.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await
    };
    timeout(Duration::from_secs(20), answered).await.expect("an end").expect_err("no answer")
}

/// What a call fails with, of a peer that, once it has the request, answers with these frames and closes the connection.
async fn frames(answer: Vec<u8>) -> Status {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = rt::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        socket.read_exact(&mut preface).await.unwrap();
        loop {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            socket.read_exact(&mut vec![0; length as usize]).await.unwrap();
            if head[3] == HEADERS {
                break;
            }
        }
        socket.write_all(&[frame(SETTINGS, 0, 0, &[]), answer].concat()).await.unwrap();
        socket.shutdown().await.unwrap();
        // Until the other end has gone too, so that it hears all of this.
        socket.read_to_end(&mut Vec::new()).await.ok();
    });
    let status = call(Endpoint::from_shared(format!("http://{address}")).unwrap()).await;
    drop(peer);
    status
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A peer that resets the stream of the request.
async fn reset(reason: Reason) -> Status {
    frames(frame(RST_STREAM, 0, 1, &u32::from(reason).to_be_bytes())).await
}

/// A peer that goes away. It names the last stream that it has read, of which the request is the first, and why.
async fn go_away(last: u8, reason: Reason) -> Status {
    let reason = u32::from(reason).to_be_bytes();
    frames(frame(GOAWAY, 0, 0, &[&[0, 0, 0, last][..], &reason].concat())).await
}

/// A peer that begins an answer and does not end it.
async fn half_an_answer() -> Status {
    // By HPACK: status 200, and the type of the content, spelled out.
    let head = [&[0x88, 0x0f, 0x10, 16][..], b"application/grpc"].concat();
    let end_of_headers = 4;
    frames(frame(HEADERS, end_of_headers, 1, &head)).await
}

#[tokio::test]
async fn where_no_connection_could_be_opened_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let status = call(Endpoint::from_shared(format!("http://{address}")).unwrap()).await;
    assert_eq!((status.code(), advice(&status)), (Code::Unavailable, Advice::Always(None)), "{status:?}");
}

#[tokio::test]
async fn a_stream_that_is_refused_was_not_read_and_other_resets_are_an_answer() {
    for (reason, expected) in [
        (Reason::REFUSED_STREAM, Advice::Always(None)),
        (Reason::CANCEL, Advice::Never),
        (Reason::INTERNAL_ERROR, Advice::Never),
        (Reason::ENHANCE_YOUR_CALM, Advice::Never),
        (Reason::HTTP_1_1_REQUIRED, Advice::Never),
    ] {
        let status = reset(reason).await;
        assert_eq!(advice(&status), expected, "{reason:?}: {status:?}");
    }
}

#[tokio::test]
async fn where_the_connection_breaks_what_was_asked_may_be_done() {
    for status in [
        frames(Vec::new()).await,
        half_an_answer().await,
        go_away(1, Reason::NO_ERROR).await,
        go_away(1, Reason::ENHANCE_YOUR_CALM).await,
    ] {
        assert_eq!(advice(&status), Advice::IfSafe(None), "{status:?}");
    }
}

#[tokio::test]
async fn who_went_away_before_it_read_the_request_has_not_done_it() {
    for (reason, expected) in [
        (Reason::NO_ERROR, Advice::Always(None)),
        (Reason::ENHANCE_YOUR_CALM, Advice::Always(None)),
        // The wrong port stays the wrong port.
        (Reason::HTTP_1_1_REQUIRED, Advice::Never),
        (Reason::INADEQUATE_SECURITY, Advice::Never),
    ] {
        let status = go_away(0, reason).await;
        assert_eq!(advice(&status), expected, "{reason:?}: {status:?}");
    }
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_not_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let status = call(endpoint.timeout(Duration::from_millis(50))).await;
    assert_eq!((status.code(), advice(&status)), (Code::Cancelled, Advice::Never), "{status:?}");
}

#[test]
fn what_a_layer_of_the_client_makes_up_is_no_broken_connection() {
    let status = Status::from_error(std::io::Error::other("not allowed").into());
    assert_eq!((status.code(), advice(&status)), (Code::Unknown, Advice::Never));
}
