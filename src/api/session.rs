//! `FleetService/Attach`: the session of an instance on a bidirectional stream.
//!
//! One value, polled by the connection, without a task or a queue of its own: a fleet has as many of
//! these as it has instances. Messages are taken as they come; heartbeats are acknowledged once for
//! all that came together. What a session means is the fleet's; here it is only carried.

mod alarm;
mod ending;
mod ruling;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use self::{
    alarm::Alarm,
    ending::{Ending, Endings},
    ruling::Ruling,
};
use super::{
    audited::{self, AuditedCall, enrol},
    convert::{self, instance},
    enrolment::Enrolment,
    parse::{self, Fields},
    proto::v1 as pb,
    reach,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        Handle,
        names::InstanceKey,
        refusal::why_removed,
        session::{Closing, Opening, Session},
        snapshot::{Instance, Tombstone},
    },
    guard::{
        caller::{Caller, Connection},
        goodbye::Goodbye,
        status::status,
    },
    time::Clock,
};

/// Messages that are taken before others on the same connection get their turn.
const TURN: usize = 64;
/// A session that is kept busy looks this seldom whether it has to end, and what is asked.
const LISTEN_TURNS: u32 = 16;
/// When to attach again after the control plane said that it stops.
const COME_BACK: Duration = Duration::from_secs(1);

/// Takes the first message and opens the session. `call`: where enrolments are written down, the one that this is.
///
/// # Errors
/// The first message is missing, late or not `open`; the connection has to end; or the fleet refuses.
pub async fn open(
    enrolment: &Enrolment,
    mut inbound: Streaming<pb::AttachRequest>,
    caller: &Caller,
    call: Option<Arc<AuditedCall>>,
    clock: Clock,
    patience: Duration,
) -> Result<SessionStream, Status> {
    let first = first(&mut inbound, &caller.connection, patience).await?;
    begin(enrolment, first, inbound, caller, call, clock).await.map_err(|error| status(&error))
}

/// The first message, or nothing where the stream ends instead.
async fn first(
    inbound: &mut Streaming<pb::AttachRequest>,
    connection: &Connection,
    patience: Duration,
) -> Result<Option<pb::AttachRequest>, Status> {
    let mut closing = Goodbye::of(connection.closing.clone());
    let first = tokio::select! {
        biased;
        first = timeout(patience, inbound.message()) => first,
        // What it would register or resume here ends with the connection.
        _ = closing.heard() => {
            return Err(status(&Error::new(
                Kind::Unavailable,
                Reason::ServerDraining,
                "the control plane ends this connection; attach again",
            )
            .retry_after(COME_BACK)));
        }
    };
    match first {
        Ok(first) => first.map_err(|broken| {
            parse::unreadable(broken).unwrap_or_else(|| status(&Error::field("open", "is missing")))
        }),
        Err(_) => Err(status(&Error::new(
            Kind::DeadlineExceeded,
            Reason::SessionSilent,
            format!("no first message within {}s; send `open`", patience.as_secs()),
        ))),
    }
}

/// Opens the session that the first message asks for.
async fn begin(
    enrolment: &Enrolment,
    first: Option<pb::AttachRequest>,
    inbound: Streaming<pb::AttachRequest>,
    caller: &Caller,
    call: Option<Arc<AuditedCall>>,
    clock: Clock,
) -> Result<SessionStream> {
    let (how, takes_policies, takes_directives) = match first {
        Some(pb::AttachRequest {
            message:
                Some(pb::attach_request::Message::Open(pb::OpenSession {
                    how: Some(how),
                    takes_policies,
                    takes_directives,
                })),
        }) => (how, takes_policies, takes_directives),
        Some(pb::AttachRequest { message: Some(pb::attach_request::Message::Open(_)) }) => {
            return Err(Error::field("open.how", "is missing; give register or resume"));
        }
        _ => return Err(Error::field("open", "is missing; it must be the first message")),
    };
    let ((session, instance), session_token) = match how {
        pb::open_session::How::Register(wire) => {
            let registered = enrolment.register("open.register", wire, caller, call.as_deref()).await?;
            (take_up_registered(enrolment, &registered, caller, takes_directives)?, registered.session_token)
        }
        pb::open_session::How::Resume(wire) => {
            (resume(enrolment, wire, caller, Opening::Resumed, takes_directives)?, String::new())
        }
    };
    let opened = opened(enrolment.fleet(), &instance, session_token);
    let key = session.instance.registration.key.clone();
    let ruling = takes_policies.then(|| Ruling::new(enrolment.policies().clone(), key, &caller.connection));
    let held = Held { fleet: enrolment.fleet().clone(), session, call };
    Ok(SessionStream::new(held, opened, inbound, &caller.connection, clock, ruling.map(Box::new)))
}

