//! What becomes of backups and restores when instances go away, come back, or are many.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use seaworthy_client::{
    Agent, Component,
    backup::{self, Backup, CaptureWriter, Evidence, RestoreReader, Restored},
    proto::seaworthy::v1::{
        self as pb, backup_service_client::BackupServiceClient,
        operation_service_client::OperationServiceClient, restore_service_client::RestoreServiceClient,
        upload_response::Message as Down,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    time::timeout,
};
use tonic::{Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    backups::{create, ended, restore},
    harness::{PATIENCE, TestServer, reason},
    raw::{Raw, down, piece},
};

/// Its lease runs out soon.
fn short(registration: &mut pb::Registration) {
    registration.lease_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
}

/// Waits until an operation has told this.
async fn told(server: &TestServer, begun: &Option<pb::Operation>, words: &str) {
    let mut operations = OperationServiceClient::new(server.channel().await);
    let request = pb::WatchOperationRequest { id: begun.as_ref().unwrap().id.clone() };
    let mut watch = operations.watch_operation(request).await.unwrap().into_inner();
    loop {
        let told = timeout(PATIENCE, watch.message()).await.unwrap().unwrap();
        let told = told.expect("it has not ended").operation.unwrap();
        if told.events.iter().any(|event| event.message.contains(words)) {
            return;
        }
    }
}

/// Takes all that comes of a download, to its end.
async fn take_all(mut download: Streaming<pb::DownloadResponse>) {
    loop {
        let message = timeout(PATIENCE, download.message()).await.unwrap().unwrap();
        if let pb::download_response::Message::Finish(_) = message.unwrap().message.unwrap() {
            return;
        }
    }
}

#[tokio::test]
async fn an_instance_that_was_lost_and_comes_back_as_it_was_is_captured_again() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut raw = Raw::attach_with(&server, short).await;
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner().operation;
    let first = raw.asked().await;
    raw.started(&first.id).await;
    told(&server, &begun, "waiting for it to come back").await;
    raw.attach_again(&server).await;
    let cancel = raw.asked().await;
    assert!(matches!(cancel.ask, Some(pb::directive::Ask::Cancel(_))), "{cancel:?}");
    raw.done(&cancel.id).await;
    let again = raw.asked().await;
    assert_ne!(again.id, first.id);
    raw.captured(&mut backups, &again, b"rows").await;
    let taken = ended(&server, begun).await;
    assert_eq!(taken.state(), pb::OperationState::Succeeded, "{}", taken.cause);
    server.stop().await;
}

/// It is not told that it failed while its instance still puts it in place.
#[tokio::test]
async fn a_restore_is_asked_what_became_of_it_when_its_instance_was_lost_and_comes_back() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut restores = RestoreServiceClient::new(server.channel().await);
    let mut raw = Raw::attach_with(&server, short).await;
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner().operation;
    let asked = raw.asked().await;
    raw.captured(&mut backups, &asked, b"rows").await;
    ended(&server, begun).await;

    let begun = raw.restoring(&restores).await;
    let asked = raw.asked().await;
    raw.started(&asked.id).await;
    take_all(raw.download(&mut restores, &asked, 0).await.unwrap()).await;
    told(&server, &begun, "waiting for it to come back").await;
    raw.attach_again(&server).await;
    let again = raw.asked().await;
    assert_eq!(again.id, asked.id, "{again:?}");
    raw.done(&asked.id).await;
    let given = ended(&server, begun).await;
    assert_eq!(given.state(), pb::OperationState::Succeeded, "{}", given.cause);
    server.stop().await;
}

