//! Backups and restores through the API: who may reach what, what a repeated request is answered, and what transfers are refused.

use parking_lot::Mutex;
use seaworthy_client::proto::seaworthy::v1::{
    self as pb, backup_service_client::BackupServiceClient, operation_service_client::OperationServiceClient,
    restore_service_client::RestoreServiceClient, upload_response::Message as Down,
};
use tokio::time::timeout;
use tonic::{Code, Status, codec::CompressionEncoding::Gzip};
use tonic_types::StatusExt as _;

use crate::{
    credentials::{Bearer, Guarded, Proved},
    harness::{PATIENCE, TestServer, reason},
    keeper::{Kept, keeper},
    operations::{self, begin},
    raw::{Raw, down, finish, piece},
};

const OWN: &str = "_seaworthy";

pub(crate) fn create(service: &str, request_id: &str) -> pb::CreateBackupRequest {
    pb::CreateBackupRequest {
        service: service.to_owned(),
        request_id: request_id.to_owned(),
        ..pb::CreateBackupRequest::default()
    }
}

pub(crate) fn restore(service: &str, to: &str, request_id: &str) -> pb::StartRestoreRequest {
    pb::StartRestoreRequest {
        service: service.to_owned(),
        backup_id: "latest".to_owned(),
        target_service: to.to_owned(),
        force: vec![pb::RestoreGuard::NotEmpty.into(), pb::RestoreGuard::Unverified.into()],
        request_id: request_id.to_owned(),
        ..pb::StartRestoreRequest::default()
    }
}

/// What was begun, once it has ended.
pub(crate) async fn ended(server: &TestServer, begun: Option<pb::Operation>) -> pb::Operation {
    operations::ended(server, begun.unwrap().id).await
}

/// A field that a refusal names.
#[track_caller]
fn field(refused: &Status) -> String {
    let details = refused.get_error_details();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    details.bad_request().unwrap().field_violations[0].field.clone()
}

