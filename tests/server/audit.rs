//! The audit: which calls have entries, what they say, and how they are listed.

use bytes::{BufMut as _, Bytes, BytesMut};
use seaworthy::{
    audit::verify::Verifier,
    guard::rpc::{Audited, RPCS},
    vault::{Kek, Secret},
};
use seaworthy_client::{
    Agent, Component,
    backup::{CaptureWriter, Evidence, RestoreReader, Restored},
    proto::seaworthy::v1::{
        self as pb, AuditStage, backup_service_client::BackupServiceClient,
        operation_service_client::OperationServiceClient, policy_service_client::PolicyServiceClient,
        restore_service_client::RestoreServiceClient,
    },
};
use tokio::io::AsyncReadExt as _;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::{
    harness::{PATIENCE, TestServer, http2, register, registration},
    operations::begin as begin_operation,
};

async fn list(server: &TestServer, request: pb::ListAuditEntriesRequest) -> pb::ListAuditEntriesResponse {
    server.system().await.list_audit_entries(request).await.expect("listed").into_inner()
}

async fn entries(server: &TestServer) -> Vec<pb::AuditEntry> {
    list(server, pb::ListAuditEntriesRequest { page_size: 1000, ..Default::default() }).await.entries
}

/// A request with an id of its own.
fn with_id<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    request
}

/// The id that an answer carries.
fn id_of<T>(answer: Result<Response<T>, Status>) -> Result<String, Status> {
    answer.map(|response| response.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned())
}

/// Makes one good call of an audited RPC under an id; answers the object that it is about, and the id that came back.
async fn call(server: &TestServer, path: &str, id: &str) -> (&'static str, Result<String, Status>) {
    let (mut fleet, mut system) = (server.fleet().await, server.system().await);
    match path {
        "/seaworthy.v1.FleetService/Register" => {
            let registration = Some(registration("orders", "i-new"));
            let request = pb::RegisterRequest { registration, ..Default::default() };
            ("instance/orders/i-new", id_of(fleet.register(with_id(id, request)).await))
        }
        "/seaworthy.v1.FleetService/Deregister" => {
            let who = register(&mut fleet, registration("orders", "i-gone")).await;
            let request = pb::DeregisterRequest {
                instance: Some(who.instance),
                session_token: who.token,
                ..Default::default()
            };
            ("instance/orders/i-gone", id_of(fleet.deregister(with_id(id, request)).await))
        }
        "/seaworthy.v1.FleetService/Attach" => ("instance/orders/i-held", attach(server, id).await),
        "/seaworthy.v1.FleetService/RemoveInstance" => {
            register(&mut fleet, registration("orders", "i-removed")).await;
            let (service, instance_id) = ("orders".to_owned(), "i-removed".to_owned());
            let request = pb::RemoveInstanceRequest { service, instance_id, ..Default::default() };
            ("instance/orders/i-removed", id_of(fleet.remove_instance(with_id(id, request)).await))
        }
        "/seaworthy.v1.FleetService/PutService" => {
            ("service/payments", id_of(fleet.put_service(with_id(id, put("payments"))).await))
        }
        "/seaworthy.v1.FleetService/DeleteService" => {
            fleet.put_service(put("old")).await.unwrap();
            let (name, confirm_name) = ("old".to_owned(), "old".to_owned());
            let request = pb::DeleteServiceRequest { name, confirm_name, ..Default::default() };
            ("service/old", id_of(fleet.delete_service(with_id(id, request)).await))
        }
        "/seaworthy.v1.SystemService/SetLogLevel" => {
            let request = pb::SetLogLevelRequest { log_level: "debug".to_owned() };
            ("log-level", id_of(system.set_log_level(with_id(id, request)).await))
        }
        "/seaworthy.v1.SystemService/CreateToken" => {
            let request = pb::CreateTokenRequest {
                name: "alice".to_owned(),
                role: pb::Role::Viewer.into(),
                ..Default::default()
            };
            ("token/alice", id_of(system.create_token(with_id(id, request)).await))
        }
        "/seaworthy.v1.SystemService/RevokeToken" => {
            let request = pb::RevokeTokenRequest { token_id: "alice".to_owned(), allow_missing: true };
            ("token/alice", id_of(system.revoke_token(with_id(id, request)).await))
        }
        "/seaworthy.v1.OperationService/CancelOperation" => {
            let run = begin_operation(server, "orders").await;
            let request = pb::CancelOperationRequest { id: run.id().to_string(), message: String::new() };
            let mut client = OperationServiceClient::new(server.channel().await);
            let answered = id_of(client.cancel_operation(with_id(id, request)).await);
            // Only now is it known what it is called.
            (format!("operation/{}", run.id()).leak(), answered)
        }
        path if path.starts_with("/seaworthy.v1.BackupService/") || path.ends_with("/StartRestore") => {
            call_backup(server, path, id).await
        }
        path if path.starts_with("/seaworthy.v1.PolicyService/") => call_policy(server, path, id).await,
        other => panic!("{other} is audited, and this test does not know how to call it"),
    }
}