/// Components of an instance that hold still, each with 3 MiB, of which the second one waits until it may go.
async fn many(server: &TestServer, id: &str, count: usize, begun: &Arc<AtomicUsize>, go: &Go) -> Agent {
    let mut bytes = vec![0; 3 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let bytes: Arc<[u8]> = bytes.into();
    let mut builder = Agent::builder(server.url(), "orders").instance_id(id);
    for at in 0..count {
        let (from, begun, go) = (Arc::clone(&bytes), Arc::clone(begun), go.clone());
        let component = Component::new(format!("{id}-{at}")).backup_with(
            move |mut into: CaptureWriter| {
                let (from, begun, mut go) = (Arc::clone(&from), Arc::clone(&begun), go.clone());
                async move {
                    into.write_all(&from[..1 << 20]).await?;
                    begun.fetch_add(1, Ordering::SeqCst);
                    go.wait_for(|go| *go).await?;
                    into.write_all(&from[1 << 20..]).await?;
                    Ok(Evidence::new())
                }
            },
            |_: RestoreReader, _: Restored| async { Ok(()) },
        );
        builder = builder.component(component.quiesces().without_health());
    }
    let agent = builder.attach().unwrap();
    agent.attached().await.unwrap();
    agent
}

type Go = watch::Receiver<bool>;

/// They are captured by one identity, whose bytes in work are bounded, and more of them than the vault takes at a time.
#[tokio::test]
async fn many_that_hold_still_do_not_wait_for_each_other_without_an_end() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let (begun, (say, go)) = (Arc::new(AtomicUsize::new(0)), watch::channel(false));
    let _agents = [many(&server, "a", 50, &begun, &go).await, many(&server, "b", 50, &begun, &go).await];
    let wanted = pb::CreateBackupRequest {
        max_quiesce: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
        ..create("orders", "")
    };
    let operation = backups.create_backup(wanted).await.unwrap().into_inner().operation;
    // As many have half of a piece as there will be at a time.
    let all_of_them = async {
        let mut before = 0;
        while before < 12 || before < begun.load(Ordering::SeqCst) {
            before = begun.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(3 * PATIENCE, all_of_them).await.expect("as many as may begin have begun");
    say.send(true).unwrap();
    let taken = ended(&server, operation).await;
    assert_eq!(taken.state(), pb::OperationState::Succeeded, "{}", taken.cause);
    server.stop().await;
}

/// What a component keeps, and how it behaves.
#[derive(Default)]
struct State {
    kept: Mutex<Vec<u8>>,
    held: AtomicBool,
    /// Whether it cannot hold still.
    restless: bool,
    /// Whether it cannot take anything.
    refuses: bool,
    /// What held still when it was captured: it, and the other one.
    seen: Mutex<Vec<(bool, bool)>>,
    other: Mutex<Weak<State>>,
}

impl State {
    fn of(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::new(bytes.to_vec()), ..Self::default() })
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }
}

