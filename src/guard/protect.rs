//! The layer that asks the policies: rate limits, permits, and the breaker of what an RPC depends on.
//!
//! Most calls go through or are refused at once; one that has to wait for its turn or a place waits here, as long as the policy says.
//! A breaker learns from answers whether what the RPC depends on did its part: only where the answer says that it did not
//! is that a failure, so that no caller can shut out the others by what it asks.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response};
use seaworthy_client::protect::{
    Refusal,
    gate::{Entrance, Entry},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};

use super::{
    caller::Caller,
    check::OrRefused,
    protection::{CallerKeys, CallerName, Protection, refusal},
    rpc::{DependsOn, RpcId},
    status::status,
};
use crate::error::Reason;

/// Makes [`Protect`]s for one connection.
#[derive(Clone, Debug)]
pub struct ProtectLayer {
    protection: Protection,
    keys: Arc<CallerKeys>,
}

impl ProtectLayer {
    /// Asks what protects RPCs.
    pub fn new(protection: Protection) -> Self {
        Self { protection, keys: Arc::default() }
    }
}

impl<S> Layer<S> for ProtectLayer {
    type Service = Protect<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Protect { inner, layer: self.clone() }
    }
}

/// Lets through what the policies let through.
#[derive(Clone, Debug)]
pub struct Protect<S> {
    inner: S,
    layer: ProtectLayer,
}

impl<S, A, B> Service<Request<A>> for Protect<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin> + Clone,
{
    type Response = Response<OrRefused<B>>;
    type Error = Infallible;
    type Future = ProtectFuture<S, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let extensions = request.extensions();
        let (rpc, caller) = (extensions.get::<RpcId>().copied(), extensions.get::<Caller>());
        let (Some(rpc), Some(caller)) = (rpc, caller) else {
            return ProtectFuture::Running(self.inner.call(request), None);
        };
        let Some(entrance) = self.layer.protection.enter(rpc, caller, &self.layer.keys) else {
            return ProtectFuture::Running(self.inner.call(request), None);
        };
        let depends_on = rpc.rpc().depends_on;
        match entrance {
            Entrance::In(entry) => {
                ProtectFuture::Running(self.inner.call(request), Some((entry, depends_on)))
            }
            Entrance::Out(refused) => ProtectFuture::refused(refused, caller),
            Entrance::Wait(turn) => {
                let inner = self.inner.clone();
                ProtectFuture::Waiting(Box::new(Waiting { turn, inner, request, depends_on }))
            }
        }
    }
}

/// The answer, the refusal, or the wait for a turn.
pub enum ProtectFuture<S: Service<Request<A>>, A> {
    /// It was let through, and holds what it holds until it is answered.
    Running(S::Future, Option<(Entry, DependsOn)>),
    /// It waits for its turn.
    Waiting(Box<Waiting<S, A>>),
    /// It was not let through, and whom to tell. None: it has been said. What it is told is worked out in its own turn: calls
    /// are taken many at once, in which time nobody else has one.
    Refused(Option<Box<(Refusal, String)>>),
}

/// A call that waits for its turn.
pub struct Waiting<S, A> {
    turn: Pin<Box<dyn Future<Output = Result<Entry, Refusal>> + Send>>,
    inner: S,
    request: Request<A>,
    depends_on: DependsOn,
}

impl<S: Service<Request<A>>, A> std::fmt::Debug for ProtectFuture<S, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProtectFuture::Running(..) => "Running",
            ProtectFuture::Waiting(_) => "Waiting",
            ProtectFuture::Refused(_) => "Refused",
        })
    }
}

impl<S, A> std::fmt::Debug for Waiting<S, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("depends_on", &self.depends_on).finish_non_exhaustive()
    }
}

impl<S: Service<Request<A>>, A> ProtectFuture<S, A> {
    fn refused(refused: Refusal, caller: &Caller) -> Self {
        Self::Refused(Some(Box::new((refused, CallerName(caller).to_string()))))
    }
}

impl<S, A, B> Future for ProtectFuture<S, A>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible, Future: Unpin>,
{
    type Output = Result<Response<OrRefused<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                ProtectFuture::Running(inner, held) => {
                    let Ok(response) = ready!(Pin::new(inner).poll(cx));
                    if let Some((entry, depends_on)) = held.take() {
                        judge(entry, depends_on, response.headers());
                    }
                    return Poll::Ready(Ok(response.map(OrRefused::Passed)));
                }
                ProtectFuture::Waiting(waiting) => {
                    let turn = ready!(waiting.turn.as_mut().poll(cx));
                    let ProtectFuture::Waiting(waiting) =
                        mem::replace(&mut *self, ProtectFuture::Refused(None))
                    else {
                        return Poll::Pending;
                    };
                    let Waiting { mut inner, request, depends_on, .. } = *waiting;
                    *self = match (turn, request.extensions().get::<Caller>()) {
                        (Ok(entry), _) => {
                            ProtectFuture::Running(inner.call(request), Some((entry, depends_on)))
                        }
                        (Err(refused), Some(caller)) => ProtectFuture::refused(refused, caller),
                        // Without a caller it was not made to wait.
                        (Err(_), None) => ProtectFuture::Refused(None),
                    };
                }
                ProtectFuture::Refused(refused) => match refused.take() {
                    Some(refused) => {
                        let (refused, caller) = *refused;
                        return Poll::Ready(Ok(status(&refusal(&refused, caller)).into_http()));
                    }
                    // It was polled after its end, which nobody may.
                    None => return Poll::Pending,
                },
            }
        }
    }
}

