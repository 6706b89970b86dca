//! Bounds the bytes of answers that are under way: what a peer asks for and does not read, the server
//! holds.
//!
//! HTTP/2 lets a peer ask for much and take nothing, on a connection that is alive by every other sign.
//! Each piece of an answer is counted from the moment it is encoded until the transport has written it:
//! the count goes with the bytes, wherever they wait. A piece that no longer fits is not sent, and its RPC ends
//! with RESOURCE_EXHAUSTED, but for signs of life, which have a reserve. Small pieces are not counted; what may wait of
//! them is what a stream may have in its send buffer. Whether an answer waits for too long is seen from outside
//! ([`Answers::unread`]), because nobody asks a body that waits.
//!
//! Streams are counted and not timed: a watcher may be slow.

use std::{
    convert::Infallible,
    future::Future,
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
use tower::{Layer, Service};

use super::{
    bounds::COUNTED_ANSWER,
    rpc::{OTHER, Rpc, RpcId, Shape, WhileFull},
    shares::{Room, Share, Source},
    status::{status, trailers},
};
use crate::error::{Error, Kind, Reason};

/// Smaller pieces leave a buffer behind that may stay.
const HELD: usize = 256;
/// When it is worth to call again.
const COME_BACK: Duration = Duration::from_secs(5);

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
    /// Those of a connection that has this share.
    pub fn new(share: Share) -> Self {
        Self(Arc::new(Inner { share, waiting: Default::default(), turn: AtomicUsize::new(0) }))
    }

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
    fn count(&self, bytes: Bytes, rpc: &Rpc) -> Option<Bytes> {
        if bytes.len() < COUNTED_ANSWER {
            return Some(bytes);
        }
        let from = match rpc.full {
            WhileFull::Refused => Source::Shared,
            WhileFull::Answered => Source::Reserve,
        };
        let room = self.0.share.take(bytes.len(), from)?;
        let period = (rpc.shape == Shape::Unary).then(|| self.0.turn.load(Ordering::Acquire));
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
    let message = "too many bytes of answers wait to be read; read them, then call again";
    let refusal = Error::new(Kind::ResourceExhausted, Reason::AnswersUnread, message);
    trailers(&status(&refusal.retry_after(COME_BACK)))
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
        let rpc = request.extensions().get::<RpcId>().map_or(&OTHER, |id| id.rpc());
        AnswersFuture { inner: self.inner.call(request), rpc, answers: self.answers.clone() }
    }
}

/// The answer on its way.
#[derive(Debug)]
pub struct AnswersFuture<F> {
    inner: F,
    rpc: &'static Rpc,
    answers: Answers,
}