impl Backup for State {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        let other = self.other.lock().upgrade().is_some_and(|other| other.is_held());
        self.seen.lock().push((self.is_held(), other));
        let bytes = self.kept.lock().clone();
        into.write_all(&bytes).await?;
        Ok(Evidence::new())
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        if self.refuses {
            return Err("it has no room".into());
        }
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await?;
        *self.kept.lock() = bytes;
        Ok(())
    }

    async fn quiesce(&self) -> Result<(), backup::Error> {
        if self.restless {
            return Err("it cannot hold still".into());
        }
        self.held.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn resume(&self) -> Result<(), backup::Error> {
        self.held.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// An instance with one component.
async fn instance(server: &TestServer, id: &str, component: Component) -> Agent {
    let builder = Agent::builder(server.url(), "orders").instance_id(id);
    let agent = builder.component(component.without_health()).attach().unwrap();
    agent.attached().await.unwrap();
    agent
}

/// Backs up two components of two instances; whether they are said to be of one moment, and what each has seen.
async fn two(
    first: State,
    second: State,
    both_can: bool,
) -> (pb::Operation, pb::Backup, Vec<Vec<(bool, bool)>>) {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let (first, second) = (Arc::new(first), Arc::new(second));
    *first.other.lock() = Arc::downgrade(&second);
    *second.other.lock() = Arc::downgrade(&first);
    let ledger = Component::new("ledger").backup(Arc::clone(&first)).quiesces();
    let stock = Component::new("stock").backup(Arc::clone(&second));
    let stock = if both_can { stock.quiesces() } else { stock };
    let _agents = [instance(&server, "i-1", ledger).await, instance(&server, "i-2", stock).await];
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
    let operation = ended(&server, begun.operation).await;
    assert!(!first.is_held() && !second.is_held(), "nobody is left holding still");
    let get = pb::GetBackupRequest { service: "orders".to_owned(), id: operation.id.clone() };
    let backup = backups.get_backup(get).await.unwrap().into_inner().backup.unwrap();
    server.stop().await;
    let seen = [first, second].map(|state| state.seen.lock().clone());
    (operation, backup, seen.to_vec())
}

#[tokio::test]
async fn a_backup_is_of_one_moment_only_where_all_of_it_held_still() {
    let (operation, backup, seen) = two(State::default(), State::default(), true).await;
    assert_eq!(operation.state(), pb::OperationState::Succeeded, "{}", operation.cause);
    assert_eq!((backup.consistent, backup.components.len()), (true, 2));
    assert_eq!(seen, [[(true, true)], [(true, true)]], "each was captured while both held still");

    // One that cannot hold still moves on while the other one is captured.
    let (operation, backup, seen) = two(State::default(), State::default(), false).await;
    assert_eq!(operation.state(), pb::OperationState::Succeeded, "{}", operation.cause);
    assert!(!backup.consistent, "{backup:?}");
    assert!(operation.report.iter().any(|line| line == "not of one moment"), "{operation:?}");
    assert_eq!(seen[0], [(true, false)]);

    // One that was asked and does not makes it partial.
    let restless = State { restless: true, ..State::default() };
    let (operation, backup, seen) = two(State::default(), restless, true).await;
    assert_eq!(operation.state(), pb::OperationState::Partial, "{operation:?}");
    assert!(operation.cause.contains("does not hold still"), "{}", operation.cause);
    assert!(!backup.consistent && seen.concat().iter().all(|one| *one == (false, false)), "{seen:?}");
}

/// Lines of the metrics that tell of the vault and of backups, but for what is under way.
async fn figures(server: &TestServer) -> Vec<String> {
    let (_, page) = server.get("/metrics").await;
    let ours = ["seaworthy_vault_", "seaworthy_backup_last_success"];
    let lines = page.lines().filter(|line| ours.iter().any(|name| line.starts_with(name)));
    lines.filter(|line| !line.contains("under_way")).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_operations_came_to_is_in_the_metrics_after_a_restart_too() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut restores = RestoreServiceClient::new(server.channel().await);
    let state = State::of(&[7; 5000]);
    let agent = instance(&server, "i-1", Component::new("ledger").backup(Arc::clone(&state))).await;
    for _ in 0..2 {
        let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
        ended(&server, begun.operation).await;
    }
    let begun = restores.start_restore(restore("orders", "", "")).await.unwrap().into_inner();
    ended(&server, begun.operation).await;
    let verify = pb::VerifyBackupRequest {
        service: "orders".to_owned(),
        id: "latest".to_owned(),
        ..pb::VerifyBackupRequest::default()
    };
    let begun = backups.verify_backup(verify).await.unwrap().into_inner();
    ended(&server, begun.operation).await;
    drop(agent);

    let has = |figures: &[String], name: &str, labels: &[&str], value: &str| {
        figures.iter().any(|line| {
            line.starts_with(name)
                && labels.iter().all(|label| line.contains(label))
                && line.ends_with(&format!(" {value}"))
        })
    };
    let wanted = |figures: &[String]| {
        let of = |kind| [kind, "outcome=\"succeeded\""];
        has(figures, "seaworthy_vault_operations_total{", &of("kind=\"backup\""), "2")
            && has(figures, "seaworthy_vault_operations_total{", &of("kind=\"restore\""), "1")
            && has(figures, "seaworthy_vault_operations_total{", &of("kind=\"verify\""), "1")
            && has(figures, "seaworthy_vault_component_bytes_total{", &of("kind=\"backup\""), "10000")
            && has(figures, "seaworthy_vault_component_bytes_total{", &of("kind=\"restore\""), "5000")
            && has(figures, "seaworthy_vault_new_bytes_total{", &of("kind=\"backup\""), "5000")
            && figures.iter().any(|line| line.contains("last_success") && line.contains("orders"))
    };
    // They are counted right after their end is told.
    let before = timeout(PATIENCE, async {
        loop {
            let figures = figures(&server).await;
            if wanted(&figures) {
                break figures;
            }
            tokio::task::yield_now().await;
        }
    });
    let before = match before.await {
        Ok(before) => before,
        Err(_) => panic!("{:#?}", figures(&server).await),
    };
    let server = server.restart().await;
    assert_eq!(figures(&server).await, before);
    server.stop().await;
}

fn plan(components: &[&str]) -> pb::PlanRestoreRequest {
    pb::PlanRestoreRequest {
        service: "orders".to_owned(),
        backup_id: "latest".to_owned(),
        components: components.iter().map(|name| (*name).to_owned()).collect(),
        ..pb::PlanRestoreRequest::default()
    }
}

#[tokio::test]
async fn one_component_is_restored_alone_and_a_plan_says_how_much_and_how_long() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut restores = RestoreServiceClient::new(server.channel().await);
    let (ledger, stock) = (State::of(&[1; 3 << 20]), State::of(&[2; 2 << 20]));
    let builder = Agent::builder(server.url(), "orders").instance_id("i-1");
    let builder = builder
        .component(Component::new("ledger").backup(Arc::clone(&ledger)).without_health())
        .component(Component::new("stock").backup(Arc::clone(&stock)).without_health());
    let agent = builder.attach().unwrap();
    agent.attached().await.unwrap();
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
    ended(&server, begun.operation).await;
    let planned = restores.plan_restore(plan(&[])).await.unwrap().into_inner();
    assert_eq!((planned.bytes, planned.items.len()), (5 << 20, 2));
    assert_eq!(planned.estimate_basis(), pb::EstimateBasis::Backups, "nothing was restored yet");
    assert!(planned.estimate.is_some());
    let planned = restores.plan_restore(plan(&["ledger"])).await.unwrap().into_inner();
    assert_eq!((planned.bytes, planned.items[0].bytes, planned.items.len()), (3 << 20, 3 << 20, 1));
    assert_eq!(planned.items[0].component, "ledger");

    *ledger.kept.lock() = b"lost".to_vec();
    *stock.kept.lock() = b"newer".to_vec();
    let one = pb::StartRestoreRequest { components: vec!["ledger".to_owned()], ..restore("orders", "", "") };
    let begun = restores.start_restore(one).await.unwrap().into_inner();
    let given = ended(&server, begun.operation).await;
    assert_eq!(given.state(), pb::OperationState::Succeeded, "{}", given.cause);
    assert_eq!(given.steps.len(), 1, "{given:?}");
    assert_eq!((ledger.kept.lock().len(), stock.kept.lock().as_slice()), (3 << 20, b"newer".as_slice()));
    let planned = restores.plan_restore(plan(&[])).await.unwrap().into_inner();
    assert_eq!(planned.estimate_basis(), pb::EstimateBasis::Restores);
    server.stop().await;
}

#[tokio::test]
async fn each_component_of_a_restore_has_an_outcome_of_its_own() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut restores = RestoreServiceClient::new(server.channel().await);
    let ledger = Arc::new(State { refuses: true, ..State::default() });
    let stock = State::of(b"stock");
    let _agents = [
        instance(&server, "i-1", Component::new("ledger").backup(Arc::clone(&ledger))).await,
        instance(&server, "i-2", Component::new("stock").backup(Arc::clone(&stock))).await,
    ];
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner();
    ended(&server, begun.operation).await;
    stock.kept.lock().clear();
    let begun = restores.start_restore(restore("orders", "", "")).await.unwrap().into_inner();
    let given = ended(&server, begun.operation).await;
    assert_eq!(given.state(), pb::OperationState::Partial, "{given:?}");
    assert!(given.cause.contains("it has no room"), "{}", given.cause);
    let states: Vec<_> = given.steps.iter().map(|step| (step.name.as_str(), step.state())).collect();
    assert!(states.contains(&("restore orders/i-1/ledger", pb::StepState::Failed)), "{states:?}");
    assert!(states.contains(&("restore orders/i-2/stock", pb::StepState::Succeeded)), "{states:?}");
    assert_eq!(stock.kept.lock().as_slice(), b"stock");
    server.stop().await;
}

