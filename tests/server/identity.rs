//! Who somebody is: tokens that count and those that do not, what ends with them, and what a caller is narrowed to.

use std::time::Duration;

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, fleet_service_client::FleetServiceClient, system_service_client::SystemServiceClient,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    credentials::{Bearer, Guarded, Outcome, get_with, outcome},
    harness::{PATIENCE, TestServer, reason, registration},
};

const LIST: &str = "/seaworthy.v1.FleetService/ListServices";

/// What somebody is told who brings these values of `authorization`.
async fn refusal(guarded: &Guarded, values: &[String]) -> tonic::Status {
    let mut client = FleetServiceClient::new(guarded.server.channel().await);
    let mut request = tonic::Request::new(pb::ListServicesRequest::default());
    for value in values {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    client.list_services(request).await.unwrap_err()
}

#[tokio::test]
async fn whatever_is_wrong_with_a_proof_the_answer_is_the_same() {
    let guarded = Guarded::start().await;
    let revoked = guarded.token("revoked", pb::Role::Viewer, "").await;
    guarded.revoke("revoked").await;
    let elsewhere = Guarded::start().await.admin;
    let good = format!("Bearer {}", guarded.admin);
    let mut told = Vec::new();
    for values in [
        vec![],
        vec![format!("Bearer {revoked}")],
        vec![format!("Bearer {elsewhere}")],
        vec!["Bearer swt_".to_owned()],
        vec![format!("Bearer {}", "x".repeat(4096))],
        vec!["Basic YWRtaW46YWRtaW4=".to_owned()],
        vec![guarded.admin.clone()],
        vec![good.clone(), good.clone()],
        // A session token opens nothing but its incarnation.
        vec![guarded.admin.replace("swt_", "sws_")],
    ] {
        let status = refusal(&guarded, &values).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{values:?}: {status:?}");
        told.push((status.message().to_owned(), status.details().to_vec()));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let binary = outcome(&guarded.server, LIST, &[], &[b"Bearer \xff\xfe"]).await;
    assert_eq!(binary, Outcome::Unauthenticated);
    assert_eq!(outcome(&guarded.server, LIST, &[], &[good.as_bytes()]).await, Outcome::Passed);
}

#[tokio::test]
async fn who_fails_too_often_is_told_to_come_back_and_holds_up_nobody() {
    let guarded = Guarded::start().await;
    let bad = vec![format!("Bearer swt_{}", "0".repeat(52))];
    let mut status = refusal(&guarded, &bad).await;
    for _ in 0..40 {
        if status.code() == Code::ResourceExhausted {
            break;
        }
        status = refusal(&guarded, &bad).await;
    }
    assert_eq!(reason(&status), "AUTHENTICATION_LIMITED");
    assert!(status.get_error_details().retry_info().is_some());
    let good = format!("Bearer {}", guarded.admin);
    assert_eq!(outcome(&guarded.server, LIST, &[], &[good.as_bytes()]).await, Outcome::Passed);
    // Health is open, whatever is brought.
    let check = "/grpc.health.v1.Health/Check";
    assert_eq!(outcome(&guarded.server, check, &[], &[bad[0].as_bytes()]).await, Outcome::Passed);
}

#[tokio::test]
async fn where_nothing_is_asked_for_everybody_is_local() {
    let server = TestServer::start().await;
    let who = server.system().await.get_identity(pb::GetIdentityRequest {}).await.unwrap().into_inner();
    let who = who.identity.unwrap();
    assert_eq!((who.name.as_str(), who.method()), ("local", pb::AuthenticationMethod::Local));
    assert!(!server.config.data_dir.join("bootstrap-token").exists());
}

#[tokio::test]
async fn a_token_tells_who_it_is() {
    let guarded = Guarded::start().await;
    let secret = guarded.token("orders-ci", pb::Role::Service, "orders").await;
    let who =
        guarded.system(&secret).await.get_identity(pb::GetIdentityRequest {}).await.unwrap().into_inner();
    let who = who.identity.unwrap();
    assert_eq!((who.name.as_str(), who.method()), ("token:orders-ci", pb::AuthenticationMethod::Token));
    assert_eq!((who.role(), who.service.as_str()), (pb::Role::Service, "orders"));
    assert!(who.expire_time.is_some() && who.scopes.is_empty());
    let mut admin = guarded.system(&guarded.admin).await;
    let listed = admin.list_tokens(pb::ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    let names: Vec<_> = listed.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["bootstrap", "orders-ci"]);
    assert!(listed.iter().all(|token| token.last_use_time.is_some()), "{listed:?}");
    assert!(!format!("{listed:?}").contains(&secret[4..]));
}

#[tokio::test]
async fn what_was_opened_with_a_token_ends_when_it_is_revoked() {
    let guarded = Guarded::start().await;
    let viewer = guarded.token("viewer", pb::Role::Viewer, "").await;
    let orders = guarded.token("orders", pb::Role::Service, "orders").await;
    let other = guarded.token("payments", pb::Role::Service, "payments").await;
    let mut watch = guarded
        .fleet(&viewer)
        .await
        .watch_fleet(pb::WatchFleetRequest::default())
        .await
        .unwrap()
        .into_inner();
    let attach = |service: &'static str| {
        let registration = Some(registration(service, "i-1"));
        let register = pb::RegisterRequest { registration, ..pb::RegisterRequest::default() };
        let how = Some(pb::open_session::How::Register(register));
        let message = Some(pb::attach_request::Message::Open(pb::OpenSession {
            how,
            takes_policies: false,
            takes_directives: false,
        }));
        // It stays open: nothing more is said.
        futures_util::StreamExt::chain(
            tokio_stream::once(pb::AttachRequest { message }),
            futures_util::stream::pending(),
        )
    };
    let mut session = guarded.fleet(&orders).await.attach(attach("orders")).await.unwrap().into_inner();
    let mut kept = guarded.fleet(&other).await.attach(attach("payments")).await.unwrap().into_inner();
    session.message().await.unwrap().expect("opened");
    kept.message().await.unwrap().expect("opened");

    guarded.revoke("viewer").await;
    let ended = async { while watch.message().await.is_ok_and(|message| message.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the watch ends");
    guarded.revoke("orders").await;
    let ended = async { while session.message().await.is_ok_and(|message| message.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the session ends");
    // Nobody comes back with it.
    let again = guarded.fleet(&orders).await.attach(attach("orders")).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    // And who has another one notices nothing.
    let quiet = tokio::time::timeout(Duration::from_millis(300), kept.message()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

/// More tokens call on one connection than it remembers: one that it does not remember is ended all the same.
#[tokio::test]
async fn a_token_beyond_those_that_a_connection_remembers_is_ended_too() {
    let guarded = Guarded::start().await;
    // All before the first is used: a new token ends a connection that does not remember all of its own.
    let mut secrets = Vec::new();
    for n in 0..40 {
        secrets.push(guarded.token(&format!("viewer-{n}"), pb::Role::Viewer, "").await);
    }
    let channel = guarded.server.channel().await;
    for secret in &secrets {
        let mut system = SystemServiceClient::with_interceptor(channel.clone(), Bearer::of(secret));
        system.get_status(pb::GetStatusRequest {}).await.unwrap();
    }
    let mut fleet = FleetServiceClient::with_interceptor(channel, Bearer::of(&secrets[39]));
    let mut watch = fleet.watch_fleet(pb::WatchFleetRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("opened");
    guarded.revoke("viewer-39").await;
    let ended = async { while watch.message().await.is_ok_and(|message| message.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the watch ends");
    let again = fleet.watch_fleet(pb::WatchFleetRequest::default()).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_session_token_needs_whoever_acts_for_its_service() {
    let guarded = Guarded::start().await;
    let orders = guarded.token("orders", pb::Role::Service, "orders").await;
    let payments = guarded.token("payments", pb::Role::Service, "payments").await;
    let mut own = guarded.fleet(&orders).await;
    let register = |claim: Option<String>| pb::RegisterRequest {
        registration: Some(registration("orders", "i-1")),
        session_token: claim.unwrap_or_default(),
        ..pb::RegisterRequest::default()
    };
    let first = own.register(register(None)).await.unwrap().into_inner();
    let named =
        |incarnation| pb::InstanceRef { service: "orders".into(), instance_id: "i-1".into(), incarnation };
    let beat = |incarnation, token: &str| pb::HeartbeatRequest {
        heartbeats: vec![pb::InstanceHeartbeat {
            instance: Some(named(incarnation)),
            session_token: token.into(),
        }],
    };
    // Stolen by somebody of another service: worthless.
    let stolen = beat(1, &first.session_token);
    let mut thief = guarded.fleet(&payments).await;
    let result = thief.heartbeat(stolen.clone()).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.outcome(), pb::HeartbeatOutcome::Unauthenticated);
    assert!(result.message.contains("may not act for service orders"), "{}", result.message);
    let report = |token: &str| pb::ReportHealthRequest {
        instance: Some(named(1)),
        session_token: token.into(),
        ..pb::ReportHealthRequest::default()
    };
    let denied =
        guarded.health(&payments).await.report_health(report(&first.session_token)).await.unwrap_err();
    assert_eq!((denied.code(), reason(&denied)), (Code::PermissionDenied, "PERMISSION_DENIED".to_owned()));
    let result = own.heartbeat(stolen).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.outcome(), pb::HeartbeatOutcome::Renewed);
    // Of an incarnation that has ended: worthless to everybody.
    let second = own.register(register(Some(first.session_token.clone()))).await.unwrap().into_inner();
    let result = own.heartbeat(beat(1, &first.session_token)).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.outcome(), pb::HeartbeatOutcome::StaleIncarnation);
    let result = own.heartbeat(beat(2, &first.session_token)).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.outcome(), pb::HeartbeatOutcome::Unauthenticated);
    let result = own.heartbeat(beat(2, &second.session_token)).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.outcome(), pb::HeartbeatOutcome::Renewed);
    let stale = guarded.health(&orders).await.report_health(report(&first.session_token)).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_INCARNATION");
}

/// Three instances of two services, in two zones.
async fn fleet_of(guarded: &Guarded) {
    for (service, id, zone, team) in [
        ("orders", "i-1", "eu-1", "shop"),
        ("orders", "i-2", "us-1", "shop"),
        ("payments", "i-3", "eu-1", "pay"),
    ] {
        let token = guarded.token(&format!("{service}-{id}"), pb::Role::Service, service).await;
        let mut registration = registration(service, id);
        registration.zone = zone.into();
        registration.labels.insert("team".into(), team.into());
        let request =
            pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() };
        guarded.fleet(&token).await.register(request).await.unwrap();
    }
}

#[tokio::test]
async fn listing_shows_only_what_the_caller_may_see() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    let text = "
        [[narrow]]
        who = \"token:of-orders\"
        services = [\"ord*\"]
        [[narrow]]
        who = \"token:of-eu\"
        zones = [\"eu-*\"]
        [[narrow]]
        who = \"token:of-pay\"
        labels = { team = \"pay\" }
    ";
    std::fs::write(&rules, text).unwrap();
    let guarded = Guarded::start_with(|config| config.auth.rules_file = Some(rules.clone())).await;
    fleet_of(&guarded).await;
    for (name, instances, services, listed) in [
        ("everything", vec!["i-1", "i-2", "i-3"], vec!["orders", "payments"], 3),
        ("of-orders", vec!["i-1", "i-2"], vec!["orders"], 2),
        ("of-eu", vec!["i-1", "i-3"], vec!["orders", "payments"], 2),
        ("of-pay", vec!["i-3"], vec!["orders", "payments"], 1),
    ] {
        let secret = guarded.token(name, pb::Role::Viewer, "").await;
        let mut fleet = guarded.fleet(&secret).await;
        // By pages of one, so that what is left out is no reason to stop.
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request =
                pb::ListInstancesRequest { page_size: 1, page_token, ..pb::ListInstancesRequest::default() };
            let page = fleet.list_instances(request).await.unwrap().into_inner();
            found
                .extend(page.instances.into_iter().filter_map(|it| it.registration).map(|it| it.instance_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, instances, "{name}");
        let page = fleet.list_services(pb::ListServicesRequest::default()).await.unwrap().into_inner();
        let found: Vec<_> = page.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(found, services, "{name}");
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", bearer.as_str())];
        let (code, _, body) =
            get_with(guarded.server.addresses.http, "GET", "/sd/prometheus", &headers).await;
        assert_eq!((code, body.matches("\"targets\"").count()), (200, listed), "{name}: {body}");
        // What is not seen is not there.
        let unseen = ["i-1", "i-2", "i-3"].into_iter().filter(|id| !instances.contains(id));
        for id in unseen {
            let service = if id == "i-3" { "payments" } else { "orders" };
            let request = pb::GetInstanceRequest { service: service.into(), instance_id: id.into() };
            let refused = fleet.get_instance(request).await.unwrap_err();
            let by_name = name == "of-orders";
            assert_eq!(refused.code() == Code::PermissionDenied, by_name, "{name} {id}: {refused:?}");
            assert_eq!(refused.code() == Code::NotFound, !by_name, "{name} {id}: {refused:?}");
        }
        // How a service is says how its instances are, those that are not seen too.
        let partly = matches!(name, "of-eu" | "of-pay");
        let orders = pb::GetServiceRequest { name: "orders".into() };
        let service = fleet.get_service(orders).await.unwrap().into_inner().service.unwrap();
        assert_eq!(
            (service.counts.is_none(), service.cause.is_empty()),
            (partly, partly),
            "{name}: {service:?}"
        );
        let mut health = guarded.health(&secret).await;
        let asked = pb::ExplainRequest { service: "orders".into(), ..pb::ExplainRequest::default() };
        assert_eq!(health.explain(asked).await.is_err(), partly, "{name}");
        let asked = pb::GetHealthRequest { service: "orders".into(), ..pb::GetHealthRequest::default() };
        assert_eq!(health.get_health(asked).await.is_err(), partly, "{name}");
        let asked = pb::WatchHealthRequest { service: "orders".into(), ..pb::WatchHealthRequest::default() };
        assert_eq!(health.watch_health(asked).await.is_err(), partly, "{name}");
        let asked =
            pb::ListTransitionsRequest { service: "orders".into(), ..pb::ListTransitionsRequest::default() };
        assert_eq!(health.list_transitions(asked).await.is_err(), partly, "{name}");
        // Whoever sees only some instances of a service follows none: of one that is gone nobody can say whether it
        // was among them.
        let watch = fleet.watch_fleet(pb::WatchFleetRequest::default()).await;
        assert_eq!(watch.is_ok(), matches!(name, "everything" | "of-orders"), "{name}");
        if let Ok(watch) = watch {
            let mut watch = watch.into_inner();
            let mut told = Vec::new();
            loop {
                let message =
                    tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
                let Some(pb::watch_fleet_response::Message::Snapshot(part)) = message.message else {
                    continue;
                };
                told.extend(
                    part.instances.into_iter().filter_map(|it| it.registration).map(|it| it.instance_id),
                );
                if part.complete {
                    break;
                }
            }
            assert_eq!(told, instances, "{name}");
        }
    }
}

#[tokio::test]
async fn rules_are_read_again_and_wrong_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    let narrowed = "[[narrow]]\nwho = \"token:alice\"\nservices = [\"orders\"]\n";
    std::fs::write(&rules, narrowed).unwrap();
    let guarded = Guarded::start_with(|config| config.auth.rules_file = Some(rules.clone())).await;
    fleet_of(&guarded).await;
    let secret = guarded.token("alice", pb::Role::Viewer, "").await;
    let metric = async || {
        let bearer = format!("Bearer {}", guarded.admin);
        let headers = [("authorization", bearer.as_str())];
        get_with(guarded.server.addresses.http, "GET", "/metrics", &headers).await.2
    };
    let count = async || {
        let page = guarded.fleet(&secret).await.list_services(pb::ListServicesRequest::default()).await;
        page.unwrap().into_inner().services.len()
    };
    assert_eq!(count().await, 1);
    // A file that is cut off in the middle of being written would narrow nobody.
    for wrong in ["[[narrow]]\nwho = \"token:alice\"\n", ""] {
        std::fs::write(&rules, wrong).unwrap();
        let shown = async { while !metric().await.contains("seaworthy_rules_failed 1") {} };
        tokio::time::timeout(PATIENCE, shown).await.expect("the failure is shown");
        assert_eq!(count().await, 1, "the last good ones");
        std::fs::write(&rules, narrowed).unwrap();
        let shown = async { while !metric().await.contains("seaworthy_rules_failed 0") {} };
        tokio::time::timeout(PATIENCE, shown).await.expect("it is mended");
    }
    // What is open goes on under other rules for nobody.
    let watch = guarded.fleet(&secret).await.watch_fleet(pb::WatchFleetRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    let all = "[[narrow]]\nwho = \"token:alice\"\nservices = [\"orders\", \"payments\"]\n";
    std::fs::write(&rules, all).unwrap();
    let ended = async { while watch.message().await.is_ok_and(|message| message.is_some()) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the watch ends");
    let counts = async { while count().await != 2 {} };
    tokio::time::timeout(PATIENCE, counts).await.expect("the rules count");
}

#[tokio::test]
async fn while_the_tokens_are_being_read_nobody_is_told_that_theirs_does_not_count() {
    let guarded = Guarded::start().await;
    let Guarded { server, admin } = guarded;
    let starting = server.stop_and_listen().await;
    let channel = starting.channel().await;
    let mut fleet = FleetServiceClient::with_interceptor(channel, Bearer::of(&admin));
    let refused = fleet.list_services(pb::ListServicesRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, "LOADING".to_owned()));
    let server = starting.load().await;
    fleet.list_services(pb::ListServicesRequest::default()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn other_origins_read_only_where_they_are_named() {
    let server = TestServer::start_with(|config| {
        config.http.cors_origins = vec!["https://status.example.org".to_owned()];
    });
    let server = server.await;
    let at = server.addresses.http;
    let allowed = |head: &str| head.contains("access-control-allow-origin: https://status.example.org");
    let ours = [("origin", "https://status.example.org")];
    let (code, head, _) = get_with(at, "GET", "/health", &ours).await;
    assert!(code == 200 && allowed(&head) && head.contains("vary: origin"), "{head}");
    let (_, head, _) = get_with(at, "GET", "/health", &[("origin", "https://evil.example.org")]).await;
    assert!(!head.contains("access-control"), "{head}");
    let asks = [ours[0], ("access-control-request-method", "GET")];
    let (code, head, _) = get_with(at, "OPTIONS", "/status", &asks).await;
    assert!(
        code == 204 && allowed(&head) && head.contains("access-control-allow-headers: authorization"),
        "{head}"
    );
    let closed = TestServer::start().await;
    let (_, head, _) = get_with(closed.addresses.http, "GET", "/health", &ours).await;
    assert!(!head.contains("access-control"), "{head}");
}