/// Tells the breaker of what an RPC depends on how that went, as the answer says it.
fn judge(entry: Entry, depends_on: DependsOn, headers: &HeaderMap) {
    let Some(failure) = depends_on.failure() else { return drop(entry) };
    match headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes())) {
        // Without one it is told after the body, and there is one.
        None | Some(Code::Ok) => entry.succeeded(),
        Some(Code::Unavailable) if is_for(headers, failure) => entry.failed(),
        Some(Code::DeadlineExceeded) => entry.given_up(),
        // It was not asked, or whether it was cannot be seen.
        Some(_) => drop(entry),
    }
}

/// Whether an error is for this reason.
fn is_for(headers: &HeaderMap, wanted: Reason) -> bool {
    let reason = Status::from_header_map(headers)
        .and_then(|status| status.get_error_details().error_info().map(|info| info.reason.clone()));
    reason.is_some_and(|reason| reason == wanted.as_str())
}

#[cfg(test)]
mod tests {
    use seaworthy_client::protect::{
        Rules, breaker,
        gate::Gate,
        policy::{Origin, Policy, choose::Call},
    };

    use super::*;
    use crate::error::{Error, Kind};

    /// Stands before the store, and opens at the second failure in a row.
    fn gate() -> Gate {
        let options = breaker::Options { consecutive_failures: Some(2), ..breaker::Options::default() };
        let breaker = breaker::Settings::new(options).ok();
        let rules = Rules::new();
        rules.replace([(Arc::new(Policy { breaker, ..Policy::named("test") }), Origin::Put)]);
        Gate::new(&rules, Call::Rpc("seaworthy.v1.FleetService/PutService"), Some("store")).unwrap()
    }

    /// Answers so often, each time with this error; whether one more is let through.
    fn is_open_after(answers: usize, error: Option<&Error>) -> bool {
        opens(DependsOn::Store, answers, error)
    }

    fn opens(depends_on: DependsOn, answers: usize, error: Option<&Error>) -> bool {
        let gate = gate();
        let headers = error.map(|error| status(error).into_http::<()>().headers().clone());
        for _ in 0..answers {
            match gate.enter(0, &"caller") {
                Entrance::In(entry) => judge(entry, depends_on, &headers.clone().unwrap_or_default()),
                other => return matches!(other, Entrance::Out(Refusal::Broken { .. })),
            }
        }
        matches!(gate.enter(0, &"caller"), Entrance::Out(Refusal::Broken { .. }))
    }

    /// A store that hangs is never heard of, but for those who wait no longer.
    #[tokio::test(start_paused = true)]
    async fn calls_that_were_given_up_open_the_breaker_where_they_had_been_slow() {
        let late = Error::new(Kind::DeadlineExceeded, Reason::RequestTimeout, "x");
        let headers = status(&late).into_http::<()>().headers().clone();
        for (seconds, opens) in [(1, false), (6, true)] {
            let gate = gate();
            let entries: Vec<_> = (0..20).map(|_| gate.enter(0, &"caller")).collect();
            tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
            for entrance in entries {
                let Entrance::In(entry) = entrance else { panic!("{entrance:?}") };
                judge(entry, DependsOn::Store, &headers);
            }
            assert_eq!(matches!(gate.enter(0, &"caller"), Entrance::Out(_)), opens, "after {seconds} s");
        }
    }

    #[tokio::test]
    async fn only_what_says_that_the_store_failed_opens_its_breaker() {
        let error = |kind, reason| Error::new(kind, reason, "x");
        assert!(!is_open_after(1, Some(&error(Kind::Unavailable, Reason::StoreUnavailable))));
        assert!(is_open_after(2, Some(&error(Kind::Unavailable, Reason::StoreUnavailable))));
        for harmless in [
            error(Kind::InvalidArgument, Reason::InvalidField),
            error(Kind::PermissionDenied, Reason::PermissionDenied),
            error(Kind::FailedPrecondition, Reason::RevisionMismatch),
            error(Kind::Unavailable, Reason::ServerDraining),
            error(Kind::Unavailable, Reason::AuditUnavailable),
            error(Kind::ResourceExhausted, Reason::FleetFull),
        ] {
            assert!(!is_open_after(100, Some(&harmless)), "{harmless:?}");
        }
        assert!(!is_open_after(100, None), "it went well");
    }

    #[tokio::test]
    async fn each_dependency_answers_for_itself_alone() {
        let (store, vault) = (Reason::StoreUnavailable, Reason::VaultUnavailable);
        for (depends_on, reason, expected) in [
            (DependsOn::Store, store, true),
            (DependsOn::Store, vault, false),
            (DependsOn::Vault, vault, true),
            (DependsOn::Vault, store, false),
            (DependsOn::Nothing, vault, false),
        ] {
            let error = Error::new(Kind::Unavailable, reason, "x");
            assert_eq!(opens(depends_on, 100, Some(&error)), expected, "{depends_on:?} {reason:?}");
        }
    }
}