/// Waits until an operation has ended, and answers the backup that it made.
async fn backup_of(server: &TestServer, begun: Option<pb::Operation>) -> String {
    let mut client = OperationServiceClient::new(server.channel().await);
    let request = pb::WatchOperationRequest { id: begun.unwrap().id };
    let mut watch = client.watch_operation(request).await.unwrap().into_inner();
    let mut backup = String::new();
    while let Some(told) = watch.message().await.unwrap() {
        backup = told.operation.unwrap().backup_id;
    }
    backup
}

/// The same of an RPC about backups: of the control plane's own state, and of an instance that keeps nothing.
async fn call_backup(server: &TestServer, path: &str, id: &str) -> (&'static str, Result<String, Status>) {
    let channel = server.channel().await;
    let mut client = BackupServiceClient::new(channel.clone());
    let own = "_seaworthy".to_owned();
    let create =
        |service: &str| pb::CreateBackupRequest { service: service.to_owned(), ..Default::default() };
    match path.rsplit('/').next().unwrap() {
        "CreateBackup" => {
            let answer = client.create_backup(with_id(id, create(&own))).await;
            if let Ok(answer) = &answer {
                backup_of(server, answer.get_ref().operation.clone()).await;
            }
            ("backups/_seaworthy", id_of(answer))
        }
        "ConfirmKey" => {
            let key_id = Kek::new(Secret::new([7; 32])).id().unwrap();
            ("vault/key", id_of(client.confirm_key(with_id(id, pb::ConfirmKeyRequest { key_id })).await))
        }
        "StartRestore" => {
            let kept = Component::new("nothing").backup_with(
                |_: CaptureWriter| async { Ok(Evidence::new()) },
                |mut from: RestoreReader, _: Restored| async move {
                    from.read_to_end(&mut Vec::new()).await?;
                    Ok(())
                },
            );
            let builder = Agent::builder(server.url(), "kept").instance_id("i-1");
            let agent = builder.component(kept.without_health()).attach().unwrap();
            agent.attached().await.unwrap();
            let begun = client.create_backup(create("kept")).await.unwrap().into_inner();
            backup_of(server, begun.operation).await;
            let request = pb::StartRestoreRequest {
                service: "kept".to_owned(),
                backup_id: "latest".to_owned(),
                force: vec![pb::RestoreGuard::NotEmpty.into(), pb::RestoreGuard::Unverified.into()],
                ..Default::default()
            };
            let mut restores = RestoreServiceClient::new(channel);
            ("service/kept", id_of(restores.start_restore(with_id(id, request)).await))
        }
        other => {
            let begun = client.create_backup(create(&own)).await.unwrap().into_inner();
            let backup = backup_of(server, begun.operation).await;
            let (service, confirm_id) = (own, backup.clone());
            let answer = match other {
                "VerifyBackup" => {
                    let request =
                        pb::VerifyBackupRequest { service, id: backup.clone(), ..Default::default() };
                    id_of(client.verify_backup(with_id(id, request)).await)
                }
                "DeleteBackup" => {
                    let request = pb::DeleteBackupRequest {
                        service,
                        id: backup.clone(),
                        confirm_id,
                        message: String::new(),
                    };
                    id_of(client.delete_backup(with_id(id, request)).await)
                }
                "UndeleteBackup" => {
                    let request = pb::UndeleteBackupRequest { service, id: backup.clone() };
                    id_of(client.undelete_backup(with_id(id, request)).await)
                }
                other => panic!("{other} is audited, and this test does not know how to call it"),
            };
            (format!("backup/{backup}").leak(), answer)
        }
    }
}

