//! The room as a whole, with a store: what the state alone cannot show.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::{advance, sleep};

use super::{
    Claim, Handle, Options, Progress, Service,
    names::{self, InstanceKey},
    open,
    past::Past,
    session::Opening,
    snapshot::{Instance, Transition},
    testing::{key, limits, registration, report},
};
use crate::{
    error::Reason,
    fleet::lifecycle::Lifecycle,
    health::component::Reported,
    id::{Entropy, SessionToken, TokenHash},
    store::embedded::{self, Engine},
    task::{self, OnEnd, drain},
    time::Clock,
};

async fn open_in(dir: &TempDir) -> (Handle, Service, Engine) {
    let clock = Clock::start();
    let (store, engine) = embedded::open(embedded::Options::new(dir.path(), clock)).unwrap();
    let options = Options { limits: limits() };
    let (handle, service) =
        open(options, clock, Entropy::seeded(1), store, &Progress::default()).await.unwrap();
    (handle, service, engine)
}

async fn register(fleet: &Handle, key: &InstanceKey) -> (Arc<Instance>, TokenHash) {
    let (instance, token) =
        fleet.register(registration(key), Claim::default(), "test").await.expect("registered");
    (instance, token.hash())
}

/// All changes of health that are known, newest first, without their times.
async fn history(fleet: &Handle) -> Vec<(u64, String)> {
    let mut found: Vec<Arc<Transition>> = Vec::new();
    loop {
        let before = found.last().map(|last| last.sequence);
        let (page, next) = fleet.transitions(&Past::default(), before, 100).await;
        found.extend(page);
        if next.is_none() {
            break;
        }
    }
    let shown =
        |found: &Arc<Transition>| format!("{:?} from {:?} to {:?}", found.subject, found.from, found.to);
    found.iter().map(|found| (found.sequence, shown(found))).collect()
}

#[tokio::test(start_paused = true)]
async fn however_many_change_in_one_moment_all_is_kept_in_order_and_survives() {
    const SERVICES: usize = 150;
    let dir = tempfile::tempdir().unwrap();
    let (fleet, service, engine) = open_in(&dir).await;
    let (signal, watch) = drain::channel();
    let running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
    let small = (0..2 * SERVICES).map(|at| key(&format!("s-{}", at / 2), &format!("i-{}", at % 2)));
    let large = (0..300).map(|at| key("large", &format!("i-{at}")));
    let keys: Vec<InstanceKey> = small.chain(large).collect();
    let registered = join_all(keys.iter().map(|key| register(&fleet, key))).await;
    for (instance, token) in &registered {
        let key = &instance.registration.key;
        let said = |_: &_| Ok(report(Reported::Healthy));
        fleet.report(key, instance.incarnation, token, said, None).unwrap();
    }
    // All leases end in one turn of the reconciler: far more changes than any batch takes.
    sleep(Duration::from_secs(20)).await;
    assert_eq!(fleet.totals().lost, keys.len() as u64);
    let before = history(&fleet).await;
    // Of each instance: its component, itself, and its loss; of each service: degraded while one was
    // heard, healthy, degraded, unhealthy. Of the large one as many as are kept of one service.
    assert_eq!(before.len(), SERVICES * 10 + super::TRANSITIONS_KEPT);
    assert!(before.is_sorted_by(|newer, older| newer.0 > older.0));

    signal.begin();
    assert!(running.await.unwrap(), "all was written");
    engine.close().await.unwrap();
    let (fleet, _service, _engine) = open_in(&dir).await;
    assert_eq!(history(&fleet).await, before);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_taken_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, service, _engine) = open_in(&dir).await;
    let (_signal, watch) = drain::channel();
    let _running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
    let key = key("orders", "i-1");
    let (instance, token) = register(&fleet, &key).await;
    let (session, _) =
        fleet.open_session(&key, instance.incarnation, &token, Opening::Registered, false).unwrap();
    let said = || report(Reported::Healthy);
    let order = |refused: crate::error::Result<Arc<Instance>>| {
        assert_eq!(refused.unwrap_err().reason(), Reason::LifecycleOrder);
    };
    order(fleet.session_report(&session, said(), Some(Lifecycle::Lost)));
    order(fleet.report(&key, 1, &token, |_| Ok(said()), Some(Lifecycle::Lost)));
    assert_eq!(fleet.counters().reports, 0);
    fleet.session_report(&session, said(), None).unwrap();
    fleet.report(&key, 1, &token, |_| Ok(said()), None).unwrap();
    assert_eq!(fleet.counters().reports, 2);
}

