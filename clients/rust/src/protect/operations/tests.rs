use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use tokio::time::{advance, sleep};

use super::*;
use crate::protect::{
    RefusalKind, breaker, limit,
    policy::{OnUnavailable, PermitLimit, PermitScope, PoolLimit, RateLimit, Retry, Scope, Target},
    resources::Ceiling,
    retry,
};

fn of(name: &str, operation: Option<&str>) -> Policy {
    let target = Target::Operations { service: None, operation: operation.map(str::to_owned) };
    Policy { target, ..Policy::named(name) }
}

fn limited(name: &str, scope: Scope, amount: u32) -> Policy {
    let rate = limit::Rate::new(amount, Duration::from_secs(1)).unwrap();
    let settings = limit::Settings::token_bucket(rate);
    Policy { limits: vec![RateLimit { scope, settings, fleet_wide: None }], ..of(name, None) }
}

fn breaking(consecutive_failures: u32) -> Policy {
    let options = breaker::Options {
        consecutive_failures: Some(consecutive_failures),
        probes: 1,
        jitter: 0.0,
        ..breaker::Options::default()
    };
    Policy { breaker: Some(breaker::Settings::new(options).unwrap()), ..of("breaking", None) }
}

async fn succeed(operations: &Operations, operation: &str, caller: &str) -> Result<(), RefusalKind> {
    match operations.protect(operation, caller, async || Ok::<_, std::io::Error>(())).await {
        Ok(()) => Ok(()),
        Err(ProtectError::Refused(refusal)) => Err(refusal.kind()),
        Err(other) => panic!("{other}"),
    }
}

async fn fail(operations: &Operations, operation: &str) -> ProtectError<std::io::Error> {
    let failing = async || Err::<(), _>(std::io::Error::other("the bank is down"));
    operations.protect(operation, "shop", failing).await.unwrap_err()
}

fn stats(operations: &Operations, name: &str) -> crate::protect::stats::OperationStats {
    operations.report().operations.into_iter().find(|it| it.operation == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn scopes_count_together_what_they_say() {
    for (scope, expected) in [
        // Of charge by a, charge by b, refund by a.
        (Scope::Global, [Ok(()), Err(RefusalKind::Limited), Err(RefusalKind::Limited)]),
        (Scope::Operation, [Ok(()), Err(RefusalKind::Limited), Ok(())]),
        (Scope::Caller, [Ok(()), Ok(()), Err(RefusalKind::Limited)]),
    ] {
        let operations = Operations::new("orders");
        operations.set_policy(limited("limits", scope, 1)).unwrap();
        let mut found = Vec::new();
        for (operation, caller) in [("charge", "a"), ("charge", "b"), ("refund", "a")] {
            found.push(succeed(&operations, operation, caller).await);
        }
        assert_eq!(found, expected, "{scope:?}");
        advance(Duration::from_secs(1)).await;
        assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_holds_from_the_next_call_on_and_others_forget_nothing() {
    let operations = Operations::new("orders");
    operations.set_policy(limited("limits", Scope::Operation, 1)).unwrap();
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    // Something else changes: what was used up stays so.
    operations.set_policy(breaking(3)).unwrap();
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Limited));
    // The control plane says otherwise, and as specific as the code.
    let ruled = limited("ruled", Scope::Operation, 5);
    operations.rule(vec![(Arc::new(ruled), Origin::Put)], BTreeMap::new());
    for _ in 0..5 {
        assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    }
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Limited));
    let counted = stats(&operations, "charge");
    assert_eq!((counted.calls, counted.successes, counted.limited), (8, 6, 2));
}

