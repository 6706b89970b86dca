//! Keeps an instance attached: opens a session, drives it until it ends, waits, and opens the next,
//! until the owner leaves. It owns the tasks that run the checks, so they end with it. Where files that prove who the
//! instance is have changed, it goes over to a new session before it lets go of the old one.

mod handover;

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info, warn};

use crate::{
    LeaveOutcome, Status,
    directives::Directives,
    health::{Presence, board::Board},
    protect::{
        Operations,
        clock::Monotonic,
        retry::{self, Advice, Budget, Retry, Safety},
    },
    proto::seaworthy::v1 as wire,
    rt,
    ruled::Ruled,
    session::{
        self, Session,
        plan::{End, Next, Opening, Plan, Registered},
    },
    transport::{Transport, files::Files},
};

/// How long leaving may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a registration is taken back at the most.
const ATTEMPTS: u32 = 10;
/// Pause before a registration that could not be taken back is taken back again, at first and at the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// How often callers of operations are forgotten of whom nothing counts any more.
const FORGET_EVERY: Duration = Duration::from_secs(5);
/// What the control plane is told when nobody said why.
const DROPPED: &str = "the agent was dropped";

/// Nobody said what became of a registration that was to be taken back.
struct NoAnswer;

/// Asks the keeper to leave.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) message: String,
    /// Where the outcome goes. `None`: nobody waits for it.
    pub(crate) done: Option<oneshot::Sender<LeaveOutcome>>,
}

/// The owner wants to leave, or was dropped.
struct Leaving {
    message: String,
    done: Option<oneshot::Sender<LeaveOutcome>>,
    /// When it must be over.
    by: Instant,
}

/// The owner has left, and this became of it.
struct Left {
    outcome: LeaveOutcome,
    done: Option<oneshot::Sender<LeaveOutcome>>,
}

/// What the keeper works with.
pub(crate) struct Keeper {
    pub(crate) transport: Transport,
    pub(crate) registration: Arc<wire::Registration>,
    pub(crate) board: Board,
    pub(crate) ruled: Ruled,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) checks: Vec<rt::Task<()>>,
    pub(crate) directives: Directives,
}