#[tokio::test(start_paused = true)]
async fn who_proves_itself_is_no_sooner_and_no_later_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, service, _engine) = open_in(&dir).await;
    let (_signal, drain) = drain::channel();
    let _running = task::spawn("fleet", OnEnd::Fine, service.run(drain));
    let key = key("orders", "i-1");
    let (instance, token) = register(&fleet, &key).await;
    let why = |proved: crate::error::Result<()>| proved.err().map(|refused| refused.reason());
    let ttl = instance.registration.lease_ttl;
    for _ in 0..8 {
        sleep(ttl / 4).await;
        assert_eq!(why(fleet.prove(&key, 1, &token)), None);
    }
    assert_eq!(fleet.instance(&key).unwrap().lifecycle, Lifecycle::Lost);
    assert_eq!(why(fleet.prove(&key, 2, &token)), Some(Reason::StaleIncarnation));
    let other = SessionToken::from_wire("sws_other").hash();
    assert_eq!(why(fleet.prove(&key, 1, &other)), Some(Reason::SessionTokenInvalid));
    let nobody = InstanceKey { id: names::InstanceId::parse("i-2").unwrap(), ..key.clone() };
    assert_eq!(why(fleet.prove(&nobody, 1, &token)), Some(Reason::InstanceNotFound));
    fleet.remove(key.clone(), None, String::new()).await.unwrap();
    assert_eq!(why(fleet.prove(&key, 1, &token)), Some(Reason::InstanceRemoved));
}

#[tokio::test(start_paused = true)]
async fn reports_are_read_while_others_use_the_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, service, _engine) = open_in(&dir).await;
    let (_signal, watch) = drain::channel();
    let _running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
    let key = key("orders", "i-1");
    let (_, token) = register(&fleet, &key).await;
    let parse = |_: &_| {
        assert!(fleet.shared.state.try_write().is_some(), "the state is not locked meanwhile");
        Ok(report(Reported::Healthy))
    };
    fleet.report(&key, 1, &token, parse, None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_one_service_is_not_left_behind_by_the_changes_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, service, _engine) = open_in(&dir).await;
    let (_signal, watch) = drain::channel();
    let _running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
    let (orders, payments) = (key("orders", "i-1"), key("payments", "i-1"));
    register(&fleet, &orders).await;
    let (_, token) = register(&fleet, &payments).await;
    let only = Some(&orders.service);
    let _interest = fleet.service_changed(&orders.service);
    let cursor = fleet.revision();
    for at in 0..limits().change_history {
        // Another cause each time.
        let mut said = report(Reported::Unhealthy);
        said[0].message = at.to_string();
        fleet.report(&payments, 1, &token, |_| Ok(said), None).unwrap();
    }
    assert!(fleet.changes_after(cursor, None, 10).is_err(), "more than is kept");
    let (looked, changes) = fleet.changes_after(cursor, only, 10).unwrap();
    assert_eq!((looked, changes.len()), (fleet.revision(), 0));
    register(&fleet, &key("orders", "i-2")).await;
    assert_eq!(fleet.changes_after(looked, only, 10).unwrap().1.len(), 2, "the instance and its service");
}

#[tokio::test(start_paused = true)]
async fn the_time_before_anybody_can_be_heard_counts_for_no_lease() {
    let dir = tempfile::tempdir().unwrap();
    let key = key("orders", "i-1");
    {
        let (fleet, service, engine) = open_in(&dir).await;
        let (signal, watch) = drain::channel();
        let running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
        register(&fleet, &key).await;
        signal.begin();
        assert!(running.await.unwrap());
        engine.close().await.unwrap();
    }
    let (fleet, service, _engine) = open_in(&dir).await;
    // Several leases long: what a large store takes to load, and the ports to be bound.
    sleep(Duration::from_secs(60)).await;
    let (_signal, watch) = drain::channel();
    let _running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
    sleep(Duration::from_secs(14)).await;
    assert_eq!(fleet.totals().lost, 0, "a whole lease begins when it can be heard");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(fleet.totals().lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stall_in_the_middle_of_a_turn_is_nobodys_death() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, service, _engine) = open_in(&dir).await;
    let (_signal, watch) = drain::channel();
    let _running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
    // More than one piece of a turn.
    let silent: Vec<InstanceKey> = (0..1000).map(|at| key("silent", &format!("i-{at}"))).collect();
    join_all(silent.iter().map(|key| register(&fleet, key))).await;
    sleep(Duration::from_secs(10)).await;
    register(&fleet, &key("orders", "i-1")).await;
    while fleet.totals().lost == 0 {
        // Unlike a sleep it comes back before the turn is over.
        advance(Duration::from_millis(100)).await;
    }
    // Between two pieces of the turn that loses the silent, everything stands still.
    assert!(fleet.totals().lost < 1000);
    advance(Duration::from_secs(12)).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fleet.totals().lost, 1000, "the one that could not be heard is not lost");
    sleep(Duration::from_secs(12)).await;
    assert_eq!(fleet.totals().lost, 1001);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_never_comes_back_though_all_of_it_was_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let key = key("orders", "i-1");
    let mut newest = 0;
    for _ in 0..3 {
        let (fleet, service, engine) = open_in(&dir).await;
        let (signal, watch) = drain::channel();
        let running = task::spawn("fleet", OnEnd::Fine, service.run(watch));
        let (_, token) = register(&fleet, &key).await;
        let incarnation = fleet.instance(&key).unwrap().incarnation;
        fleet.report(&key, incarnation, &token, |_| Ok(report(Reported::Healthy)), None).unwrap();
        let seen = history(&fleet).await;
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|(sequence, _)| *sequence > newest), "{seen:?} after {newest}");
        newest = seen[0].0;
        // With its last instance goes the service, and its past.
        fleet.remove(key.clone(), None, String::new()).await.unwrap();
        signal.begin();
        assert!(running.await.unwrap(), "all was written");
        engine.close().await.unwrap();
    }
}
