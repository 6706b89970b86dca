//! Registration, leases, incarnations, removal, specifications.

use std::time::Duration;

use seaworthy_client::proto::seaworthy::v1 as pb;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{TestServer, heartbeat, reason, register, registration};

fn request(registration: pb::Registration) -> pb::RegisterRequest {
    pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() }
}

#[tokio::test]
async fn an_id_belongs_to_the_living() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let first = register(&mut fleet, registration("orders", "i-1")).await;
    assert_eq!(first.instance.incarnation, 1);

    let refused = fleet.register(request(registration("orders", "i-1"))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "INSTANCE_ALIVE"));

    // Its own token lets it take over, as a new incarnation whose predecessor is refused.
    let mut again = request(registration("orders", "i-1"));
    again.session_token = first.token.clone();
    let second = fleet.register(again).await.unwrap().into_inner();
    assert_eq!(second.instance.unwrap().incarnation, 2);
    let late = heartbeat(&mut fleet, &first).await;
    assert_eq!(late.outcome(), pb::HeartbeatOutcome::StaleIncarnation, "{}", late.message);
    let late = fleet
        .deregister(pb::DeregisterRequest {
            instance: Some(first.instance.clone()),
            session_token: first.token.clone(),
            message: String::new(),
        })
        .await
        .unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "STALE_INCARNATION"));
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_attempt_takes_over_what_the_first_one_registered() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let mut attempt = request(registration("orders", "i-1"));
    attempt.request_id = "6f1c".to_owned();
    let lost = fleet.register(attempt.clone()).await.unwrap().into_inner();
    let kept = fleet.register(attempt).await.unwrap().into_inner();
    assert_ne!(lost.session_token, kept.session_token);
    assert_eq!(kept.instance.unwrap().incarnation, 2);
    server.stop().await;
}

#[tokio::test]
async fn every_heartbeat_has_an_outcome_of_its_own() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let alive = register(&mut fleet, registration("orders", "i-1")).await;
    let beat = |service: &str, id: &str, incarnation, token: &str| pb::InstanceHeartbeat {
        instance: Some(pb::InstanceRef { service: service.into(), instance_id: id.into(), incarnation }),
        session_token: token.into(),
    };
    let heartbeats = vec![
        beat("orders", "i-1", 1, &alive.token),
        beat("orders", "i-2", 1, &alive.token),
        beat("orders", "i-1", 7, &alive.token),
        beat("orders", "i-1", 1, "sws_wrong"),
        beat("Orders", "i-1", 1, &alive.token),
        pb::InstanceHeartbeat { instance: None, session_token: String::new() },
    ];
    let answer = fleet.heartbeat(pb::HeartbeatRequest { heartbeats }).await.unwrap().into_inner();
    let outcomes: Vec<_> = answer.results.iter().map(pb::HeartbeatResult::outcome).collect();
    use pb::HeartbeatOutcome::{Invalid, NotFound, Renewed, StaleIncarnation, Unauthenticated};
    assert_eq!(outcomes, [Renewed, NotFound, StaleIncarnation, Unauthenticated, Invalid, Invalid]);
    assert!(answer.results[1..].iter().all(|result| !result.message.is_empty()));
    server.stop().await;
}

#[tokio::test]
async fn silence_is_lost_and_a_sign_of_life_brings_it_back() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let mut short = registration("orders", "i-1");
    short.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    short.components.clear();
    let who = register(&mut fleet, short).await;
    use seaworthy_client::proto::grpc::health::v1::health_check_response::ServingStatus::{
        NotServing, Serving,
    };
    server.until("orders/i-1", Serving).await;
    server.until("orders/i-1", NotServing).await;
    let get = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
    let lost = fleet.get_instance(get.clone()).await.unwrap().into_inner().instance.unwrap();
    assert_eq!(lost.lifecycle(), pb::Lifecycle::Lost);
    assert_eq!(lost.cause, "lost: not heard within its lease of 2s");

    assert_eq!(heartbeat(&mut fleet, &who).await.outcome(), pb::HeartbeatOutcome::Renewed);
    let back = fleet.get_instance(get).await.unwrap().into_inner().instance.unwrap();
    assert_eq!((back.lifecycle(), back.incarnation), (pb::Lifecycle::Ready, 1));
    server.stop().await;
}

