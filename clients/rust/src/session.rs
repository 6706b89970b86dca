//! One session: the bidirectional `Attach` stream, from `open` to its end. It sends heartbeats, the
//! newest report of each component and the lifecycle; it watches that heartbeats are acknowledged.
//! When to open another one is not its business: see [`plan`].

mod ending;
mod open;
pub(crate) mod plan;
mod quota;
mod reports;
mod timing;

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tonic::Streaming;
use tracing::{debug, warn};

pub(crate) use self::open::{deregister, open};
use self::{
    plan::{End, Why},
    reports::Reports,
    timing::Timing,
};
use crate::{
    LeaveOutcome, Lifecycle,
    directives::{Directives, Mouth},
    health::Health,
    proto::seaworthy::v1::{
        AttachRequest, AttachResponse, LeaveSession, PoliciesTaken, SessionHealth, SessionHeartbeat,
        SessionReportRefused, attach_request::Message as Say, attach_response::Message as Heard,
    },
    rt,
    ruled::Ruled,
    transport::Trouble,
};

/// Messages on their way to the control plane. A few are enough: whatever does not fit is sent later,
/// in its newest form.
const QUEUE: usize = 8;
/// How long a change waits for others, so that the reports of one tick travel in one message.
const LINGER: Duration = Duration::from_millis(20);
/// How long to wait where the queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(250);
/// Jitter of the heartbeat, either way.
const HEARTBEAT_JITTER: f64 = 0.2;

/// An open session. Dropping it closes the connection; the lease runs on.
#[derive(Debug)]
pub(crate) struct Session {
    requests: mpsc::Sender<AttachRequest>,
    inbound: Streaming<AttachResponse>,
    incarnation: u64,
    /// Of a new registration; `None` where one was taken up.
    token: Option<String>,
    timing: Timing,
    heartbeats: u64,
    acknowledged: u64,
    acknowledged_at: Instant,
    /// What was sent of each component, by position.
    sent_revisions: Vec<u64>,
    sent_lifecycle: Option<Lifecycle>,
    health_messages: u64,
    last_refusal: Option<SessionReportRefused>,
    /// Of the connection.
    trouble: Trouble,
    /// Where what the control plane rules goes, and what became of it comes from.
    ruled: Ruled,
    /// Where policies were taken and that was not said yet.
    taken: Option<PoliciesTaken>,
    reports: Reports,
    /// Where what is asked of the instance goes.
    directives: Directives,
    /// What was said of it.
    mouth: Mouth,
    /// When to say the rest, where the queue was full.
    unsaid_at: Option<Instant>,
    /// Asks for slices of shared limits.
    _quota: rt::Task<()>,
}

impl Session {
    /// Which life of the instance id it belongs to.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The session token, where this session registered anew.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Carries heartbeats and health until the session ends, and answers why. Cancel safe: it can be
    /// dropped for [`leave`](Session::leave).
    pub(crate) async fn drive(&mut self, health: &mut watch::Receiver<Health>) -> End {
        let mut heartbeat_at = self.next_heartbeat();
        // Everything that is known is sent at once: the control plane may have forgotten it.
        let mut flush_at = Some(rt::now());
        loop {
            let silent_at = self.acknowledged_at + self.timing.ttl;
            let unsaid = self.unsaid_at;
            tokio::select! {
                message = self.inbound.message() => {
                    if let Some(end) = self.hear(message) {
                        return end;
                    }
                }
                () = sleep_until(heartbeat_at) => {
                    self.heartbeat();
                    self.say_taken();
                    heartbeat_at = self.next_heartbeat();
                }
                () = sleep_until(flush_at.unwrap_or(silent_at)), if flush_at.is_some() => {
                    let newest = health.borrow_and_update().clone();
                    flush_at = (!self.flush(&newest)).then(|| rt::now() + QUEUE_FULL_PAUSE);
                }
                changed = health.changed(), if flush_at.is_none() => {
                    match changed {
                        Ok(()) => flush_at = Some(rt::now() + LINGER),
                        Err(_) => return End::broken("the agent is gone"),
                    }
                }
                () = self.mouth.news() => self.say_directives(),
                () = sleep_until(unsaid.unwrap_or(silent_at)), if unsaid.is_some() => self.say_directives(),
                () = sleep_until(self.reports.due()) => {
                    if let Some(report) = self.reports.next(&self.ruled) {
                        self.reports.said(self.requests.try_send(say(Say::Operations(report))).is_ok());
                    }
                }
                () = sleep_until(silent_at) => {
                    let ttl = self.timing.ttl;
                    return End::broken(format!("the control plane acknowledged nothing for {ttl:?}"));
                }
            }
        }
    }

