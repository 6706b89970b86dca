//! Policies in words: whatever the contract can say has some.

use std::time::Duration;

use prost_types::Timestamp;
use seaworthy_client::proto::seaworthy::v1::{
    BreakerMode, CircuitBreaker, OnUnavailable, PermitLimit, PoolLimit, RateLimit, ResourceLimit, Retry,
    circuit_breaker::Window,
};

use super::*;
use crate::cli::output::Looks;

const PLAIN: Looks = Looks { colour: false, unicode: false };

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
}

fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

fn operations(service: &str, operation: &str) -> Option<PolicyTarget> {
    let target = OperationTarget { service: service.into(), operation: operation.into() };
    Some(PolicyTarget { what: Some(What::Operations(target)) })
}

fn rpcs(method: &str) -> Option<PolicyTarget> {
    Some(PolicyTarget { what: Some(What::Rpcs(RpcTarget { method: method.into() })) })
}

fn limit(amount: u32) -> RateLimit {
    RateLimit { scope: PolicyScope::Operation.into(), amount, ..RateLimit::default() }
}

#[test]
fn what_a_policy_is_about_is_told_by_name() {
    for (target, expected) in [
        (None, "everything"),
        (Some(PolicyTarget { what: None }), "everything"),
        (rpcs(""), "all RPCs"),
        (rpcs("seaworthy.v1.FleetService/ListInstances"), "RPC seaworthy.v1.FleetService/ListInstances"),
        (operations("orders", "charge-card"), "charge-card of orders"),
        (operations("orders", ""), "all operations of orders"),
        (operations("", "charge-card"), "charge-card of all services"),
        (operations("", ""), "all operations of all services"),
    ] {
        assert_eq!(about(target.as_ref()), expected);
    }
}

#[test]
fn rates_are_told_with_how_they_are_measured() {
    let with = |change: fn(&mut RateLimit)| {
        let mut limit = limit(100);
        change(&mut limit);
        says(&Policy { limits: vec![limit], ..Policy::default() })
    };
    for (told, expected) in [
        (with(|_| ()), "100 in 1s, token bucket"),
        (with(|it| it.burst = 20), "100 in 1s, token bucket, burst 20"),
        (with(|it| it.period = span(0, 500_000_000)), "100 in 500ms, token bucket"),
        (
            with(|it| (it.queue, it.algorithm) = (5, RateAlgorithm::LeakyBucket.into())),
            "100 in 1s, leaky bucket, queue 5",
        ),
        (with(|it| it.algorithm = RateAlgorithm::SlidingWindow.into()), "100 in 1s, sliding window"),
        (with(|it| it.algorithm = RateAlgorithm::FixedWindow.into()), "100 in 1s, fixed window"),
        (with(|it| it.fleet_wide = true), "100 in 1s, token bucket, over the whole fleet"),
        (
            with(|it| (it.fleet_wide, it.on_unavailable) = (true, OnUnavailable::Deny.into())),
            "100 in 1s, token bucket, over the whole fleet, nothing while the control plane is away",
        ),
    ] {
        assert_eq!(told, format!("limits OPERATION: {expected}"));
    }
}

#[test]
fn parts_are_told_with_their_defaults() {
    let nothing_said = Policy {
        permits: vec![PermitLimit {
            scope: PolicyScope::Global.into(),
            max_in_flight: 64,
            ..PermitLimit::default()
        }],
        resources: Some(ResourceLimit::default()),
        pools: vec![PoolLimit { name: "database".into(), size: 10, wait: None }],
        breaker: Some(CircuitBreaker::default()),
        retry: Some(Retry::default()),
        ..Policy::default()
    };
    let expected = [
        ("permits GLOBAL", "64 under way"),
        ("resources", "any"),
        ("pool database", "10 of them, waits 5s"),
        (
            "breaker",
            "opens at 7 failures in a row or 50% failed or 100% slower than 5s in 30s of at least 20 calls; for 10s to 60s; \
             5 probes",
        ),
        (
            "retry",
            "3 tries, 100ms to 5s apart, 30s in all; 20% of calls and 10 in 1s; only what was certainly not done",
        ),
    ];
    assert_eq!(parts(&nothing_said), expected.map(|(part, says)| (part.to_owned(), says.to_owned())));
}

