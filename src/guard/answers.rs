//! Bounds the bytes of answers that are under way: what a peer asks for and does not read, the server
//! holds.
//!
//! HTTP/2 lets a peer ask for much and take nothing, on a connection that is alive by every other sign.
//! Each piece of an answer is counted from the moment it is encoded until the transport has written it:
//! the count goes with the bytes, wherever they wait. A large piece that no longer fits is not sent, and
//! its RPC ends with RESOURCE_EXHAUSTED. Whether an answer waits for too long is seen from outside
//! ([`Answers::unread`]), because nobody asks a body that waits.
//!
//! Streams are counted and not timed: a watcher may be slow.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::sleep;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer, Service};

use super::{
    rpc::{RpcId, Shape},
    shares::{Beyond, Bounds, Room, Share, Shares},
};
use crate::error::Reason;

/// Bytes of answers that may be under way on one connection: a dozen of the largest pages.
const PER_CONNECTION: usize = 16 * 1024 * 1024;
/// Bytes of answers that may be under way on all connections of one peer: a quarter of what everybody has.
const PER_PEER: usize = IN_ALL / 4;
/// Bytes of answers that may be under way on all connections.
const IN_ALL: usize = 256 * 1024 * 1024;
/// Smaller pieces are not counted: all streams of a connection hold half a MiB of them, and most answers
/// are spared the work.
const COUNTED: usize = 4 * 1024;
/// Smaller pieces are never refused, so that no load takes signs of life and questions for health along.
const REFUSED: usize = 64 * 1024;
/// Smaller pieces leave a buffer behind that may stay.
const HELD: usize = 256;
/// When it is worth to call again.
const COME_BACK: Duration = Duration::from_secs(5);
/// Metadata by which gRPC clients learn how long to wait before they retry, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The answers of all connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AllAnswers(Shares);

impl AllAnswers {
    /// Those of one more connection, from this address.
    pub fn connection(&self, from: IpAddr) -> Answers {
        let inner =
            Inner { share: self.0.connection(from), waiting: Default::default(), turn: AtomicUsize::new(0) };
        Answers(Arc::new(inner))
    }
}

impl Default for AllAnswers {
    fn default() -> Self {
        Self(Shares::new(Bounds { connection: PER_CONNECTION, peer: PER_PEER, all: IN_ALL }))
    }
}

/// The answers of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Answers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    share: Share,
    // Pieces of unary answers that began in this period and in the one before; which is which says the turn.
    waiting: [AtomicUsize; 2],
    turn: AtomicUsize,
}

impl Answers {
    /// Waits until a piece of a unary answer is found that was not taken for at least `patience`, and for
    /// less than twice that. Streams may wait. Cancel safe, but begins anew.
    pub async fn unread(&self, patience: Duration) {
        loop {
            sleep(patience).await;
            let inner = &self.0;
            let before = 1 - inner.turn.load(Ordering::Acquire);
            if inner.waiting[before].load(Ordering::Acquire) > 0 {
                return;
            }
            inner.turn.store(before, Ordering::Release);
        }
    }

    /// Counts a piece until its bytes are dropped; None if it does not fit.
    fn count(&self, bytes: Bytes, shape: Shape) -> Option<Bytes> {
        if bytes.len() < COUNTED {
            return Some(bytes);
        }
        let beyond = if bytes.len() >= REFUSED { Beyond::Refused } else { Beyond::Taken };
        let room = self.0.share.take(bytes.len(), beyond)?;
        let period = (shape == Shape::Unary).then(|| self.0.turn.load(Ordering::Acquire));
        if let Some(period) = period {
            self.0.waiting[period].fetch_add(1, Ordering::AcqRel);
        }
        Some(Bytes::from_owner(Piece { bytes, answers: self.clone(), period, _room: room }))
    }
}

/// A piece of an answer, counted until it is dropped.
struct Piece {
    bytes: Bytes,
    answers: Answers,
    period: Option<usize>,
    _room: Room,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(period) = self.period {
            self.answers.0.waiting[period].fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What callers are told whose answers do not fit.
fn refusal() -> HeaderMap {
    let mut details =
        ErrorDetails::with_error_info(Reason::AnswersUnread.as_str(), crate::guard::ERROR_DOMAIN, []);
    details.set_retry_info(Some(COME_BACK));
    let message = "too many bytes of answers wait to be read; read them, then call again";
    details.add_quota_failure_violation("answers", message);
    let status = Status::with_error_details(Code::ResourceExhausted, message, details);
    let mut trailers = HeaderMap::new();
    // Only what cannot be a header is left out; all of this can.
    drop(status.add_header(&mut trailers));
    trailers.insert(PUSHBACK, http::HeaderValue::from(COME_BACK.as_secs() * 1000));
    trailers
}

/// Makes [`CountAnswers`]s for one connection.
#[derive(Clone, Debug)]
pub struct AnswersLayer(Answers);

impl AnswersLayer {
    /// Counts the answers of this connection.
    pub fn new(answers: Answers) -> Self {
        Self(answers)
    }
}

impl<S> Layer<S> for AnswersLayer {
    type Service = CountAnswers<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountAnswers { inner, answers: self.0.clone() }
    }
}

/// Counts the bytes of answers.
#[derive(Clone, Debug)]
pub struct CountAnswers<S> {
    inner: S,
    answers: Answers,
}

impl<S, A, B> Service<Request<A>> for CountAnswers<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin>,
{
    type Response = Response<Counted<B>>;
    type Error = Infallible;
    type Future = AnswersFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let shape = request.extensions().get::<RpcId>().map_or(Shape::Unary, |id| id.rpc().shape);
        AnswersFuture { inner: self.inner.call(request), shape, answers: self.answers.clone() }
    }
}