impl<F, B> Future for AnswersFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<Counted<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.inner).poll(cx));
        let (rpc, answers) = (self.rpc, self.answers.clone());
        Poll::Ready(Ok(response.map(|inner| {
            let held = Bytes::new();
            Counted { inner: Some(inner), held, rpc, answers }
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
    rpc: &'static Rpc,
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
        let holds = self.rpc.shape == Shape::Stream && data.len() >= HELD;
        self.held = if holds { data.clone() } else { Bytes::new() };
        let frame = self.answers.count(data, self.rpc).map(Frame::data);
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
    use crate::guard::{bounds::ANSWERS, shares::Shares};

    const GET: &str = "/seaworthy.v1.FleetService/GetInstance";
    const WATCH: &str = "/seaworthy.v1.FleetService/WatchFleet";
    const HEARTBEAT: &str = "/seaworthy.v1.FleetService/Heartbeat";

    fn row(path: &str) -> &'static Rpc {
        RpcId::of(path).rpc()
    }

    fn piece(bytes: usize) -> Bytes {
        vec![0; bytes].into()
    }

    /// One more connection of this peer.
    fn from(all: &Shares, peer: u8) -> Answers {
        Answers::new(all.connection([10, 0, 0, peer].into()))
    }

    #[test]
    fn pieces_are_refused_where_they_do_not_fit_but_for_small_ones() {
        let all = Shares::new(ANSWERS);
        let answers = from(&all, 1);
        let held = answers.count(piece(ANSWERS.connection), row(GET)).unwrap();
        assert!(answers.count(piece(COUNTED_ANSWER), row(GET)).is_none());
        assert!(answers.count(piece(COUNTED_ANSWER - 1), row(GET)).is_some());
        assert!(from(&all, 1).count(piece(COUNTED_ANSWER), row(GET)).is_some(), "another has its own");
        // Whoever keeps a part of it keeps all of it.
        let part = held.slice(..1);
        drop(held);
        assert!(answers.count(piece(COUNTED_ANSWER), row(WATCH)).is_none());
        drop(part);
        assert!(answers.count(piece(COUNTED_ANSWER), row(WATCH)).is_some());
    }

    #[test]
    fn signs_of_life_are_answered_from_a_reserve_that_is_bounded() {
        let answers = from(&Shares::new(ANSWERS), 1);
        let _full = answers.count(piece(ANSWERS.connection), row(GET)).unwrap();
        let beats: Vec<_> =
            (0..1000).map_while(|_| answers.count(piece(64 * 1024), row(HEARTBEAT))).collect();
        assert_eq!(beats.len(), ANSWERS.reserve / (64 * 1024));
        drop(beats);
        assert!(answers.count(piece(64 * 1024), row(HEARTBEAT)).is_some());
    }

    #[test]
    fn one_peer_takes_no_more_than_its_share_whatever_the_size_of_its_pieces() {
        for size in [COUNTED_ANSWER, 60 * 1024, 1024 * 1024] {
            let all = Shares::new(ANSWERS);
            let connections: Vec<_> = (0..40).map(|_| from(&all, 1)).collect();
            let fill = |one: &Answers| (0..5000).map_while(|_| one.count(piece(size), row(GET))).collect();
            let held: Vec<Vec<Bytes>> = connections.iter().map(fill).collect();
            let bytes: usize = held.iter().flatten().map(Bytes::len).sum();
            assert!((ANSWERS.peer - size..=ANSWERS.peer).contains(&bytes), "{bytes} in pieces of {size}");
            assert!(from(&all, 2).count(piece(size), row(GET)).is_some(), "another peer has its own");
        }
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
        for (path, let_go) in [(WATCH, true), (GET, false)] {
            let inner = Some(Buffered(bytes::BytesMut::new(), vec![8, COUNTED_ANSWER * 4]));
            let answers = from(&Shares::new(ANSWERS), 1);
            let mut body = Counted { inner, held: Bytes::new(), rpc: row(path), answers };
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
            assert_eq!(made_in < HELD, let_go, "{path}: made in {made_in} bytes");
        }
    }

    #[test]
    fn one_peer_has_a_quarter_of_the_room_and_all_have_one_bound_together() {
        let all = Shares::new(ANSWERS);
        let fill = |peer| {
            let full = (0..ANSWERS.peer / ANSWERS.connection)
                .map(|_| from(&all, peer).count(piece(ANSWERS.connection), row(GET)).unwrap());
            full.collect::<Vec<_>>()
        };
        let first = fill(1);
        assert!(from(&all, 1).count(piece(COUNTED_ANSWER), row(GET)).is_none());
        let others = [fill(2), fill(3), fill(4)];
        let late = from(&all, 5);
        assert!(late.count(piece(COUNTED_ANSWER), row(GET)).is_none());
        assert!(late.count(piece(COUNTED_ANSWER), row(HEARTBEAT)).is_some(), "whatever the others do");
        drop((first, others));
        assert!(late.count(piece(COUNTED_ANSWER), row(GET)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_unread_after_one_whole_period() {
        let patience = Duration::from_secs(30);
        let answers = from(&Shares::new(ANSWERS), 1);
        let mut unread = task::spawn(answers.unread(patience));
        assert_pending!(unread.poll());
        let stream = answers.count(piece(COUNTED_ANSWER), row(WATCH)).unwrap();
        let read = answers.count(piece(COUNTED_ANSWER), row(GET)).unwrap();
        tokio::time::advance(patience).await;
        assert_pending!(unread.poll());
        drop(read);
        let held = answers.count(piece(COUNTED_ANSWER), row(GET)).unwrap();
        tokio::time::advance(patience).await;
        assert_pending!(unread.poll());
        tokio::time::advance(patience).await;
        assert_ready!(unread.poll());
        drop((stream, held));
    }
}
