//! How operations end: cancelled, dropped, one of a scope at a time.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_operation_of_a_scope_is_under_way() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    let refused = it.handle.begin(wanted("orders")).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.reason()),
        (ErrorKind::FailedPrecondition, Reason::OperationUnderWay)
    );
    assert!(refused.message().contains(&run.id().to_string()), "{refused}");
    drop(it.begin(wanted("payments")).await);
    drop(it.begin(Wanted { scope: "verify/orders".into(), ..wanted("orders") }).await);
    run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    drop(it.begin(wanted("orders")).await);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_under_way() {
    let options = Options { most_under_way: 2, ..Options::default() };
    let it = start_with(&Medium::default(), options).await;
    let runs = [it.begin(wanted("a")).await, it.begin(wanted("b")).await];
    let refused = it.handle.begin(wanted("c")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::ResourceExhausted, Reason::TooManyOperations));
    assert!(refused.retry_pause().is_some());
    drop(runs);
    pass(1).await;
    drop(it.begin(wanted("c")).await);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_repeated_begins_nothing() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let asked = |request: &str| Wanted { request_id: request.into(), ..wanted("orders") };
    let run = it.begin(asked("r-1")).await;
    let id = run.id();
    let same = |begun| match begun {
        Begun::Same(operation) => operation.id,
        Begun::New(run) => panic!("{run:?}"),
    };
    assert_eq!(same(it.handle.begin(asked("r-1")).await.unwrap()), id);
    run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    assert_eq!(same(it.handle.begin(asked("r-1")).await.unwrap()), id);
    let by_bob = Wanted { created_by: "token:bob".into(), ..asked("r-1") };
    drop(it.begin(by_bob).await);
    // What asks for something else is no repeat, whatever differs.
    let others = || {
        [
            Wanted { kind: Kind::Verify, ..asked("r-1") },
            Wanted { asked: super::asked(["one"]), ..asked("r-1") },
            Wanted { request_id: "r-1".into(), ..wanted("payments") },
        ]
    };
    for other in others() {
        for refused in [
            it.handle.repeated(&other).await.unwrap_err(),
            it.handle.begin(other).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(refused.reason(), Reason::InvalidField);
            assert_eq!(refused.violations()[0].field, "request_id");
            assert!(refused.message().contains(&id.to_string()), "{refused}");
        }
    }
    assert_eq!(it.handle.repeated(&asked("r-1")).await.unwrap().unwrap().id, id);
    assert_eq!(it.handle.repeated(&asked("r-2")).await.unwrap(), None);
    it.crash();
    let it = start(&medium).await;
    assert_eq!(same(it.handle.begin(asked("r-1")).await.unwrap()), id, "after a restart too");
    for other in others() {
        assert_eq!(it.handle.begin(other).await.map(drop).unwrap_err().reason(), Reason::InvalidField);
    }
}

#[tokio::test(start_paused = true)]
async fn who_cancels_is_heard_and_named() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    let step = run.add_step("capture", 10).unwrap();
    step.start().unwrap();
    assert!(!is_cancelled(&run));
    let told = it.handle.cancel(run.id(), "token:bob", "the wrong service").await.unwrap();
    assert_eq!(told.state, State::Cancelling);
    assert_eq!((run.cancelled().await, is_cancelled(&run)), (Stop::Cancelled, true));
    assert_eq!(run.point_of_no_return().await.unwrap(), Gate::Cancelled);
    // Twice is once.
    let again = it.handle.cancel(run.id(), "token:carol", "").await.unwrap();
    assert_eq!(again.events.len(), 1);
    let ended = run.finish(Outcome::Cancelled, Vec::new()).await.unwrap();
    assert_eq!(ended.cause, "cancelled by token:bob: the wrong service");
    assert_eq!((ended.state, ended.steps[0].state), (State::Cancelled, StepState::Failed));
    let after = it.handle.cancel(ended.id, "token:bob", "").await.unwrap();
    assert_eq!(after.state, State::Cancelled);
    let nobody = it.handle.cancel(Ordered::from_bits(1), "token:bob", "").await.unwrap_err();
    assert_eq!((nobody.kind(), nobody.reason()), (ErrorKind::NotFound, Reason::OperationNotFound));
}

#[tokio::test(start_paused = true)]
async fn what_commits_cannot_be_cancelled() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let run = it.begin(wanted("orders")).await;
    assert_eq!(run.point_of_no_return().await.unwrap(), Gate::Passed);
    let refused = it.handle.cancel(run.id(), "token:bob", "").await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::FailedPrecondition, Reason::OperationCommits));
    it.crash();
    let it = start(&medium).await;
    let refused = it.handle.cancel(run.id(), "token:bob", "").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::OperationCommits, "nor after a restart");
}

#[tokio::test(start_paused = true)]
async fn where_the_gate_cannot_be_written_it_stays_open_for_a_cancel() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    *it.fate.lock() = FULL;
    let late = run.point_of_no_return().await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    *it.fate.lock() = AT_ONCE;
    pass(70).await;
    assert_eq!(it.handle.cancel(run.id(), "token:bob", "").await.unwrap().state, State::Cancelling);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_has_failed() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    let (id, step) = (run.id(), run.add_step("capture", 1).unwrap());
    step.start().unwrap();
    drop(run);
    pass(1).await;
    let ended = it.handle.get(id).await.unwrap();
    assert_eq!((ended.state, ended.cause.as_str()), (State::Failed, "ended without saying how"));
    assert_eq!(ended.steps[0].message, "ended without saying how");
    assert_eq!(step.succeed().unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_control_plane_writes_what_was_said_and_ends_nothing() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let (ends, dropped, left) =
        (it.begin(wanted("a")).await, it.begin(wanted("b")).await, it.begin(wanted("c")).await);
    let ids = [ends.id(), dropped.id(), left.id()];
    let step = left.add_step("capture", 10).unwrap();
    step.start().unwrap();
    left.settled().await.unwrap();
    step.progress(4, 10);
    let carrier = task::spawn("carrier", OnEnd::Fine, async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        left.leave();
        drop(dropped);
        ends.finish(Outcome::Succeeded, Vec::new()).await.unwrap().state
    });
    let handle = it.handle.clone();
    assert!(it.stop().await, "all is written");
    assert_eq!(carrier.await.unwrap(), State::Succeeded);
    let refused = handle.begin(wanted("d")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ServerDraining);

    let it = start(&medium).await;
    let states: Vec<_> =
        it.orphans.iter().map(|it| (it.operation.id, it.operation.progress.done_bytes)).collect();
    assert_eq!(states, [(ids[1], 0), (ids[2], 4)]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_written_does_not_last() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    *it.fate.lock() = FULL;
    let finishing = task::spawn("finish", OnEnd::Fine, run.finish(Outcome::Succeeded, Vec::new()));
    pass(1).await;
    let (clock, began) = (it.clock, it.clock.elapsed());
    assert!(!it.stop().await, "it says that not all is written");
    assert!(clock.elapsed() - began < Duration::from_secs(5));
    assert_eq!(finishing.await.unwrap().unwrap_err().reason(), Reason::ServerDraining);
}
