//! Operations through the API: begun beside it, as rooms that carry them out do, and then seen, followed and cancelled.

use futures_util::FutureExt as _;
use seaworthy::operation::{Begun, Kind, Outcome, Run, Wanted};
use seaworthy_client::proto::seaworthy::v1::{self as pb, operation_service_client::OperationServiceClient};
use tokio::time::timeout;
use tonic::{Code, Streaming, transport::Channel};

use crate::{
    credentials::{Bearer, Guarded},
    harness::{PATIENCE, TestServer, reason},
};

async fn client(server: &TestServer) -> OperationServiceClient<Channel> {
    OperationServiceClient::new(server.channel().await)
}

/// Begins an operation, as a room that carries it out does.
pub(crate) async fn begin(server: &TestServer, service: &str) -> Run {
    let wanted = Wanted {
        kind: Kind::Backup,
        service: service.to_owned(),
        backup_id: None,
        created_by: "token:alice".to_owned(),
        request_id: String::new(),
        asked: String::new(),
        scope: format!("backup/{service}"),
    };
    match server.operations.begin(wanted).await.unwrap() {
        Begun::New(run) => run,
        Begun::Same(same) => panic!("the same as {same:?}"),
    }
}

/// An operation once it has ended.
pub(crate) async fn ended(server: &TestServer, id: String) -> pb::Operation {
    let request = pb::WatchOperationRequest { id };
    let mut watch = client(server).await.watch_operation(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(told) = next(&mut watch).await {
        last = Some(told);
    }
    last.unwrap()
}

fn get(id: &str) -> pb::GetOperationRequest {
    pb::GetOperationRequest { id: id.to_owned() }
}

async fn next(watch: &mut Streaming<pb::WatchOperationResponse>) -> Option<pb::Operation> {
    let message = timeout(PATIENCE, watch.message()).await.unwrap().unwrap();
    message.map(|message| message.operation.unwrap())
}

#[tokio::test]
async fn an_operation_is_seen_followed_and_listed() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let run = begin(&server, "orders").await;
    let id = run.id().to_string();
    let mut watch =
        client.watch_operation(pb::WatchOperationRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await.unwrap().state(), pb::OperationState::Pending);
    let step = run.add_step("capture orders/i-1/database", 100).unwrap();
    step.start().unwrap();
    step.progress(40, 100);
    run.event("", "it began").unwrap();
    loop {
        let told = next(&mut watch).await.unwrap();
        let progress = told.progress.unwrap();
        if progress.done_bytes == 40 {
            assert_eq!((told.state(), progress.total_bytes), (pb::OperationState::Running, 100));
            assert_eq!((told.steps[0].state(), told.events.len()), (pb::StepState::Running, 1));
            break;
        }
    }
    step.succeed().unwrap();
    run.finish(Outcome::Partial { cause: "a cache is missing".into() }, vec!["1 of 2".into()]).await.unwrap();
    let mut last = next(&mut watch).await.unwrap();
    while last.state() == pb::OperationState::Running {
        last = next(&mut watch).await.unwrap();
    }
    assert_eq!((last.state(), last.cause.as_str()), (pb::OperationState::Partial, "a cache is missing"));
    assert_eq!(next(&mut watch).await, None, "it ends with the operation");
    let found = client.get_operation(get(&id)).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(found, last);
    // One that has ended is told once.
    let mut watch = client.watch_operation(pb::WatchOperationRequest { id }).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(found));
    assert_eq!(next(&mut watch).await, None);

    let second = begin(&server, "payments").await;
    let ask = |service: &str, page_size| pb::ListOperationsRequest {
        service: service.to_owned(),
        page_size,
        ..pb::ListOperationsRequest::default()
    };
    let first = client.list_operations(ask("", 1)).await.unwrap().into_inner();
    assert_eq!(first.operations[0].id, second.id().to_string(), "the newest first");
    let request = pb::ListOperationsRequest { page_token: first.next_page_token, ..ask("", 1) };
    let rest = client.list_operations(request).await.unwrap().into_inner();
    assert_eq!((rest.operations[0].service.as_str(), rest.next_page_token.as_str()), ("orders", ""));
    assert!(rest.operations[0].steps.is_empty() && rest.operations[0].report.is_empty());
    let state = pb::OperationState::Partial.into();
    let partial = pb::ListOperationsRequest { state, ..ask("orders", 0) };
    assert_eq!(client.list_operations(partial).await.unwrap().into_inner().operations.len(), 1);
    assert!(client.list_operations(ask("stock", 0)).await.unwrap().into_inner().operations.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn who_cancels_is_heard_by_the_run() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let run = begin(&server, "orders").await;
    let request =
        pb::CancelOperationRequest { id: run.id().to_string(), message: "the wrong service".to_owned() };
    let told = client.cancel_operation(request.clone()).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(told.state(), pb::OperationState::Cancelling);
    timeout(PATIENCE, run.cancelled()).await.unwrap();
    let id = run.id();
    run.finish(Outcome::Cancelled, Vec::new()).await.unwrap();
    let ended = client.cancel_operation(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(ended.cause, "cancelled by local: the wrong service");
    let missing = client.get_operation(get(&"0".repeat(26))).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "OPERATION_NOT_FOUND"));
    // It is in the audit, by its id.
    let request = pb::ListAuditEntriesRequest {
        object: format!("operation/{id}"),
        ..pb::ListAuditEntriesRequest::default()
    };
    let entries = server.system().await.list_audit_entries(request).await.unwrap().into_inner().entries;
    assert!(entries.iter().any(|entry| entry.detail == "operation is cancelling"), "{entries:?}");

    let commits = begin(&server, "orders").await;
    assert_eq!(commits.point_of_no_return().await.unwrap(), seaworthy::operation::Gate::Passed);
    let request = pb::CancelOperationRequest { id: commits.id().to_string(), message: String::new() };
    let refused = client.cancel_operation(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "OPERATION_COMMITS"));
    server.stop().await;
}

