//! What is said, written and told while an operation is under way.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_operation_is_told_from_its_beginning_to_its_report() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let run = it.begin(wanted("orders")).await;
    let told = it.handle.get(run.id()).await.unwrap();
    assert_eq!((told.state, told.started), (State::Pending, None));
    assert_eq!(medium.entries("operations/").len(), 1, "it is durable before it is told");

    let step = run.add_step("capture orders/i-1/database", 100).unwrap();
    step.start().unwrap();
    step.progress(40, 0);
    run.stored(7);
    run.event("capture orders/i-1/database", "began\nwell").unwrap();
    run.settled().await.unwrap();
    let told = it.handle.get(run.id()).await.unwrap();
    assert_eq!((told.state, told.steps[0].state), (State::Running, StepState::Running));
    assert_eq!(told.events[0].message, "began well");
    pass(3).await;
    let told = it.handle.get(run.id()).await.unwrap();
    let Progress { done_bytes, total_bytes, stored_bytes, .. } = told.progress;
    assert_eq!((done_bytes, total_bytes, stored_bytes), (40, 100, 7));

    step.progress(10, 100);
    step.advance(50);
    step.succeed().unwrap();
    run.add_step("seal", 0).unwrap();
    let backup = Ordered::from_bits(7);
    run.set_backup(backup).unwrap();
    let id = run.id();
    let ended = run.finish(Outcome::Succeeded, vec!["90 bytes".into()]).await.unwrap();
    assert_eq!(ended.progress.done_bytes, 90);
    assert_eq!(ended.progress.total_bytes, 90, "what has ended does no more");
    assert_eq!(
        ended.steps.iter().map(|it| it.state).collect::<Vec<_>>(),
        [StepState::Succeeded, StepState::Skipped]
    );
    assert_eq!((ended.state, ended.backup_id, ended.cause.as_str()), (State::Succeeded, Some(backup), ""));
    // Those that ended come from the store.
    assert_eq!(*it.handle.get(id).await.unwrap(), Operation { revision: ended.revision, ..(*ended).clone() });
    assert_eq!(it.handle.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn watchers_hear_of_progress_and_of_its_rate() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    let step = run.add_step("capture", 100_000).unwrap();
    step.start().unwrap();
    let mut watch = it.handle.watch(run.id()).await.unwrap();
    let (mut last, mut messages) = (0, 0);
    for _ in 0..50 {
        step.advance(200);
        tokio::time::sleep(Duration::from_millis(200)).await;
        if watch.has_changed().unwrap() {
            let told = Arc::clone(&watch.borrow_and_update());
            assert!(told.progress.done_bytes >= last);
            last = told.progress.done_bytes;
            messages += 1;
        }
    }
    assert!(last >= 9_000, "{last}");
    assert!(messages > 10, "{messages}");
    let told = Arc::clone(&watch.borrow());
    assert!((900..=1100).contains(&told.progress.bytes_per_second), "{:?}", told.progress);
    let remaining = told.progress.remaining.unwrap().as_secs();
    assert!((80..=105).contains(&remaining), "{:?}", told.progress);
    // It stands: so does its rate.
    pass(12).await;
    assert_eq!(watch.borrow().progress.bytes_per_second, 0);
    run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    assert!(watch.borrow_and_update().state.is_final());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_that_is_not_written() {
    let medium = Medium::default();
    let it = start(&medium).await;
    let run = it.begin(wanted("orders")).await;
    let step = run.add_step("capture", 10).unwrap();
    run.settled().await.unwrap();
    *it.fate.lock() = FULL;
    // It goes on all the same.
    step.start().unwrap();
    step.progress(10, 10);
    step.succeed().unwrap();
    pass(5).await;
    let told = it.handle.get(run.id()).await.unwrap();
    assert_eq!((told.state, told.progress.done_bytes), (State::Pending, 0));
    let refused = it.handle.begin(wanted("payments")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Unavailable, Reason::StoreUnavailable));
    let refused = it.handle.cancel(run.id(), "token:bob", "").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(!is_cancelled(&run), "what was refused has not happened");
    // Its end is not lost either.
    let id = run.id();
    let finishing = task::spawn("finish", OnEnd::Fine, run.finish(Outcome::Succeeded, Vec::new()));
    pass(5).await;
    assert!(!finishing.is_finished());
    *it.fate.lock() = AT_ONCE;
    let ended = finishing.await.unwrap().unwrap();
    assert_eq!((ended.state, ended.steps[0].state), (State::Succeeded, StepState::Succeeded));
    assert_eq!(ended.events, [], "nobody cancelled it");
    assert_eq!(it.handle.get(id).await.unwrap().state, State::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_seemed_to_fail_is_found_as_ones_own() {
    for (shown, written) in [(false, false), (false, true), (true, true)] {
        let it = start(&Medium::default()).await;
        let run = it.begin(wanted("orders")).await;
        let (after, lasts) = (Duration::from_millis(1), Duration::from_secs(3));
        *it.fate.lock() = Fate::Open { after, lasts, shown, written };
        run.start().unwrap();
        pass(1).await;
        *it.fate.lock() = AT_ONCE;
        run.settled().await.unwrap();
        assert_eq!(it.handle.get(run.id()).await.unwrap().state, State::Running);
        run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn steps_events_and_words_are_bounded() {
    let it = start(&Medium::default()).await;
    let run = it.begin(wanted("orders")).await;
    for n in 0..MOST_STEPS {
        run.add_step(&format!("{n}{}", "→".repeat(400)), 1).unwrap().fail(&"→".repeat(2000)).unwrap();
    }
    let refused = run.add_step("one more", 1).unwrap_err();
    assert_eq!(refused.reason(), Reason::TooManyOperations);
    assert!(run.add_step(&format!("7{}", "→".repeat(400)), 1).is_ok(), "one that there is");
    for n in 1..=250 {
        run.event("", &format!("{n} {}", "→".repeat(2000))).unwrap();
    }
    let report = vec!["→".repeat(2000); 200];
    let ended = run.finish(failed(&"→".repeat(2000)), report).await.unwrap();
    assert_eq!((ended.steps.len(), ended.events.len(), ended.report.len()), (256, 100, 100));
    assert!(ended.events.last().unwrap().sequence >= 250);
    assert!(ended.cause.chars().count() == 1024 && ended.cause.ends_with('…'));
    // However many words there are, the record can be written and read.
    let kept = it.handle.get(ended.id).await.unwrap();
    assert_eq!((kept.steps.len(), kept.state), (256, State::Failed));
    let long = |words: &String| words.chars().count() > 100;
    assert!(!kept.report.iter().any(long) && !kept.steps.iter().any(|step| long(&step.message)));
    let said: Vec<_> = kept.events.iter().filter(|event| event.message.contains("cut to 100")).collect();
    assert_eq!(said.len(), 1, "it says so");
    assert_eq!(*kept, Operation { revision: kept.revision, ..(*ended).clone() }, "what is told is kept");
}

#[test]
fn the_record_is_readable_by_people_and_a_newer_one_is_refused() {
    let operation = Operation {
        id: Ordered::from_bits(1 << 80),
        kind: Kind::Verify,
        service: "orders".into(),
        state: State::Pending,
        created_by: "local".into(),
        request_id: String::new(),
        asked: String::new(),
        steps: Vec::new(),
        progress: Progress::default(),
        events: Vec::new(),
        created: std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(5),
        started: None,
        ended: None,
        cause: String::new(),
        backup_id: None,
        report: Vec::new(),
        revision: 0,
    };
    let record = record::Record {
        operation,
        scope: "verify".into(),
        run: "run-x".into(),
        commits: false,
        cancelled: None,
    };
    let bytes = record::encode(&record).unwrap();
    assert_eq!(
        std::str::from_utf8(&bytes).unwrap(),
        r#"{"version":1,"operation":{"id":"00000000010000000000000000","kind":"verify","service":"orders","state":"pending","created_by":"local","progress":{"done_bytes":0,"total_bytes":0,"stored_bytes":0},"created_ms":5},"scope":"verify","run":"run-x","commits":false}"#
    );
    let entry = |id: u128, value: &[u8]| crate::store::Entry {
        key: record::key(Ordered::from_bits(id)),
        value: value.to_vec().into(),
        revision: 0,
    };
    assert_eq!(record::decode(&entry(1 << 80, &bytes)).unwrap(), record);
    let other = record::decode(&entry(7, &bytes)).unwrap_err();
    assert_eq!(other.reason(), Reason::RecordDamaged);
    let newer = record::decode(&entry(1, br#"{"version":2}"#)).unwrap_err();
    assert_eq!(newer.reason(), Reason::RecordTooNew);
}