/// The same of an RPC that changes what is ruled.
async fn call_policy(server: &TestServer, path: &str, id: &str) -> (&'static str, Result<String, Status>) {
    let mut client = PolicyServiceClient::new(server.channel().await);
    match path.rsplit('/').next().unwrap() {
        "PutPolicy" => {
            let policy = Some(pb::Policy { name: "charges".to_owned(), ..Default::default() });
            let request = pb::PutPolicyRequest { policy, if_revision: None };
            ("policy/charges", id_of(client.put_policy(with_id(id, request)).await))
        }
        "DeletePolicy" => {
            let request = pb::DeletePolicyRequest { name: "charges".to_owned(), ..Default::default() };
            ("policy/charges", id_of(client.delete_policy(with_id(id, request)).await))
        }
        "OverrideBreaker" => {
            let request = pb::OverrideBreakerRequest {
                service: "orders".to_owned(),
                instance_id: "i-1".to_owned(),
                operation: "charge-card".to_owned(),
                state: pb::BreakerState::ForcedOpen.into(),
                ..Default::default()
            };
            ("breaker/orders/i-1/charge-card", id_of(client.override_breaker(with_id(id, request)).await))
        }
        "PutFlag" => {
            let value = Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(true)) });
            let flag = Some(pb::Flag {
                name: "new-checkout".to_owned(),
                variants: vec![pb::FlagVariant { name: "on".to_owned(), value }],
                default_variant: "on".to_owned(),
                ..Default::default()
            });
            let request = pb::PutFlagRequest { flag, if_revision: None };
            ("flag/new-checkout", id_of(client.put_flag(with_id(id, request)).await))
        }
        "DeleteFlag" => {
            let request = pb::DeleteFlagRequest { name: "new-checkout".to_owned(), ..Default::default() };
            ("flag/new-checkout", id_of(client.delete_flag(with_id(id, request)).await))
        }
        other => panic!("{other} is audited, and this test does not know how to call it"),
    }
}

fn put(name: &str) -> pb::PutServiceRequest {
    pb::PutServiceRequest { name: name.to_owned(), spec: Some(pb::ServiceSpec::default()), if_revision: None }
}

/// Registers on a session and leaves it. There is no id in the answer of a stream.
async fn attach(server: &TestServer, id: &str) -> Result<String, Status> {
    use pb::attach_request::Message;
    let message = |message| pb::AttachRequest { message: Some(message) };
    let register =
        pb::RegisterRequest { registration: Some(registration("orders", "i-held")), ..Default::default() };
    let how = Some(pb::open_session::How::Register(register));
    let open =
        message(Message::Open(pb::OpenSession { how, takes_policies: false, takes_directives: false }));
    let leave = message(Message::Leave(pb::LeaveSession::default()));
    let said = tokio_stream::iter([open, leave]).chain(tokio_stream::pending());
    let mut stream = server.fleet().await.attach(with_id(id, said)).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(id.to_owned())
}

