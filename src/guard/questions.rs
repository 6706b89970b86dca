//! Bounds the bytes of messages that have begun to come: what a peer announces and does not finish, the
//! server holds.
//!
//! A message may be as large as `grpc.max_message_bytes`, a connection may have many streams, and the memory for a
//! message is there from the moment that its length is known. So each message is counted by the length that it
//! announces, until it has come whole or nobody reads it any more. One that does not fit is not taken, and its RPC
//! ends with RESOURCE_EXHAUSTED. How long a message may take is the deadline's.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer, Service};

use super::shares::{Beyond, Bounds, Room, Share, Shares};
use crate::error::Reason;

/// Bytes of messages that may be coming on one connection: four of the largest, at the default. One message may
/// always come, whatever its size.
const PER_CONNECTION: usize = 16 * 1024 * 1024;
/// Bytes of messages that may be coming on all connections of one peer: a quarter of what everybody has.
const PER_PEER: usize = IN_ALL / 4;
/// Bytes of messages that may be coming on all connections.
const IN_ALL: usize = 256 * 1024 * 1024;
/// Smaller messages are neither counted nor refused, so that no load takes signs of life along: those of all streams
/// of a connection are as much as its window lets it send anyway.
const COUNTED: usize = 16 * 1024;
/// What gRPC puts before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// When it is worth to call again.
const COME_BACK: Duration = Duration::from_secs(5);
/// Metadata by which gRPC clients learn how long to wait before they retry, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a body fails with, as whoever reads a request takes it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The messages that are coming on all connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AllQuestions(Shares);

impl AllQuestions {
    /// Those of one more connection, from this address.
    pub fn connection(&self, from: IpAddr) -> Questions {
        Questions(self.0.connection(from))
    }
}

impl Default for AllQuestions {
    fn default() -> Self {
        Self(Shares::new(Bounds { connection: PER_CONNECTION, peer: PER_PEER, all: IN_ALL }))
    }
}

/// The messages that are coming on one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Questions(Share);

impl Questions {
    /// Room for a message of this length; None if there is none.
    fn take(&self, bytes: usize) -> Option<Room> {
        self.0.take(bytes, Beyond::Refused)
    }
}

/// What callers are told whose message does not fit.
fn refusal() -> Status {
    let mut details =
        ErrorDetails::with_error_info(Reason::MessagesUnfinished.as_str(), crate::guard::ERROR_DOMAIN, []);
    details.set_retry_info(Some(COME_BACK));
    let message = "too many bytes of messages have begun and not ended; finish them, then call again";
    details.add_quota_failure_violation("messages", message);
    let mut status = Status::with_error_details(Code::ResourceExhausted, message, details);
    let pause = HeaderValue::from(COME_BACK.as_secs() * 1000);
    if let Ok(pause) = MetadataValue::try_from(pause.as_bytes()) {
        status.metadata_mut().insert(PUSHBACK, pause);
    }
    status
}

/// Makes [`CountQuestions`]s for one connection.
#[derive(Clone, Debug)]
pub struct QuestionsLayer(Questions);

impl QuestionsLayer {
    /// Counts the messages of this connection.
    pub fn new(questions: Questions) -> Self {
        Self(questions)
    }
}

impl<S> Layer<S> for QuestionsLayer {
    type Service = CountQuestions<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountQuestions { inner, questions: self.0.clone() }
    }
}

/// Counts the bytes of messages that are coming.
#[derive(Clone, Debug)]
pub struct CountQuestions<S> {
    inner: S,
    questions: Questions,
}

impl<S, A> Service<Request<A>> for CountQuestions<S>
where
    S: Service<Request<Coming<A>>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let questions = self.questions.clone();
        self.inner.call(request.map(|inner| Coming {
            inner,
            questions,
            messages: Messages::default(),
            room: None,
        }))
    }
}

/// Where in a row of messages a body is.
#[derive(Clone, Copy, Debug, Default)]
struct Messages {
    prefix: [u8; PREFIX],
    // Bytes of the prefix that have come.
    begun: usize,
    // Bytes of the message that have not.
    left: usize,
}

impl Messages {
    /// Goes on by these bytes, and answers the length of the message that has begun and not ended.
    fn pass(&mut self, mut bytes: &[u8]) -> Option<usize> {
        loop {
            let within = bytes.len().min(self.left);
            self.left -= within;
            bytes = &bytes[within..];
            if self.left > 0 {
                return Some(self.length());
            }
            if self.begun == PREFIX {
                self.begun = 0;
            }
            let more = bytes.len().min(PREFIX - self.begun);
            self.prefix[self.begun..self.begun + more].copy_from_slice(&bytes[..more]);
            self.begun += more;
            bytes = &bytes[more..];
            if self.begun < PREFIX {
                return None;
            }
            self.left = self.length();
        }
    }

    fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
    }
}

/// A body whose messages are counted while they come.
#[derive(Debug)]
pub struct Coming<A> {
    inner: A,
    questions: Questions,
    messages: Messages,
    // Of the message that has begun.
    room: Option<Room>,
}

impl<A> Body for Coming<A>
where
    A: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            over => return Poll::Ready(over.map(|over| over.map_err(Into::into))),
        };
        if let Some(data) = frame.data_ref() {
            let held = self.room.as_ref().map(Room::bytes);
            match self.messages.pass(data).filter(|length| *length >= COUNTED) {
                None => self.room = None,
                unchanged if unchanged == held => {}
                Some(length) => {
                    self.room = None;
                    self.room = self.questions.take(length);
                    if self.room.is_none() {
                        return Poll::Ready(Some(Err(refusal().into())));
                    }
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixed(length: u32, bytes: usize) -> Vec<u8> {
        [&[0], length.to_be_bytes().as_slice(), &vec![0; bytes]].concat()
    }

    #[test]
    fn messages_as_a_table() {
        let two = [prefixed(3, 3), prefixed(7, 7)].concat();
        for (bytes, coming) in [
            (prefixed(3, 3), None),
            (prefixed(3, 2), Some(3)),
            (prefixed(0, 0), None),
            (two.clone(), None),
            (two[..two.len() - 1].to_vec(), Some(7)),
            (two[..12].to_vec(), None),
            (prefixed(u32::MAX, 0), Some(usize::try_from(u32::MAX).unwrap())),
        ] {
            assert_eq!(Messages::default().pass(&bytes), coming, "{bytes:?}");
            let mut one_by_one = Messages::default();
            let last = bytes.iter().fold(None, |_, byte| one_by_one.pass(&[*byte]));
            assert_eq!(last, coming, "{bytes:?}, byte by byte");
        }
    }

    #[test]
    fn one_peer_has_a_quarter_of_the_room_and_gives_it_back() {
        let all = AllQuestions::default();
        let from = |last: u8| all.connection([10, 0, 0, last].into());
        let one = from(1);
        let held: Vec<_> =
            (0..PER_PEER / PER_CONNECTION).map(|_| from(1).take(PER_CONNECTION).unwrap()).collect();
        assert!(one.take(COUNTED).is_none());
        assert!(from(2).take(COUNTED).is_some(), "another has its own");
        drop(held);
        assert!(one.take(PER_CONNECTION + 1).is_some(), "one may always come");
    }
}
