//! What sessions are told of policies, flags and forced breakers, and slices of limits that instances share.

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, attach_request::Message as Say, attach_response::Message as Hear,
    fleet_service_client::FleetServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, transport::Channel};

use super::{charges, client, delete, flags, limiting, operations, put, wrong_fields};
use crate::{
    harness::{Registered, TestServer, reason, register, registration},
    session::{Session, anew, message},
};

/// Forces breakers for so many seconds.
pub(super) fn force(
    service: &str,
    instance_id: &str,
    operation: &str,
    state: pb::BreakerState,
    ttl: i64,
) -> pb::OverrideBreakerRequest {
    pb::OverrideBreakerRequest {
        service: service.to_owned(),
        instance_id: instance_id.to_owned(),
        operation: operation.to_owned(),
        state: state.into(),
        ttl: super::seconds(ttl),
        message: "the bank is down".to_owned(),
    }
}

/// Attaches an instance that takes policies.
async fn attach(fleet: &mut FleetServiceClient<Channel>, service: &str, id: &str) -> Session {
    let (say, said) = mpsc::channel(64);
    let open = Say::Open(pb::OpenSession {
        how: Some(anew(service, id)),
        takes_policies: true,
        takes_directives: false,
    });
    say.send(message(open)).await.unwrap();
    let hear = fleet.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
    Session { say, hear }.opened().await.unwrap().0
}

/// An attached instance, which has taken what it was told first.
pub(super) async fn attached(server: &TestServer, service: &str, id: &str) -> (Session, pb::PolicyDirective) {
    let mut session = attach(&mut server.fleet().await, service, id).await;
    let first = directive(&mut session).await;
    take(&mut session, first.revision).await;
    (session, first)
}

/// Says that a directive is in force, and waits until that was heard.
async fn take(session: &mut Session, revision: u64) {
    session.say(Say::PoliciesTaken(pb::PoliciesTaken { revision, problems: vec![] })).await;
    heard(session).await;
}