#[test]
fn parts_are_told_as_they_were_said() {
    let said = Policy {
        permits: vec![PermitLimit {
            scope: PolicyScope::Operation.into(),
            max_in_flight: 8,
            wait: span(0, 100_000_000),
            max_waiting: 4,
            adaptive: true,
        }],
        resources: Some(ResourceLimit {
            max_memory_bytes: 1 << 30,
            max_cpu: 0.855,
            operation_memory_bytes: 64 << 20,
        }),
        breaker: Some(CircuitBreaker {
            mode: BreakerMode::MetricsOnly.into(),
            consecutive_failures: 3,
            failure_rate: 0.25,
            slow_call_rate: 0.9,
            slow_call: span(1, 0),
            window: Some(Window::Calls(200)),
            min_calls: 50,
            open: span(5, 0),
            max_open: span(30, 0),
            probes: 2,
        }),
        retry: Some(Retry {
            attempts: 5,
            first_pause: span(0, 50_000_000),
            max_pause: span(1, 0),
            total: span(10, 0),
            budget_share: 0.1,
            budget_per_second: Some(0),
            idempotent: true,
        }),
        ..Policy::default()
    };
    let expected = [
        ("permits OPERATION", "8 under way, as latency allows, waits 100ms, 4 at the most"),
        ("resources", "memory up to 1.0 GiB, processor up to 85.5%, 64.0 MiB free for each operation"),
        (
            "breaker",
            "metrics only; opens at 3 failures in a row or 25% failed or 90% slower than 1s in 200 calls of at least 50 \
             calls; for 5s to 30s; 2 probes",
        ),
        (
            "retry",
            "5 tries, 50ms to 1s apart, 10s in all; 10% of calls and 0 in 1s; whatever may be repeated",
        ),
    ];
    assert_eq!(parts(&said), expected.map(|(part, says)| (part.to_owned(), says.to_owned())));
    for (mode, expected) in
        [(BreakerMode::ForcedOpen, "forced open"), (BreakerMode::ForcedClosed, "forced closed")]
    {
        let breaker = Some(CircuitBreaker { mode: mode.into(), ..CircuitBreaker::default() });
        assert_eq!(parts(&Policy { breaker, ..Policy::default() })[0].1, expected);
    }
}

fn charges() -> Policy {
    Policy {
        name: "charges".into(),
        target: operations("orders", "charge-card"),
        limits: vec![limit(100)],
        origin: PolicyOrigin::Put.into(),
        revision: 12,
        update_time: Some(Timestamp { seconds: 820, nanos: 0 }),
        updater: "token:alice".into(),
        ..Policy::default()
    }
}

#[test]
fn policies_are_told_with_where_they_come_from() {
    let built_in = Policy {
        name: "own-lists".into(),
        target: rpcs(""),
        caller: "shop\x1b[2J".into(),
        shadow: true,
        origin: PolicyOrigin::BuiltIn.into(),
        ..Policy::default()
    };
    assert_eq!(
        table(&[charges(), built_in], false, now()).lines(PLAIN),
        [
            "POLICY     ABOUT                  CALLER    SHADOW  FROM      SAYS",
            "charges    charge-card of orders  -         -       put       limits OPERATION: 100 in 1s, token bucket",
            "own-lists  all RPCs               shop\u{fffd}[2J  yes     built in  -",
        ]
    );
    let wide = table(&[charges()], true, now()).lines(PLAIN);
    assert!(wide[0].contains("REVISION  PUT     BY           DESCRIPTION  SAYS"), "{wide:?}");
    assert!(wide[1].contains("12        3m ago  token:alice  -            limits"), "{wide:?}");
}

#[test]
fn one_policy_is_told_part_by_part() {
    assert_eq!(
        facts(&charges(), now()).lines(PLAIN),
        [
            "policy            charges",
            "about             charge-card of orders",
            "caller            anybody",
            "limits OPERATION  100 in 1s, token bucket",
            "shadow            no",
            "from              put 3m ago by token:alice, revision 12",
            "description       -",
        ]
    );
}

#[test]
fn what_decides_stands_with_what_it_hides() {
    let part = |part: &str, shadow, hidden: &[&str]| PolicyPart {
        part: part.into(),
        policy: "charges".into(),
        shadow,
        summary: "100 in 1s, token bucket".into(),
        hidden: hidden.iter().map(|name| (*name).to_owned()).collect(),
    };
    let parts =
        [part("limits OPERATION", false, &["all-orders", "defaults"]), part("limits GLOBAL", true, &[])];
    assert_eq!(
        explained(&parts).lines(PLAIN),
        [
            "PART              POLICY   SHADOW  SAYS                     HIDDEN",
            "limits OPERATION  charges  -       100 in 1s, token bucket  all-orders, defaults",
            "limits GLOBAL     charges  yes     100 in 1s, token bucket  -",
        ]
    );
}

#[test]
fn every_word_that_the_contract_knows_can_be_typed() {
    let known = |valid: fn(i32) -> bool| (1..100).filter(|number| valid(*number)).count();
    assert_eq!(known(|number| PolicyScope::try_from(number).is_ok()), SCOPES.len());
    assert_eq!(known(|number| RateAlgorithm::try_from(number).is_ok()), ALGORITHMS.len());
    assert_eq!(SCOPES.map(|(_, value)| scope(value)), SCOPES.map(|(word, _)| word));
    assert_eq!(scope(PolicyScope::Unspecified), "-");
}
