//! One operation that a service protects: the chain that each of its calls goes through, and what became of them.

mod books;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};

use self::books::{Books, Ended};
use super::{
    breaker::Ticket,
    clock::Clock,
    entry::{Caller, Entered, Entering},
    failure::{Failure, Fault, ProtectError},
    permit::Outcome,
    plan::Plan,
    policy::choose::Call,
    refusal::Refusal,
    retry::{Advice, Failed, Safety, Why},
    retrying::Retrying,
    rules::Rules,
    shelf::caller_key,
    stats::OperationStats,
};
use crate::shutdown::Counted;

/// An operation.
#[derive(Debug)]
pub(crate) struct Operation {
    service: Arc<str>,
    name: Arc<str>,
    rules: Rules,
    has_breaker: bool,
    plan: RwLock<(u64, Arc<Plan>)>,
    books: Books,
}

/// A call that was let through, for whoever runs it by itself. Dropped before its end was said, it was given up.
#[derive(Debug)]
#[must_use = "say how the call ended; dropping this says that it was given up"]
pub struct Admitted {
    operation: Arc<Operation>,
    entered: Option<Entered>,
    ticket: Option<Ticket>,
    began: Duration,
    /// How long it took until the answer began, where that comes bit by bit.
    answered: Option<Duration>,
    _counted: Counted,
}

/// What an attempt failed with.
enum Attempted<E> {
    Refused(Refusal),
    Failed(E),
}

/// An attempt that runs, for the breaker: dropped in the midst of it, it was given up.
struct Watched<'a> {
    operation: &'a Operation,
    ticket: Option<Ticket>,
    began: Duration,
    /// How long it may take. After that it is not given up, but has failed.
    time_left: Option<Duration>,
}

/// Timers are as exact as that.
const TIMER: Duration = Duration::from_millis(2);

impl Watched<'_> {
    fn ended(mut self, fault: Option<Fault>) {
        let Some(ticket) = self.ticket.take() else { return };
        let latency = self.latency();
        match fault {
            None | Some(Fault::Callers) => ticket.success(latency),
            Some(Fault::Own) => ticket.failure(latency),
            // Nothing can be learnt from it.
            Some(Fault::Nobodys) => drop(ticket),
        }
    }

    fn latency(&self) -> Duration {
        self.operation.now().saturating_sub(self.began)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let latency = self.latency();
        if self.time_left.is_some_and(|left| latency + TIMER >= left) {
            ticket.failure(latency);
        } else {
            ticket.given_up(latency);
        }
    }
}

impl Operation {
    pub(crate) fn new(service: &Arc<str>, name: &str, rules: &Rules, has_breaker: bool) -> Self {
        let (service, name) = (Arc::clone(service), Arc::from(name));
        let plan = RwLock::new((0, Arc::default()));
        Self { service, name, rules: rules.clone(), has_breaker, plan, books: Books::default() }
    }

