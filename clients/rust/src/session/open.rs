//! Opens a session: connects, says `open`, waits for `opened`; and takes a registration back without a
//! session. Every wait here has a deadline.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use super::{
    QUEUE, Session, ending,
    plan::{End, Opening, Registered, Why},
    quota,
    reports::Reports,
    say,
    timing::Timing,
};
use crate::{
    LeaveOutcome, Lifecycle,
    directives::Directives,
    proto::seaworthy::v1::{
        self as wire, AttachResponse, DeregisterRequest, InstanceRef, OpenSession, RegisterRequest,
        Registration, ResumeSession, SessionOpened, attach_request::Message as Say,
        attach_response::Message as Heard, fleet_service_client::FleetServiceClient, open_session::How,
    },
    rt,
    ruled::Ruled,
    transport::{Connection, Transport},
};

/// How long connecting and opening may take together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest message of a leave, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Opens a session.
///
/// # Errors
/// Why it did not open, and what follows from it.
pub(crate) async fn open(
    transport: &Transport,
    registration: &Registration,
    opening: &Opening,
    lifecycle: Lifecycle,
    ruled: &Ruled,
    directives: &Directives,
) -> Result<Session, End> {
    let attached = attach(transport, registration, opening, lifecycle, ruled, directives);
    let opened = timeout(OPEN_TIMEOUT, attached);
    opened.await.unwrap_or_else(|_| {
        Err(End::broken(format!("the control plane did not open a session within {OPEN_TIMEOUT:?}")))
    })
}

async fn attach(
    transport: &Transport,
    registration: &Registration,
    opening: &Opening,
    lifecycle: Lifecycle,
    ruled: &Ruled,
    directives: &Directives,
) -> Result<Session, End> {
    let connection = connect(transport).await?;
    let trouble = connection.trouble().clone();
    let mut client = FleetServiceClient::new(connection.channel());
    let (requests, queue) = mpsc::channel(QUEUE);
    let how = how(registration, opening, lifecycle);
    // The queue is empty and ours: there is room.
    requests
        .try_send(say(Say::Open(OpenSession {
            how: Some(how),
            takes_policies: true,
            takes_directives: true,
        })))
        .map_err(|_| End::broken("no room"))?;
    let answered = client.attach(ReceiverStream::new(queue)).await;
    let mut inbound = answered.map_err(|status| ending::over(&status, &trouble))?.into_inner();
    let opened = loop {
        match inbound.message().await.map_err(|status| ending::over(&status, &trouble))? {
            Some(AttachResponse { message: Some(Heard::Opened(opened)) }) => break opened,
            Some(AttachResponse { message: Some(Heard::Closing(closing)) }) => {
                let left = || End::broken("the control plane closed the session before it was open");
                return Err(ending::of_closing(&closing).unwrap_or_else(left));
            }
            Some(AttachResponse { message: Some(_) }) => {
                return Err(End::broken("the control plane spoke before the session was open"));
            }
            Some(AttachResponse { message: None }) => {}
            None => return Err(End::broken("the control plane ended the session before it was open")),
        }
    };
    let SessionOpened { instance, session_token, lease_ttl, heartbeat_interval, boot_epoch: _ } = opened;
    let instance = instance.unwrap_or_default();
    if let Some(taken) = &instance.registration {
        for component in unchecked(registration, taken) {
            warn!(
                component,
                "the control plane is older than active checks: nobody finds out how this component is"
            );
        }
    }
    let (incarnation, token) = match opening {
        Opening::Resume(registered) => (registered.incarnation, None),
        Opening::Register { .. } if session_token.is_empty() => {
            return Err(End::broken("the control plane opened a session without a token"));
        }
        Opening::Register { .. } => (instance.incarnation, Some(session_token)),
    };
    let current = token.clone().unwrap_or_else(|| match opening {
        Opening::Resume(registered) => registered.token.clone(),
        Opening::Register { .. } => String::new(),
    });
    let named = instance_ref(registration, incarnation);
    let rules = ruled.operations.rules().clone();
    let quota = rt::spawn(quota::keep(connection.channel(), named, current, rules));
    Ok(Session {
        requests,
        inbound,
        incarnation,
        token,
        timing: Timing::within_reason(lease_ttl, heartbeat_interval),
        heartbeats: 0,
        acknowledged: 0,
        acknowledged_at: rt::now(),
        sent_revisions: Vec::new(),
        sent_lifecycle: known_lifecycle(instance.lifecycle()),
        health_messages: 0,
        last_refusal: None,
        trouble,
        ruled: ruled.clone(),
        taken: None,
        reports: Reports::begin(),
        directives: directives.clone(),
        mouth: directives.attached(incarnation),
        unsaid_at: None,
        _quota: quota,
    })
}