impl Keeper {
    /// Runs until the owner leaves or is dropped, and two seconds more at the most.
    pub(crate) async fn run(self, mut stop: oneshot::Receiver<Leave>) {
        let _forgetting = rt::spawn(forget_idle(self.ruled.operations.clone()));
        let Left { outcome, done } = self.keep(&mut stop).await;
        debug!(service = %self.registration.service, ?outcome, "left");
        self.ruled.operations.leave();
        self.board.set_presence(Presence::Left);
        self.status.send_replace(Status::Left);
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            done.send(outcome).ok();
        }
    }

    async fn keep(&self, stop: &mut oneshot::Receiver<Leave>) -> Left {
        let mut plan = Plan::new();
        let mut files = Files::new(self.transport.files());
        loop {
            if !plan.is_superseded() {
                self.status.send_replace(Status::Connecting);
            }
            tokio::select! {
                biased;
                leave = asked_to_leave(stop) => return self.leave_without_session(&plan, leave).await,
                () = files.about_to_be_read() => {}
            }
            let (lived, end) = match self.open(&mut plan, stop).await {
                Err(left) => return left,
                Ok(Err(end)) => (Duration::ZERO, end),
                Ok(Ok(session)) => {
                    self.attached(&mut plan, &session);
                    let began = rt::now();
                    match Box::pin(self.drive(&plan, session, &mut files, stop)).await {
                        Err(left) => return left,
                        Ok(end) => (began.elapsed(), end),
                    }
                }
            };
            let next = plan.after(&end, lived, rt::random());
            self.waiting(&end, &next, plan.is_superseded());
            tokio::select! {
                biased;
                leave = asked_to_leave(stop) => return self.leave_without_session(&plan, leave).await,
                () = sleep(next.pause) => {}
                // What was lacking may be there now.
                () = files.changed() => {}
            }
        }
    }

    /// Opens a session, unless the owner leaves before it is open.
    async fn open(
        &self,
        plan: &mut Plan,
        stop: &mut oneshot::Receiver<Leave>,
    ) -> Result<Result<Session, End>, Left> {
        let lifecycle = self.board.now().lifecycle();
        let opening = plan.opening().clone();
        let mut opened = pin!(session::open(
            &self.transport,
            &self.registration,
            &opening,
            lifecycle,
            &self.ruled,
            &self.directives
        ));
        let leave = tokio::select! {
            biased;
            leave = asked_to_leave(stop) => leave,
            opened = &mut opened => return Ok(opened),
        };
        // A registration may be on its way: it is waited for, to be taken back.
        self.begin_leaving();
        match timeout_at(leave.by, opened).await {
            Ok(Ok(session)) => {
                plan.opened(session.incarnation(), session.token());
                Err(self.leave_session(plan, session, leave).await)
            }
            Ok(Err(end)) => {
                plan.after(&end, Duration::ZERO, rt::random());
                Err(self.leave_without_session(plan, leave).await)
            }
            Err(_) => Err(Left { outcome: LeaveOutcome::Unconfirmed, done: leave.done }),
        }
    }

    /// Leaves by the session; where that ends on the way, by a call of its own.
    async fn leave_session(&self, plan: &Plan, mut session: Session, leave: Leaving) -> Left {
        self.begin_leaving();
        let health = self.board.now();
        match timeout_at(leave.by, session.leave(&leave.message, &health)).await {
            Ok(Some(outcome)) => Left { outcome, done: leave.done },
            Ok(None) => {
                drop(session);
                self.leave_without_session(plan, leave).await
            }
            Err(_) => Left { outcome: LeaveOutcome::Unconfirmed, done: leave.done },
        }
    }

    /// The same by a session that may have been superseded by a try of our own to resume: only that it has taken the
    /// registration back is believed.
    async fn leave_old_session(&self, plan: &Plan, mut session: Session, leave: Leaving) -> Left {
        self.begin_leaving();
        let health = self.board.now();
        match timeout_at(leave.by, session.leave(&leave.message, &health)).await {
            Ok(Some(LeaveOutcome::Deregistered)) => {
                Left { outcome: LeaveOutcome::Deregistered, done: leave.done }
            }
            Ok(_) => {
                drop(session);
                self.leave_without_session(plan, leave).await
            }
            Err(_) => Left { outcome: LeaveOutcome::Unconfirmed, done: leave.done },
        }
    }

    /// Takes the registration back, if there is one, by a call of its own.
    async fn leave_without_session(&self, plan: &Plan, Leaving { message, done, by }: Leaving) -> Left {
        self.begin_leaving();
        let outcome = match plan.opening() {
            Opening::Register { .. } if plan.is_open_ended() => LeaveOutcome::Unconfirmed,
            Opening::Register { last: None, .. } => LeaveOutcome::NotRegistered,
            // Whether the last one lives on is the control plane's to say.
            Opening::Register { last: Some(registered), .. } | Opening::Resume(registered) => {
                let deregistered = timeout_at(by, self.deregister(registered, &message)).await;
                deregistered.unwrap_or(LeaveOutcome::Unconfirmed)
            }
        };
        Left { outcome, done }
    }

    /// Asks until there is an answer. Bounded by the caller as well.
    async fn deregister(&self, registered: &Registered, message: &str) -> LeaveOutcome {
        // A test keeps that they are right.
        let settings = retry::Settings::new(taking_back()).unwrap_or_default();
        let retry = Retry::new(settings, Budget::new(&settings, Monotonic::start()));
        let ask = |_| async {
            let outcome = session::deregister(&self.transport, &self.registration, registered, message).await;
            outcome.ok_or(NoAnswer)
        };
        // Gone twice is as gone as once.
        let asked = retry.run(Safety::Idempotent, None, ask, |NoAnswer| Advice::IfSafe(None)).await;
        asked.unwrap_or(LeaveOutcome::Unconfirmed)
    }

    /// Stops the checks and what the control plane asked for, and turns probes away.
    fn begin_leaving(&self) {
        self.directives.stop();
        for check in &self.checks {
            check.abort();
        }
        self.board.set_presence(Presence::Leaving);
    }

    fn attached(&self, plan: &mut Plan, session: &Session) {
        let (incarnation, resumed) = (session.incarnation(), session.token().is_none());
        plan.opened(incarnation, session.token());
        let instance = &self.registration.instance_id;
        info!(service = %self.registration.service, %instance, incarnation, resumed, "attached");
        self.status.send_replace(Status::Attached { incarnation });
    }

    fn waiting(&self, end: &End, next: &Next, superseded: bool) {
        let (service, instance) = (&self.registration.service, &self.registration.instance_id);
        let (retry_in, message) = (next.pause, end.message.clone());
        let status = match superseded {
            true => Status::Superseded { retry_in, message: message.clone() },
            false => Status::Waiting { retry_in, last_error: message.clone() },
        };
        // Every cause is said once aloud; while it lasts, quietly.
        match (next.is_news, superseded) {
            (true, true) => {
                warn!(%service, %instance, "superseded: another process holds this instance id: {message}");
            }
            (true, false) => warn!(%service, %instance, ?retry_in, "not attached: {message}"),
            (false, _) => debug!(%service, %instance, ?retry_in, "still not attached: {message}"),
        }
        self.status.send_replace(status);
    }
}

