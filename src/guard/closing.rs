//! Ends streams when their connection has to end, so that none holds it to its deadline.
//!
//! A stream whose handler listens by itself says its own last words: here the handler is always asked
//! first, and is ended only where it has nothing to say. That goes for the answer that has not begun
//! (a first message that never came) and for the answer itself; once that is over, whoever still reads
//! the request reads that it is. A stream that always has more to say is asked now and then; one whose peer
//! does not read is not asked at all, and `server::shutdown` gives it up. Unary RPCs finish; their deadline
//! bounds them.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tonic::Status;
use tower::{BoxError, Layer, Service};

use super::{
    caller::Connection,
    drain,
    goodbye::Goodbye,
    rpc::{AtTheEnd, RpcId},
    status::trailers,
};

/// Messages of a stream that is never pending, until somebody looks whether it has to end.
const LOOK_EVERY: u32 = 16;

/// The last words to a stream that has none of its own.
fn last_words() -> Status {
    drain::goodbye("the control plane ends this connection; call again")
}

/// Makes [`EndStreams`]s for one connection.
#[derive(Clone, Debug)]
pub struct ClosingLayer(Connection);

impl ClosingLayer {
    /// Ends the streams of this connection.
    pub fn new(connection: Connection) -> Self {
        Self(connection)
    }
}

impl<S> Layer<S> for ClosingLayer {
    type Service = EndStreams<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndStreams { inner, connection: self.0.clone() }
    }
}

/// Ends streams when their connection has to end.
#[derive(Clone, Debug)]
pub struct EndStreams<S> {
    inner: S,
    connection: Connection,
}

impl<S, A, B> Service<Request<A>> for EndStreams<S>
where
    S: Service<Request<Ending<A>>, Response = Response<B>, Error = Infallible, Future: Unpin>,
    B: Default,
{
    type Response = Response<Ended<B>>;
    type Error = Infallible;
    type Future = ClosingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let rpc = request.extensions().get::<RpcId>();
        let ended = rpc.is_some_and(|id| id.rpc().at_the_end == AtTheEnd::IsEnded);
        let (held, answered) = ended
            .then(|| {
                let (answering, answered) = oneshot::channel();
                (
                    Held { closing: Goodbye::of(self.connection.closing.clone()), _answering: answering },
                    answered,
                )
            })
            .unzip();
        ClosingFuture { inner: self.inner.call(request.map(|inner| Ending { inner, answered })), held }
    }
}

/// What ends a stream.
#[derive(Debug)]
struct Held {
    closing: Goodbye,
    // Nothing is ever sent: the request ends when this is dropped.
    _answering: oneshot::Sender<()>,
}

/// The answer on its way, or the last words.
#[derive(Debug)]
pub struct ClosingFuture<F> {
    inner: F,
    held: Option<Held>,
}

impl<F, B> Future for ClosingFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
    B: Default,
{
    type Output = Result<Response<Ended<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(Ok(response)) = Pin::new(&mut self.inner).poll(cx) {
            let held = self.held.take();
            return Poll::Ready(Ok(response.map(|inner| Ended { inner, held, over: false, in_a_row: 0 })));
        }
        if !self.held.as_mut().is_some_and(|held| held.closing.poll(cx).is_ready()) {
            return Poll::Pending;
        }
        self.held = None;
        let refused = last_words().into_http::<B>();
        Poll::Ready(Ok(refused.map(|inner| Ended { inner, held: None, over: false, in_a_row: 0 })))
    }
}

/// A request that ends with its answer.
#[derive(Debug)]
pub struct Ending<A> {
    inner: A,
    answered: Option<oneshot::Receiver<()>>,
}

impl<A> Body for Ending<A>
where
    A: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !self.answered.as_mut().is_some_and(|answered| Pin::new(answered).poll(cx).is_ready()) {
            return Poll::Pending;
        }
        self.answered = None;
        Poll::Ready(Some(Err(last_words().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer that ends with its connection.
#[derive(Debug)]
pub struct Ended<B> {
    inner: B,
    held: Option<Held>,
    over: bool,
    // Messages since it was last pending.
    in_a_row: u32,
}

impl<B> Ended<B> {
    fn has_to_end(&mut self, cx: &mut Context<'_>) -> bool {
        self.held.as_mut().is_some_and(|held| held.closing.poll(cx).is_ready())
    }
}

impl<B> Body for Ended<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let look_first = self.in_a_row >= LOOK_EVERY;
        if !(look_first && self.has_to_end(cx)) {
            if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
                self.in_a_row = if look_first { 0 } else { self.in_a_row + 1 };
                return Poll::Ready(frame);
            }
            self.in_a_row = 0;
            if !self.has_to_end(cx) {
                return Poll::Pending;
            }
        }
        (self.held, self.over) = (None, true);
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&last_words())))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    /// An answer that always has more to say.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
        }
    }

    #[test]
    fn a_stream_that_is_never_pending_ends_with_its_connection() {
        let (close, closing) = watch::channel(false);
        let (answering, _answered) = oneshot::channel();
        let held = Some(Held { closing: Goodbye::of(closing), _answering: answering });
        let mut endless = Ended { inner: Endless, held, over: false, in_a_row: 0 };
        let mut next = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            match Pin::new(&mut endless).poll_frame(&mut cx) {
                Poll::Ready(frame) => frame.map(Result::unwrap),
                Poll::Pending => panic!("never pending"),
            }
        };
        assert!((0..10 * LOOK_EVERY).all(|_| next().unwrap().is_data()), "it goes on while it may");
        close.send_replace(true);
        let goodbye = (0..=LOOK_EVERY).find_map(|_| next().unwrap().into_trailers().ok());
        let status = Status::from_header_map(&goodbye.expect("ended")).unwrap();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(next().is_none());
    }
}