#[tokio::test(start_paused = true)]
async fn a_policy_in_shadow_refuses_nothing_and_is_seen() {
    let operations = Operations::new("orders");
    operations.set_policy(Policy { shadow: true, ..limited("shadow", Scope::Operation, 1) }).unwrap();
    for _ in 0..3 {
        assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    }
    assert_eq!(stats(&operations, "charge").shadow_refused, 2);
    let usage = operations.rules().usage();
    assert_eq!((usage[0].allowed, usage[0].refused, usage[0].shadow), (1, 2, true));
    assert_eq!(*usage[0].last_refused[0], *"charge");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_is_seen_and_closes_through_half_open() {
    let operations = Operations::new("orders");
    operations.set_policy(breaking(3)).unwrap();
    for _ in 0..3 {
        assert!(matches!(fail(&operations, "charge").await, ProtectError::Failed(_)));
    }
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Broken));
    assert_eq!(succeed(&operations, "refund", "a").await, Ok(()), "another operation has its own");
    let breaker = |operations: &Operations| {
        operations.report().breakers.into_iter().find(|it| it.operation == "charge").unwrap()
    };
    let open = breaker(&operations);
    assert_eq!((open.state, open.cause.as_str()), (breaker::State::Open, "CONSECUTIVE_FAILURES"));
    advance(Duration::from_secs(10)).await;
    assert_eq!(breaker(&operations).state, breaker::State::HalfOpen);
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    assert_eq!(breaker(&operations).state, breaker::State::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_never_answers_opens_the_breaker_whoever_gives_up() {
    // Until the time of all tries is over.
    let operations = Operations::new("orders");
    operations.set_policy(breaking(3)).unwrap();
    for _ in 0..3 {
        let hangs = async || std::future::pending::<Result<(), std::io::Error>>().await;
        let ended = operations.protect("charge", "shop", hangs).await.unwrap_err();
        assert!(matches!(ended, ProtectError::TimedOut), "{ended}");
    }
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Broken));
    // And where its caller gives up before, after longer than a call may take; those that it gave up soon say nothing.
    for (patience, expected) in [(1, Ok(())), (6, Err(RefusalKind::Broken))] {
        let operations = Operations::new("orders");
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..25 {
            let operations = operations.clone();
            calls.spawn(async move {
                let hangs = async || std::future::pending::<Result<(), std::io::Error>>().await;
                let _refund = operations.admit("refund", "shop").await.unwrap();
                let charge = operations.protect("charge", "shop", hangs);
                tokio::time::timeout(Duration::from_secs(patience), charge).await.unwrap_err();
            });
        }
        calls.join_all().await;
        assert_eq!(succeed(&operations, "charge", "a").await, expected, "{patience} s");
        assert_eq!(succeed(&operations, "refund", "a").await, expected, "{patience} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_try_failed_with_is_told_though_the_breaker_refuses_the_next() {
    let operations = Operations::new("orders");
    operations.set_policy(breaking(1)).unwrap();
    let failing = async || Err::<(), _>(std::io::Error::other("the bank is down"));
    let failed = operations.protect_idempotent("charge", "shop", failing).await.unwrap_err();
    assert_eq!(failed.to_string(), "the bank is down");
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Broken));
}

#[tokio::test(start_paused = true)]
async fn fewer_permits_count_what_is_under_way() {
    let operations = Operations::new("orders");
    let permits = |max| {
        let max = NonZeroU32::new(max).unwrap();
        let wait = Duration::ZERO;
        let rule = PermitLimit { scope: PermitScope::Operation, max, wait, max_waiting: 1, adaptive: false };
        Policy { permits: vec![rule], ..of("permits", None) }
    };
    operations.set_policy(permits(3)).unwrap();
    let first = operations.admit("charge", "a").await.unwrap();
    let _second = operations.admit("charge", "a").await.unwrap();
    operations.set_policy(permits(2)).unwrap();
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Full));
    first.succeeded();
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    operations.set_policy(permits(1)).unwrap();
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Full));
    assert_eq!(operations.rules().usage()[0].refused, 2, "counts go on");
}

