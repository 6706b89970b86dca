//! The form of a layer that looks at a request and lets it pass or refuses it: who calls, whether it may, whether
//! there is somebody to answer it. What is looked at is a [`Check`]; nothing here knows any.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tower::{Layer, Service};

/// Lets a request pass, or says why not.
pub trait Check {
    /// Looks at a request, and may attach to it what was found.
    ///
    /// # Errors
    /// What the caller is told instead of an answer.
    fn check<A>(&self, request: &mut Request<A>) -> Result<(), Box<Status>>;
}

/// Makes [`Checked`] services.
#[derive(Clone, Debug)]
pub struct CheckLayer<C>(C);

impl<C> CheckLayer<C> {
    /// Lets pass what this lets pass.
    pub fn new(check: C) -> Self {
        Self(check)
    }
}

impl<S, C: Clone> Layer<S> for CheckLayer<C> {
    type Service = Checked<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Checked { inner, check: self.0.clone() }
    }
}

/// A service behind a check.
#[derive(Clone, Debug)]
pub struct Checked<S, C> {
    inner: S,
    check: C,
}

impl<S, C, A, B> Service<Request<A>> for Checked<S, C>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin>,
    C: Check,
{
    type Response = Response<OrRefused<B>>;
    type Error = Infallible;
    type Future = CheckFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        match self.check.check(&mut request) {
            Ok(()) => CheckFuture::Passed(self.inner.call(request)),
            Err(refusal) => CheckFuture::Refused(Some(refusal)),
        }
    }
}

/// The answer, or the refusal.
#[derive(Debug)]
pub enum CheckFuture<F> {
    /// It was let through.
    Passed(F),
    /// It was not. None: it has been said.
    Refused(Option<Box<Status>>),
}

impl<F, B> Future for CheckFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<OrRefused<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            CheckFuture::Passed(inner) => {
                let Ok(response) = ready!(Pin::new(inner).poll(cx));
                Poll::Ready(Ok(response.map(OrRefused::Passed)))
            }
            CheckFuture::Refused(refusal) => match refusal.take() {
                Some(refusal) => Poll::Ready(Ok(refusal.into_http())),
                // It was polled after its end, which nobody may.
                None => Poll::Pending,
            },
        }
    }
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