    /// Sends what is new and leaves for good. `None`: the session ended, and nobody said what became of
    /// the registration. Bounded by the caller.
    pub(crate) async fn leave(&mut self, message: &str, health: &Health) -> Option<LeaveOutcome> {
        self.flush(health);
        let leave = LeaveSession { message: open::cut_message(message) };
        // Where it cannot be sent any more, the last word of the session may still be there to be read.
        self.requests.send(say(Say::Leave(leave))).await.ok();
        let end = loop {
            match self.inbound.message().await {
                Ok(Some(AttachResponse { message: Some(Heard::Closing(closing)) })) => {
                    break match ending::of_closing(&closing) {
                        None => return Some(LeaveOutcome::Deregistered),
                        Some(end) => end,
                    };
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => break ending::over(&status, &self.trouble),
            }
        };
        match end.why {
            Why::Removed | Why::Superseded | Why::Gone => Some(LeaveOutcome::NotRegistered),
            Why::Broken | Why::Busy | Why::Unreachable | Why::Held | Why::Refused | Why::Unproven => None,
        }
    }

    fn next_heartbeat(&self) -> Instant {
        rt::now() + rt::jittered(self.timing.heartbeat_interval, HEARTBEAT_JITTER)
    }

    fn heartbeat(&mut self) {
        let sequence = self.heartbeats + 1;
        // Where the queue is full nothing leaves this process; then the missing acknowledgement ends
        // the session.
        if self.requests.try_send(say(Say::Heartbeat(SessionHeartbeat { sequence }))).is_ok() {
            self.heartbeats = sequence;
        }
    }

    /// Sends what has changed since it was last sent. False: the queue is full, try later.
    fn flush(&mut self, health: &Health) -> bool {
        self.flush_lifecycle(health) && self.flush_reports(health)
    }

    /// In a message of its own, so that a lifecycle which the control plane refuses does not take
    /// reports with it.
    fn flush_lifecycle(&mut self, health: &Health) -> bool {
        let lifecycle = health.lifecycle();
        if self.sent_lifecycle == Some(lifecycle) {
            return true;
        }
        let said = SessionHealth { lifecycle: lifecycle.to_wire().into(), ..SessionHealth::default() };
        let sent = self.say_health(said);
        if sent {
            self.sent_lifecycle = Some(lifecycle);
        }
        sent
    }

    fn flush_reports(&mut self, health: &Health) -> bool {
        let components = health.components();
        self.sent_revisions.resize(components.len(), 0);
        let news = components.iter().zip(&self.sent_revisions).filter(|(one, sent)| one.revision() > **sent);
        let reports: Vec<_> =
            news.filter_map(|(one, _)| one.last_report().map(|report| report.to_wire(one.name()))).collect();
        if reports.is_empty() {
            return true;
        }
        let sent = self.say_health(SessionHealth { reports, ..SessionHealth::default() });
        if sent {
            self.sent_revisions = components.iter().map(|one| one.revision()).collect();
        }
        sent
    }

    fn say_health(&mut self, mut said: SessionHealth) -> bool {
        said.sequence = self.health_messages + 1;
        let sent = self.requests.try_send(say(Say::Health(said))).is_ok();
        self.health_messages += u64::from(sent);
        sent
    }

    /// Takes what the control plane said. An end where the session is over.
    fn hear(&mut self, message: Result<Option<AttachResponse>, tonic::Status>) -> Option<End> {
        match message {
            Err(status) => Some(ending::over(&status, &self.trouble)),
            Ok(None) => Some(End::broken("the control plane ended the session without a word")),
            Ok(Some(AttachResponse { message })) => match message {
                Some(Heard::HeartbeatAck(ack)) => {
                    // Only one that answers something we said, and that we had no answer to, counts.
                    if ack.sequence > self.acknowledged && ack.sequence <= self.heartbeats {
                        self.acknowledged = ack.sequence;
                        self.acknowledged_at = rt::now();
                    }
                    None
                }
                Some(Heard::ReportRefused(refused)) => {
                    self.note_refusal(refused);
                    None
                }
                Some(Heard::Closing(closing)) => Some(ending::of_closing(&closing).unwrap_or_else(|| {
                    // We did not ask for it; whatever was meant, the registration is gone.
                    let message = "the control plane says that this instance left".to_owned();
                    End { why: Why::Gone, message, retry_after: None }
                })),
                Some(Heard::Policies(directive)) => {
                    self.taken = Some(self.ruled.take(directive));
                    self.say_taken();
                    None
                }
                Some(Heard::Directive(directive)) => {
                    self.directives.take(self.incarnation, directive);
                    self.say_directives();
                    None
                }
                // A second `opened` says nothing new, and unknown kinds are for newer libraries.
                Some(Heard::Opened(_)) | None => None,
            },
        }
    }

    /// Says which policies are in force. What finds no room is said with the next heartbeat.
    fn say_taken(&mut self) {
        if let Some(taken) = self.taken.take()
            && let Err(unsent) = self.requests.try_send(say(Say::PoliciesTaken(taken)))
            && let Some(Say::PoliciesTaken(taken)) = unsent.into_inner().message
        {
            self.taken = Some(taken);
        }
    }

    /// Says what became of directives. What finds no room is said a little later.
    fn say_directives(&mut self) {
        let requests = &self.requests;
        let said = self.mouth.say(|report| requests.try_send(say(Say::Directive(report))).is_ok());
        self.unsaid_at = (!said).then(|| rt::now() + QUEUE_FULL_PAUSE);
    }

    /// Says each refusal once; a report that is refused every few seconds must not fill the log.
    fn note_refusal(&mut self, refused: SessionReportRefused) {
        let known = self
            .last_refusal
            .as_ref()
            .is_some_and(|last| (&last.field, &last.message) == (&refused.field, &refused.message));
        let (field, message) = (&refused.field, &refused.message);
        match known {
            true => debug!(%field, "the control plane refused a report again: {message}"),
            false => warn!(%field, "the control plane refused a report: {message}"),
        }
        self.last_refusal = Some(refused);
    }
}

fn say(message: Say) -> AttachRequest {
    AttachRequest { message: Some(message) }
}
