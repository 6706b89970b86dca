//! Counts the requests of whole servers: a tower layer for axum and one for tonic.
//!
//! A request counts until its answer is sent to the end. One that comes when nothing new is taken is turned away, in the words of
//! its protocol; over HTTP/1 each answer from the beginning of the end on closes its connection, so that clients go elsewhere. What serves whom, and whether it is protected, is not its business.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::{Counted, Counting, Shutdown, active::Active};
use crate::protect::{Refusal, layer::Protocol};

/// Says whether a request is a stream that ends only when it is told to.
type IsLongLived = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Counts the requests of a server. Made by [`Shutdown::axum_layer`] and [`Shutdown::tonic_layer`].
#[derive(Clone)]
pub struct CountLayer<P> {
    active: Active,
    is_long_lived: IsLongLived,
    protocol: P,
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct Count<S, P> {
    inner: S,
    layer: CountLayer<P>,
}

impl Shutdown {
    /// Counts the requests of an axum router. Who comes too late gets 503 with `Connection: close`. Probes are let through:
    /// merge their routes behind it.
    #[cfg(feature = "axum")]
    pub fn axum_layer(&self) -> CountLayer<crate::protect::layer::Http> {
        self.layer(crate::protect::layer::Http)
    }

    /// Counts the requests of a tonic server. Who comes too late gets UNAVAILABLE. A stream that ends only when it is told to
    /// should be told apart by [`CountLayer::long_lived_by`], and hear of the end by [`Shutdown::long_lived`].
    #[cfg(feature = "server")]
    pub fn tonic_layer(&self) -> CountLayer<crate::protect::layer::Grpc> {
        self.layer(crate::protect::layer::Grpc)
    }

    fn layer<P>(&self, protocol: P) -> CountLayer<P> {
        CountLayer { active: self.0.active.clone(), is_long_lived: Arc::new(|_| false), protocol }
    }
}

impl<P> CountLayer<P> {
    /// Says by the head of a request that it is a stream which ends only when it is told to: it is counted apart, and has less
    /// time at the end.
    #[must_use]
    pub fn long_lived_by(mut self, is: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.is_long_lived = Arc::new(is);
        self
    }
}

impl<P> fmt::Debug for CountLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountLayer").finish_non_exhaustive()
    }
}

impl<S, P: Clone> Layer<S> for CountLayer<P> {
    type Service = Count<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Count { inner, layer: self.clone() }
    }
}

impl<S, P, A> Service<Request<A>> for Count<S, P>
where
    S: Service<Request<A>, Response = Response<P::Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    A: Send + 'static,
    P: Protocol,
{
    type Response = Response<P::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<P::Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let CountLayer { active, is_long_lived, protocol } = &self.layer;
        let (parts, body) = request.into_parts();
        // Only there a connection is ended by a word in an answer.
        let is_http1 = parts.version <= http::Version::HTTP_11;
        let kind = if is_long_lived(&parts) { Counting::LongLived } else { Counting::Request };
        let counted = match active.enter(kind) {
            Ok(counted) => counted,
            Err(late) => {
                let mut refused = protocol.refuse(&Refusal::TurnedAway { message: late.to_string() }, "");
                if is_http1 {
                    P::closes(&mut refused);
                }
                return Box::pin(async { Ok(refused) });
            }
        };
        let answer = self.inner.call(Request::from_parts(parts, body));
        let active = active.clone();
        Box::pin(async move {
            let mut answer = answer.await?;
            // The next request is better sent to another instance.
            if is_http1 && active.is_ending() {
                P::closes(&mut answer);
            }
            Ok(answer.map(|body| P::boxed(Held::new(body, counted))))
        })
    }
}

/// The body of an answer, with what counts its request.
struct Held<B> {
    inner: B,
    counted: Option<Counted>,
}

impl<B: Body> Held<B> {
    fn new(inner: B, counted: Counted) -> Self {
        // Nobody would ask for more.
        let counted = (!inner.is_end_stream()).then_some(counted);
        Self { inner, counted }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.inner.is_end_stream() {
            self.counted = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[cfg(all(feature = "axum", feature = "server"))]
mod tests;
