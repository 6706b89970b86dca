//! Directives, as far as a client alone can tell: what it says of them renews its lease and disturbs nothing.

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, attach_request::Message as Say, attach_response::Message as Hear,
};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    harness::{PATIENCE, TestServer},
    session::{Session, anew, message},
};

/// A session whose client takes directives.
async fn attach(server: &TestServer) -> Session {
    let (say, said) = tokio::sync::mpsc::channel(64);
    let how = Some(anew("orders", "i-1"));
    let open = pb::OpenSession { how, takes_policies: false, takes_directives: true };
    say.send(message(Say::Open(open))).await.unwrap();
    let hear = server.fleet().await.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
    Session { say, hear }.opened().await.unwrap().0
}

#[tokio::test]
async fn reports_that_nobody_waits_for_are_counted_and_the_session_goes_on() {
    let server = TestServer::start().await;
    let mut session = attach(&server).await;
    for state in [pb::DirectiveState::Done.into(), pb::DirectiveState::Unspecified.into(), 77] {
        session
            .say(Say::Directive(pb::DirectiveReport {
                directive_id: "d-1".into(),
                state,
                message: "x".repeat(100_000),
                inspections: vec![pb::Inspection::default(); 1000],
                ..pb::DirectiveReport::default()
            }))
            .await;
    }
    session.say(Say::Heartbeat(pb::SessionHeartbeat { sequence: 4 })).await;
    let Some(Hear::HeartbeatAck(ack)) = session.next().await.unwrap() else { panic!("an acknowledgement") };
    assert_eq!(ack.sequence, 4);
    let (_, metrics) = server.get("/metrics").await;
    let counted = "seaworthy_directive_reports_ignored_total 3";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    server.stop().await;
}

/// A report is a sign of life: nothing else is said.
#[tokio::test]
async fn a_report_renews_the_lease() {
    let server = TestServer::start().await;
    let session = attach(&server).await;
    let mut fleet = server.fleet().await;
    let get = pb::GetInstanceRequest { service: "orders".to_owned(), instance_id: "i-1".to_owned() };
    let mut heard = async || {
        let found = fleet.get_instance(get.clone()).await.unwrap().into_inner().instance.unwrap();
        let time = found.last_heard_time.unwrap();
        (time.seconds, time.nanos)
    };
    let opened = heard().await;
    let renewed = async {
        loop {
            session.say(Say::Directive(pb::DirectiveReport::default())).await;
            if heard().await > opened {
                return;
            }
        }
    };
    timeout(PATIENCE, renewed).await.unwrap();
    server.stop().await;
}
