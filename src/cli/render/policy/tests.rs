//! Policies in words: whatever the contract can say has some.

use std::time::Duration;

use prost_types::Timestamp;
use seaworthy_client::proto::seaworthy::v1::{CircuitBreaker, PoolLimit, RateLimit};

use super::*;
use crate::cli::output::Looks;

const PLAIN: Looks = Looks { colour: false, unicode: false };

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
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

/// What it says is worded where it is held; this sees that it is asked there, and what stands where that fails.
#[test]
fn parts_are_told_with_their_defaults() {
    let nothing_said = Policy {
        name: "plain".into(),
        target: operations("orders", ""),
        pools: vec![PoolLimit { name: "database".into(), size: 10, wait: None }],
        breaker: Some(CircuitBreaker::default()),
        ..Policy::default()
    };
    let expected = [
        ("pool database", "10 of them, waits 5s"),
        (
            "breaker",
            "opens at 7 failures in a row or 50% failed or 100% slower than 5s in 30s of at least 20 calls; for 10s to 60s; \
             5 probes",
        ),
    ];
    assert_eq!(parts(&nothing_said), expected.map(|(part, says)| (part.to_owned(), says.to_owned())));
    let unknown = Policy { limits: vec![RateLimit { algorithm: 99, ..limit(7) }], ..nothing_said };
    let [(field, wrong)] = &parts(&unknown)[..] else { panic!("{:?}", parts(&unknown)) };
    assert!(field == "policy.limits[0].algorithm" && !wrong.is_empty(), "{field} {wrong}");
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
            "charges    charge-card of orders  -         -       put       limits OPERATION: 100 in 1s, token bucket, burst 100",
            "own-lists  all RPCs               shop\u{fffd}[2J  yes     built in  policy.caller: is longer than 256 bytes, or has control characters",
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
            "limits OPERATION  100 in 1s, token bucket, burst 100",
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