    /// What protects it now.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        let version = self.rules.version();
        {
            let known = self.plan.read();
            if known.0 == version {
                return Arc::clone(&known.1);
            }
        }
        let call = Call::Operation { service: &self.service, operation: &self.name };
        let plan = self.rules.plan(call, self.has_breaker.then_some(&*self.name));
        *self.plan.write() = (version, Arc::clone(&plan));
        plan
    }

    /// Lets a call in, up to where the breaker is asked.
    async fn enter(&self, plan: &Arc<Plan>, caller: &str) -> Result<Entered, Refusal> {
        let caller = Caller { key: caller_key(caller), name: &caller };
        let entered = match plan.try_enter(caller, self.rules.meter(), self.now()) {
            Entering::In(entered) => Ok(entered),
            Entering::Wait(waiting) => waiting.enter().await,
            Entering::Out(refusal) => Err(refusal),
        };
        if let Ok(entered) = &entered {
            self.books.noticed(entered.noticed);
        }
        entered
    }

    fn now(&self) -> Duration {
        self.rules.time().now()
    }

    /// Asks the breaker.
    fn ask_breaker(&self, plan: &Plan) -> Result<Option<Ticket>, Refusal> {
        let Some(breaker) = &plan.breaker else { return Ok(None) };
        let ticket = breaker.admit();
        ticket.map(Some).map_err(|refused| Refusal::Broken { protects: Arc::clone(&self.name), refused })
    }

    /// Lets one call through, without tries of its own.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        caller: &str,
        open: Result<Counted, Refusal>,
    ) -> Result<Admitted, Refusal> {
        let call = self.books.begin();
        let admitted = async {
            let counted = open?;
            let plan = self.plan();
            let entered = self.enter(&plan, caller).await?;
            let ticket = self.ask_breaker(&plan)?;
            Ok::<_, Refusal>((counted, entered, ticket))
        };
        match admitted.await {
            Ok((counted, entered, ticket)) => {
                call.goes_on();
                let (operation, began) = (Arc::clone(self), self.now());
                Ok(Admitted {
                    operation,
                    entered: Some(entered),
                    ticket,
                    began,
                    answered: None,
                    _counted: counted,
                })
            }
            Err(refusal) => {
                call.ended(Ended::Refused(refusal.kind()), Duration::ZERO);
                Err(refusal)
            }
        }
    }

    /// Runs one call through the whole chain.
    pub(crate) async fn run<T, E, F>(
        &self,
        caller: &str,
        open: Result<Counted, Refusal>,
        safety: Option<Safety>,
        op: impl FnMut() -> F,
    ) -> Result<T, ProtectError<E>>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        let call = self.books.begin();
        let plan = self.plan();
        let entered = match open {
            Ok(counted) => self.enter(&plan, caller).await.map(|entered| (counted, entered)),
            Err(turned_away) => Err(turned_away),
        };
        let (_counted, entered) = match entered {
            Ok(entered) => entered,
            Err(refusal) => {
                call.ended(Ended::Refused(refusal.kind()), Duration::ZERO);
                return Err(ProtectError::Refused(refusal));
            }
        };
        let began = self.now();
        let done = self.attempts(&plan, caller_key(caller), safety, op).await;
        let latency = self.now().saturating_sub(began);
        let (ended, outcome) = match &done {
            Ok(_) => (Ended::Succeeded, Outcome::Done),
            Err(ProtectError::Refused(refusal)) => (Ended::Refused(refusal.kind()), Outcome::Failed),
            Err(ProtectError::Failed(error)) if error.fault() == Fault::Callers => {
                (Ended::Succeeded, Outcome::Failed)
            }
            Err(ProtectError::Failed(_)) => (Ended::Failed, Outcome::Failed),
            Err(ProtectError::TimedOut) => (Ended::Failed, Outcome::Dropped),
        };
        entered.done(self.now(), latency, outcome);
        call.ended(ended, latency);
        done
    }

    /// Runs it until it succeeds, or is not to be tried again.
    async fn attempts<T, E, F>(
        &self,
        plan: &Plan,
        caller: u64,
        safety: Option<Safety>,
        mut op: impl FnMut() -> F,
    ) -> Result<T, ProtectError<E>>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        let Some(Retrying { retry, rule }) = plan.retry.of(caller).map(Arc::as_ref) else {
            return self.attempt(plan, op).await.map_err(|failed| match failed {
                Attempted::Refused(refusal) => ProtectError::Refused(refusal),
                Attempted::Failed(error) => ProtectError::Failed(error),
            });
        };
        let advice = |failed: &Attempted<Advice>| match failed {
            Attempted::Refused(_) => Advice::Never,
            Attempted::Failed(advice) => *advice,
        };
        // What the last try failed with that was let through: one that the breaker refuses afterwards hides nothing of it.
        let failed = Mutex::new(None);
        let attempt = |attempt: super::retry::Attempt| {
            if attempt.number > 1 {
                self.books.retried();
            }
            // The breaker first: what it does not let through is not even begun.
            let begun = self.ask_breaker(plan).map(|ticket| (ticket, op()));
            let failed = &failed;
            async move {
                let (ticket, future) = begun.map_err(Attempted::Refused)?;
                let done = self.watch(ticket, future, Some(attempt.time_left)).await;
                done.map_err(|error| {
                    let advice = error.advice();
                    *failed.lock() = Some(error);
                    Attempted::Failed(advice)
                })
            }
        };
        let done = retry.run(safety.unwrap_or(rule.safety), None, attempt, advice).await;
        done.map_err(|Failed { error, why, .. }| match (failed.lock().take(), error) {
            (Some(error), _) => ProtectError::Failed(error),
            (None, Some(Attempted::Refused(refusal))) => ProtectError::Refused(refusal),
            (None, _) => {
                debug_assert!(matches!(why, Why::Time | Why::Deadline));
                ProtectError::TimedOut
            }
        })
    }

    /// One attempt, if the breaker lets it through.
    async fn attempt<T, E, F>(&self, plan: &Plan, op: impl FnOnce() -> F) -> Result<T, Attempted<E>>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        let ticket = self.ask_breaker(plan).map_err(Attempted::Refused)?;
        self.watch(ticket, op(), None).await.map_err(Attempted::Failed)
    }

    /// Runs an attempt that was let through, and tells the breaker how it ended. `time_left`: how long it may take, by whoever
    /// drops it after that.
    async fn watch<T, E: Failure>(
        &self,
        ticket: Option<Ticket>,
        attempt: impl Future<Output = Result<T, E>>,
        time_left: Option<Duration>,
    ) -> Result<T, E> {
        let watched = Watched { operation: self, ticket, began: self.now(), time_left };
        let result = attempt.await;
        watched.ended(result.as_ref().err().map(Failure::fault));
        result
    }

    /// What became of its calls.
    pub(crate) fn stats(&self) -> OperationStats {
        let plan = Arc::clone(&self.plan.read().1);
        let max = plan.places[1].of(0).map_or(0, |places| places.usage().max);
        OperationStats { operation: self.name.to_string(), max_in_flight: max, ..self.books.stats() }
    }
}

