//! `Attach`: the session of an instance.

use std::time::Duration;

use prost::Message as _;
use seaworthy_client::proto::{
    grpc::health::v1::health_check_response::ServingStatus,
    seaworthy::v1::{
        self as pb, attach_request::Message as Say, attach_response::Message as Hear,
        fleet_service_client::FleetServiceClient, open_session::How,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, codec::CompressionEncoding::Gzip, transport::Channel};

use crate::harness::{PATIENCE, Registered, TestServer, heartbeat, reason, register, registration};

/// Both ends of a session's stream.
pub(crate) struct Session {
    pub(crate) say: mpsc::Sender<pb::AttachRequest>,
    pub(crate) hear: Streaming<pb::AttachResponse>,
}

impl Session {
    pub(crate) async fn open(server: &TestServer, how: How) -> Result<(Self, pb::SessionOpened), Status> {
        Self::open_by(server.fleet().await, how).await
    }

    async fn open_by(
        mut fleet: FleetServiceClient<Channel>,
        how: How,
    ) -> Result<(Self, pb::SessionOpened), Status> {
        let (say, said) = mpsc::channel(64);
        say.send(message(open(Some(how)))).await.unwrap();
        let hear = fleet.attach(ReceiverStream::new(said)).await?.into_inner();
        Self { say, hear }.opened().await
    }

    /// Takes the first message.
    pub(crate) async fn opened(mut self) -> Result<(Self, pb::SessionOpened), Status> {
        match self.next().await? {
            Some(Hear::Opened(opened)) => Ok((self, opened)),
            other => panic!("opened is the first message, not {other:?}"),
        }
    }

    pub(crate) async fn say(&self, what: Say) {
        self.say.send(message(what)).await.unwrap();
    }

    /// The next message; None at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Hear>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.hear.message()).await.expect("in time")?;
        Ok(next.map(|response| response.message.expect("a kind that we know")))
    }
}

pub(crate) fn message(what: Say) -> pb::AttachRequest {
    pb::AttachRequest { message: Some(what) }
}

fn open(how: Option<How>) -> Say {
    Say::Open(pb::OpenSession { how, takes_policies: false, takes_directives: false })
}

pub(crate) fn anew(service: &str, id: &str) -> How {
    How::Register(pb::RegisterRequest {
        registration: Some(registration(service, id)),
        ..pb::RegisterRequest::default()
    })
}

fn resume(who: &Registered) -> How {
    How::Resume(pb::ResumeSession { instance: Some(who.instance.clone()), session_token: who.token.clone() })
}

/// By a client that packs what it says, and takes what is packed.
#[tokio::test]
async fn what_is_packed_is_read_on_streams_too() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await.send_compressed(Gzip).accept_compressed(Gzip);
    let (mut session, _) = Session::open_by(fleet.clone(), anew("orders", "i-1")).await.unwrap();
    for sequence in 1..10 {
        session.say(Say::Heartbeat(pb::SessionHeartbeat { sequence })).await;
        let Some(Hear::HeartbeatAck(ack)) = session.next().await.unwrap() else { panic!("acknowledged") };
        assert_eq!(ack.sequence, sequence);
    }
    let watch = pb::WatchFleetRequest { service: "orders".into(), ..pb::WatchFleetRequest::default() };
    let mut watch = fleet.watch_fleet(watch).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    server.stop().await;
}

#[tokio::test]
async fn a_session_registers_reports_and_leaves() {
    let server = TestServer::start().await;
    let (mut session, opened) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    assert!(opened.session_token.starts_with("sws_"));
    assert_eq!(opened.heartbeat_interval.unwrap().seconds, 5);
    assert!(opened.instance.unwrap().attached);

    session.say(Say::Heartbeat(pb::SessionHeartbeat { sequence: 1 })).await;
    let Some(Hear::HeartbeatAck(ack)) = session.next().await.unwrap() else { panic!("an acknowledgement") };
    assert_eq!(ack.sequence, 1);

    let report = |component: &str| pb::SessionHealth {
        reports: vec![pb::ComponentReport {
            component: component.into(),
            state: pb::HealthState::Healthy.into(),
            ..pb::ComponentReport::default()
        }],
        lifecycle: 0,
        sequence: 7,
    };
    session.say(Say::Health(report("cache"))).await;
    let Some(Hear::ReportRefused(refused)) = session.next().await.unwrap() else { panic!("a refusal") };
    assert_eq!((refused.sequence, refused.field.as_str()), (7, "health.reports[0].component"));
    session.say(Say::Health(report("database"))).await;
    server.until("orders/i-1", ServingStatus::Serving).await;

    session.say(Say::Leave(pb::LeaveSession { message: "deploy".into() })).await;
    let Some(Hear::Closing(closing)) = session.next().await.unwrap() else { panic!("a last message") };
    assert_eq!(closing.reason(), pb::CloseReason::Left);
    assert_eq!(session.next().await.unwrap(), None);
    let gone = server.check("orders/i-1").await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    server.stop().await;
}