#[tokio::test(start_paused = true)]
async fn a_shared_limit_that_changes_begins_with_the_part_that_was_held() {
    let operations = Operations::new("orders");
    let shared = |amount| {
        let mut policy = limited("shared", Scope::Operation, amount);
        policy.limits[0].fleet_wide = Some(OnUnavailable::LastSlice);
        operations.rule(vec![(Arc::new(policy), Origin::Put)], BTreeMap::new());
    };
    shared(1000);
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    operations.rules().shares()[0].take_slice(10.0, 100, Duration::from_secs(3));
    shared(500);
    let mut through = 0;
    while succeed(&operations, "charge", "a").await.is_ok() {
        through += 1;
    }
    assert!((4..=5).contains(&through), "a hundredth of 500: {through}");
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_did_wrong_never_opens_a_breaker() {
    let operations = Operations::new("orders");
    operations.set_policy(breaking(2)).unwrap();
    for _ in 0..10 {
        let wrong = async || Err::<(), _>(tonic::Status::invalid_argument("no card"));
        let failed = operations.protect("charge", "poison", wrong).await.unwrap_err();
        assert!(matches!(failed, ProtectError::Failed(_)), "{failed}");
    }
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_override_holds_before_and_after_the_first_call_and_ends_by_itself() {
    let operations = Operations::new("orders");
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    let minute = Duration::from_secs(60);
    let forced = ["charge", "refund"].map(|name| (name.to_owned(), (Force::Open, minute)));
    operations.rule(Vec::new(), forced.into());
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Broken));
    assert_eq!(
        succeed(&operations, "refund", "a").await,
        Err(RefusalKind::Broken),
        "it was never called before"
    );
    assert_eq!(succeed(&operations, "stock", "a").await, Ok(()));
    advance(minute).await;
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    assert_eq!(succeed(&operations, "refund", "a").await, Ok(()));
    // Taken back before its time.
    operations.rule(Vec::new(), BTreeMap::from([("charge".to_owned(), (Force::Open, minute))]));
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Broken));
    operations.rule(Vec::new(), BTreeMap::new());
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
}