impl Admitted {
    /// It was done, or its caller's request was wrong.
    pub fn succeeded(self) {
        self.ended(Fault::Callers, Ended::Succeeded);
    }

    /// It failed, for which the operation itself is to blame.
    pub fn failed(self) {
        self.ended(Fault::Own, Ended::Failed);
    }

    /// The answer begins. Who is slow to take it, or has asked for a long one, says nothing of the operation: for the breaker,
    /// and for an adaptive number of permits, it took until now. What it holds it holds to its end.
    pub fn answers(&mut self) {
        let Self { operation, began, answered, .. } = self;
        answered.get_or_insert_with(|| operation.now().saturating_sub(*began));
    }

    /// Tells the breaker whose fault it is, once.
    pub(super) fn judge(&mut self, fault: Fault) {
        let Some(ticket) = self.ticket.take() else { return };
        let answered = self.answered.unwrap_or_else(|| self.operation.now().saturating_sub(self.began));
        match fault {
            Fault::Own => ticket.failure(answered),
            Fault::Callers => ticket.success(answered),
            Fault::Nobodys => drop(ticket),
        }
    }

    fn ended(mut self, fault: Fault, ended: Ended) {
        self.judge(fault);
        let now = self.operation.now();
        let latency = now.saturating_sub(self.began);
        let answered = self.answered.unwrap_or(latency);
        if let Some(entered) = self.entered.take() {
            let outcome = if ended == Ended::Succeeded { Outcome::Done } else { Outcome::Failed };
            entered.done(now, answered, outcome);
            self.operation.books.ended(ended, latency);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.entered.take().is_some() {
            let latency = self.operation.now().saturating_sub(self.began);
            if let Some(ticket) = self.ticket.take() {
                ticket.given_up(self.answered.unwrap_or(latency));
            }
            self.operation.books.ended(Ended::Cancelled, latency);
        }
    }
}
