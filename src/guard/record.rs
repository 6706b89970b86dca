//! Counts, times and logs every RPC, from its arrival to the end of its answer.
//!
//! The outcome is what the caller got: the status in the trailers, or in the headers of an answer
//! without a body. An RPC that is dropped before its end is CANCELLED, never OK.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Level, enabled, event};

use super::{
    access::{AccessLog, REQUEST_ID, Slot, request_id},
    rpc::{RPCS, RpcId},
};
use crate::{telemetry::histogram::Histogram, telemetry::trace::TraceContext, time::Clock};

/// Statuses that gRPC knows.
const CODES: usize = 17;

/// Figures of all RPCs.
#[derive(Debug)]
pub struct Recorder {
    rows: Vec<Row>,
}

/// Figures of one RPC.
#[derive(Debug)]
struct Row {
    started: AtomicU64,
    ended: [AtomicU64; CODES],
    seconds: Histogram,
}

/// What was counted of one RPC.
#[derive(Clone, Debug)]
pub struct Recorded<'a> {
    /// Its path, or `_OTHER`.
    pub path: &'static str,
    /// How many began.
    pub started: u64,
    /// How many ended, by status; those that never happened are left out.
    pub ended: Vec<(Code, u64)>,
    /// How long they took.
    pub seconds: &'a Histogram,
}

impl Recorder {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let row = || Row {
            started: AtomicU64::new(0),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
            seconds: Histogram::new(),
        };
        // One more than there are RPCs: the last row is for paths that nobody serves.
        Self { rows: (0..=RPCS.len()).map(|_| row()).collect() }
    }

    /// What was counted so far, for RPCs that were called at all.
    pub fn recorded(&self) -> impl Iterator<Item = Recorded<'_>> {
        self.rows.iter().enumerate().filter_map(|(at, row)| {
            let started = row.started.load(Ordering::Relaxed);
            let ended =
                row.ended.iter().enumerate().map(|(code, count)| (code, count.load(Ordering::Relaxed)));
            let ended = ended.filter(|(_, count)| *count > 0);
            let ended =
                ended.filter_map(|(code, count)| Some((Code::from_i32(i32::try_from(code).ok()?), count)));
            (started > 0).then(|| Recorded {
                path: RpcId(at).rpc().path,
                started,
                ended: ended.collect(),
                seconds: &row.seconds,
            })
        })
    }

    fn row(&self, id: RpcId) -> &Row {
        // `RpcId::of` answers at most the length of the table, and there is a row for that.
        &self.rows[id.0]
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes [`Record`]s.
#[derive(Clone, Debug)]
pub struct RecordLayer {
    recorder: Arc<Recorder>,
    access: AccessLog,
    clock: Clock,
}

impl RecordLayer {
    /// Counts into this recorder, and logs the requests that the access log takes.
    pub fn new(recorder: Arc<Recorder>, access: AccessLog, clock: Clock) -> Self {
        Self { recorder, access, clock }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Record { inner, layer: self.clone() }
    }
}

/// Records what passes through.
#[derive(Clone, Debug)]
pub struct Record<S> {
    inner: S,
    layer: RecordLayer,
}

impl<S, A, B> Service<Request<A>> for Record<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin>,
{
    type Response = Response<Recording<B>>;
    type Error = Infallible;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let rpc = RpcId::of(request.uri().path());
        let trace =
            request.headers().get("traceparent").and_then(|value| TraceContext::parse(value.to_str().ok()?));
        let entry = Entry {
            recorder: Arc::clone(&self.layer.recorder),
            clock: self.layer.clock,
            began: self.layer.clock.elapsed(),
            rpc,
            trace,
            outcome: None,
            access: self.layer.access.takes().then(|| Access::of(&mut request)),
        };
        entry.recorder.row(rpc).started.fetch_add(1, Ordering::Relaxed);
        request.extensions_mut().insert(rpc);
        RecordFuture { inner: self.inner.call(request), entry: Some(entry) }
    }
}

