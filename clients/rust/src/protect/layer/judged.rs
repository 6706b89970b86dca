//! The body of an answer: what the request holds comes back with its end, and where the head did not say how it went, its
//! trailers do.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};

use super::Verdict;
use crate::protect::{Admitted, Failure, Fault};

/// A body that is watched.
#[derive(Debug)]
pub(super) struct Judged<B> {
    inner: B,
    admitted: Option<Admitted>,
    verdict: Option<Verdict>,
}

impl<B: Body> Judged<B> {
    pub(super) fn new(inner: B, admitted: Admitted, verdict: Option<Verdict>) -> Self {
        let mut judged = Self { inner, admitted: Some(admitted), verdict };
        // Nobody would ask for more.
        if judged.inner.is_end_stream() {
            judged.end();
        }
        judged
    }

    fn end(&mut self) {
        let Some(admitted) = self.admitted.take() else { return };
        match self.verdict {
            Some(Verdict::Failed) => admitted.failed(),
            Some(Verdict::Succeeded) | None => admitted.succeeded(),
        }
    }
}

impl<B: Body + Unpin> Body for Judged<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.verdict = self.verdict.or_else(|| grpc(trailers));
                    self.end();
                }
            }
            Some(Err(_)) => {
                self.verdict = Some(Verdict::Failed);
                self.end();
            }
            None => self.end(),
        }
        if self.inner.is_end_stream() {
            self.end();
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

/// What the status of gRPC says, in the head of an answer or at its end. None: there is none.
pub(super) fn grpc(headers: &HeaderMap) -> Option<Verdict> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    Some(match (code, Status::new(code, "").fault()) {
        (Code::Ok, _) | (_, Fault::Callers | Fault::Nobodys) => Verdict::Succeeded,
        (_, Fault::Own) => Verdict::Failed,
    })
}