/// Waits until the owner leaves or is dropped. Cancel safe; must not be called again once it answered.
async fn asked_to_leave(stop: &mut oneshot::Receiver<Leave>) -> Leaving {
    let dropped = |_| Leave { message: DROPPED.to_owned(), done: None };
    let Leave { message, done } = stop.await.unwrap_or_else(dropped);
    Leaving { message, done, by: rt::now() + LEAVE_TIMEOUT }
}

/// Forgets every few seconds whom no limit counts any more, until it is dropped.
async fn forget_idle(operations: Operations) {
    loop {
        sleep(FORGET_EVERY).await;
        operations.evict_idle();
    }
}

/// How often, and when, a registration is taken back.
fn taking_back() -> retry::Values {
    retry::Values {
        attempts: ATTEMPTS,
        first_pause: FIRST_PAUSE,
        max_pause: LONGEST_PAUSE,
        total: LEAVE_TIMEOUT,
        ..retry::Values::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Agent, Lifecycle,
        protect::{
            PartKind, ProtectError, Refusal,
            limit::{Rate, Settings},
            policy::{Policy, RateLimit, Scope},
        },
    };

    #[tokio::test(start_paused = true)]
    async fn a_running_service_forgets_callers_of_whom_nothing_counts() {
        // Nobody is there: it goes on alone.
        let agent = Agent::builder("http://127.0.0.1:1", "orders").attach().unwrap();
        let settings = Settings::token_bucket(Rate::new(1, Duration::from_secs(1)).unwrap());
        let limits = vec![RateLimit { scope: Scope::Caller, settings, fleet_wide: None }];
        agent.operations().set_policy(Policy { limits, ..Policy::named("callers") }).unwrap();
        for n in 0..1000 {
            agent.protect("charge", &n.to_string(), async || Ok::<_, std::io::Error>(())).await.unwrap();
        }
        let remembered = || agent.operations().rules().usage().remove(0).kind;
        assert_eq!(remembered(), PartKind::Limit { keys: 1000 });
        sleep(2 * FORGET_EVERY).await;
        assert_eq!(remembered(), PartKind::Limit { keys: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_left_takes_no_more_work_whatever_is_said_afterwards() {
        let agent = Agent::builder("http://127.0.0.1:1", "orders").attach().unwrap();
        let handle = agent.handle();
        let done = async || handle.protect("charge", "shop", async || Ok::<_, std::io::Error>(())).await;
        done().await.unwrap();
        agent.leave("enough").await;
        let refused = |done| matches!(done, Err(ProtectError::Refused(Refusal::TurnedAway { .. })));
        assert!(refused(done().await));
        handle.set_lifecycle(Lifecycle::Ready).unwrap();
        assert!(refused(done().await));
    }

    #[test]
    fn what_is_said_of_taking_back_makes_sense() {
        assert!(retry::Settings::new(taking_back()).is_ok());
    }
}