/// Closing one's side says that nothing more comes, not that nothing is listened to any more.
#[tokio::test]
async fn who_closes_its_side_hears_the_answers_to_what_it_said() {
    let server = TestServer::start().await;
    let undeclared = pb::SessionHealth {
        reports: vec![pb::ComponentReport {
            component: "cache".into(),
            state: pb::HealthState::Healthy.into(),
            ..pb::ComponentReport::default()
        }],
        lifecycle: 0,
        sequence: 7,
    };
    let first = || open(Some(anew("orders", "i-1")));
    let said = [
        first(),
        Say::Health(undeclared.clone()),
        Say::Heartbeat(pb::SessionHeartbeat { sequence: 1 }),
        Say::Health(undeclared.clone()),
    ];
    let hear = server.fleet().await.attach(tokio_stream::iter(said.map(message))).await.unwrap();
    let mut session = Session { say: mpsc::channel(1).0, hear: hear.into_inner() };
    let (mut refused, mut acknowledged) = (0, 0);
    while let Some(heard) = session.next().await.expect("the stream ends with OK") {
        match heard {
            Hear::ReportRefused(report) => refused += report.sequence,
            Hear::HeartbeatAck(ack) => acknowledged += ack.sequence,
            Hear::Opened(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((refused, acknowledged), (14, 1));

    // The same where it is we who end it.
    let said = [
        open(Some(anew("orders", "i-2"))),
        Say::Heartbeat(pb::SessionHeartbeat { sequence: 3 }),
        Say::Health(undeclared),
        first(),
    ];
    let hear = server.fleet().await.attach(tokio_stream::iter(said.map(message))).await.unwrap();
    let mut session = Session { say: mpsc::channel(1).0, hear: hear.into_inner() };
    let mut heard = Vec::new();
    let ended = loop {
        match session.next().await {
            Ok(next) => heard.push(next.expect("it ends with a status")),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::InvalidArgument);
    assert!(heard.iter().any(|heard| matches!(heard, Hear::HeartbeatAck(_))), "{heard:?}");
    assert!(heard.iter().any(|heard| matches!(heard, Hear::ReportRefused(_))), "{heard:?}");
    server.stop().await;
}

#[tokio::test]
async fn many_heartbeats_are_acknowledged_cumulatively() {
    let server = TestServer::start().await;
    let (mut session, _) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    let last = 5_000;
    let say = session.say.clone();
    let talking = tokio::spawn(async move {
        for sequence in 1..=last {
            say.send(message(Say::Heartbeat(pb::SessionHeartbeat { sequence }))).await.unwrap();
        }
    });
    let (mut heard, mut answers) = (0, 0);
    while heard < last {
        let Some(Hear::HeartbeatAck(ack)) = session.next().await.unwrap() else {
            panic!("acknowledgements only")
        };
        assert!(ack.sequence > heard, "acknowledgements go forward");
        heard = ack.sequence;
        answers += 1;
    }
    assert!(answers <= last);
    talking.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_session_is_taken_up_by_its_token_and_the_older_stream_is_told() {
    let server = TestServer::start().await;
    let who = register(&mut server.fleet().await, registration("orders", "i-1")).await;
    let (mut first, _) = Session::open(&server, resume(&who)).await.unwrap();
    let (second, opened) = Session::open(&server, resume(&who)).await.unwrap();
    assert_eq!(opened.instance.unwrap().incarnation, 1);
    assert!(opened.session_token.is_empty());
    let Some(Hear::Closing(closing)) = first.next().await.unwrap() else { panic!("a last message") };
    assert_eq!(closing.reason(), pb::CloseReason::Superseded);

    // A lost stream is no loss of the instance: its lease runs on.
    drop(second);
    assert_eq!(heartbeat(&mut server.fleet().await, &who).await.outcome(), pb::HeartbeatOutcome::Renewed);

    let wrong = Registered { token: "sws_wrong".into(), ..who };
    let Err(refused) = Session::open(&server, resume(&wrong)).await else { panic!("a wrong token") };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_TOKEN_INVALID"));
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_its_instance_is_removed_or_replaced() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let (mut session, _) = Session::open(&server, resume(&who)).await.unwrap();
    let mut takeover = pb::RegisterRequest {
        registration: Some(registration("orders", "i-1")),
        ..pb::RegisterRequest::default()
    };
    takeover.session_token = who.token.clone();
    let next = fleet.register(takeover).await.unwrap().into_inner();
    let Some(Hear::Closing(closing)) = session.next().await.unwrap() else { panic!("a last message") };
    assert_eq!(closing.reason(), pb::CloseReason::StaleIncarnation);

    let who = Registered {
        instance: pb::InstanceRef { incarnation: 2, ..who.instance },
        token: next.session_token,
    };
    let (mut session, _) = Session::open(&server, resume(&who)).await.unwrap();
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        message: "broken".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    fleet.remove_instance(remove).await.unwrap();
    let Some(Hear::Closing(closing)) = session.next().await.unwrap() else { panic!("a last message") };
    assert_eq!(closing.reason(), pb::CloseReason::Removed);
    assert!(closing.message.contains("broken"), "{}", closing.message);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_session_is_ended() {
    let server = TestServer::start().await;
    let mut short = registration("orders", "i-1");
    short.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    let how =
        How::Register(pb::RegisterRequest { registration: Some(short), ..pb::RegisterRequest::default() });
    let (mut session, _) = Session::open(&server, how).await.unwrap();
    let ended = session.next().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::DeadlineExceeded, "SESSION_SILENT"));
    server.stop().await;
}

#[tokio::test]
async fn the_first_message_opens_and_only_the_first() {
    let server = TestServer::start().await;
    for (first, field) in [
        (Say::Heartbeat(pb::SessionHeartbeat { sequence: 1 }), "open:"),
        (open(None), "open.how:"),
        (open(Some(How::Resume(pb::ResumeSession::default()))), "open.resume.instance:"),
        (open(Some(anew("Orders", "i-1"))), "open.register.registration.service:"),
    ] {
        let refused = server.fleet().await.attach(tokio_stream::iter([message(first)])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{} does not name {field}", refused.message());
    }
    let (mut session, _) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    session.say(open(Some(anew("orders", "i-2")))).await;
    assert_eq!(session.next().await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

/// Directives join the session later: a message of a kind that this build does not know must renew the
/// lease and disturb nothing.
#[tokio::test]
async fn a_kind_of_message_from_the_future_is_ignored() {
    // Field 42 of AttachRequest and AttachResponse, a message with one byte in it.
    let unknown: &[u8] = &[0xd2, 0x02, 0x01, 0x08];
    assert_eq!(pb::AttachRequest::decode(unknown).unwrap().message, None);
    assert_eq!(pb::AttachResponse::decode(unknown).unwrap().message, None);

    let server = TestServer::start().await;
    let (mut session, _) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    session.say.send(pb::AttachRequest { message: None }).await.unwrap();
    session.say(Say::Heartbeat(pb::SessionHeartbeat { sequence: 9 })).await;
    let Some(Hear::HeartbeatAck(ack)) = session.next().await.unwrap() else { panic!("an acknowledgement") };
    assert_eq!(ack.sequence, 9);
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_told_when_the_server_stops() {
    let server = TestServer::start().await;
    let (mut session, _) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    server.stopper().ask("test");
    let Some(Hear::Closing(closing)) = session.next().await.unwrap() else { panic!("a last message") };
    assert_eq!(closing.reason(), pb::CloseReason::Draining);
    assert!(closing.retry_after.is_some());
    let report = tokio::time::timeout(Duration::from_secs(10), server.ended()).await.expect("ends at once");
    assert_eq!((report.connections_cut, report.requests_cut), (0, 0), "{report:?}");
}

/// A client that never pauses must hear that its session ends all the same.
#[tokio::test]
async fn a_busy_session_hears_that_it_ends() {
    let server = TestServer::start().await;
    let (mut session, _) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    let say = session.say.clone();
    let talking = tokio::spawn(async move {
        for sequence in 1.. {
            if say.send(message(Say::Heartbeat(pb::SessionHeartbeat { sequence }))).await.is_err() {
                return;
            }
        }
    });
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    server.fleet().await.remove_instance(remove).await.unwrap();
    let closing = async {
        loop {
            match session.next().await.unwrap() {
                Some(Hear::HeartbeatAck(_)) => {}
                Some(Hear::Closing(closing)) => return closing,
                other => panic!("{other:?}"),
            }
        }
    };
    let closing = tokio::time::timeout(PATIENCE, closing).await.expect("it is told");
    assert_eq!(closing.reason(), pb::CloseReason::Removed);
    drop(session);
    talking.abort();
    server.stop().await;
}