/// Waits until what was said was heard.
pub(super) async fn heard(session: &mut Session) {
    session.say(Say::Heartbeat(pb::SessionHeartbeat { sequence: 1 })).await;
    match session.next().await.unwrap() {
        Some(Hear::HeartbeatAck(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// The next message, which is a directive.
async fn directive(session: &mut Session) -> pb::PolicyDirective {
    match session.next().await.unwrap() {
        Some(Hear::Policies(directive)) => directive,
        other => panic!("{other:?}"),
    }
}

fn names(directive: &pb::PolicyDirective) -> Vec<&str> {
    directive.policies.iter().map(|policy| policy.name.as_str()).collect()
}

#[tokio::test]
async fn a_session_is_told_of_what_concerns_its_service_and_of_nothing_else() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let (mut session, first) = attached(&server, "orders", "i-1").await;
    assert_eq!(names(&first), ["operations"], "no policy of RPCs");
    assert!(first.flags.is_empty(), "none of the control plane's own: {:?}", first.flags);

    // Of another service, and of RPCs: the session stays quiet.
    put(&mut client, limiting("payments", operations("payments", ""), 1), None).await.unwrap();
    put(&mut client, limiting("rpcs", super::rpcs(""), 1_000_000), None).await.unwrap();
    put(&mut client, charges(100), None).await.unwrap();
    let next = directive(&mut session).await;
    assert_eq!(names(&next), ["charges", "operations"]);
    let told = &next.policies[0];
    assert_eq!((told.limits[0].amount, told.revision, told.updater.as_str()), (100, 0, ""));
    assert_eq!(told.origin(), pb::PolicyOrigin::Put);
    assert!(next.revision > first.revision);

    flags::put(&mut client, flags::switch("new-checkout"), None).await.unwrap();
    assert_eq!(directive(&mut session).await.flags.len(), 1);
    delete(&mut client, "charges", None, false).await.unwrap();
    assert_eq!(names(&directive(&mut session).await), ["operations"]);
    server.stop().await;
}

#[tokio::test]
async fn whoever_takes_no_policies_is_told_of_none() {
    let server = TestServer::start().await;
    let (mut session, _) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    put(&mut client(&server).await, charges(100), None).await.unwrap();
    heard(&mut session).await;
    server.stop().await;
}

#[tokio::test]
async fn a_breaker_is_forced_where_it_was_said_and_for_as_long() {
    use pb::BreakerState::{Closed, ForcedClosed, ForcedOpen};
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let (mut one, _) = attached(&server, "orders", "i-1").await;
    let (mut other, _) = attached(&server, "orders", "i-2").await;
    let (_elsewhere, _) = attached(&server, "payments", "i-1").await;

    let all = client.override_breaker(force("orders", "", "charge-card", ForcedOpen, 1)).await.unwrap();
    let pb::OverrideBreakerResponse { r#override: forced, instances } = all.into_inner();
    let forced = forced.unwrap();
    assert_eq!((instances, forced.state(), forced.creator.as_str()), (2, ForcedOpen, "local"));
    for session in [&mut one, &mut other] {
        let told = directive(session).await.overrides;
        assert_eq!((told[0].operation.as_str(), told[0].state()), ("charge-card", ForcedOpen));
        let ttl = told[0].ttl.unwrap();
        assert!((ttl.seconds, ttl.nanos) <= (1, 0), "{ttl:?}");
        // It ends by itself.
        assert_eq!(directive(session).await.overrides, []);
    }

    let forced = client.override_breaker(force("orders", "i-2", "refund", ForcedClosed, 60)).await.unwrap();
    assert_eq!(forced.into_inner().instances, 1);
    assert_eq!(directive(&mut one).await.overrides, [], "it is the other's");
    assert_eq!(directive(&mut other).await.overrides[0].instance_id, "i-2");
    let released = client.override_breaker(force("orders", "i-2", "refund", Closed, 60)).await.unwrap();
    assert_eq!(released.into_inner(), pb::OverrideBreakerResponse { r#override: None, instances: 1 });
    assert_eq!(directive(&mut other).await.overrides, []);
    let nobody = client.override_breaker(force("orders", "i-9", "refund", ForcedOpen, 60)).await.unwrap();
    assert_eq!(nobody.into_inner().instances, 0, "those that come later have it all the same");
    server.stop().await;
}

fn quota(who: &Registered, wants: Vec<pb::QuotaWant>) -> pb::AcquireQuotaRequest {
    let (instance, session_token) = (Some(who.instance.clone()), who.token.clone());
    pb::AcquireQuotaRequest { instance, session_token, wants }
}

fn want(policy: &str, operation: &str, demand: u64) -> pb::QuotaWant {
    let (policy, operation, demand) = (policy.to_owned(), operation.to_owned(), Some(demand));
    pb::QuotaWant { policy, limit: 0, operation, demand }
}

/// A hundred in a second, over the whole fleet.
fn shared() -> pb::Policy {
    let limit = pb::RateLimit { fleet_wide: true, ..charges(100).limits[0] };
    pb::Policy { limits: vec![limit], ..charges(100) }
}

#[tokio::test]
async fn slices_of_all_instances_together_never_exceed_the_limit() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    put(&mut client, shared(), None).await.unwrap();
    let mut fleet = server.fleet().await;
    let one = register(&mut fleet, registration("orders", "i-1")).await;
    let other = register(&mut fleet, registration("orders", "i-2")).await;
    let mut slice = async |who: &Registered, demand| {
        let request = quota(who, vec![want("charges", "charge-card", demand)]);
        let answer = client.acquire_quota(request).await.unwrap().into_inner();
        let slice = answer.slices.into_iter().next().unwrap();
        assert_eq!(slice.problem, "");
        // For long enough that none has ended before the test has.
        assert!(slice.ttl.unwrap().seconds >= 3, "{slice:?}");
        (slice.amount, slice.holders)
    };
    assert_eq!(slice(&one, 1000).await, (100.0, 1), "all of it, while nobody else asks");
    assert_eq!(slice(&other, 1000).await, (0.0, 2), "all of it is out");
    assert_eq!(slice(&one, 1000).await, (50.0, 2));
    assert_eq!(slice(&other, 1000).await, (50.0, 2));
    let mut second = 50.0;
    for (demand_of_one, demand_of_other) in [(1000, 1000), (10, 1000), (10, 1000), (1000, 10), (1000, 1000)] {
        let first = slice(&one, demand_of_one).await.0;
        assert!(first + second <= 100.000_001, "{first} and {second}");
        second = slice(&other, demand_of_other).await.0;
        assert!(first + second <= 100.000_001, "{first} and {second}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_asks_first_gets_its_part_among_all_that_are_attached() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    put(&mut client, shared(), None).await.unwrap();
    let _three = [
        attached(&server, "orders", "a-1").await,
        attached(&server, "orders", "a-2").await,
        attached(&server, "orders", "a-3").await,
    ];
    let _elsewhere = attached(&server, "payments", "a-1").await;
    let one = register(&mut server.fleet().await, registration("orders", "i-1")).await;
    let request = quota(&one, vec![want("charges", "charge-card", 1000)]);
    let slices = client.acquire_quota(request).await.unwrap().into_inner().slices;
    assert!((slices[0].amount - 100.0 / 3.0).abs() < 1e-6, "{slices:?}");
    server.stop().await;
}

#[tokio::test]
async fn slices_are_for_the_incarnation_that_proves_itself_and_of_limits_that_are_shared() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    put(&mut client, shared(), None).await.unwrap();
    put(&mut client, limiting("alone", operations("orders", ""), 1), None).await.unwrap();
    let mut fleet = server.fleet().await;
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let stranger = register(&mut fleet, registration("payments", "i-1")).await;

    let mut beyond = want("charges", "charge-card", 1);
    beyond.limit = 7;
    let wants = vec![
        want("charges", "charge-card", 1),
        want("charges", "refund", 1),
        want("alone", "charge-card", 1),
        want("nothing", "charge-card", 1),
        beyond,
    ];
    let slices = client.acquire_quota(quota(&who, wants.clone())).await.unwrap().into_inner().slices;
    let is_given =
        |slices: &[pb::QuotaSlice]| slices.iter().map(|it| it.problem.is_empty()).collect::<Vec<_>>();
    assert_eq!(is_given(&slices), [true, false, false, false, false], "{slices:?}");
    let slices = client.acquire_quota(quota(&stranger, wants.clone())).await.unwrap().into_inner().slices;
    assert_eq!(is_given(&slices), [false; 5], "{slices:?}");

    let with = |incarnation, token: &str| Registered {
        instance: pb::InstanceRef { incarnation, ..who.instance.clone() },
        token: token.to_owned(),
    };
    let nobody = Registered {
        instance: pb::InstanceRef { instance_id: "i-9".into(), ..who.instance.clone() },
        token: who.token.clone(),
    };
    for (who, code, why) in [
        (with(1, "sws_wrong"), Code::Unauthenticated, "SESSION_TOKEN_INVALID"),
        (with(2, &who.token), Code::FailedPrecondition, "STALE_INCARNATION"),
        (nobody, Code::NotFound, "INSTANCE_NOT_FOUND"),
    ] {
        let refused = client.acquire_quota(quota(&who, wants.clone())).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (code, why));
    }
    let wrong = client.acquire_quota(pb::AcquireQuotaRequest::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&wrong), ["instance", "session_token", "wants"]);
    server.stop().await;
}