/// Only retries take the place of what every operation has: then there is no breaker, nothing is shown of one, and none is
/// forced. One that comes back takes the override that holds by then.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_no_policy_asks_for_is_not_shown_and_takes_what_holds_when_it_comes_back() {
    let operations = Operations::new("orders");
    let shown = || operations.report().breakers.into_iter().map(|it| it.state).collect::<Vec<_>>();
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    assert_eq!(shown(), [breaker::State::Closed]);
    let rule = Retry { settings: retry::Settings::default(), safety: Safety::Unsafe };
    let only_retry = Arc::new(Policy { retry: Some(rule), ..of("operations", None) });
    let minute = Duration::from_secs(60);
    let forced = BTreeMap::from(["charge", "refund"].map(|name| (name.to_owned(), (Force::Open, minute))));
    operations.rule(vec![(Arc::clone(&only_retry), Origin::Put)], forced);
    for operation in ["charge", "refund"] {
        assert_eq!(succeed(&operations, operation, "a").await, Ok(()), "{operation}");
    }
    assert_eq!(shown(), []);
    // The code asks for one again, without a word of the control plane.
    operations.set_policy(breaking(3)).unwrap();
    assert_eq!(shown(), [breaker::State::ForcedOpen; 2]);
    for operation in ["charge", "refund"] {
        assert_eq!(succeed(&operations, operation, "a").await, Err(RefusalKind::Broken), "{operation}");
    }
    // Taken back while no policy asks for it: nothing is left of it.
    operations.set_policy(of("breaking", None)).unwrap();
    operations.rule(vec![(only_retry, Origin::Put)], BTreeMap::new());
    operations.set_policy(breaking(3)).unwrap();
    assert_eq!(shown(), [breaker::State::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn places_are_waited_for_as_long_as_the_policy_says() {
    let operations = Operations::new("orders");
    let permits = PermitLimit {
        scope: PermitScope::Operation,
        max: NonZeroU32::MIN,
        wait: Duration::from_secs(1),
        max_waiting: 1,
        adaptive: false,
    };
    operations.set_policy(Policy { permits: vec![permits], ..of("permits", None) }).unwrap();
    let slow = |seconds| {
        let operations = operations.clone();
        crate::rt::spawn(async move {
            let work = async || {
                sleep(Duration::from_secs(seconds)).await;
                Ok::<_, std::io::Error>(())
            };
            operations.protect("charge", "a", work).await.is_ok()
        })
    };
    let mut first = slow(3);
    tokio::task::yield_now().await;
    assert_eq!(succeed(&operations, "charge", "a").await, Err(RefusalKind::Full), "after a second");
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()), "the first one has ended by then");
    assert!(first.join().await.unwrap());
    let counted = stats(&operations, "charge");
    assert_eq!((counted.full, counted.in_flight, counted.max_in_flight), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_where_that_is_safe() {
    let operations = Operations::new("orders");
    let rule = Retry { settings: retry::Settings::default(), safety: Safety::Unsafe };
    operations.set_policy(Policy { retry: Some(rule), ..of("retry", None) }).unwrap();
    let tries = AtomicU32::new(0);
    let flaky = || {
        let tries = &tries;
        async move {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(std::io::Error::other("not yet")),
                _ => Ok(()),
            }
        }
    };
    assert!(operations.protect("charge", "a", flaky).await.is_err(), "it may have been done");
    assert_eq!(tries.swap(0, Ordering::Relaxed), 1);
    assert!(operations.protect_idempotent("charge", "a", flaky).await.is_ok());
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    assert_eq!(stats(&operations, "charge").retries, 2);
}

#[tokio::test(start_paused = true)]
async fn who_shuts_down_takes_no_more_work() {
    let operations = Operations::new("orders");
    for (lifecycle, expected) in [
        (Lifecycle::Starting, Ok(())),
        (Lifecycle::LameDuck, Ok(())),
        (Lifecycle::Draining, Err(RefusalKind::TurnedAway)),
        (Lifecycle::Stopping, Err(RefusalKind::TurnedAway)),
    ] {
        operations.set_lifecycle(lifecycle);
        assert_eq!(succeed(&operations, "charge", "a").await, expected, "{lifecycle}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_gives_back_all_it_held_and_is_counted() {
    let operations = Operations::new("orders");
    let permits = PermitLimit {
        scope: PermitScope::Global,
        max: NonZeroU32::MIN,
        wait: Duration::ZERO,
        max_waiting: 1,
        adaptive: false,
    };
    operations.set_policy(Policy { permits: vec![permits], ..of("permits", None) }).unwrap();
    let never = operations.protect("charge", "a", async || {
        std::future::pending::<()>().await;
        Ok::<_, std::io::Error>(())
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
    assert_eq!(succeed(&operations, "charge", "a").await, Ok(()));
    let counted = stats(&operations, "charge");
    assert_eq!((counted.cancelled, counted.successes, counted.in_flight), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn pools_come_and_go_with_policies() {
    let operations = Operations::new("orders");
    assert_eq!(operations.acquire("database").await.unwrap_err().max, 0);
    let pool = |size: u32| PoolLimit {
        name: "database".into(),
        size: NonZeroU32::new(size).unwrap(),
        wait: Duration::from_millis(10),
    };
    operations.set_policy(Policy { pools: vec![pool(1)], ..of("pools", None) }).unwrap();
    let held = operations.acquire("database").await.unwrap();
    assert!(operations.acquire("database").await.is_err());
    operations.set_policy(Policy { pools: vec![pool(2)], ..of("pools", None) }).unwrap();
    let second = operations.acquire("database").await.unwrap();
    let used = operations.report().pools.remove(0);
    assert_eq!(
        (used.name.as_str(), used.size, used.in_use, used.peak, used.refused),
        ("database", 2, 2, 2, 1)
    );
    drop((held, second));
    operations.set_policy(of("pools", None)).unwrap();
    assert!(operations.report().pools.is_empty());
}

/// What the control plane would not take the code cannot say either: it would hold of everybody.
#[tokio::test(start_paused = true)]
async fn a_policy_of_the_code_that_contradicts_itself_is_refused_and_the_one_before_stays() {
    let operations = Operations::new("orders");
    operations.set_policy(limited("code", Scope::Operation, 1)).unwrap();
    let ceiling = Ceiling::new(std::num::NonZeroU64::new(1), None, None).unwrap();
    let pool = PoolLimit { name: "database".into(), size: NonZeroU32::MIN, wait: Duration::from_millis(10) };
    let batch = Policy { caller: Some("batch".into()), ..of("code", None) };
    for (field, policy) in [
        ("breaker", Policy { breaker: Some(breaker::Settings::default()), ..batch.clone() }),
        ("resources", Policy { resources: Some(ceiling), ..batch.clone() }),
        ("pools", Policy { pools: vec![pool.clone()], ..batch }),
        ("pools", Policy { pools: vec![pool.clone()], ..of("code", Some("charge")) }),
        ("pools", Policy { pools: vec![pool], shadow: true, ..of("code", None) }),
    ] {
        let refused = operations.set_policy(policy).unwrap_err();
        assert_eq!(refused.fields().map(|(field, _)| field).collect::<Vec<_>>(), [field], "{refused}");
    }
    assert_eq!(succeed(&operations, "charge", "shop").await, Ok(()));
    assert_eq!(succeed(&operations, "charge", "shop").await, Err(RefusalKind::Limited));
}

#[tokio::test(start_paused = true)]
async fn a_shared_limit_is_held_by_its_slice_and_by_its_own_choice_without_one() {
    for (away, expected) in
        [(OnUnavailable::Allow, 100), (OnUnavailable::Deny, 0), (OnUnavailable::LastSlice, 5)]
    {
        let operations = Operations::new("orders");
        let mut policy = limited("shared", Scope::Operation, 10);
        policy.limits[0].fleet_wide = Some(away);
        operations.set_policy(policy).unwrap();
        let admitted = || async {
            let mut admitted = 0;
            for _ in 0..100 {
                admitted += u32::from(succeed(&operations, "charge", "a").await.is_ok());
            }
            admitted
        };
        assert_eq!(admitted().await, 10, "before the first slice the whole amount holds");
        let share = operations.rules().shares().remove(0);
        assert_eq!(share.asked_so_far(), 100);
        share.take_slice(5.0, 2, Duration::from_secs(3));
        advance(Duration::from_secs(2)).await;
        assert!(share.slice().is_some());
        assert_eq!(admitted().await, 5, "half of it, and half of the burst");
        advance(Duration::from_secs(2)).await;
        assert_eq!(admitted().await, expected, "{away:?}");
    }
}

/// As where the control plane goes away, or is too busy, before it has answered even once.
#[tokio::test(start_paused = true)]
async fn where_no_first_slice_comes_the_own_choice_of_a_shared_limit_holds_too() {
    for (away, expected) in
        [(OnUnavailable::Allow, 100), (OnUnavailable::Deny, 0), (OnUnavailable::LastSlice, 10)]
    {
        let operations = Operations::new("orders");
        let rule = |amount| {
            let mut policy = limited("shared", Scope::Operation, amount);
            policy.limits[0].fleet_wide = Some(away);
            operations.rule(vec![(Arc::new(policy), Origin::Put)], BTreeMap::new());
        };
        rule(5);
        let admitted = || async {
            let mut admitted = 0;
            for _ in 0..100 {
                admitted += u32::from(succeed(&operations, "charge", "a").await.is_ok());
            }
            admitted
        };
        assert_eq!(admitted().await, 5, "one is on its way");
        advance(Duration::from_secs(2)).await;
        // One that changes is waited for no longer.
        rule(10);
        assert_eq!(admitted().await, 10);
        advance(Duration::from_secs(1)).await;
        assert_eq!(admitted().await, expected, "{away:?}");
        operations.rules().shares()[0].take_slice(1.0, 10, Duration::from_secs(3));
        assert!(admitted().await <= 2, "it came after all");
    }
}

#[tokio::test(start_paused = true)]
async fn operations_are_bounded() {
    let operations = Operations::new("orders");
    for n in 0..1000 {
        assert_eq!(succeed(&operations, &format!("op-{n}"), "a").await, Ok(()));
    }
    assert_eq!(succeed(&operations, "no name", "a").await, Ok(()));
    let report = operations.report();
    assert_eq!(report.operations.len(), MOST_OPERATIONS + 1);
    assert_eq!(stats(&operations, OTHERS).calls, 1001 - MOST_OPERATIONS as u64);
}

/// What is protected can be spawned, whatever it captures.
#[tokio::test]
async fn a_protected_call_can_go_to_another_thread() {
    let operations = Operations::new("orders");
    let count = Arc::new(AtomicUsize::new(0));
    let (moved, counted) = (operations.clone(), Arc::clone(&count));
    let mut task = crate::rt::spawn(async move {
        let name = String::from("charge");
        let work = || {
            let counted = Arc::clone(&counted);
            async move {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(())
            }
        };
        moved.protect(&name, &name, work).await.is_ok()
    });
    assert!(task.join().await.unwrap());
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