#[tokio::test]
async fn a_watch_says_goodbye_and_a_restart_fails_what_was_under_way() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let run = begin(&server, "orders").await;
    let id = run.id().to_string();
    let mut watch =
        client.watch_operation(pb::WatchOperationRequest { id: id.clone() }).await.unwrap().into_inner();
    next(&mut watch).await.unwrap();
    run.leave();
    let server = server.restart().await;
    let goodbye = timeout(PATIENCE, watch.message()).await.unwrap().unwrap_err();
    assert_eq!((goodbye.code(), reason(&goodbye).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    let failed = ended(&server, id).await;
    assert_eq!(failed.state(), pb::OperationState::Failed);
    assert!(failed.cause.starts_with("the control plane ended while it was under way"), "{}", failed.cause);
    server.stop().await;
}

/// Who cancelled it is heard, although nobody is there any more who ends it.
#[tokio::test]
async fn what_was_cancelled_is_cancelled_after_a_restart() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let run = begin(&server, "orders").await;
    let id = run.id().to_string();
    let request = pb::CancelOperationRequest { id: id.clone(), message: "the wrong service".to_owned() };
    client.cancel_operation(request).await.unwrap();
    run.leave();
    let server = server.restart().await;
    let ended = ended(&server, id).await;
    assert_eq!(
        (ended.state(), ended.cause.as_str()),
        (pb::OperationState::Cancelled, "cancelled by local: the wrong service")
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_seen_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[narrow]]\nwho = \"token:narrowed\"\nservices = [\"payments\"]\n").unwrap();
    let guarded = Guarded::start_with(|config| config.auth.rules_file = Some(rules)).await;
    let secret = guarded.token("narrowed", pb::Role::Operator, "").await;
    let viewer = guarded.token("viewer", pb::Role::Viewer, "").await;
    let mut narrowed =
        OperationServiceClient::with_interceptor(guarded.server.channel().await, Bearer::of(&secret));
    let (hidden, seen) = (begin(&guarded.server, "orders").await, begin(&guarded.server, "payments").await);
    let id = hidden.id().to_string();
    let watched = narrowed.watch_operation(pb::WatchOperationRequest { id: id.clone() }).await;
    let cancel = pb::CancelOperationRequest { id: id.clone(), message: String::new() };
    for refused in [
        narrowed.get_operation(get(&id)).await.unwrap_err(),
        watched.map(|_| ()).unwrap_err(),
        narrowed.cancel_operation(cancel).await.unwrap_err(),
    ] {
        assert_eq!(reason(&refused), "OPERATION_NOT_FOUND");
    }
    let all = narrowed.list_operations(pb::ListOperationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.operations.iter().map(|it| it.service.as_str()).collect::<Vec<_>>(), ["payments"]);
    let cancel = pb::CancelOperationRequest { id: seen.id().to_string(), message: String::new() };
    let mut viewer =
        OperationServiceClient::with_interceptor(guarded.server.channel().await, Bearer::of(&viewer));
    let denied = viewer.cancel_operation(cancel.clone()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    narrowed.cancel_operation(cancel).await.unwrap();
    timeout(PATIENCE, seen.cancelled()).await.unwrap();
    assert!(hidden.cancelled().now_or_never().is_none());
}