#[tokio::test]
async fn the_lost_are_removed_and_learn_it_from_their_tombstone() {
    let server = TestServer::start_with(|config| config.fleet.lost_removal = Duration::from_secs(1)).await;
    let mut fleet = server.fleet().await;
    let mut short = registration("orders", "i-1");
    short.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    let who = register(&mut fleet, short).await;
    use seaworthy_client::proto::grpc::health::v1::health_check_response::ServingStatus;
    server.until("orders", ServingStatus::ServiceUnknown).await;
    let late = heartbeat(&mut fleet, &who).await;
    assert_eq!(late.outcome(), pb::HeartbeatOutcome::Removed, "{}", late.message);
    let gone = fleet
        .get_instance(pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() })
        .await
        .unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "INSTANCE_REMOVED"));
    // The next life of it counts on.
    let next = register(&mut fleet, registration("orders", "i-1")).await;
    assert_eq!(next.instance.incarnation, 2);
    server.stop().await;
}

#[tokio::test]
async fn an_operator_removes_and_the_removed_one_is_told() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        message: "replaced by hand".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    let tombstone = fleet.remove_instance(remove.clone()).await.unwrap().into_inner().tombstone.unwrap();
    assert_eq!(tombstone.reason(), pb::RemovalReason::Operator);
    let late = heartbeat(&mut fleet, &who).await;
    assert_eq!(late.outcome(), pb::HeartbeatOutcome::Removed);
    assert!(late.message.contains("replaced by hand"), "{}", late.message);

    let again = fleet.remove_instance(remove.clone()).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let missing = pb::RemoveInstanceRequest { allow_missing: true, ..remove };
    assert!(fleet.remove_instance(missing).await.unwrap().into_inner().tombstone.is_none());
    let listed = fleet
        .list_instances(pb::ListInstancesRequest {
            show_removed: true,
            ..pb::ListInstancesRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((listed.instances.len(), listed.removed.len()), (0, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_protected_service_keeps_its_instances() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    register(&mut fleet, registration("orders", "i-1")).await;
    let put = |protected, if_revision| pb::PutServiceRequest {
        name: "orders".into(),
        spec: Some(pb::ServiceSpec { protected, ..pb::ServiceSpec::default() }),
        if_revision,
    };
    let service = fleet.put_service(put(true, Some(0))).await.unwrap().into_inner().service.unwrap();
    assert_eq!(service.spec_source(), pb::SpecSource::Operator);
    let remove = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..pb::RemoveInstanceRequest::default()
    };
    let refused = fleet.remove_instance(remove.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "SERVICE_PROTECTED");
    let delete = pb::DeleteServiceRequest {
        name: "orders".into(),
        confirm_name: "orders".into(),
        ..pb::DeleteServiceRequest::default()
    };
    assert_eq!(reason(&fleet.delete_service(delete.clone()).await.unwrap_err()), "SERVICE_PROTECTED");

    let stale = fleet.put_service(put(false, Some(service.spec_revision + 1))).await.unwrap_err();
    assert_eq!(reason(&stale), "REVISION_MISMATCH");
    fleet.put_service(put(false, Some(service.spec_revision))).await.unwrap();
    fleet.remove_instance(remove).await.unwrap();
    assert!(fleet.delete_service(delete.clone()).await.unwrap().into_inner().service.is_none());
    assert_eq!(fleet.delete_service(delete).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn hard_dependencies_form_no_circle() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let put = |name: &str, needed: &str, kind: pb::DependencyKind| pb::PutServiceRequest {
        name: name.into(),
        spec: Some(pb::ServiceSpec {
            depends_on: vec![pb::Dependency { service: needed.into(), kind: kind.into() }],
            ..pb::ServiceSpec::default()
        }),
        if_revision: None,
    };
    fleet.put_service(put("a", "b", pb::DependencyKind::Hard)).await.unwrap();
    fleet.put_service(put("b", "c", pb::DependencyKind::Unspecified)).await.unwrap();
    let refused = fleet.put_service(put("c", "a", pb::DependencyKind::Hard)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "DEPENDENCY_CYCLE"));
    assert!(refused.message().contains("c → a → b → c"), "{}", refused.message());
    let details = refused.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().collect();
    assert_eq!(fields.iter().map(|wrong| wrong.field.as_str()).collect::<Vec<_>>(), ["spec.depends_on[0]"]);
    let mut second = put("c", "elsewhere", pb::DependencyKind::Hard);
    let circle = pb::Dependency { service: "a".into(), kind: 0 };
    second.spec.as_mut().unwrap().depends_on.push(circle);
    let refused = fleet.put_service(second).await.unwrap_err().get_error_details();
    assert_eq!(refused.bad_request().unwrap().field_violations[0].field, "spec.depends_on[1]");
    fleet.put_service(put("c", "a", pb::DependencyKind::Soft)).await.unwrap();
    server.stop().await;
}

/// A refusal is a header, and clients bound theirs: what it names is cut, and it comes.
#[tokio::test]
async fn a_circle_of_hundreds_is_refused_in_words_that_fit_a_header() {
    const SERVICES: usize = 300;
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let name = |at: usize| format!("{:a>63}", at % SERVICES);
    let mut put = async |at: usize| {
        let needed = pb::Dependency { service: name(at + 1), kind: pb::DependencyKind::Hard.into() };
        let spec = Some(pb::ServiceSpec { depends_on: vec![needed], ..pb::ServiceSpec::default() });
        fleet.put_service(pb::PutServiceRequest { name: name(at), spec, if_revision: None }).await
    };
    for at in 0..SERVICES - 1 {
        put(at).await.unwrap();
    }
    let refused = put(SERVICES - 1).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "DEPENDENCY_CYCLE"));
    let shown = format!("{} → {} → {} → … 297 more … → {0}", name(299), name(0), name(1));
    assert!(refused.message().contains(&shown), "{}", refused.message());
    assert!(refused.message().ends_with("make one of them soft"), "{}", refused.message());
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["circle"], shown);
    server.stop().await;
}

