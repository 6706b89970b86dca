//! Directives on a session's stream, with a real fleet behind it and messages as they are on the wire.

use std::net::Ipv4Addr;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Codec as _;

use super::*;
use crate::{
    api::codec::SmallBuffers,
    fleet::{
        self, Claim, Limits,
        directive::{Ask, Directive, DirectiveId, Inspection, Report, Restore, State, Ticket},
        directives::{Ended, Sent},
        lifecycle::Lifecycle,
        loading::Progress,
        names::{ComponentName, InstanceId, ServiceName},
        pairs::Pairs,
        registration::Registration,
    },
    guard::{proof::Proof, subscriptions::Subscriptions},
    id::{Entropy, SessionToken},
    store::embedded,
    task::{OnEnd, Task, drain, local::Spawner, spawn},
};

const TTL: Duration = Duration::from_secs(15);

/// A fleet with one instance.
struct Plane {
    fleet: Handle,
    clock: Clock,
    key: InstanceKey,
    token: SessionToken,
    incarnation: u64,
    _kept: (tempfile::TempDir, embedded::Engine, drain::Signal, Task<bool>, watch::Sender<bool>),
    connection: Connection,
}

impl Plane {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Clock::start(), Entropy::seeded(7));
        let (store, engine) = embedded::open(embedded::Options::new(dir.path(), clock)).unwrap();
        let limits = Limits {
            max_instances: 10,
            max_services: 10,
            change_history: 100,
            lost_removal: TTL,
            tombstone_retention: TTL,
        };
        let options = fleet::Options { limits };
        let (fleet, service) =
            fleet::open(options, clock, entropy, store, &Progress::default()).await.unwrap();
        let (signal, watched) = drain::channel();
        let running = spawn("fleet", OnEnd::Fine, service.run(watched));
        let key = InstanceKey {
            service: ServiceName::parse("orders").unwrap(),
            id: InstanceId::parse("i-1").unwrap(),
        };
        let registration = Registration {
            key: key.clone(),
            version: String::new(),
            zone: String::new(),
            address: String::new(),
            labels: Pairs::default(),
            components: [].into(),
            declared_spec: None,
            lease_ttl: TTL,
            lifecycle: Lifecycle::Ready,
        };
        let (instance, token) = fleet.register(registration, Claim::default(), "test").await.unwrap();
        let (close, closing) = watch::channel(false);
        let connection = Connection {
            peer: (Ipv4Addr::LOCALHOST, 1).into(),
            certificate: None,
            proof: Proof::new(),
            closing,
            subscriptions: Subscriptions::new(Spawner::default()),
        };
        let incarnation = instance.incarnation;
        let kept = (dir, engine, signal, running, close);
        Self { fleet, clock, key, token, incarnation, _kept: kept, connection }
    }

    /// A session of the instance; `opened` was heard.
    async fn attach(&self) -> Stream {
        let (say, said) = mpsc::channel(16);
        let body =
            StreamBody::new(ReceiverStream::new(said).map(|piece| Ok::<_, Status>(Frame::data(piece))));
        let decoder = SmallBuffers::<pb::AttachResponse, pb::AttachRequest>::default().decoder();
        let inbound = Streaming::new_request(decoder, body, None, None);
        let token = self.token.hash();
        let (session, instance) =
            self.fleet.open_session(&self.key, self.incarnation, &token, Opening::Resumed, true).unwrap();
        let held = Held { fleet: self.fleet.clone(), session, call: None };
        let opened = opened(&self.fleet, &instance, String::new());
        let stream = SessionStream::new(held, opened, inbound, &self.connection, self.clock, None);
        let mut stream = Stream { say, stream: Box::pin(stream) };
        assert!(matches!(stream.next().await, pb::attach_response::Message::Opened(_)));
        stream
    }

    fn send(&self, id: &str, ask: Ask) -> Sent {
        let asks = self.fleet.directives();
        let directive = Directive {
            id: DirectiveId::of(id),
            operation_id: "b-1".into(),
            generation: 2,
            not_after: asks.now() + Duration::from_secs(30),
            ask,
        };
        asks.send(&self.key, self.incarnation, directive).unwrap()
    }
}

/// The client's side of a session.
struct Stream {
    say: mpsc::Sender<Bytes>,
    stream: Pin<Box<SessionStream>>,
}

impl Stream {
    async fn next(&mut self) -> pb::attach_response::Message {
        let next = timeout(TTL, self.stream.next()).await.expect("in time").expect("it goes on");
        next.expect("no refusal").message.expect("a kind")
    }

    async fn directive(&mut self) -> pb::Directive {
        match self.next().await {
            pb::attach_response::Message::Directive(directive) => directive,
            other => panic!("a directive, not {other:?}"),
        }
    }

    async fn say(&mut self, message: pb::attach_request::Message) {
        let wire = pb::AttachRequest { message: Some(message) }.encode_to_vec();
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(wire.len()).unwrap());
        framed.put_slice(&wire);
        self.say.send(framed.freeze()).await.unwrap();
    }

    /// Says it, and waits until it was taken.
    async fn report(&mut self, report: pb::DirectiveReport) {
        self.say(pb::attach_request::Message::Directive(report)).await;
        self.say(pb::attach_request::Message::Heartbeat(pb::SessionHeartbeat { sequence: 1 })).await;
        assert!(matches!(self.next().await, pb::attach_response::Message::HeartbeatAck(_)));
    }
}

