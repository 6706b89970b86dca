//! Registry and store agree, whatever the disk does.

use std::{collections::BTreeMap, future::poll_fn, num::NonZeroUsize, task::Poll, time::Duration};

use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::time::{advance, sleep};

use super::{super::*, Claim, Deleted};
use crate::{
    fleet::pairs::Pairs,
    store::embedded::{
        Engine,
        faults::{Fault, Faulty},
    },
    task::{OnEnd, Task, spawn},
};

/// A fleet on a disk that fails on demand.
struct Bed {
    disk: Faulty,
    handle: Handle,
    store: Store,
    running: Task<bool>,
    drain: drain::Signal,
    _engine: Engine,
    _dir: TempDir,
}

fn options() -> Options {
    Options {
        limits: Limits {
            max_instances: 1000,
            max_services: 100,
            change_history: 1000,
            lost_removal: Duration::from_secs(300),
            tombstone_retention: Duration::from_secs(86_400),
        },
    }
}

impl Bed {
    async fn new() -> Self {
        let disk = Faulty::default();
        let (store, engine, dir) = disk.open();
        let (handle, service) =
            open(options(), Clock::start(), Entropy::seeded(1), store.clone(), &Progress::default())
                .await
                .unwrap();
        let (signal, watch) = drain::channel();
        let running = spawn("fleet", OnEnd::Fine, service.run(watch));
        // What is written at the start is not what the tests are about.
        while handle.shared.state.read().sequences_wanted(2).is_some() {
            tokio::task::yield_now().await;
        }
        Self { disk, handle, store, running, drain: signal, _engine: engine, _dir: dir }
    }

    /// Waits until the disk holds up a sync.
    async fn until_it_hangs(&self) {
        while !self.disk.hangs() {
            tokio::task::yield_now().await;
        }
    }