#[tokio::test]
async fn every_audited_rpc_has_its_entries() {
    let server = TestServer::start_with(|config| config.audit.enrolments = true).await;
    for (number, rpc) in RPCS.iter().filter(|rpc| rpc.audited != Audited::Never).enumerate() {
        let id = format!("r-{number}");
        let (object, answer) = call(&server, rpc.path, &id).await;
        let answered = match answer {
            // A build that does not serve it has nothing to write down.
            Err(status) if status.code() == Code::Unimplemented => continue,
            answer => answer.unwrap_or_else(|status| panic!("{}: {status}", rpc.path)),
        };
        assert_eq!(answered, id, "{}", rpc.path);
        let found: Vec<_> =
            entries(&server).await.into_iter().filter(|entry| entry.request_id == id).collect();
        assert!(!found.is_empty(), "{} has no entries", rpc.path);
        let stages: Vec<_> = found.iter().map(|entry| (entry.stage(), entry.outcome.as_str())).collect();
        let pair = [(AuditStage::Received, ""), (AuditStage::Completed, "OK")];
        // A session registers and leaves.
        let wanted = if rpc.path.ends_with("Attach") { [pair, pair].concat() } else { pair.to_vec() };
        assert_eq!(stages, wanted, "{}", rpc.path);
        for entry in found {
            assert_eq!((entry.operation.as_str(), entry.object.as_str()), (rpc.path, object));
            assert_eq!(entry.principal, "local", "{}", rpc.path);
            assert!(entry.peer.starts_with("127.0.0.1:"), "{}", entry.peer);
            assert!(entry.time.is_some());
        }
    }
    server.stop().await;
}

