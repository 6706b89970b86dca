//! Keeps an instance attached: opens a session, drives it until it ends, waits, and opens the next,
//! until the owner leaves. It owns the tasks that run the checks, so they end with it.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout_at},
};
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

use crate::{
    LeaveOutcome, Status,
    health::{Presence, board::Board},
    proto::seaworthy::v1 as wire,
    rt,
    session::{
        self, Session,
        plan::{End, Next, Opening, Plan},
    },
};

/// How long leaving may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// What the control plane is told when nobody said why.
const DROPPED: &str = "the agent was dropped";

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
    pub(crate) endpoint: Endpoint,
    pub(crate) registration: Arc<wire::Registration>,
    pub(crate) board: Board,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) checks: Vec<rt::Task<()>>,
}

impl Keeper {
    /// Runs until the owner leaves or is dropped, and two seconds more at the most.
    pub(crate) async fn run(self, mut stop: oneshot::Receiver<Leave>) {
        let Left { outcome, done } = self.keep(&mut stop).await;
        debug!(service = %self.registration.service, ?outcome, "left");
        self.board.set_presence(Presence::Left);
        self.status.send_replace(Status::Left);
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            done.send(outcome).ok();
        }
    }

    async fn keep(&self, stop: &mut oneshot::Receiver<Leave>) -> Left {
        let mut plan = Plan::new();
        loop {
            if !plan.is_superseded() {
                self.status.send_replace(Status::Connecting);
            }
            let (lived, end) = match self.open(plan.opening(), stop).await {
                Err(left) => return left,
                Ok(Err(end)) => (Duration::ZERO, end),
                Ok(Ok(session)) => {
                    self.attached(&mut plan, &session);
                    let began = rt::now();
                    match self.drive(session, stop).await {
                        Err(left) => return left,
                        Ok(end) => (began.elapsed(), end),
                    }
                }
            };
            let next = plan.after(&end, lived, rt::random());
            self.waiting(&end, &next, plan.is_superseded());
            tokio::select! {
                biased;
                leave = asked_to_leave(stop) => return self.leave_without_session(plan.opening(), leave).await,
                () = sleep(next.pause) => {}
            }
        }
    }

    /// Opens a session, unless the owner leaves before it is open.
    async fn open(
        &self,
        opening: &Opening,
        stop: &mut oneshot::Receiver<Leave>,
    ) -> Result<Result<Session, End>, Left> {
        let lifecycle = self.board.now().lifecycle();
        let mut opened = pin!(session::open(&self.endpoint, &self.registration, opening, lifecycle));
        let leave = tokio::select! {
            biased;
            leave = asked_to_leave(stop) => leave,
            opened = &mut opened => return Ok(opened),
        };
        // A registration may be on its way: it is waited for, to be taken back.
        self.begin_leaving();
        match timeout_at(leave.by, opened).await {
            Ok(Ok(session)) => Err(self.leave_session(session, leave).await),
            Ok(Err(_)) => Err(self.leave_without_session(opening, leave).await),
            Err(_) => Err(Left { outcome: LeaveOutcome::Unconfirmed, done: leave.done }),
        }
    }

    /// Drives a session to its end, unless the owner leaves before.
    async fn drive(&self, mut session: Session, stop: &mut oneshot::Receiver<Leave>) -> Result<End, Left> {
        let mut health = self.board.watch();
        let leave = tokio::select! {
            biased;
            leave = asked_to_leave(stop) => leave,
            end = session.drive(&mut health) => return Ok(end),
        };
        Err(self.leave_session(session, leave).await)
    }

    async fn leave_session(&self, mut session: Session, Leaving { message, done, by }: Leaving) -> Left {
        self.begin_leaving();
        let health = self.board.now();
        let outcome = timeout_at(by, session.leave(&message, &health)).await;
        Left { outcome: outcome.unwrap_or(LeaveOutcome::Unconfirmed), done }
    }

    /// Takes the registration back, if there is one, by a call of its own.
    async fn leave_without_session(&self, opening: &Opening, Leaving { message, done, by }: Leaving) -> Left {
        self.begin_leaving();
        let outcome = match opening {
            Opening::Register { .. } => LeaveOutcome::NotRegistered,
            Opening::Resume { incarnation, token } => {
                let deregister =
                    session::deregister(&self.endpoint, &self.registration, *incarnation, token, &message);
                timeout_at(by, deregister).await.unwrap_or(LeaveOutcome::Unconfirmed)
            }
        };
        Left { outcome, done }
    }

    /// Stops the checks, and turns probes away.
    fn begin_leaving(&self) {
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