#[tokio::test]
async fn a_restore_that_is_cancelled_is_cancelled_at_its_instance_and_says_what_may_be_left() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut restores = RestoreServiceClient::new(server.channel().await);
    let mut raw = Raw::attach(&server).await;
    backed_up(&server, &mut raw, &mut backups).await;
    let begun = raw.restoring(&restores).await;
    let asked = raw.asked().await;
    raw.started(&asked.id).await;
    let id = begun.as_ref().unwrap().id.clone();
    let request = pb::CancelOperationRequest { id, message: String::new() };
    OperationServiceClient::new(server.channel().await).cancel_operation(request).await.unwrap();
    let cancel = raw.asked().await;
    let Some(pb::directive::Ask::Cancel(pb::CancelDirective { directive_id })) = cancel.ask else {
        panic!("{cancel:?}")
    };
    assert_eq!(directive_id, asked.id);
    let cancelled = ended(&server, begun).await;
    assert_eq!(cancelled.state(), pb::OperationState::Cancelled);
    assert!(cancelled.report.concat().contains("half overwritten"), "{cancelled:?}");
    // Its ticket opens nothing any more.
    assert!(raw.download(&mut restores, &asked, 0).await.is_err());
    server.stop().await;
}

async fn backed_up(server: &TestServer, raw: &mut Raw, backups: &mut BackupServiceClient<Channel>) {
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner().operation;
    let asked = raw.asked().await;
    raw.captured(backups, &asked, b"rows").await;
    let taken = ended(server, begun).await;
    assert_eq!(taken.state(), pb::OperationState::Succeeded, "{}", taken.cause);
}