fn take_up_registered(
    enrolment: &Enrolment,
    registered: &pb::RegisterResponse,
    caller: &Caller,
    takes_directives: bool,
) -> Result<(Session, Arc<Instance>)> {
    let wire = registered.instance.as_ref().and_then(|registered| {
        let pb::Registration { service, instance_id, .. } = registered.registration.as_ref()?;
        let (service, instance_id) = (service.clone(), instance_id.clone());
        Some(pb::InstanceRef { service, instance_id, incarnation: registered.incarnation })
    });
    let session_token = registered.session_token.clone();
    let wire = pb::ResumeSession { instance: wire, session_token };
    resume(enrolment, wire, caller, Opening::Registered, takes_directives)
}

fn resume(
    enrolment: &Enrolment,
    wire: pb::ResumeSession,
    caller: &Caller,
    opening: Opening,
    takes_directives: bool,
) -> Result<(Session, Arc<Instance>)> {
    let pb::ResumeSession { instance: named, session_token } = wire;
    let mut fields = Fields::default();
    let named = parse::incarnation(&mut fields, "open.resume.instance", named);
    let token = parse::session_token(&mut fields, "open.resume.session_token", &session_token, caller);
    let ((key, incarnation), token) = fields.finish(named.zip(token))?;
    reach::acts_for(&caller.identity, key.service.as_str())?;
    enrolment.fleet().open_session(&key, incarnation, &token, opening, takes_directives)
}

/// What a session begins with.
fn opened(fleet: &Handle, instance: &Instance, session_token: String) -> pb::SessionOpened {
    let registration = &instance.registration;
    pb::SessionOpened {
        instance: Some(instance::instance(instance)),
        session_token,
        lease_ttl: Some(convert::duration(registration.lease_ttl)),
        heartbeat_interval: Some(convert::duration(registration.heartbeat_interval())),
        boot_epoch: fleet.boot_epoch().to_owned(),
    }
}

/// Leaves, with entries where enrolments are written down.
async fn leave(
    fleet: Handle,
    call: Option<Arc<AuditedCall>>,
    key: InstanceKey,
    incarnation: u64,
    message: String,
) -> Result<Arc<Tombstone>> {
    let object = key.clone();
    let change = async move { fleet.session_leave(key, incarnation, message).await };
    let done = move |_: &Arc<Tombstone>| format!("left, incarnation {incarnation}");
    enrol(call.as_deref(), || audited::instance(&object), change, done).await
}

/// A leave that is being written.
type Leaving = Pin<Box<dyn Future<Output = Result<Arc<Tombstone>>> + Send>>;

/// The stream of answers of one session. Dropping it closes the session; the lease runs on.
pub struct SessionStream {
    held: Held,
    inbound: Streaming<pb::AttachRequest>,
    ready: VecDeque<pb::AttachResponse>,
    acknowledge: Option<u64>,
    /// None: the client takes no policies.
    ruling: Option<Box<Ruling>>,
    endings: Endings,
    leaving: Option<Leaving>,
    silence: Alarm,
    second_chance: bool,
    turns: u32,
    clock: Clock,
    /// Nothing more is taken: what was said before is still answered, and then it ends so.
    ending: Option<Ended>,
    ended: bool,
}

/// The session, closed when dropped.
#[derive(Debug)]
struct Held {
    fleet: Handle,
    session: Session,
    /// Where enrolments were written down when it began: the call that a leave belongs to.
    call: Option<Arc<AuditedCall>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.fleet.close_session(&self.session);
    }
}

