//! Operations that outlive the control plane.

use super::*;
use crate::store::embedded;

#[tokio::test(start_paused = true)]
async fn who_takes_an_operation_up_goes_on_where_it_was() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let run = it.begin(wanted("orders")).await;
    let step = run.add_step("capture", 100).unwrap();
    step.start().unwrap();
    step.progress(60, 100);
    run.stored(6);
    pass(3).await;
    it.crash();

    let mut it = start(&medium).await;
    let Orphan { operation, run, commits } = it.orphans.remove(0);
    assert!(!commits);
    assert_eq!((operation.state, operation.progress.done_bytes), (State::Running, 60));
    assert_eq!(operation.events[0].message, "the control plane started again");
    // The scope is held on.
    assert_eq!(it.handle.begin(wanted("orders")).await.unwrap_err().reason(), Reason::OperationUnderWay);
    let step = run.add_step("capture", 100).unwrap();
    step.start().unwrap();
    // It begins anew, and nobody sees that.
    step.progress(10, 100);
    run.stored(1);
    pass(3).await;
    let told = it.handle.get(run.id()).await.unwrap();
    assert_eq!((told.progress.done_bytes, told.progress.stored_bytes), (60, 7));
    step.progress(100, 100);
    step.succeed().unwrap();
    assert_eq!(run.finish(Outcome::Succeeded, Vec::new()).await.unwrap().progress.done_bytes, 100);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_up_has_failed_and_says_why() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let ids = [it.begin(wanted("a")).await, it.begin(wanted("b")).await].map(|run| {
        let id = run.id();
        run.leave();
        id
    });
    it.handle.cancel(ids[1], "token:bob", "").await.unwrap();
    it.crash();
    let mut it = start(&medium).await;
    let orphans = std::mem::take(&mut it.orphans);
    assert_eq!(orphans.len(), 2);
    assert!(is_cancelled(&orphans[1].run), "who cancelled it is heard after a restart too");
    end(orphans);
    pass(1).await;
    for (id, state, cause) in
        [(ids[0], State::Failed, "it was cut off"), (ids[1], State::Cancelled, "cancelled by token:bob")]
    {
        let ended = it.handle.get(id).await.unwrap();
        assert_eq!((ended.state, ended.cause.as_str()), (state, cause));
    }
    assert_eq!(it.handle.under_way(), 0);
    it.crash();
    assert!(start(&medium).await.orphans.is_empty(), "and it stays so");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_taken_over_writes_nothing() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let (old, sealing, ending) =
        (it.begin(wanted("a")).await, it.begin(wanted("b")).await, it.begin(wanted("c")).await);
    let id = old.id();
    // Another control plane on the same store, while this one lives.
    let other = start(&medium).await;
    assert_eq!(other.orphans.len(), 3);
    old.start().unwrap();
    assert_eq!(old.cancelled().await, Stop::TakenOver);
    for refused in [
        old.start().unwrap_err(),
        old.event("", "still there").unwrap_err(),
        old.settled().await.unwrap_err(),
        sealing.point_of_no_return().await.unwrap_err(),
        ending.finish(Outcome::Succeeded, Vec::new()).await.unwrap_err(),
    ] {
        assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Aborted, Reason::OperationTakenOver));
    }
    let told = other.handle.get(id).await.unwrap();
    assert_eq!((told.state, it.handle.get(id).await.unwrap()), (State::Pending, Arc::clone(&told)));
    end(other.orphans);
    pass(1).await;
    assert_eq!(other.handle.get(id).await.unwrap().state, State::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_start_on_a_full_disk_takes_over_once_there_is_room() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let id = it.begin(wanted("orders")).await.id();
    it.crash();
    let clock = Clock::start();
    let full = Arc::new(parking_lot::Mutex::new(FULL));
    let fates = Arc::clone(&full);
    let (store, _engine) = medium.open(clock, Box::new(move || *fates.lock()));
    let (handle, service, orphans) = open(Options::default(), clock, Entropy::system(), store).await.unwrap();
    let (_drain, watch) = drain::channel();
    let _service = task::spawn("operations", OnEnd::Fine, service.run(watch));
    end(orphans);
    pass(5).await;
    assert_eq!(handle.get(id).await.unwrap().state, State::Pending);
    *full.lock() = AT_ONCE;
    pass(70).await;
    assert_eq!(handle.get(id).await.unwrap().cause, "it was cut off");
}

#[tokio::test(start_paused = true)]
async fn ids_and_times_grow_although_the_clock_went_back() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let run = it.begin(wanted("orders")).await;
    let before = run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    it.crash();
    let it = start_at(&medium, Options::default(), 1_600_000_000).await;
    let run = it.begin(wanted("orders")).await;
    let after = run.operation();
    assert!(after.id > before.id, "{} {}", after.id, before.id);
    assert!(after.created >= before.created);
    let (newest, _) = it.handle.list(&Filter::default(), |_| true, None, 1).await;
    assert_eq!(newest[0].id, after.id);
}

/// On the store that is used, closed without a word to anybody, and opened again.
#[tokio::test]
async fn a_crash_loses_nothing_that_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let open_it = async || {
        let clock = Clock::start();
        let (store, engine) = embedded::open(embedded::Options::new(folder.path(), clock)).unwrap();
        let opened = open(Options::default(), clock, Entropy::system(), store).await.unwrap();
        (opened, engine)
    };
    let ((handle, service, orphans), engine) = open_it().await;
    assert!(orphans.is_empty());
    let (_drain, watch) = drain::channel();
    let task = task::spawn("operations", OnEnd::Fine, service.run(watch));
    let Begun::New(run) = handle.begin(wanted("orders")).await.unwrap() else { panic!("it is new") };
    let Begun::New(done) = handle.begin(wanted("payments")).await.unwrap() else { panic!("it is new") };
    let step = run.add_step("capture", 1 << 20).unwrap();
    step.start().unwrap();
    step.progress(1 << 19, 1 << 20);
    let mut watch = handle.watch(run.id()).await.unwrap();
    let counted = watch.wait_for(|told| told.progress.done_bytes == 1 << 19);
    let seen = Arc::clone(&counted.await.unwrap());
    let ended = done.finish(Outcome::Partial { cause: "one is missing".into() }, vec!["1 of 2".into()]);
    let ended = ended.await.unwrap();
    // Said, and not yet told.
    step.progress(1 << 20, 1 << 20);
    task.abort();
    assert!(task.await.is_err());
    drop((handle, watch));
    engine.close().await.unwrap();

    let ((handle, _service, orphans), _engine) = open_it().await;
    assert_eq!(orphans.len(), 1);
    let found = &orphans[0].operation;
    assert!(found.progress.done_bytes >= seen.progress.done_bytes, "bytes never fall");
    assert_eq!((found.state, found.steps[0].state), (State::Running, StepState::Running));
    assert_eq!(*handle.get(ended.id).await.unwrap(), *ended);
    drop(run);
}