#[tokio::test]
async fn a_circle_that_versions_declare_is_shown_to_all_in_it_until_an_operator_ends_it() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let needs = |needed: &str, kind: pb::DependencyKind| pb::ServiceSpec {
        depends_on: vec![pb::Dependency { service: needed.into(), kind: kind.into() }],
        ..pb::ServiceSpec::default()
    };
    for (service, needed) in [("orders", "payments"), ("payments", "stock"), ("stock", "orders")] {
        let declared_spec = Some(needs(needed, pb::DependencyKind::Hard));
        register(&mut fleet, pb::Registration { declared_spec, ..registration(service, "i-1") }).await;
    }
    let circle = async |service: &str| {
        let get = pb::GetServiceRequest { name: service.into() };
        let answer = server.fleet().await.get_service(get).await.unwrap().into_inner();
        answer.service.unwrap().dependency_circle
    };
    for service in ["orders", "payments", "stock"] {
        assert_eq!(circle(service).await, ["orders", "payments", "stock"], "{service}");
    }
    let hard = pb::PutServiceRequest {
        name: "stock".into(),
        spec: Some(needs("orders", pb::DependencyKind::Hard)),
        if_revision: None,
    };
    let refused = fleet.put_service(hard.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "DEPENDENCY_CYCLE", "an operator may not confirm it");
    let soft = pb::PutServiceRequest { spec: Some(needs("orders", pb::DependencyKind::Soft)), ..hard };
    fleet.put_service(soft).await.unwrap();
    for service in ["orders", "payments", "stock"] {
        assert!(circle(service).await.is_empty(), "{service}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_an_operator_puts_wins_over_what_is_declared_and_a_disagreement_shows() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let budget = |count| pb::Budget {
        limit: Some(pb::budget::Limit::MinAvailable(pb::Quantity {
            value: Some(pb::quantity::Value::Count(count)),
        })),
        quorum_size: 0,
    };
    for (id, version, count) in [("i-1", "1.9.0", 1), ("i-2", "1.10.0", 2), ("i-3", "1.2.0", 3)] {
        let declared_spec =
            Some(pb::ServiceSpec { budget: Some(budget(count)), ..pb::ServiceSpec::default() });
        let registration =
            pb::Registration { version: version.into(), declared_spec, ..registration("orders", id) };
        register(&mut fleet, registration).await;
    }
    let get = pb::GetServiceRequest { name: "orders".into() };
    let service = fleet.get_service(get.clone()).await.unwrap().into_inner().service.unwrap();
    assert_eq!((service.spec_source(), service.required_available), (pb::SpecSource::Declared, 2));
    let spec = Some(pb::ServiceSpec { budget: Some(budget(1)), ..pb::ServiceSpec::default() });
    fleet
        .put_service(pb::PutServiceRequest { name: "orders".into(), spec, if_revision: None })
        .await
        .unwrap();
    let service = fleet.get_service(get).await.unwrap().into_inner().service.unwrap();
    assert_eq!((service.spec_source(), service.required_available), (pb::SpecSource::Operator, 1));
    assert_eq!(service.disagreements, ["budget"]);
    server.stop().await;
}