impl std::fmt::Debug for SessionStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionStream")
            .field("held", &self.held)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl SessionStream {
    fn new(
        held: Held,
        opened: pb::SessionOpened,
        inbound: Streaming<pb::AttachRequest>,
        connection: &Connection,
        clock: Clock,
        mut ruling: Option<Box<Ruling>>,
    ) -> Self {
        use pb::attach_response::Message;
        let mut ready = VecDeque::from([response(Message::Opened(opened))]);
        ready.extend(ruling.as_mut().map(|ruling| response(Message::Policies(ruling.first()))));
        Self {
            inbound,
            ready,
            acknowledge: None,
            ruling,
            endings: Endings::new(connection.closing.clone()),
            leaving: None,
            silence: Alarm::after(clock, held.session.lease.ttl()),
            second_chance: true,
            turns: 0,
            clock,
            ending: None,
            ended: false,
            held,
        }
    }

    /// Takes what has come in. True: there may be more.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        for _ in 0..TURN {
            match Pin::new(&mut self.inbound).poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(Ok(message))) => self.accept(message)?,
                // Closed or broken: the client is gone, and its lease runs on.
                Poll::Ready(None) => return Err(Ended::Quietly),
                Poll::Ready(Some(Err(broken))) => {
                    return Err(parse::unreadable(broken).map_or(Ended::Quietly, Ended::With));
                }
            }
            if self.leaving.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next_ready(&mut self) -> Option<pb::AttachResponse> {
        let next = self.ready.pop_front()?;
        if self.ready.is_empty() {
            // The first message is the only one for most of a session's life, and the largest.
            self.ready = VecDeque::new();
        }
        Some(next)
    }

    fn accept(&mut self, wire: pb::AttachRequest) -> Result<(), Ended> {
        use pb::attach_request::Message;
        let pb::AttachRequest { message } = wire;
        let Held { fleet, session, call } = &self.held;
        match message {
            Some(Message::Heartbeat(pb::SessionHeartbeat { sequence })) => {
                fleet.session_heard(session);
                self.acknowledge = Some(sequence);
            }
            Some(Message::Health(wire)) => {
                let sequence = wire.sequence;
                if let Err(error) = report(fleet, session, wire) {
                    fleet.session_heard(session);
                    self.ready.push_back(refused(sequence, &error));
                }
            }
            Some(Message::Leave(pb::LeaveSession { message })) => {
                let message = parse::message(&mut Fields::default(), "leave.message", &message);
                let (key, incarnation) =
                    (session.instance.registration.key.clone(), session.instance.incarnation);
                self.leaving = Some(Box::pin(leave(fleet.clone(), call.clone(), key, incarnation, message)));
            }
            Some(Message::Open(_)) => {
                return Err(Ended::With(status(&Error::field("open", "the session is open already"))));
            }
            Some(Message::PoliciesTaken(wire)) => {
                fleet.session_heard(session);
                let now = self.clock.mono();
                if let Some(ruling) = &mut self.ruling {
                    ruling.taken(wire, now);
                }
            }
            Some(Message::Operations(wire)) => {
                fleet.session_heard(session);
                let now = self.clock.mono();
                if let Some(ruling) = &mut self.ruling {
                    ruling.reported(wire, now);
                }
            }
            Some(Message::Directive(wire)) => match parse::directive::report(wire) {
                Some((id, report)) => fleet.directive_reported(session, &id, report),
                None => {
                    fleet.session_heard(session);
                    fleet.directive_report_ignored();
                }
            },
            // A kind that this build does not know.
            None => fleet.session_heard(session),
        }
        Ok(())
    }

    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<pb::AttachResponse, Status>>> {
        let Some(leaving) = &mut self.leaving else { return Poll::Pending };
        leaving.as_mut().poll(cx).map(|left| {
            self.ended = true;
            Some(match left {
                Ok(_) => Ok(closing(pb::CloseReason::Left, "left, as asked", None)),
                Err(error) => Err(status(&error)),
            })
        })
    }

    /// Nothing more is asked of who leaves, or has closed its side.
    fn may_be_asked(&self) -> bool {
        self.leaving.is_none() && self.ending.is_none()
    }

    /// What is asked of the instance.
    fn poll_directive(&mut self, cx: &Context<'_>) -> Poll<pb::AttachResponse> {
        let Some(carrier) = &mut self.held.session.directives else { return Poll::Pending };
        let now = self.clock.mono();
        carrier.poll_next(cx, now).map(|directive| {
            let wire = convert::directive::directive(&directive, now);
            response(pb::attach_response::Message::Directive(wire))
        })
    }

    /// The last message, if the registry or the connection ends the session. While it leaves by itself,
    /// the answer to that is its last message.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Option<Result<pb::AttachResponse, Status>> {
        if self.leaving.is_some() {
            return None;
        }
        let Poll::Ready(ending) = self.endings.poll(&mut self.held.session, cx) else { return None };
        self.ended = true;
        Some(Ok(match ending {
            Ending::Registry(why) => closed(&why),
            Ending::Connection => {
                let words = "the control plane ends this connection; attach again";
                closing(pb::CloseReason::Draining, words, Some(COME_BACK))
            }
        }))
    }

    /// Whether nothing was heard for a whole lease. After a pause of our own the first look does not
    /// count: what was sent meanwhile may still be on its way to us.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        while self.silence.poll(self.clock, cx).is_ready() {
            let lease = &self.held.session.lease;
            let silent = self.clock.mono().since(lease.last_heard());
            let rest = match lease.ttl().checked_sub(silent).filter(|rest| !rest.is_zero()) {
                Some(rest) => {
                    self.second_chance = true;
                    rest
                }
                None if self.second_chance => {
                    self.second_chance = false;
                    self.held.session.instance.registration.heartbeat_interval()
                }
                None => {
                    let ttl = lease.ttl().as_secs();
                    return Poll::Ready(status(&Error::new(
                        Kind::DeadlineExceeded,
                        Reason::SessionSilent,
                        format!("nothing was heard for {ttl}s; attach again and send heartbeats"),
                    )));
                }
            };
            self.silence = Alarm::after(self.clock, rest);
        }
        Poll::Pending
    }
}