/// Each guard stands in the way by itself, whatever else is forced.
#[tokio::test]
async fn a_guard_that_was_not_forced_stands_in_the_way_alone() {
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let restores = RestoreServiceClient::new(server.channel().await);
    let backs_up = |registration: &mut pb::Registration| {
        let cache = pb::Component {
            name: "cache".to_owned(),
            kind: "cache".to_owned(),
            capabilities: vec![pb::Capability::Backup.into()],
            ..pb::Component::default()
        };
        registration.components.push(cache);
    };
    let mut raw = Raw::attach_with(&server, backs_up).await;
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner().operation;
    for _ in 0..2 {
        let asked = raw.asked().await;
        match &asked.ask {
            Some(pb::directive::Ask::Capture(capture)) if capture.component == "database" => {
                raw.captured_as(&mut backups, &asked, b"rows".to_vec(), &[("schema_version", "3")]).await;
            }
            _ => raw.failed(&asked.id, "it is locked").await,
        }
    }
    let partial = ended(&server, begun).await;
    assert_eq!(partial.state(), pb::OperationState::Partial, "{}", partial.cause);
    raw.works(&server).await;

    use pb::RestoreGuard::{NewerSchema, NotEmpty, Partial, Serving, Unverified};
    let all = [Serving, NotEmpty, NewerSchema, Unverified, Partial];
    let there = pb::Inspection {
        component: "database".to_owned(),
        bytes: 9,
        schema_version: 4,
        ..pb::Inspection::default()
    };
    for (guard, name) in
        all.into_iter().zip(["serving", "not-empty", "newer-schema", "unverified", "partial"])
    {
        let others = all.into_iter().filter(|other| *other != guard).map(Into::into);
        let start = pb::StartRestoreRequest { force: others.collect(), ..restore("orders", "", "") };
        let mut starting = restores.clone();
        let started = tokio::spawn(async move { starting.start_restore(start).await });
        raw.inspected_as(vec![there.clone()]).await;
        let refused = started.await.unwrap().unwrap_err();
        assert_eq!(reason(&refused), "RESTORE_GUARDED", "{name}: {refused:?}");
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["guards"], name, "{refused:?}");
    }
    // With all of them forced it begins.
    let start = pb::StartRestoreRequest { force: all.map(Into::into).to_vec(), ..restore("orders", "", "") };
    let mut starting = restores.clone();
    let started = tokio::spawn(async move { starting.start_restore(start).await });
    raw.inspected_as(vec![there]).await;
    started.await.unwrap().unwrap();
    server.stop().await;
}

/// What nobody takes is in work as well: whoever has all that one identity may have in work waits, up as down.
#[tokio::test]
async fn the_bytes_that_one_identity_has_in_work_are_bounded_up_and_down() {
    const SOON: Duration = Duration::from_millis(300);
    let server = TestServer::start().await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let mut restores = RestoreServiceClient::new(server.channel().await);
    let mut raw = Raw::attach(&server).await;
    let begun = backups.create_backup(create("orders", "")).await.unwrap().into_inner().operation;
    let asked = raw.asked().await;
    raw.captured_as(&mut backups, &asked, vec![7; 2 << 20], &[]).await;
    ended(&server, begun).await;
    raw.restoring(&restores).await;
    let given = raw.asked().await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        let mut restores = RestoreServiceClient::new(server.channel().await);
        for _ in 0..8 {
            unread.push(raw.download(&mut restores, &given, 0).await.unwrap());
        }
    }
    let mut download = raw.download(&mut restores, &given, 0).await.unwrap();
    backups.create_backup(create("orders", "")).await.unwrap();
    let asked = raw.asked().await;
    let Some(pb::directive::Ask::Capture(pb::CaptureDirective { ticket, .. })) = &asked.ask else {
        panic!("{asked:?}")
    };
    let (say, mut upload, _) = raw.upload(&mut backups, ticket).await;
    for at in 0..3 {
        say.send(piece(at << 20, vec![8; 1 << 20])).await.unwrap();
    }
    let mut next = std::pin::pin!(download.message());
    assert!(timeout(SOON, &mut next).await.is_err(), "there is room for none of it");
    assert!(timeout(SOON, upload.message()).await.is_err(), "there is room for none of it");
    drop(unread);
    assert!(timeout(PATIENCE, next).await.unwrap().unwrap().is_some());
    loop {
        match down(&mut upload).await.unwrap().unwrap() {
            Down::Progress(progress) if progress.received_offset >= 2 << 20 => break,
            Down::Progress(_) => {}
            other => panic!("{other:?}"),
        }
    }
    server.stop().await;
}
