//! Bounds the bytes of messages that have begun to come: what a peer sends of a message and does not finish, the
//! server holds.
//!
//! A message may be as large as `grpc.max_message_bytes`, and a connection may have many streams. So each message is
//! counted whole from its first byte on, until it has come or nobody reads it any more: what a refused one has touched of
//! its buffer an allocator seldom gives back, so that counting what has come would bound less than it says. One that
//! does not fit is not taken, and its RPC ends with RESOURCE_EXHAUSTED. What is announced and does not come at all is not
//! counted: for it tonic reserves addresses, and no page of them is touched.
//!
//! How long a message may take is bounded here for streams, however their signs of life come; that of a unary RPC, and
//! the first of a stream, have the deadline as well.

mod messages;
mod room;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer, Service};

pub use self::room::{AllQuestions, Questions};
use self::{messages::Messages, room::Room};
use super::rpc::{RpcId, Shape};
use crate::error::Reason;

/// Shorter messages are neither counted nor refused, so that no load takes signs of life along: those of all streams
/// of a connection are as much as its window lets it send anyway.
const COUNTED: usize = 16 * 1024;
/// When it is worth to call again.
const COME_BACK: Duration = Duration::from_secs(5);
/// Metadata by which gRPC clients learn how long to wait before they retry, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a body fails with, as whoever reads a request takes it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What callers are told whose message does not fit, or does not end.
fn refusal(message: &str) -> Status {
    let mut details =
        ErrorDetails::with_error_info(Reason::MessagesUnfinished.as_str(), crate::guard::ERROR_DOMAIN, []);
    details.set_retry_info(Some(COME_BACK));
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
pub struct QuestionsLayer {
    questions: Questions,
    patience: Duration,
}

impl QuestionsLayer {
    /// Counts the messages of this connection, and lets each of a stream take this long at the most.
    pub fn new(questions: Questions, patience: Duration) -> Self {
        Self { questions, patience }
    }
}

impl<S> Layer<S> for QuestionsLayer {
    type Service = CountQuestions<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountQuestions { inner, layer: self.clone() }
    }
}

/// Counts the bytes of messages that are coming.
#[derive(Clone, Debug)]
pub struct CountQuestions<S> {
    inner: S,
    layer: QuestionsLayer,
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
        let stream = request.extensions().get::<RpcId>().is_some_and(|id| id.rpc().shape == Shape::Stream);
        let QuestionsLayer { questions, patience } = self.layer.clone();
        self.inner.call(request.map(|inner| Coming {
            inner,
            questions,
            messages: Messages::default(),
            room: None,
            patience: stream.then_some(patience),
            timer: None,
        }))
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
    // How long each may take; None leaves that to the deadline.
    patience: Option<Duration>,
    // Of the message that has begun; made only when it is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<A> Coming<A> {
    /// Counts the message that has begun; false if it does not fit.
    fn count(&mut self, data: &[u8]) -> bool {
        if self.messages.pass(data) {
            (self.room, self.timer) = (None, None);
        }
        let Some((come, length)) = self.messages.in_part().filter(|(_, length)| *length >= COUNTED) else {
            return true;
        };
        let room = self.room.get_or_insert_with(|| self.questions.room());
        come == 0 || room.hold(length, length)
    }

    /// Waits for the end of a message, if one has begun.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let Some(patience) = self.patience.filter(|_| self.messages.has_begun()) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        timer.as_mut().poll(cx).map(|()| {
            let patience = patience.as_millis();
            refusal(&format!("a message has begun and not ended within {patience}ms; send it whole"))
        })
    }
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
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(over) => return Poll::Ready(over.map(|over| over.map_err(Into::into))),
            Poll::Pending => return self.poll_patience(cx).map(|refusal| Some(Err(refusal.into()))),
        };
        if let Some(data) = frame.data_ref()
            && !self.count(data)
        {
            let full = "too many bytes of messages have begun and not ended; finish them, then call again";
            return Poll::Ready(Some(Err(refusal(full).into())));
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
