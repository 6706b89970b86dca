//! Drives a session, and goes over to a new connection when the files that prove who the instance is have changed: the
//! same incarnation is resumed there before the old connection is let go of, so that no lease and no report suffers.
//! Where the new ones do not work, the old connection goes on, and it is tried again.

use std::time::Duration;

use tokio::{
    sync::{oneshot, watch},
    time::{sleep_until, timeout},
};
use tracing::{debug, info, warn};

use super::{Keeper, Leave, Left, asked_to_leave};
use crate::{
    health::Health,
    rt,
    session::{
        self, Session,
        plan::{self, End, Plan, Why},
    },
    transport::files::Files,
};

/// How long the new connection is waited for where the owner leaves: half of what leaving may take.
const LAST_WAIT: Duration = Duration::from_secs(1);

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
                return Err(match told {
                    None => self.leave_session(plan, session, leave).await,
                    Some(_) => self.leave_old_session(plan, session, leave).await,
                });
            }
            let (service, instance) = (&self.registration.service, &self.registration.instance_id);
            match self.hand_over(plan, session, &mut health, stop).await? {
                Handover::Done(next) => {
                    info!(%service, %instance, "on a new connection: the certificate or token was renewed");
                    (session, again, told) = (next, None, None);
                }
                Handover::Stays(old, End { message, retry_after, .. }) => {
                    // Said once aloud; while it lasts, quietly.
                    if told.as_ref() == Some(&message) {
                        debug!(%service, %instance, "the renewed certificate or token still does not work: {message}");
                    } else {
                        warn!(
                            %service, %instance,
                            "the renewed certificate or token does not work, the old connection goes on: {message}"
                        );
                    }
                    let pause = plan::unhurried(retry_after, rt::random());
                    (session, again, told) = (old, Some(rt::now() + pause), Some(message));
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
        let opening = session::open(
            &self.transport,
            &self.registration,
            plan.opening(),
            lifecycle,
            &self.ruled,
            &self.directives,
        );
        let mut opened = Box::pin(opening);
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
        Err(match (timeout(LAST_WAIT, opened).await, ended) {
            (Ok(Ok(next)), _) => self.leave_session(plan, next, leave).await,
            (Ok(Err(_)) | Err(_), None) => self.leave_old_session(plan, session, leave).await,
            (Ok(Err(_)) | Err(_), Some(_)) => self.leave_without_session(plan, leave).await,
        })
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