    async fn until_writable(&self) {
        while !self.store.status().writable {
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn knows(&self, id: &str) -> bool {
        self.handle.instance(&key("orders", id)).is_ok()
    }

    /// Registry and store hold the same, and a fleet that is opened on the store is the same again.
    async fn assert_agreement(&self, what: &str) {
        let (again, _service) =
            open(options(), Clock::start(), Entropy::seeded(2), self.store.clone(), &Progress::default())
                .await
                .unwrap();
        assert_eq!(held(&self.handle), held(&again), "{what}: registry here, store there");
        let stored = self.store.list(record::TOMBSTONES, None, NonZeroUsize::MAX).await.unwrap();
        let stored: Vec<_> = stored.entries.iter().map(|entry| entry.key.clone()).collect();
        let graves = |state: &State| -> Vec<_> {
            state.graves().iter().map(|grave| record::tombstone_key(&grave.tombstone.key)).collect()
        };
        assert_eq!(graves(&self.handle.shared.state.read()), stored, "{what}: tombstones");
    }
}

/// What has to be durable: instances with incarnation and token, specifications with their revision.
fn held(handle: &Handle) -> BTreeMap<String, String> {
    let state = handle.shared.state.read();
    let mut held = BTreeMap::new();
    for (name, group) in state.groups() {
        if let Some(operator) = &group.operator {
            held.insert(name.to_string(), format!("{} {:?}", operator.revision, operator.spec));
        }
        for member in group.members.values() {
            let id = &member.registration.key.id;
            held.insert(format!("{name}/{id}"), format!("{} {:?}", member.incarnation, member.token));
        }
    }
    held
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn key(service: &str, id: &str) -> InstanceKey {
    InstanceKey { service: name(service), id: InstanceId::parse(id).unwrap() }
}

fn registration(id: &str) -> Registration {
    Registration {
        key: key("orders", id),
        version: String::new(),
        zone: String::new(),
        address: String::new(),
        labels: Pairs::default(),
        components: Arc::default(),
        declared_spec: None,
        lease_ttl: Duration::from_secs(600),
        lifecycle: Lifecycle::Ready,
    }
}

async fn register(handle: &Handle, id: &str) -> Result<Arc<Instance>> {
    let registered = handle.register(registration(id), Claim::default(), "peer").await;
    registered.map(|(instance, _)| instance)
}

/// Polls a call once, so that it is on its way.
macro_rules! begin {
    ($call:expr) => {{
        let mut call = Box::pin($call);
        let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(first.is_pending(), "{first:?}");
        call
    }};
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_and_then_completes_leaves_registry_and_store_agreed() {
    let bed = Bed::new().await;
    register(&bed.handle, "before").await.unwrap();
    bed.disk.set(Fault::Hang);
    let waiting = begin!(register(&bed.handle, "during"));
    bed.until_it_hangs().await;
    advance(Duration::from_secs(11)).await;
    let error = waiting.await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
    assert!(error.message().contains("unknown"), "{error}");
    assert!(!bed.knows("during"), "nothing is shown before it is durable");
    bed.disk.set(Fault::None);
    register(&bed.handle, "after").await.unwrap();
    assert!(bed.knows("during"), "the disk has it");
    bed.assert_agreement("a disk that hung").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_disk_did_and_denied_is_taken_back_and_can_be_repeated() {
    let bed = Bed::new().await;
    let handle = &bed.handle;
    /// Fails once with the disk, and works when it is repeated.
    macro_rules! repeat {
        ($what:literal, $call:expr) => {{
            bed.disk.set(Fault::SyncedAndFailed);
            let error = $call.await.map(|_| ()).unwrap_err();
            assert_eq!(error.reason(), Reason::StoreUnavailable, $what);
            bed.until_writable().await;
            bed.assert_agreement(concat!($what, " failed")).await;
            let done = $call.await.unwrap();
            bed.assert_agreement($what).await;
            done
        }};
    }
    let claim = || Claim { token: None, request: Some(TokenHash::of("the same attempt")) };
    for incarnation in [1, 2] {
        let (instance, _) = repeat!("register", handle.register(registration("i-1"), claim(), "peer"));
        assert_eq!(instance.incarnation, incarnation);
    }
    repeat!("put", handle.put_service(name("orders"), Spec::default(), None));
    repeat!("remove", handle.remove(key("orders", "i-1"), None, String::new()));
    let deleted = repeat!("delete", handle.delete_service(name("orders"), None));
    assert!(matches!(deleted, Deleted::Gone(None)));
}

#[tokio::test(start_paused = true)]
async fn while_the_disk_takes_nothing_callers_hear_so_at_once_and_then_it_goes_on() {
    for fault in [Fault::Writes, Fault::Syncs, Fault::Everything] {
        let bed = Bed::new().await;
        register(&bed.handle, "before").await.unwrap();
        bed.disk.set(fault);
        let doubted = register(&bed.handle, "doubted");
        let refused = async {
            while bed.store.status().writable {
                sleep(Duration::from_millis(10)).await;
            }
            register(&bed.handle, "refused").await
        };
        let (refused, doubted) = tokio::join!(refused, async {
            let before = bed.handle.shared.clock.mono();
            let doubted = doubted.await;
            (doubted, bed.handle.shared.clock.mono().since(before))
        });
        assert_eq!(refused.unwrap_err().reason(), Reason::StoreUnavailable, "{fault:?}");
        assert_eq!(doubted.0.unwrap_err().reason(), Reason::StoreUnavailable, "{fault:?}");
        assert!(doubted.1 <= Duration::from_secs(11), "{fault:?}: heard after {:?}", doubted.1);
        bed.disk.set(Fault::None);
        bed.until_writable().await;
        while register(&bed.handle, "after").await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
        assert!(bed.knows("before") && !bed.knows("refused"), "{fault:?}");
        bed.assert_agreement(&format!("{fault:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_failure_anywhere_leaves_registry_and_store_agreed() {
    let mut failed = 0;
    for moment in 0..60 {
        let bed = Bed::new().await;
        register(&bed.handle, "i-0").await.unwrap();
        bed.disk.set(Fault::Once(moment));
        let spec = bed.handle.put_service(name("orders"), Spec::default(), None);
        let (one, two, removed, spec) = tokio::join!(
            register(&bed.handle, "i-1"),
            register(&bed.handle, "i-2"),
            bed.handle.remove(key("orders", "i-0"), None, String::new()),
            spec,
        );
        failed += usize::from(one.is_err() || two.is_err() || removed.is_err() || spec.is_err());
        bed.until_writable().await;
        while let Err(error) = register(&bed.handle, "after").await {
            assert_eq!(error.reason(), Reason::StoreUnavailable);
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((one.is_ok(), two.is_ok()), (bed.knows("i-1"), bed.knows("i-2")), "at {moment}");
        bed.assert_agreement(&format!("operation {moment} failed")).await;
    }
    assert!(failed > 1, "only {failed} failures hit a commit");
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_nobody_waits_for_any_more_is_not_begun() {
    let bed = Bed::new().await;
    bed.disk.set(Fault::Hang);
    let claim = Claim { token: None, request: Some(TokenHash::of("the same attempt")) };
    let first = begin!(bed.handle.register(registration("first"), claim, "peer"));
    bed.until_it_hangs().await;
    // Of the same instance, so that it has to wait for the first; its claim would let it take over.
    let claim = Claim { token: None, request: Some(TokenHash::of("the same attempt")) };
    let second = begin!(bed.handle.register(registration("first"), claim, "peer"));
    drop(second);
    bed.disk.set(Fault::None);
    first.await.unwrap();
    register(&bed.handle, "after").await.unwrap();
    let instance = bed.handle.instance(&key("orders", "first")).unwrap();
    assert_eq!(instance.incarnation, 1);
    bed.assert_agreement("one was given up").await;
}

#[tokio::test(start_paused = true)]
async fn specifications_that_wait_for_each_other_stall_no_instance() {
    const MANY: usize = 1200;
    let bed = Bed::new().await;
    bed.disk.set(Fault::Hang);
    let mut puts = Vec::with_capacity(MANY);
    puts.push(begin!(bed.handle.put_service(name("stock"), Spec::default(), None)));
    bed.until_it_hangs().await;
    for _ in 1..MANY {
        puts.push(begin!(bed.handle.put_service(name("stock"), Spec::default(), None)));
    }
    let mut other = begin!(register(&bed.handle, "other"));
    // While the disk hangs nothing lands, and the registrar takes all that there is.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    macro_rules! answered {
        () => {{
            let all = std::mem::take(&mut puts);
            let mut answered = Vec::new();
            for mut put in all {
                match tokio::task::unconstrained(&mut put).now_or_never() {
                    Some(answer) => answered.push(answer),
                    None => puts.push(put),
                }
            }
            answered
        }};
    }
    // More than may wait for one thing are told so at once, and that nothing was changed.
    let refused = answered!();
    assert_eq!(refused.len(), MANY - 1 - 512, "one is on its way, and 512 wait for it");
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
        assert!(error.message().contains("of the same thing"), "{error}");
        assert!(error.retry_pause().is_some() && !store::outcome_is_open(&error), "{error}");
    }
    assert!((&mut other).now_or_never().is_none(), "its disk hangs");
    bed.disk.set(Fault::None);
    other.await.unwrap();
    // Of those that wait, none was begun before it. How many are done by now is up to the threads.
    let stored = bed.store.get(&record::instance_key(&key("orders", "other"))).await.unwrap();
    let other = stored.expect("it is durable").revision;
    let done = answered!();
    let before = done.iter().filter(|put| put.as_ref().unwrap().spec_revision < other).count();
    assert_eq!(before, 1, "the one that hung");
    // Nobody waits for the others any more; what is on its way comes to its end before this one.
    bed.handle.put_service(name("stock"), Spec::default(), None).await.unwrap();
    bed.assert_agreement("many waited for one thing").await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_not_begun_but_who_says_goodbye_is_gone() {
    let bed = Bed::new().await;
    let mut tokens = Vec::new();
    for id in ["stays", "leaves"] {
        let registered = bed.handle.register(registration(id), Claim::default(), "peer").await.unwrap();
        tokens.push(registered.1.hash());
    }
    bed.handle.put_service(name("stock"), Spec::default(), None).await.unwrap();
    bed.disk.set(Fault::Hang);
    let first = begin!(bed.handle.put_service(name("orders"), Spec::default(), None));
    bed.until_it_hangs().await;
    drop(begin!(bed.handle.put_service(name("late"), Spec::default(), None)));
    drop(begin!(bed.handle.delete_service(name("stock"), None)));
    drop(begin!(bed.handle.remove(key("orders", "stays"), None, String::new())));
    drop(begin!(bed.handle.deregister(key("orders", "leaves"), 1, tokens[1], String::new())));
    bed.disk.set(Fault::None);
    first.await.unwrap();
    // Behind all of them, about specifications as about instances.
    bed.handle.put_service(name("orders"), Spec::default(), None).await.unwrap();
    register(&bed.handle, "after").await.unwrap();
    assert!(bed.handle.service(&name("late")).is_err(), "put");
    assert!(bed.handle.service(&name("stock")).is_ok(), "not deleted");
    assert!(bed.knows("stays"), "not removed");
    assert!(!bed.knows("leaves"), "it said that it leaves");
    bed.assert_agreement("some were given up").await;
}

/// Loses an instance, as if its lease had run out long ago.
fn lose(bed: &Bed, id: &str) {
    lose_after(bed, id, Duration::from_secs(660));
}

fn lose_after(bed: &Bed, id: &str, silence: Duration) {
    let shared = &bed.handle.shared;
    let now = shared.clock.now();
    let later = Now { mono: now.mono + silence, wall: now.wall };
    let mut state = shared.state.write();
    while state.tick(later, 256).more {}
    let member = &state.groups()[&name("orders")].members[&InstanceId::parse(id).unwrap()];
    assert!(member.lost_since().is_some(), "{id} is lost");
}

/// What the reconciler asks for, of somebody who is lost now.
fn removal_of(bed: &Bed, key: &InstanceKey) -> RemoveCommand {
    RemoveCommand {
        service: key.service.clone(),
        id: key.id.clone(),
        incarnation: Some(1),
        token: None,
        lost_since: bed.handle.shared.state.read().lost_since(key, 1),
        removal: Removal::Lost,
        message: String::new(),
    }
}

// On real time: the disk is a thread, and nothing here waits for a time to come.
#[tokio::test]
async fn who_is_heard_while_its_removal_is_written_is_not_buried() {
    let bed = Bed::new().await;
    let handle = &bed.handle;
    let (_, token) = handle.register(registration("i-1"), Claim::default(), "peer").await.unwrap();
    lose(&bed, "i-1");
    bed.disk.set(Fault::Hang);
    let key = key("orders", "i-1");
    let removed = begin!(handle.remove_by(removal_of(&bed, &key)));
    bed.until_it_hangs().await;
    handle.heartbeat("orders", "i-1", 1, &token.hash()).unwrap();
    bed.disk.set(Fault::None);
    assert_eq!(removed.await.unwrap_err().reason(), Reason::InstanceNotFound, "it is not lost any more");
    handle.heartbeat("orders", "i-1", 1, &token.hash()).expect("it lives");
    // Behind whatever is still on its way about it.
    let left = handle.deregister(key.clone(), 1, TokenHash::of("another"), String::new()).await;
    assert!(left.is_err(), "not by this token");
    assert!(bed.knows("i-1"));
    bed.assert_agreement("one was heard while it was buried").await;
    // What was put back can be removed as ever.
    handle.deregister(key, 1, token.hash(), String::new()).await.unwrap();
    bed.assert_agreement("it left").await;
}

#[tokio::test]
async fn who_is_lost_again_while_its_removal_is_written_is_not_buried_for_the_first_loss() {
    let bed = Bed::new().await;
    let handle = &bed.handle;
    let (_, token) = handle.register(registration("i-1"), Claim::default(), "peer").await.unwrap();
    lose(&bed, "i-1");
    bed.disk.set(Fault::Hang);
    let key = key("orders", "i-1");
    let first = removal_of(&bed, &key);
    let removed = begin!(handle.remove_by(first));
    bed.until_it_hangs().await;
    handle.heartbeat("orders", "i-1", 1, &token.hash()).unwrap();
    lose_after(&bed, "i-1", Duration::from_secs(1320));
    bed.disk.set(Fault::None);
    assert_eq!(removed.await.unwrap_err().reason(), Reason::InstanceNotFound, "it was heard meanwhile");
    assert!(bed.knows("i-1"));
    // Nor is one that waited in the queue since then.
    let mut late = removal_of(&bed, &key);
    late.lost_since = Some(Mono::from_millis(1));
    assert_eq!(handle.remove_by(late).await.unwrap_err().reason(), Reason::InstanceNotFound);
    bed.assert_agreement("one was lost again while it was buried").await;
    handle.remove_by(removal_of(&bed, &key)).await.expect("lost for too long");
    bed.assert_agreement("it was buried").await;
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_of_a_registration_takes_over_until_its_token_was_used() {
    let bed = Bed::new().await;
    let handle = &bed.handle;
    let claim = Claim { token: None, request: Some(TokenHash::of("once")) };
    let again = async |id: &str| {
        let registered = handle.register(registration(id), claim, "peer").await;
        registered.map(|(instance, token)| (instance.incarnation, token.hash()))
    };
    type Uses = fn(&Handle, &InstanceKey, &TokenHash);
    let uses: [(&str, Uses); 4] = [
        ("a heartbeat", |handle, key, token| {
            handle.heartbeat("orders", key.id.as_str(), 2, token).unwrap();
        }),
        ("a report", |handle, key, token| {
            handle.report(key, 2, token, |_| Ok(vec![]), None).unwrap();
        }),
        ("a session that is resumed", |handle, key, token| {
            handle.open_session(key, 2, token, Opening::Resumed, false).unwrap();
        }),
        ("a message on the session of the registration", |handle, key, token| {
            handle.session_heard(&handle.open_session(key, 2, token, Opening::Registered, false).unwrap().0);
        }),
    ];
    for (at, (how, uses)) in uses.into_iter().enumerate() {
        let key = key("orders", &format!("i-{at}"));
        let (_, first) = again(key.id.as_str()).await.unwrap();
        // Its answer was lost, and with it the stream that was open already.
        handle.open_session(&key, 1, &first, Opening::Registered, false).unwrap();
        let (incarnation, token) = again(key.id.as_str()).await.unwrap();
        assert_eq!(incarnation, 2);
        uses(handle, &key, &token);
        let refused = again(key.id.as_str()).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::AlreadyExists, "{how}: {refused}");
        // Its own token takes it over as ever.
        let claim = Claim { token: Some(token), request: Some(TokenHash::of("another")) };
        assert_eq!(
            handle.register(registration(key.id.as_str()), claim, "peer").await.unwrap().0.incarnation,
            3
        );
    }
}

#[tokio::test]
async fn who_is_heard_while_its_id_is_taken_over_keeps_it() {
    let bed = Bed::new().await;
    let handle = &bed.handle;
    let (_, token) = handle.register(registration("i-1"), Claim::default(), "peer").await.unwrap();
    lose(&bed, "i-1");
    bed.disk.set(Fault::Hang);
    let claimant = begin!(register(handle, "i-1"));
    bed.until_it_hangs().await;
    handle.heartbeat("orders", "i-1", 1, &token.hash()).unwrap();
    bed.disk.set(Fault::None);
    let error = claimant.await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
    handle.heartbeat("orders", "i-1", 1, &token.hash()).expect("it lives");
    let left = handle.deregister(key("orders", "i-1"), 1, TokenHash::of("another"), String::new()).await;
    assert!(left.is_err(), "not by this token");
    bed.assert_agreement("one was heard while its id was taken over").await;
    // Its own token takes it over, whatever happens.
    let claim = Claim { token: Some(token.hash()), request: None };
    let (next, _) = handle.register(registration("i-1"), claim, "peer").await.unwrap();
    assert_eq!(next.incarnation, 2);
    bed.assert_agreement("it registered anew").await;
}

#[tokio::test]
async fn what_is_put_back_survives_one_failure_of_the_disk() {
    for fault in [Fault::SyncedAndFailed, Fault::Once(0), Fault::Once(1)] {
        let bed = Bed::new().await;
        let handle = &bed.handle;
        let (_, token) = handle.register(registration("i-1"), Claim::default(), "peer").await.unwrap();
        lose(&bed, "i-1");
        bed.disk.set(Fault::Hang);
        let claimant = begin!(register(handle, "i-1"));
        bed.until_it_hangs().await;
        handle.heartbeat("orders", "i-1", 1, &token.hash()).unwrap();
        bed.disk.set(fault);
        drop(claimant.await);
        bed.until_writable().await;
        while register(handle, "after").await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        while handle.deregister(key("orders", "i-1"), 1, token.hash(), String::new()).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        bed.assert_agreement(&format!("{fault:?}")).await;
    }
}

// On real time: whoever is held up is told so after ten seconds, and in other words.
#[tokio::test]
async fn a_record_that_cannot_be_put_back_holds_up_neither_callers_nor_the_end() {
    for recovers in [true, false] {
        let bed = Bed::new().await;
        let handle = &bed.handle;
        let (_, token) = handle.register(registration("i-1"), Claim::default(), "peer").await.unwrap();
        lose(&bed, "i-1");
        // What the journal would write is not what hangs, nor what it may have begun to write.
        while !handle.shared.state.write().take_unsaved(100).is_empty() {}
        bed.store.commit(store::Commit::new().put("a", "before")).await.unwrap();
        bed.disk.set(Fault::Hang);
        let claimant = begin!(register(handle, "i-1"));
        bed.until_it_hangs().await;
        handle.heartbeat("orders", "i-1", 1, &token.hash()).unwrap();
        // Behind it, and it finds the disk full. The registrar hears of neither before this task waits.
        let full = begin!(bed.store.commit(store::Commit::new().put("a", "b")));
        bed.disk.set(Fault::Writes);
        while bed.store.status().writable {
            std::hint::spin_loop();
        }
        bed.disk.set(Fault::Everything);
        assert!(full.await.is_err());
        assert_eq!(claimant.await.unwrap_err().kind(), Kind::AlreadyExists);
        for id in ["another", "i-1"] {
            for _ in 0..3 {
                let claim = Claim { token: Some(token.hash()), request: None };
                let error = handle.register(registration(id), claim, "peer").await.unwrap_err();
                assert_eq!(error.reason(), Reason::StoreUnavailable);
                assert!(!store::outcome_is_open(&error), "{id}: {error}");
            }
        }
        handle.heartbeat("orders", "i-1", 1, &token.hash()).expect("it lives");
        if recovers {
            bed.disk.set(Fault::None);
            while register(handle, "after").await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
            // Behind what is still to be put back.
            let other = TokenHash::of("another");
            while let Err(error) = handle.deregister(key("orders", "i-1"), 1, other, String::new()).await
                && error.reason() == Reason::StoreUnavailable
            {
                sleep(Duration::from_millis(10)).await;
            }
            bed.assert_agreement("the disk was full for a while").await;
            handle.deregister(key("orders", "i-1"), 1, token.hash(), String::new()).await.unwrap();
            bed.assert_agreement("it left").await;
        } else {
            bed.drain.begin();
            assert!(!bed.running.await.unwrap(), "it comes to its end, and says that something is left");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn registering_takes_a_forgotten_tombstone_away() {
    let bed = Bed::new().await;
    register(&bed.handle, "i-1").await.unwrap();
    bed.handle.remove(key("orders", "i-1"), None, String::new()).await.unwrap();
    let forgotten = bed.handle.shared.clock.now();
    let much_later = Now { wall: forgotten.wall + Duration::from_secs(90_000), ..forgotten };
    bed.handle.shared.state.write().expire_graves(much_later, usize::MAX);
    register(&bed.handle, "i-1").await.unwrap();
    bed.assert_agreement("a tombstone was forgotten").await;
}

#[tokio::test(start_paused = true)]
async fn forgetting_old_tombstones_leaves_new_ones_alone() {
    let bed = Bed::new().await;
    for id in ["i-1", "i-2"] {
        register(&bed.handle, id).await.unwrap();
        bed.handle.remove(key("orders", id), None, String::new()).await.unwrap();
    }
    let now = bed.handle.shared.clock.now();
    let much_later = Now { wall: now.wall + Duration::from_secs(90_000), ..now };
    let expired = bed.handle.shared.state.write().expire_graves(much_later, usize::MAX);
    assert_eq!(expired.len(), 2);
    // One of them is registered and removed again before the disk has forgotten the old one.
    register(&bed.handle, "i-1").await.unwrap();
    bed.handle.remove(key("orders", "i-1"), None, String::new()).await.unwrap();
    journal::forget(&bed.handle.shared, &bed.store, &expired).await;
    bed.assert_agreement("one was removed anew").await;
}
