//! Drives a session, and goes over to a new connection when the files that prove who the instance is have changed: the
//! same incarnation is resumed there before the old connection is let go of, so that no lease and no report suffers.
//! Where the new ones do not work, the old connection goes on, and it is tried again.

use std::{pin::pin, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{sleep_until, timeout_at},
};
use tracing::{debug, info, warn};

use super::{Keeper, Leave, Leaving, Left, asked_to_leave};
use crate::{
    LeaveOutcome,
    health::Health,
    rt,
    session::{
        self, Session,
        plan::{End, Plan, Why},
    },
    transport::files::Files,
};

/// Before it is tried again with files that did not work.
const PAUSE: Duration = Duration::from_secs(10);

/// What became of going over to a new connection.
enum Handover {
    /// The session on the new one.
    Done(Session),
    /// The old session, and why there is no new one.
    Stays(Session, End),
    /// Neither is there.
    Ended(End),
}

impl Keeper {
    /// Drives a session to its end, unless the owner leaves before.
    pub(super) async fn drive(
        &self,
        plan: &Plan,
        mut session: Session,
        files: &mut Files,
        stop: &mut oneshot::Receiver<Leave>,
    ) -> Result<End, Left> {
        let mut health = self.board.watch();
        let (mut again, mut told) = (None, None);
        loop {
            let leave = tokio::select! {
                biased;
                leave = asked_to_leave(stop) => Some(leave),
                end = session.drive(&mut health) => return Ok(if told.is_some() { doubted(end) } else { end }),
                () = files.changed() => None,
                () = sleep_until(again.unwrap_or_else(rt::now)), if again.is_some() => None,
            };
            if let Some(leave) = leave {
                return Err(self.leave_session(plan, session, leave).await);
            }
            files.about_to_be_read().await;
            let (service, instance) = (&self.registration.service, &self.registration.instance_id);
            match self.hand_over(plan, session, &mut health, stop).await? {
                Handover::Done(next) => {
                    info!(%service, %instance, "on a new connection: the certificate or token was renewed");
                    (session, again, told) = (next, None, None);
                }
                Handover::Stays(old, End { message, .. }) => {
                    // Said once aloud; while it lasts, quietly.
                    if told.as_ref() == Some(&message) {
                        debug!(%service, %instance, "the renewed certificate or token still does not work: {message}");
                    } else {
                        warn!(
                            %service, %instance,
                            "the renewed certificate or token does not work, the old connection goes on: {message}"
                        );
                    }
                    (session, again, told) = (old, Some(rt::now() + PAUSE), Some(message));
                }
                Handover::Ended(end) => return Ok(end),
            }
        }
    }

    /// Resumes on a new connection, while the old session goes on.
    async fn hand_over(
        &self,
        plan: &Plan,
        mut session: Session,
        health: &mut watch::Receiver<Health>,
        stop: &mut oneshot::Receiver<Leave>,
    ) -> Result<Handover, Left> {
        let lifecycle = self.board.now().lifecycle();
        let mut opened = pin!(session::open(&self.transport, &self.registration, plan.opening(), lifecycle));
        let mut ended: Option<End> = None;
        let leave = loop {
            tokio::select! {
                biased;
                leave = asked_to_leave(stop) => break leave,
                opened = &mut opened => return Ok(match (opened, ended) {
                    (Ok(next), _) => Handover::Done(next),
                    (Err(why), None) => Handover::Stays(session, why),
                    (Err(_), Some(end)) => Handover::Ended(doubted(end)),
                }),
                end = session.drive(health), if ended.is_none() => ended = Some(end),
            }
        };
        // The old session may be superseded at any moment: what is under way decides who leaves.
        self.begin_leaving();
        let Leaving { by, .. } = leave;
        match timeout_at(by, opened).await {
            Ok(Ok(next)) => Err(self.leave_session(plan, next, leave).await),
            Ok(Err(_)) => Err(self.leave_without_session(plan, leave).await),
            Err(_) => Err(Left { outcome: LeaveOutcome::Unconfirmed, done: leave.done }),
        }
    }
}

/// Who was superseded after it had tried to resume was so by itself, perhaps: nobody heard what became of the try. The
/// next one is told the truth.
fn doubted(end: End) -> End {
    match end.why {
        Why::Superseded => End { why: Why::Broken, ..end },
        _ => end,
    }
}