/// Sends a message that has nothing in it, and waits for the beginning of the answer.
async fn begin(server: &TestServer, path: &str) {
    let frame = |message: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(message);
        frame.freeze()
    };
    let (send, connection) = http2(server.addresses.grpc, &h2::client::Builder::new()).await;
    let mut send = send.ready().await.unwrap();
    let request = http::Request::post(format!("http://server{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.send_data(frame(&Bytes::new()), true).unwrap();
    let answered = tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    assert_eq!(answered.status(), 200, "{path}");
    drop((answered, send));
    connection.abort();
}

#[tokio::test]
async fn no_other_rpc_has_entries_and_enrolments_only_where_they_are_wanted() {
    let server = TestServer::start().await;
    for rpc in RPCS {
        match rpc.audited {
            Audited::Never => begin(&server, rpc.path).await,
            Audited::AsEnrolment => {
                let mut fleet = server.fleet().await;
                match rpc.path.rsplit('/').next().unwrap() {
                    "Register" => drop(register(&mut fleet, registration("orders", "i-1")).await),
                    "Attach" => drop(attach(&server, "r").await.expect("attached")),
                    "Deregister" => {
                        let who = register(&mut fleet, registration("orders", "i-2")).await;
                        let (instance, session_token) = (Some(who.instance), who.token);
                        let request = pb::DeregisterRequest { instance, session_token, ..Default::default() };
                        fleet.deregister(request).await.expect("gone");
                    }
                    other => panic!("{other} enrols, and this test does not know how to call it"),
                }
            }
            Audited::Always => {}
        }
    }
    assert_eq!(entries(&server).await, []);
    server.stop().await;
}

#[tokio::test]
async fn what_fails_says_why_and_what_is_refused_for_its_form_has_no_entry() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    let missing = pb::RemoveInstanceRequest {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..Default::default()
    };
    let refused = fleet.remove_instance(missing.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let id = refused.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    fleet
        .remove_instance(pb::RemoveInstanceRequest { instance_id: "a/b".into(), ..missing })
        .await
        .unwrap_err();
    let found = entries(&server).await;
    let said: Vec<_> =
        found.iter().map(|entry| (entry.stage(), entry.outcome.as_str(), entry.detail.as_str())).collect();
    let completed = (AuditStage::Completed, "NOT_FOUND", "INSTANCE_NOT_FOUND");
    assert_eq!(said, [(AuditStage::Received, "", ""), completed]);
    assert!(found.iter().all(|entry| entry.request_id == id && id.starts_with("req-")), "{id}");
    // An id that is none of a request's is replaced.
    let mut long = Request::new(put("orders"));
    long.metadata_mut().insert("x-request-id", "x".repeat(129).parse().unwrap());
    let answered = id_of(fleet.put_service(long).await).unwrap();
    assert!(answered.starts_with("req-"), "{answered}");
    server.stop().await;
}

#[tokio::test]
async fn entries_are_listed_in_pages_by_filters_and_form_one_chain() {
    let server = TestServer::start().await;
    let mut fleet = server.fleet().await;
    for number in 0..10 {
        fleet.put_service(put(&format!("s-{number}"))).await.unwrap();
    }
    let mut verifier = Verifier::new(None);
    let mut request = pb::ListAuditEntriesRequest { page_size: 7, ..Default::default() };
    let newest = loop {
        let page = list(&server, request.clone()).await;
        assert!(page.entries.len() <= 7);
        assert_eq!((page.oldest_sequence, page.newest_sequence), (1, 20));
        verifier.anchor(format!("0:{}", page.anchor_hash).parse().unwrap());
        page.entries.iter().for_each(|entry| verifier.take(&entry.line, &entry.hash).unwrap());
        if page.next_page_token.is_empty() {
            break format!("{}:{}", page.newest_sequence, page.newest_hash).parse().unwrap();
        }
        request.page_token = page.next_page_token;
    };
    assert_eq!(verifier.finish(Some(newest)).unwrap().entries, 20);

    let all = entries(&server).await;
    let numbers = async |request| -> Vec<u64> {
        list(&server, request).await.entries.iter().map(|entry| entry.sequence).collect()
    };
    for (request, wanted) in [
        (pb::ListAuditEntriesRequest { after_sequence: 18, ..Default::default() }, vec![19, 20]),
        (pb::ListAuditEntriesRequest { object: "service/s-1".into(), ..Default::default() }, vec![3, 4]),
        (pb::ListAuditEntriesRequest { operation: "DeleteService".into(), ..Default::default() }, vec![]),
        (pb::ListAuditEntriesRequest { principal: "token:eve".into(), ..Default::default() }, vec![]),
        (
            pb::ListAuditEntriesRequest {
                operation: "PutService".into(),
                object: "service".into(),
                principal: "local".into(),
                after_sequence: 15,
                ..Default::default()
            },
            (16..=20).collect(),
        ),
        (
            pb::ListAuditEntriesRequest { after_sequence: 18, end_time: all[0].time, ..Default::default() },
            vec![],
        ),
    ] {
        assert_eq!(numbers(request.clone()).await, wanted, "{request:?}");
    }
    let from = pb::ListAuditEntriesRequest { start_time: all[19].time, ..Default::default() };
    assert!(numbers(from).await.contains(&20));
    // Of another list.
    let wrong = pb::ListAuditEntriesRequest { page_token: "cDE6eA".into(), ..Default::default() };
    let refused = server.system().await.list_audit_entries(wrong).await.unwrap_err();
    assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "page_token");
    server.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain_and_the_report_says_that_it_is_whole() {
    let server = TestServer::start().await;
    server.fleet().await.put_service(put("orders")).await.unwrap();
    let before = list(&server, pb::ListAuditEntriesRequest::default()).await;
    let server = server.restart().await;
    server.fleet().await.put_service(put("orders")).await.unwrap();
    let after = list(&server, pb::ListAuditEntriesRequest::default()).await;
    assert_eq!((after.entries.len(), &after.entries[..2]), (4, &before.entries[..]));
    let (_, report) = server.get("/production-readiness").await;
    for check in ["audit.writable", "audit.chain"] {
        assert!(report.contains(check), "{report}");
    }
    let (_, metrics) = server.get("/metrics").await;
    for line in [
        "seaworthy_audit_entries_total{stage=\"COMPLETED\"} 1",
        "seaworthy_audit_failures_total 0",
        "seaworthy_audit_dropped_denials_total 0",
        "seaworthy_audit_newest_sequence 4",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    assert!(server.stop().await.state_saved);
}