/// Components whose active check the control plane did not take over, because it knows of none.
fn unchecked<'a>(wanted: &'a Registration, taken: &Registration) -> Vec<&'a str> {
    let is_taken = |name: &str| taken.components.iter().any(|it| it.name == name && it.check.is_some());
    let wanted = wanted.components.iter().filter(|wanted| wanted.check.is_some());
    wanted.map(|wanted| wanted.name.as_str()).filter(|name| !is_taken(name)).collect()
}

/// Takes a registration back by a call of its own. `None`: the control plane could not be asked, or could
/// not say; asking again may help. Bounded by the caller.
pub(crate) async fn deregister(
    transport: &Transport,
    registration: &Registration,
    registered: &Registered,
    message: &str,
) -> Option<LeaveOutcome> {
    let mut client = FleetServiceClient::new(connect(transport).await.ok()?.channel());
    let request = DeregisterRequest {
        instance: Some(instance_ref(registration, registered.incarnation)),
        session_token: registered.token.clone(),
        message: cut_message(message),
    };
    match client.deregister(request).await {
        Ok(_) => Some(LeaveOutcome::Deregistered),
        Err(status) => match ending::of_status(&status).why {
            Why::Gone | Why::Removed | Why::Superseded => Some(LeaveOutcome::NotRegistered),
            Why::Held | Why::Refused | Why::Unproven => Some(LeaveOutcome::Unconfirmed),
            Why::Broken | Why::Busy | Why::Unreachable => None,
        },
    }
}

/// The message of a leave, cut to what the control plane takes.
pub(super) fn cut_message(message: &str) -> String {
    message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)].to_owned()
}

async fn connect(transport: &Transport) -> Result<Connection, End> {
    transport.connect().await.map_err(|error| {
        let (uri, cause) = (transport.endpoint().uri(), error.cause());
        let message = format!("cannot reach the control plane at {uri}: {cause}");
        End { why: Why::Unreachable, message, retry_after: None }
    })
}

fn how(registration: &Registration, opening: &Opening, lifecycle: Lifecycle) -> How {
    match opening {
        Opening::Register { request_id, last } => How::Register(RegisterRequest {
            registration: Some(Registration {
                lifecycle: first_lifecycle(lifecycle).into(),
                ..registration.clone()
            }),
            session_token: last.as_ref().map(|last| last.token.clone()).unwrap_or_default(),
            request_id: request_id.clone(),
        }),
        Opening::Resume(Registered { incarnation, token }) => How::Resume(ResumeSession {
            instance: Some(instance_ref(registration, *incarnation)),
            session_token: token.clone(),
        }),
    }
}

/// Only STARTING and READY can be registered. What is leaving begins as STARTING and then says so: it
/// must not come back into service discovery, be it for a moment.
fn first_lifecycle(lifecycle: Lifecycle) -> wire::Lifecycle {
    match lifecycle {
        Lifecycle::Ready => wire::Lifecycle::Ready,
        _ => wire::Lifecycle::Starting,
    }
}

/// What the control plane believes. `None`: something that we cannot have said, so it is said again.
fn known_lifecycle(believed: wire::Lifecycle) -> Option<Lifecycle> {
    match believed {
        wire::Lifecycle::Starting => Some(Lifecycle::Starting),
        wire::Lifecycle::Ready => Some(Lifecycle::Ready),
        wire::Lifecycle::LameDuck => Some(Lifecycle::LameDuck),
        wire::Lifecycle::Draining => Some(Lifecycle::Draining),
        wire::Lifecycle::Stopping => Some(Lifecycle::Stopping),
        wire::Lifecycle::Failed => Some(Lifecycle::Failed),
        wire::Lifecycle::Unspecified | wire::Lifecycle::Stopped | wire::Lifecycle::Lost => None,
    }
}

fn instance_ref(registration: &Registration, incarnation: u64) -> InstanceRef {
    let Registration { service, instance_id, .. } = registration;
    InstanceRef { service: service.clone(), instance_id: instance_id.clone(), incarnation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::seaworthy::v1::{ActiveCheck, Component};

    #[test]
    fn a_check_that_was_not_taken_over_is_noticed() {
        let component =
            |name: &str, check| Component { name: name.to_owned(), check, ..Component::default() };
        let of = |components| Registration { components, ..Registration::default() };
        let check = || Some(ActiveCheck::default());
        let wanted = of(vec![component("api", check()), component("database", None)]);
        assert!(unchecked(&wanted, &wanted).is_empty());
        let older = of(vec![component("api", None), component("database", None)]);
        assert_eq!(unchecked(&wanted, &older), ["api"]);
    }
}
