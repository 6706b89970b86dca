//! Bounds how long a unary RPC may take: by its own `grpc-timeout`, and by the server's request
//! timeout. The answer of a stream has to begin within the same request timeout, or whoever never sends
//! the message that asks for it would hold it open; once it has begun, it has idle timeouts of its own.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{
    rpc::{RpcId, Shape},
    status::status,
};
use crate::error::{Error, Kind, Reason};

/// The standard header that carries the caller's patience.
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Most digits that the protocol allows in it.
const MAX_DIGITS: usize = 8;

/// Makes [`Deadline`]s.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer(Duration);

impl DeadlineLayer {
    /// Lets unary RPCs take this long at the most, and streams until their answer begins.
    pub fn new(longest: Duration) -> Self {
        Self(longest)
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline { inner, longest: self.0 }
    }
}

/// Ends RPCs that take too long with DEADLINE_EXCEEDED.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    longest: Duration,
}

impl<S, A> Service<Request<A>> for Deadline<S>
where
    S: Service<Request<A>, Response = Response<Body>, Error = Infallible, Future: Unpin>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let unary = request.extensions().get::<RpcId>().is_none_or(|id| id.rpc().shape == Shape::Unary);
        // What a caller says of a stream is how long all of it may take, which is the caller's to keep.
        let asked = unary.then(|| grpc_timeout(request.headers())).flatten();
        let patience = asked.map_or(self.longest, |asked| asked.min(self.longest));
        DeadlineFuture { inner: self.inner.call(request), patience, timer: None }
    }
}

/// The caller's patience, if it says one that can be read.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// The answer, or the end of patience.
#[derive(Debug)]
pub struct DeadlineFuture<F> {
    inner: F,
    patience: Duration,
    // Made only when the answer is not there at once: most are, and a timer costs more than they do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(answer) = Pin::new(&mut this.inner).poll(cx) {
            return Poll::Ready(answer);
        }
        let patience = this.patience;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        timer.as_mut().poll(cx).map(|()| {
            let message = format!("no answer within {}ms", patience.as_millis());
            let late = Error::new(Kind::DeadlineExceeded, Reason::RequestTimeout, message);
            Ok(status(&late).into_http())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_a_table() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1x", None),
            ("1é", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
            assert_eq!(grpc_timeout(&headers), expected, "{text:?}");
        }
    }
}