#[tokio::test]
async fn pages_hold_everything_once_and_in_order() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    for (service, id) in [("b", "2"), ("a", "9"), ("b", "1"), ("c", "1"), ("a", "1")] {
        register(&mut fleet, registration(service, id)).await;
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListInstancesRequest { page_size: 2, page_token, ..pb::ListInstancesRequest::default() };
        let page = fleet.list_instances(request).await.unwrap().into_inner();
        assert!(page.instances.len() <= 2);
        for instance in page.instances {
            let named = instance.registration.unwrap();
            seen.push(format!("{}/{}", named.service, named.instance_id));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["a/1", "a/9", "b/1", "b/2", "c/1"]);
    let mut filtered =
        pb::ListInstancesRequest { service: "b".into(), ..pb::ListInstancesRequest::default() };
    assert_eq!(fleet.list_instances(filtered.clone()).await.unwrap().into_inner().instances.len(), 2);
    filtered.labels.insert("team".into(), "checkout".into());
    assert!(fleet.list_instances(filtered).await.unwrap().into_inner().instances.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_full_fleet_says_so() {
    let server = TestServer::start_with(|config| config.fleet.max_instances = 2.try_into().unwrap()).await;
    let mut fleet = server.fleet().await;
    register(&mut fleet, registration("orders", "i-1")).await;
    register(&mut fleet, registration("orders", "i-2")).await;
    let full = fleet.register(request(registration("orders", "i-3"))).await.unwrap_err();
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "FLEET_FULL"));
    server.stop().await;
}

/// What queues together becomes one commit, within what the store takes at once.
#[tokio::test]
async fn a_burst_of_large_registrations_is_taken_whole() {
    let server = TestServer::start().await;
    let fleet = server.fleet().await;
    let labels: std::collections::HashMap<String, String> =
        (0..32).map(|number| (format!("label-{number}"), "x".repeat(250))).collect();
    let attempts: Vec<_> = (0..400)
        .map(|number| {
            let (mut fleet, labels) = (fleet.clone(), labels.clone());
            tokio::spawn(async move {
                let large = pb::Registration { labels, ..registration("orders", &format!("i-{number}")) };
                fleet.register(request(large)).await.map(drop)
            })
        })
        .collect();
    for attempt in attempts {
        attempt.await.unwrap().expect("taken");
    }
    server.stop().await;
}

#[tokio::test]
async fn how_a_component_is_captured_is_shown_and_outlives_a_restart() {
    let server = TestServer::start().await;
    let mut wanted = registration("orders", "i-1");
    let settings = pb::CaptureSettings {
        scope: pb::CaptureScope::Each.into(),
        quiesces: true,
        page_bytes: 8192,
        incompressible: true,
    };
    let backup = vec![pb::Capability::Health.into(), pb::Capability::Backup.into()];
    wanted.components[0].capabilities = backup.clone();
    wanted.components[0].capture = Some(settings);
    // It can be captured, and does not say how.
    let plain = pb::Component { name: "files".into(), capabilities: backup, ..pb::Component::default() };
    // It cannot.
    let cache = pb::Component { name: "cache".into(), ..pb::Component::default() };
    wanted.components.extend([plain, cache]);
    register(&mut server.fleet().await, wanted).await;
    let default =
        pb::CaptureSettings { scope: pb::CaptureScope::One.into(), ..pb::CaptureSettings::default() };
    let server = {
        shown(&server, [Some(settings), Some(default), None]).await;
        server.restart().await
    };
    shown(&server, [Some(settings), Some(default), None]).await;
    server.stop().await;

    async fn shown(server: &TestServer, captures: [Option<pb::CaptureSettings>; 3]) {
        let ask = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
        let answer = server.fleet().await.get_instance(ask).await.unwrap().into_inner();
        let registration = answer.instance.unwrap().registration.unwrap();
        let shown: Vec<_> = registration.components.iter().map(|component| component.capture).collect();
        assert_eq!(shown, captures);
    }
}