#[tokio::test]
async fn a_repeat_is_answered_although_whom_it_was_about_has_gone() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let mut backups = BackupServiceClient::new(channel.clone());
    let mut restores = RestoreServiceClient::new(channel);
    let kept = Kept::new(Mutex::new(b"rows".to_vec()));
    let agent = keeper(&server, "orders", "i-1", &kept).await;
    let taken = backups.create_backup(create("orders", "r-1")).await.unwrap().into_inner();
    let taken = ended(&server, taken.operation).await;
    assert_eq!(taken.state(), pb::OperationState::Succeeded, "{}", taken.cause);
    let given = restores.start_restore(restore("orders", "", "r-2")).await.unwrap().into_inner();
    let given = ended(&server, given.operation).await;
    assert_eq!(given.state(), pb::OperationState::Succeeded, "{}", given.cause);
    let verify = pb::VerifyBackupRequest {
        service: "orders".to_owned(),
        id: "latest".to_owned(),
        request_id: "r-3".to_owned(),
        ..pb::VerifyBackupRequest::default()
    };
    let verified = backups.verify_backup(verify.clone()).await.unwrap().into_inner();
    let verified = ended(&server, verified.operation).await;

    agent.leave("it is over").await;
    let delete = pb::DeleteBackupRequest {
        service: "orders".to_owned(),
        id: taken.backup_id.clone(),
        confirm_id: taken.backup_id.clone(),
        message: String::new(),
    };
    backups.delete_backup(delete).await.unwrap();
    let again = backups.create_backup(create("orders", "r-1")).await.unwrap().into_inner();
    assert_eq!(again.operation.unwrap().id, taken.id);
    let again = restores.start_restore(restore("orders", "", "r-2")).await.unwrap().into_inner();
    assert_eq!(again.operation.unwrap().id, given.id);
    let again = backups.verify_backup(verify.clone()).await.unwrap().into_inner();
    assert_eq!(again.operation.unwrap().id, verified.id);

    // What asks for something else by the same id is no repeat.
    let other = pb::CreateBackupRequest { components: vec!["cache".to_owned()], ..create("orders", "r-1") };
    for refused in [
        backups.create_backup(other).await.unwrap_err(),
        backups.create_backup(create(OWN, "r-1")).await.unwrap_err(),
        backups.create_backup(create("orders", "r-2")).await.unwrap_err(),
        restores.start_restore(restore("orders", "copies", "r-2")).await.unwrap_err(),
        restores
            .start_restore(pb::StartRestoreRequest { force: Vec::new(), ..restore("orders", "", "r-2") })
            .await
            .unwrap_err(),
        backups
            .verify_backup(pb::VerifyBackupRequest { id: taken.backup_id.clone(), ..verify })
            .await
            .unwrap_err(),
    ] {
        assert_eq!(field(&refused), "request_id", "{refused:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_backup_of_one_service_is_restored_into_another_and_the_audit_names_both() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let mut backups = BackupServiceClient::new(channel.clone());
    let mut restores = RestoreServiceClient::new(channel);
    let (orders, copies) = (Kept::new(Mutex::new(b"rows".to_vec())), Kept::default());
    let _orders = keeper(&server, "orders", "i-1", &orders).await;
    let _copies = keeper(&server, "copies", "i-9", &copies).await;
    let taken = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
    let backup = ended(&server, taken.operation).await.backup_id;
    let begun = restores.start_restore(restore("orders", "copies", "")).await.unwrap().into_inner();
    let operation = ended(&server, begun.operation).await;
    assert_eq!(operation.state(), pb::OperationState::Succeeded, "{}", operation.cause);
    assert_eq!((operation.service.as_str(), copies.lock().as_slice()), ("copies", b"rows".as_slice()));
    let to_one =
        pb::StartRestoreRequest { target_instance_id: "i-9".to_owned(), ..restore("orders", "copies", "") };
    let begun = restores.start_restore(to_one).await.unwrap().into_inner();
    let second = ended(&server, begun.operation).await;

    for (object, operation) in [("service/copies", &operation), ("instance/copies/i-9", &second)] {
        let request = pb::ListAuditEntriesRequest {
            object: object.to_owned(),
            ..pb::ListAuditEntriesRequest::default()
        };
        let entries = server.system().await.list_audit_entries(request).await.unwrap().into_inner().entries;
        let told =
            format!("begun as {}, of backup {backup} of orders, forced: not-empty, unverified", operation.id);
        assert!(entries.iter().any(|entry| entry.detail == told), "{object}: {entries:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_is_narrowed_reaches_no_backup_by_a_detour() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    let narrow = |who: &str, to: &str| format!("[[narrow]]\nwho = \"token:{who}\"\n{to}\n");
    let text = narrow("of-payments", "services = [\"payments\"]")
        + &narrow("of-eu", "zones = [\"eu-*\"]")
        + &narrow("of-any", "services = [\"*\"]");
    std::fs::write(&rules, text).unwrap();
    let guarded = Guarded::start_with(|config| config.auth.rules_file = Some(rules)).await;
    let channel = guarded.server.channel().await;
    let backups = |secret: &str| BackupServiceClient::with_interceptor(channel.clone(), Bearer::of(secret));
    let restores = |secret: &str| RestoreServiceClient::with_interceptor(channel.clone(), Bearer::of(secret));
    let operations =
        |secret: &str| OperationServiceClient::with_interceptor(channel.clone(), Bearer::of(secret));

    // What the control plane keeps of itself is there, and an operation of each kind of service.
    let begun = backups(&guarded.admin).create_backup(create(OWN, "")).await.unwrap().into_inner();
    let own = begun.operation.unwrap().id;
    let request = pb::WatchOperationRequest { id: own.clone() };
    let mut watch = operations(&guarded.admin).watch_operation(request).await.unwrap().into_inner();
    while timeout(PATIENCE, watch.message()).await.unwrap().unwrap().is_some() {}
    let orders = begin(&guarded.server, "orders").await;

    let of = |service: &str| pb::GetBackupRequest { service: service.to_owned(), id: "latest".to_owned() };
    let plan = |service: &str, to: &str| pb::PlanRestoreRequest {
        service: service.to_owned(),
        backup_id: "latest".to_owned(),
        target_service: to.to_owned(),
        ..pb::PlanRestoreRequest::default()
    };
    let not_there = |refused: Status| assert_eq!(reason(&refused), "BACKUP_NOT_FOUND", "{refused:?}");
    let denied = |refused: Status| assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");

    let secret = guarded.token("of-payments", pb::Role::Operator, "").await;
    not_there(backups(&secret).get_backup(of("payments")).await.unwrap_err());
    denied(backups(&secret).get_backup(of("orders")).await.unwrap_err());
    not_there(restores(&secret).plan_restore(plan("payments", "")).await.unwrap_err());
    for (from, to) in [("orders", ""), ("orders", "payments"), ("payments", "orders"), (OWN, "payments")] {
        denied(restores(&secret).plan_restore(plan(from, to)).await.map(drop).unwrap_err());
        denied(restores(&secret).start_restore(restore(from, to, "")).await.map(drop).unwrap_err());
    }

    // Who sees some instances of a service sees none of what has something of each.
    let secret = guarded.token("of-eu", pb::Role::Operator, "").await;
    denied(backups(&secret).get_backup(of("orders")).await.unwrap_err());
    denied(restores(&secret).plan_restore(plan("orders", "")).await.map(drop).unwrap_err());
    sees_nothing(backups(&secret), operations(&secret), &[&own, &orders.id().to_string()]).await;

    // A pattern that its name fits too makes the control plane no service.
    let secret = guarded.token("of-any", pb::Role::Operator, "").await;
    not_there(backups(&secret).get_backup(of("orders")).await.unwrap_err());
    denied(backups(&secret).get_backup(of(OWN)).await.unwrap_err());
    denied(backups(&secret).create_backup(create(OWN, "")).await.unwrap_err());
    denied(restores(&secret).plan_restore(plan(OWN, "orders")).await.map(drop).unwrap_err());
    sees_nothing(backups(&secret), operations(&secret), &[&own]).await;
}

/// Neither a backup nor one of these operations is seen.
async fn sees_nothing(
    mut backups: BackupServiceClient<Proved>,
    mut operations: OperationServiceClient<Proved>,
    ids: &[&str],
) {
    let listed = backups.list_backups(pb::ListBackupsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.backups, []);
    let listed = operations.list_operations(pb::ListOperationsRequest::default()).await.unwrap().into_inner();
    for id in ids.iter().map(|id| (*id).to_owned()) {
        assert!(!listed.operations.iter().any(|it| it.id == id), "{listed:?}");
        let got = operations.get_operation(pb::GetOperationRequest { id: id.clone() }).await;
        let cancel = pb::CancelOperationRequest { id, message: String::new() };
        for refused in [got.map(drop).unwrap_err(), operations.cancel_operation(cancel).await.unwrap_err()] {
            assert_eq!(reason(&refused), "OPERATION_NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn what_is_packed_is_read() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await).send_compressed(Gzip);
    let listed = backups.list_backups(pb::ListBackupsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.backups, []);
    let mut restores = RestoreServiceClient::new(server.channel().await).send_compressed(Gzip);
    let plan = pb::PlanRestoreRequest {
        service: "orders".to_owned(),
        backup_id: "latest".to_owned(),
        ..pb::PlanRestoreRequest::default()
    };
    assert_eq!(reason(&restores.plan_restore(plan).await.unwrap_err()), "BACKUP_NOT_FOUND");
    server.stop().await;
}

/// Nothing of it ends the transfer: it is opened again, and goes on where it is.
#[tokio::test]
async fn offsets_that_do_not_fit_are_refused_and_the_transfer_goes_on() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let mut backups = BackupServiceClient::new(channel.clone());
    let mut restores = RestoreServiceClient::new(channel);
    let mut raw = Raw::attach(&server).await;
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
    let asked = raw.asked().await;
    let Some(pb::directive::Ask::Capture(pb::CaptureDirective { ticket, .. })) = asked.ask else {
        panic!("a capture")
    };
    raw.started(&asked.id).await;

    for (first, wrong) in [(piece(1, b"x"), true), (piece(0, b"ro"), false)] {
        let (say, mut hear, offset) = raw.upload(&mut backups, &ticket).await;
        assert_eq!(offset, 0);
        say.send(first).await.unwrap();
        if !wrong {
            // Twice the same is not what follows.
            say.send(piece(0, b"ro")).await.unwrap();
        }
        let refused = down(&mut hear).await.unwrap_err();
        assert_eq!(field(&refused), "data.offset");
    }
    let (say, mut hear, offset) = raw.upload(&mut backups, &ticket).await;
    assert_eq!(offset, 2, "it goes on where it is");
    say.send(piece(2, b"ws")).await.unwrap();
    say.send(finish(b"rows")).await.unwrap();
    let Ok(Some(Down::Done(done))) = down(&mut hear).await else { panic!("it is done") };
    assert_eq!(done.length, 4);
    raw.done(&asked.id).await;
    let taken = ended(&server, begun.operation).await;
    assert_eq!(taken.state(), pb::OperationState::Succeeded, "{}", taken.cause);

    let begun = raw.restoring(&restores).await;
    let asked = raw.asked().await;
    let refused = raw.download(&mut restores, &asked, 5).await.map(drop).unwrap_err();
    assert_eq!(field(&refused), "offset");
    let mut rest = raw.download(&mut restores, &asked, 2).await.unwrap();
    let Some(pb::download_response::Message::Data(data)) =
        timeout(PATIENCE, rest.message()).await.unwrap().unwrap().unwrap().message
    else {
        panic!("data")
    };
    assert_eq!((data.offset, &data.data[..]), (2, &b"ws"[..]));
    // Who has not fetched all of it has put nothing whole in place, whatever it says.
    raw.done(&asked.id).await;
    let failed = ended(&server, begun).await;
    assert_eq!(failed.state(), pb::OperationState::Failed, "{failed:?}");
    assert!(failed.cause.contains("0 of 4 bytes"), "{}", failed.cause);
    server.stop().await;
}

#[tokio::test]
async fn a_flag_has_backups_store_what_they_take_as_it_is() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut policies = pb::policy_service_client::PolicyServiceClient::new(server.channel().await);
    let kept = Kept::default();
    let agent = keeper(&server, "orders", "i-1", &kept).await;
    let mut backed_up = async |words: &str| {
        *kept.lock() = (0..20_000).flat_map(|n| format!("{words} {n}\n").into_bytes()).collect();
        let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
        assert_eq!(ended(&server, begun.operation).await.state(), pb::OperationState::Succeeded);
        let of = pb::GetBackupRequest { service: "orders".to_owned(), id: "latest".to_owned() };
        backups.get_backup(of).await.unwrap().into_inner().backup.unwrap().components.remove(0)
    };
    let compressed = backed_up("compressed").await;
    assert!(compressed.stored_bytes < compressed.new_bytes / 2, "{compressed:?}");
    let value = Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(false)) });
    let flag = pb::Flag {
        name: "control-plane.backup-compression".to_owned(),
        variants: vec![pb::FlagVariant { name: "off".to_owned(), value }],
        default_variant: "off".to_owned(),
        ..pb::Flag::default()
    };
    policies.put_flag(pb::PutFlagRequest { flag: Some(flag), if_revision: None }).await.unwrap();
    let as_it_is = backed_up("as it is").await;
    assert!(as_it_is.stored_bytes >= as_it_is.new_bytes && as_it_is.new_bytes > 100_000, "{as_it_is:?}");
    agent.leave("done").await;
    server.stop().await;
}
