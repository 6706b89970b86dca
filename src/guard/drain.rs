//! Refuses new RPCs while the fleet is being loaded and while the server drains, except those that must be
//! answered even then.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tower::{Layer, Service};

use super::{
    rpc::{Rpc, RpcId, WhileDraining, WhileLoading},
    status::status,
};
use crate::{
    error::{Error, Kind, Reason},
    fleet::loading::Progress,
};

/// When a refused caller should try again: by then another server answers, or this one is back.
const COME_BACK: Duration = Duration::from_secs(1);
/// What it is told.
const REFUSAL: &str = "the control plane is stopping; retry on another one or later";

/// Opens when the fleet is loaded, and is shut when the server stops accepting requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    position: Arc<AtomicU8>,
    progress: Progress,
}

const LOADING: u8 = 0;
const OPEN: u8 = 1;
const SHUT: u8 = 2;

impl Gate {
    /// Refuses what needs the fleet, which is being loaded.
    pub fn loading(progress: Progress) -> Self {
        Self { position: Arc::new(AtomicU8::new(LOADING)), progress }
    }

    /// The fleet is loaded: refuses nothing.
    pub fn open(&self) {
        self.position.store(OPEN, Ordering::Release);
    }

    /// Refuses from now on.
    pub fn shut(&self) {
        self.position.store(SHUT, Ordering::Release);
    }

    /// What is said to this RPC instead of an answer, if it is refused.
    fn refuses(&self, rpc: Option<&Rpc>) -> Option<Status> {
        match self.position.load(Ordering::Acquire) {
            OPEN => None,
            LOADING => {
                let answered = rpc.is_some_and(|rpc| rpc.loading == WhileLoading::Answered);
                (!answered).then(|| status(&self.progress.refusal()))
            }
            _ => {
                let answered = rpc.is_some_and(|rpc| rpc.draining == WhileDraining::Answered);
                (!answered).then(|| goodbye(REFUSAL))
            }
        }
    }
}

/// Makes [`DrainCheck`]s.
#[derive(Clone, Debug)]
pub struct DrainLayer(Gate);

impl DrainLayer {
    /// Refuses while this gate is not open.
    pub fn new(gate: Gate) -> Self {
        Self(gate)
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = DrainCheck<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainCheck { inner, gate: self.0.clone() }
    }
}

/// Refuses new RPCs while the gate is not open.
#[derive(Clone, Debug)]
pub struct DrainCheck<S> {
    inner: S,
    gate: Gate,
}

impl<S, A, B> Service<Request<A>> for DrainCheck<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin>,
{
    type Response = Response<OrRefused<B>>;
    type Error = Infallible;
    type Future = DrainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let rpc = request.extensions().get::<RpcId>();
        match self.gate.refuses(rpc.map(|id| id.rpc())) {
            Some(refusal) => DrainFuture::Refused(Some(Box::new(refusal))),
            None => DrainFuture::Passed(self.inner.call(request)),
        }
    }
}

/// The answer, or the refusal.
#[derive(Debug)]
pub enum DrainFuture<F> {
    /// It was let through.
    Passed(F),
    /// The fleet is being loaded, or the server drains. None: it has been said.
    Refused(Option<Box<Status>>),
}

impl<F, B> Future for DrainFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<OrRefused<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            DrainFuture::Passed(inner) => {
                let Ok(response) = ready!(Pin::new(inner).poll(cx));
                Poll::Ready(Ok(response.map(OrRefused::Passed)))
            }
            DrainFuture::Refused(refusal) => {
                let refusal = refusal.take().map_or_else(|| goodbye(REFUSAL), |refusal| *refusal);
                Poll::Ready(Ok(refusal.into_http()))
            }
        }
    }
}

/// What callers are told who have to go: where to is up to them.
pub(super) fn goodbye(message: &str) -> Status {
    status(&Error::new(Kind::Unavailable, Reason::ServerDraining, message).retry_after(COME_BACK))
}

/// A body that was let through, or the empty one of a refusal.
#[derive(Debug, Default)]
pub enum OrRefused<B> {
    /// The handler's.
    Passed(B),
    /// Nothing: a refusal is all in its headers.
    #[default]
    Refused,
}

impl<B> Body for OrRefused<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut *self {
            OrRefused::Passed(inner) => Pin::new(inner).poll_frame(cx),
            OrRefused::Refused => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            OrRefused::Passed(inner) => inner.is_end_stream(),
            OrRefused::Refused => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            OrRefused::Passed(inner) => inner.size_hint(),
            OrRefused::Refused => SizeHint::with_exact(0),
        }
    }
}