/// How a stream ends without a last message of the protocol.
enum Ended {
    Quietly,
    With(Status),
}

impl Stream for SessionStream {
    type Item = Result<pb::AttachResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(ready) = this.next_ready() {
            return Poll::Ready(Some(Ok(ready)));
        }
        // A client that never pauses must hear all the same that its session ends, and what is asked of it.
        this.turns = this.turns.wrapping_add(1);
        if this.turns.is_multiple_of(LISTEN_TURNS) {
            if let Some(last) = this.poll_end(cx) {
                return Poll::Ready(Some(last));
            }
            if this.may_be_asked()
                && let Poll::Ready(asked) = this.poll_directive(cx)
            {
                return Poll::Ready(Some(Ok(asked)));
            }
        }
        if this.leaving.is_none() && this.ending.is_none() {
            match this.take(cx) {
                Ok(false) => {}
                Ok(true) => cx.waker().wake_by_ref(),
                Err(ending) => this.ending = Some(ending),
            }
        }
        if let Some(sequence) = this.acknowledge.take() {
            let acknowledgement = pb::SessionHeartbeatAck { sequence };
            return Poll::Ready(Some(Ok(response(pb::attach_response::Message::HeartbeatAck(
                acknowledgement,
            )))));
        }
        if let Some(ready) = this.next_ready() {
            return Poll::Ready(Some(Ok(ready)));
        }
        if let Some(ending) = this.ending.take() {
            this.ended = true;
            return Poll::Ready(match ending {
                Ended::Quietly => None,
                Ended::With(status) => Some(Err(status)),
            });
        }
        if let Poll::Ready(left) = this.poll_leaving(cx) {
            return Poll::Ready(left);
        }
        if let Some(last) = this.poll_end(cx) {
            return Poll::Ready(Some(last));
        }
        if this.may_be_asked()
            && let Poll::Ready(asked) = this.poll_directive(cx)
        {
            return Poll::Ready(Some(Ok(asked)));
        }
        if let Some(ruling) = &mut this.ruling
            && let Poll::Ready(directive) = ruling.poll(cx)
        {
            return Poll::Ready(Some(Ok(response(pb::attach_response::Message::Policies(directive)))));
        }
        if let Poll::Ready(silent) = this.poll_silence(cx) {
            this.ended = true;
            return Poll::Ready(Some(Err(silent)));
        }
        Poll::Pending
    }
}

fn report(fleet: &Handle, session: &Session, wire: pb::SessionHealth) -> Result<()> {
    let pb::SessionHealth { reports, lifecycle, sequence: _ } = wire;
    let mut fields = Fields::default();
    let lifecycle = parse::report::lifecycle(&mut fields, "health.lifecycle", lifecycle);
    fields.check()?;
    let reports = parse::report::reports("health", &session.instance.registration, reports)?;
    fleet.session_report(session, reports, lifecycle)?;
    Ok(())
}

fn response(message: pb::attach_response::Message) -> pb::AttachResponse {
    pb::AttachResponse { message: Some(message) }
}

fn refused(sequence: u64, error: &Error) -> pb::AttachResponse {
    let field = error.violations().first().map(|violation| violation.field.clone()).unwrap_or_default();
    let message = error.message().to_owned();
    response(pb::attach_response::Message::ReportRefused(pb::SessionReportRefused {
        sequence,
        field,
        message,
    }))
}

fn closed(why: &Closing) -> pb::AttachResponse {
    match why {
        Closing::Superseded => {
            closing(pb::CloseReason::Superseded, "another stream took up this session", None)
        }
        Closing::StaleIncarnation => {
            closing(pb::CloseReason::StaleIncarnation, "a newer incarnation holds this id", None)
        }
        Closing::Removed(tombstone) => {
            closing(pb::CloseReason::Removed, &format!("removed: {}", why_removed(tombstone)), None)
        }
    }
}

fn closing(reason: pb::CloseReason, message: &str, retry_after: Option<Duration>) -> pb::AttachResponse {
    response(pb::attach_response::Message::Closing(pb::SessionClosing {
        reason: reason.into(),
        message: message.to_owned(),
        retry_after: retry_after.map(convert::duration),
    }))
}

#[cfg(test)]
mod tests;