fn said(id: &str, state: pb::DirectiveState) -> pb::DirectiveReport {
    pb::DirectiveReport { directive_id: id.into(), state: state.into(), ..pb::DirectiveReport::default() }
}

fn component(name: &str) -> ComponentName {
    ComponentName::parse(name).unwrap()
}

#[tokio::test]
async fn a_directive_goes_to_the_instance_and_its_report_comes_back() {
    let plane = Plane::start().await;
    let mut session = plane.attach().await;
    let mut sent = plane.send("d-1", Ask::Inspect { components: vec![component("database")] });
    let directive = session.directive().await;
    assert_eq!((directive.id.as_str(), directive.operation_id.as_str()), ("d-1", "b-1"));
    assert_eq!(directive.generation, 2);
    let valid_for = Duration::try_from(directive.valid_for.unwrap()).unwrap();
    assert!(valid_for > TTL && valid_for <= 2 * TTL, "{valid_for:?}");
    session.report(said("d-1", pb::DirectiveState::Started)).await;
    assert_eq!(sent.report().unwrap().state, State::Started);
    let report = pb::DirectiveReport {
        inspections: vec![pb::Inspection {
            component: "database".into(),
            empty: false,
            bytes: 42,
            schema_version: 3,
        }],
        ..said("d-1", pb::DirectiveState::Done)
    };
    session.report(report).await;
    let there = Inspection { component: component("database"), empty: false, bytes: 42, schema_version: 3 };
    let Ended::Done(Report { inspections, .. }) = sent.ended().await else { panic!("done") };
    assert_eq!(inspections, [there]);
    // Neither what nobody waits for nor what nobody understands disturbs it.
    session.report(said("d-1", pb::DirectiveState::Done)).await;
    session.report(said("d-1", pb::DirectiveState::Unspecified)).await;
    assert_eq!(plane.fleet.counters().ignored_reports, 2);
}

#[tokio::test]
async fn a_directive_is_sent_again_on_the_next_stream_and_its_cancel_after_it() {
    let plane = Plane::start().await;
    let mut first = plane.attach().await;
    let sent = plane.send("d-1", Ask::Resume { hold_id: "h-1".into() });
    assert_eq!(first.directive().await.id, "d-1");
    drop(first);
    let mut second = plane.attach().await;
    assert_eq!(second.directive().await.id, "d-1");
    drop(sent);
    let Some(pb::directive::Ask::Cancel(cancel)) = second.directive().await.ask else { panic!("a cancel") };
    assert_eq!(cancel.directive_id, "d-1");
}

#[tokio::test]
async fn a_client_that_never_pauses_is_asked_all_the_same() {
    let plane = Plane::start().await;
    let mut session = plane.attach().await;
    let mut sequence = 0;
    let _sent = plane.send("d-1", Ask::Resume { hold_id: "h-1".into() });
    let asked = loop {
        sequence += 1;
        let beat = pb::attach_request::Message::Heartbeat(pb::SessionHeartbeat { sequence });
        session.say(beat).await;
        match session.next().await {
            pb::attach_response::Message::HeartbeatAck(_) => assert!(sequence < 100),
            pb::attach_response::Message::Directive(asked) => break asked,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked.id, "d-1");
}

/// Everything that can be asked, as it is on the wire.
#[tokio::test]
async fn what_is_asked_is_what_is_heard() {
    let plane = Plane::start().await;
    let mut session = plane.attach().await;
    let ticket = || Ticket::of("swk_1");
    let restore = Restore {
        component: component("database"),
        ticket: ticket(),
        backup_id: "b-7".into(),
        source_component: "db".into(),
        length: 5,
        evidence: [("rows".to_owned(), "12".to_owned())].into(),
        verify: true,
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (ask, wire) in [
        (
            Ask::Capture { component: component("database"), ticket: ticket() },
            pb::directive::Ask::Capture(pb::CaptureDirective {
                component: "database".into(),
                ticket: "swk_1".into(),
            }),
        ),
        (
            Ask::Restore(restore),
            pb::directive::Ask::Restore(pb::RestoreDirective {
                component: "database".into(),
                ticket: "swk_1".into(),
                backup_id: "b-7".into(),
                source_component: "db".into(),
                length: 5,
                evidence: [("rows".to_owned(), "12".to_owned())].into(),
                verify: true,
            }),
        ),
        (
            Ask::Quiesce {
                components: vec![component("database"), component("files")],
                hold_id: "h-1".into(),
                lease: TTL,
            },
            pb::directive::Ask::Quiesce(pb::QuiesceDirective {
                components: vec!["database".into(), "files".into()],
                hold_id: "h-1".into(),
                lease: seconds(15),
            }),
        ),
        (
            Ask::Cancel { directive: DirectiveId::of("d-0") },
            pb::directive::Ask::Cancel(pb::CancelDirective { directive_id: "d-0".into() }),
        ),
    ] {
        let _sent = plane.send("d-1", ask);
        assert_eq!(session.directive().await.ask, Some(wire));
        session.report(said("d-1", pb::DirectiveState::Done)).await;
    }
}