/// The answer on its way.
#[derive(Debug)]
pub struct AnswersFuture<F> {
    inner: F,
    shape: Shape,
    answers: Answers,
}

impl<F, B> Future for AnswersFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<Counted<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.inner).poll(cx));
        let (shape, answers) = (self.shape, self.answers.clone());
        Poll::Ready(Ok(response.map(|inner| {
            let held = Bytes::new();
            Counted { inner: Some(inner), held, shape, answers }
        })))
    }
}

/// A body whose bytes are counted.
#[derive(Debug)]
pub struct Counted<B> {
    // None once it was refused: what made it is let go at once.
    inner: Option<B>,
    // The last piece of a stream, where it was not small: what made it does not use its buffer again, and
    // has let it go once this does.
    held: Bytes,
    shape: Shape,
    answers: Answers,
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            over => return Poll::Ready(over),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        let holds = self.shape == Shape::Stream && data.len() >= HELD;
        self.held = if holds { data.clone() } else { Bytes::new() };
        let frame = self.answers.count(data, self.shape).map(Frame::data);
        Poll::Ready(Some(Ok(frame.unwrap_or_else(|| {
            (self.inner, self.held) = (None, Bytes::new());
            Frame::trailers(refusal())
        }))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    fn piece(bytes: usize) -> Bytes {
        vec![0; bytes].into()
    }

    /// One more connection of this peer.
    fn from(all: &AllAnswers, peer: u8) -> Answers {
        all.connection([10, 0, 0, peer].into())
    }

    #[test]
    fn large_pieces_are_refused_where_they_do_not_fit_and_small_ones_never() {
        let all = AllAnswers::default();
        let answers = from(&all, 1);
        let held = answers.count(piece(PER_CONNECTION), Shape::Unary).unwrap();
        assert!(answers.count(piece(REFUSED), Shape::Unary).is_none());
        assert!(answers.count(piece(REFUSED - 1), Shape::Unary).is_some());
        assert!(from(&all, 1).count(piece(REFUSED), Shape::Unary).is_some(), "another has its own");
        // Whoever keeps a part of it keeps all of it.
        let part = held.slice(..1);
        drop(held);
        assert!(answers.count(piece(REFUSED), Shape::Stream).is_none());
        drop(part);
        assert!(answers.count(piece(REFUSED), Shape::Stream).is_some());
    }

    /// Makes its pieces in one buffer, as an encoder does.
    struct Buffered(bytes::BytesMut, Vec<usize>);

    impl Body for Buffered {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(length) = self.1.pop() else { return Poll::Ready(None) };
            self.0.reserve(length);
            self.0.extend_from_slice(&vec![0; length]);
            Poll::Ready(Some(Ok(Frame::data(self.0.split().freeze()))))
        }
    }

    #[test]
    fn what_a_large_piece_of_a_stream_was_made_in_is_let_go_with_the_next() {
        // An unary answer has one piece: nothing is gained by holding it.
        for (shape, let_go) in [(Shape::Stream, true), (Shape::Unary, false)] {
            let inner = Some(Buffered(bytes::BytesMut::new(), vec![8, COUNTED * 4]));
            let answers = AllAnswers::default().connection([10, 0, 0, 1].into());
            let mut body = Counted { inner, held: Bytes::new(), shape, answers };
            let mut next = || {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                match Pin::new(&mut body).poll_frame(&mut cx) {
                    Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
                    other => panic!("no piece: {other:?}"),
                }
            };
            drop(next());
            let small = next();
            assert_eq!(small.len(), 8);
            drop(body);
            let made_in = small.try_into_mut().unwrap().capacity();
            assert_eq!(made_in < HELD, let_go, "{shape:?}: made in {made_in} bytes");
        }
    }

    #[test]
    fn one_peer_has_a_quarter_of_the_room_and_all_have_one_bound_together() {
        let all = AllAnswers::default();
        let fill = |peer| {
            let full = (0..PER_PEER / PER_CONNECTION)
                .map(|_| from(&all, peer).count(piece(PER_CONNECTION), Shape::Unary).unwrap());
            full.collect::<Vec<_>>()
        };
        let first = fill(1);
        assert!(from(&all, 1).count(piece(REFUSED), Shape::Unary).is_none());
        let others = [fill(2), fill(3), fill(4)];
        let late = from(&all, 5);
        assert!(late.count(piece(REFUSED), Shape::Unary).is_none());
        drop((first, others));
        assert!(late.count(piece(REFUSED), Shape::Unary).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_unread_after_one_whole_period() {
        let patience = Duration::from_secs(30);
        let answers = from(&AllAnswers::default(), 1);
        let mut unread = task::spawn(answers.unread(patience));
        assert_pending!(unread.poll());
        let stream = answers.count(piece(COUNTED), Shape::Stream).unwrap();
        let read = answers.count(piece(COUNTED), Shape::Unary).unwrap();
        tokio::time::advance(patience).await;
        assert_pending!(unread.poll());
        drop(read);
        let held = answers.count(piece(COUNTED), Shape::Unary).unwrap();
        tokio::time::advance(patience).await;
        assert_pending!(unread.poll());
        tokio::time::advance(patience).await;
        assert_ready!(unread.poll());
        drop((stream, held));
    }
}
