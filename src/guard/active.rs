//! Knows how many requests are being answered, streams included, and until when.
//!
//! Unary RPCs and streams are counted apart: a stream whose peer does not read does not hear that it has to end, so that
//! nobody may wait for the last one.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tower::{Layer, Service};

use super::rpc::{OTHER, RpcId, Shape};

/// The requests that are being answered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Active(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    unary: AtomicU64,
    streams: AtomicU64,
    idle: Notify,
}

impl Active {
    /// Counts one until the guard is dropped.
    pub fn enter(&self, shape: Shape) -> ActiveGuard {
        self.0.count(shape).fetch_add(1, Ordering::Relaxed);
        ActiveGuard(Arc::clone(&self.0), shape)
    }

    /// How many there are now, of both shapes.
    pub fn count(&self) -> u64 {
        self.0.unary.load(Ordering::Acquire) + self.streams()
    }

    /// How many of them are streams.
    pub fn streams(&self) -> u64 {
        self.0.streams.load(Ordering::Acquire)
    }

    /// Waits until no unary RPC is being answered. Cancel safe.
    pub async fn idle(&self) {
        loop {
            let notified = self.0.idle.notified();
            if self.0.unary.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Inner {
    fn count(&self, shape: Shape) -> &AtomicU64 {
        match shape {
            Shape::Unary => &self.unary,
            Shape::Stream => &self.streams,
        }
    }
}

/// One request that is being answered.
#[derive(Debug)]
pub struct ActiveGuard(Arc<Inner>, Shape);

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        let Self(active, shape) = self;
        if active.count(*shape).fetch_sub(1, Ordering::Release) == 1 && *shape == Shape::Unary {
            active.idle.notify_waiters();
        }
    }
}

/// Makes [`CountActive`]s.
#[derive(Clone, Debug)]
pub struct ActiveLayer(Active);

impl ActiveLayer {
    /// Counts here.
    pub fn new(active: Active) -> Self {
        Self(active)
    }
}

impl<S> Layer<S> for ActiveLayer {
    type Service = CountActive<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountActive { inner, active: self.0.clone() }
    }
}

/// Counts requests from their arrival to the end of their answer.
#[derive(Clone, Debug)]
pub struct CountActive<S> {
    inner: S,
    active: Active,
}

impl<S, A, B> Service<Request<A>> for CountActive<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin>,
{
    type Response = Response<Held<B>>;
    type Error = Infallible;
    type Future = ActiveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let shape = request.extensions().get::<RpcId>().map_or(OTHER.shape, |id| id.rpc().shape);
        let guard = Some(self.active.enter(shape));
        ActiveFuture { inner: self.inner.call(request), guard }
    }
}

/// The answer on its way.
#[derive(Debug)]
pub struct ActiveFuture<F> {
    inner: F,
    guard: Option<ActiveGuard>,
}

impl<F, B> Future for ActiveFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<Held<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.inner).poll(cx));
        let guard = self.guard.take();
        Poll::Ready(Ok(response.map(|inner| Held { inner, _guard: guard })))
    }
}

/// A body that counts as active until it is dropped.
#[derive(Debug)]
pub struct Held<B> {
    inner: B,
    _guard: Option<ActiveGuard>,
}

impl<B> Body for Held<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