/// One RPC on its way. What it is when dropped is what is recorded.
#[derive(Debug)]
struct Entry {
    recorder: Arc<Recorder>,
    clock: Clock,
    began: Duration,
    rpc: RpcId,
    trace: Option<TraceContext>,
    outcome: Option<Code>,
    /// What the access log says besides.
    access: Option<Box<Access>>,
}

/// What the access log says of one RPC besides what is recorded of all.
#[derive(Debug)]
struct Access {
    who: Slot,
    request_id: Option<String>,
}

impl Access {
    fn of<A>(request: &mut Request<A>) -> Box<Self> {
        let who = Slot::default();
        request.extensions_mut().insert(who.clone());
        Box::new(Self { who, request_id: request_id(request.headers()).map(str::to_owned) })
    }
}

impl Entry {
    fn note(&mut self, headers: &HeaderMap) {
        // The one that was made for it, where it brought none.
        if let Some(access) = &mut self.access
            && let Some(id) = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok())
        {
            access.request_id = Some(id.to_owned());
        }
        if let Some(status) = headers.get(tonic::Status::GRPC_STATUS) {
            self.outcome = Some(Code::from_bytes(status.as_bytes()));
        }
    }

    /// The trace and the span that it belongs to.
    fn ids(&self) -> (Option<String>, Option<String>) {
        match &self.trace {
            Some(trace) => (Some(trace.trace_id.to_string()), Some(trace.span_id.to_string())),
            None => (None, None),
        }
    }

    fn log_access(&self, access: &Access, code: Code, took: Duration) {
        let (trace_id, span_id) = self.ids();
        let who = access.who.who();
        event!(
            target: "seaworthy::access",
            Level::INFO,
            component = "access",
            who = who.map(|(identity, _)| identity.principal.to_string()),
            peer = who.map(|(_, peer)| peer.to_string()),
            operation = self.rpc.rpc().path,
            code = ?code,
            duration = took.as_secs_f64(),
            request_id = access.request_id,
            trace_id,
            span_id,
            "request"
        );
    }

    fn log(&self, code: Code, took: Duration) {
        let (trace_id, span_id) = self.ids();
        event!(
            Level::DEBUG,
            component = "guard",
            operation = self.rpc.rpc().path,
            code = ?code,
            duration = took.as_secs_f64(),
            trace_id,
            span_id,
            "rpc"
        );
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let code = self.outcome.unwrap_or(Code::Cancelled);
        let took = self.clock.elapsed().saturating_sub(self.began);
        let row = self.recorder.row(self.rpc);
        // Codes beyond the known ones are read as UNKNOWN, so the index exists.
        row.ended[code as usize].fetch_add(1, Ordering::Relaxed);
        row.seconds.observe(took);
        if let Some(access) = &self.access {
            self.log_access(access, code, took);
        }
        if enabled!(Level::DEBUG) {
            self.log(code, took);
        }
    }
}

/// The answer on its way.
#[derive(Debug)]
pub struct RecordFuture<F> {
    inner: F,
    entry: Option<Entry>,
}

impl<F, B> Future for RecordFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<Recording<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.inner).poll(cx));
        let mut entry = self.entry.take();
        if let Some(entry) = &mut entry {
            entry.note(response.headers());
        }
        Poll::Ready(Ok(response.map(|inner| Recording { inner, entry })))
    }
}

/// The body of an answer, watched for the status in its trailers.
#[derive(Debug)]
pub struct Recording<B> {
    inner: B,
    entry: Option<Entry>,
}

impl<B> Body for Recording<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(trailers), Some(entry)) = (frame.trailers_ref(), &mut self.entry) {
                    entry.note(trailers);
                    self.entry = None;
                }
            }
            // The end, or a failure of the stream: whatever is known by now counts.
            Some(Err(_)) | None => self.entry = None,
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
