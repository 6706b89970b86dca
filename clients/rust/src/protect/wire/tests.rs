use super::*;

fn second() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 1, nanos: 0 })
}

fn full() -> pb::Policy {
    use pb::policy_target::What;
    let limit = |scope: pb::PolicyScope, algorithm: pb::RateAlgorithm| pb::RateLimit {
        scope: scope.into(),
        amount: 100,
        period: second(),
        algorithm: algorithm.into(),
        ..pb::RateLimit::default()
    };
    let target = pb::OperationTarget { service: "orders".into(), operation: String::new() };
    pb::Policy {
        name: "charges".into(),
        target: Some(pb::PolicyTarget { what: Some(What::Operations(target)) }),
        limits: vec![
            pb::RateLimit {
                burst: 7,
                fleet_wide: true,
                on_unavailable: pb::OnUnavailable::Deny.into(),
                ..limit(pb::PolicyScope::Global, pb::RateAlgorithm::TokenBucket)
            },
            pb::RateLimit { queue: 5, ..limit(pb::PolicyScope::Operation, pb::RateAlgorithm::LeakyBucket) },
            limit(pb::PolicyScope::Caller, pb::RateAlgorithm::SlidingWindow),
            limit(pb::PolicyScope::Caller, pb::RateAlgorithm::FixedWindow),
        ],
        permits: vec![pb::PermitLimit {
            scope: pb::PolicyScope::Operation.into(),
            max_in_flight: 10,
            wait: second(),
            max_waiting: 20,
            adaptive: true,
        }],
        resources: Some(pb::ResourceLimit {
            max_memory_bytes: 1 << 30,
            max_cpu: 0.8,
            operation_memory_bytes: 1 << 20,
        }),
        pools: vec![pb::PoolLimit { name: "database".into(), size: 4, wait: second() }],
        breaker: Some(pb::CircuitBreaker {
            mode: pb::BreakerMode::MetricsOnly.into(),
            consecutive_failures: 3,
            failure_rate: 0.25,
            slow_call_rate: 0.75,
            slow_call: second(),
            window: Some(pb::circuit_breaker::Window::Calls(50)),
            min_calls: 10,
            open: second(),
            max_open: second(),
            probes: 2,
        }),
        retry: Some(pb::Retry {
            attempts: 4,
            first_pause: second(),
            max_pause: second(),
            total: second(),
            budget_share: 0.1,
            budget_per_second: Some(0),
            idempotent: true,
        }),
        description: "of the bank".into(),
        ..pb::Policy::default()
    }
}

#[test]
fn a_policy_comes_back_as_it_was_said() {
    let read = policy("policy", full()).unwrap();
    assert_eq!(to_wire(&read), full());
    assert_eq!(policy("policy", to_wire(&read)), Ok(read));
}

#[test]
fn what_is_not_said_is_the_default() {
    let bare = pb::Policy {
        name: "a".into(),
        limits: vec![pb::RateLimit {
            scope: pb::PolicyScope::Caller.into(),
            amount: 30,
            ..pb::RateLimit::default()
        }],
        breaker: Some(pb::CircuitBreaker::default()),
        retry: Some(pb::Retry::default()),
        ..pb::Policy::default()
    };
    let read = policy("policy", bare).unwrap();
    assert_eq!(read.target, Target::Everything);
    let rate = Rate::new(30, Duration::from_secs(1)).unwrap();
    assert_eq!(read.limits[0].settings, Settings::token_bucket(rate));
    assert_eq!(read.breaker, Some(breaker::Settings::default()));
    assert_eq!(read.retry, Some(Retry { settings: retry::Settings::default(), safety: Safety::Unsafe }));
}

type Change = fn(&mut pb::Policy);

#[test]
fn every_wrong_field_is_named_as_a_table() {
    let table: &[(&str, Change)] = &[
        ("policy.name", |it| it.name = "Not a label".into()),
        ("policy.caller", |it| {
            it.breaker = None;
            it.caller = "x".repeat(257);
        }),
        ("policy.breaker", |it| it.caller = "shop".into()),
        ("policy.resources", |it| it.caller = "shop".into()),
        ("policy.pools", |it| it.caller = "shop".into()),
        ("policy.pools", |it| it.shadow = true),
        ("policy.pools", |it| {
            let of = pb::OperationTarget { service: "orders".into(), operation: "charge-card".into() };
            it.target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) });
        }),
        ("policy.description", |it| it.description = "x".repeat(1025)),
        ("policy.limits[0].scope", |it| it.limits[0].scope = 0),
        ("policy.limits[0].amount", |it| it.limits[0].amount = 0),
        ("policy.limits[0].amount", |it| it.limits[0].amount = u32::MAX),
        ("policy.limits[0].period", |it| it.limits[0].period = Some(prost_types::Duration::default())),
        ("policy.limits[0].algorithm", |it| it.limits[0].algorithm = 99),
        ("policy.limits[0].on_unavailable", |it| it.limits[0].on_unavailable = 99),
        ("policy.limits[0].fleet_wide", |it| it.limits[0].scope = pb::PolicyScope::Caller.into()),
        ("policy.limits[1].fleet_wide", |it| it.limits[1].fleet_wide = true),
        ("policy.limits[1].burst", |it| it.limits[1].burst = 5),
        ("policy.limits[1].queue", |it| it.limits[1].queue = 65_537),
        ("policy.limits[1].queue", |it| it.limits[1].queue = 6_001),
        ("policy.limits[2].queue", |it| it.limits[2].queue = 1),
        ("policy.limits", |it| it.limits = vec![it.limits[2]; 17]),
        ("policy.permits[0].scope", |it| it.permits[0].scope = pb::PolicyScope::Caller.into()),
        ("policy.permits[0].max_in_flight", |it| it.permits[0].max_in_flight = 0),
        ("policy.permits[0].wait", |it| {
            it.permits[0].wait = Some(prost_types::Duration { seconds: 61, nanos: 0 });
        }),
        ("policy.permits[0].max_waiting", |it| it.permits[0].max_waiting = 65_537),
        ("policy.permits[0].adaptive", |it| it.permits[0].scope = pb::PolicyScope::Global.into()),
        ("policy.permits[1].scope", |it| it.permits.push(it.permits[0])),
        ("policy.resources.max_cpu", |it| it.resources.as_mut().unwrap().max_cpu = 1.5),
        ("policy.resources.operation_memory_bytes", |it| {
            it.resources.as_mut().unwrap().operation_memory_bytes = 1 << 40;
        }),
        ("policy.pools[0].name", |it| it.pools[0].name = "a b".into()),
        ("policy.pools[0].size", |it| it.pools[0].size = 0),
        ("policy.pools[1].name", |it| it.pools.push(it.pools[0].clone())),
        ("policy.breaker.mode", |it| it.breaker.as_mut().unwrap().mode = 99),
        ("policy.breaker.failure_rate", |it| it.breaker.as_mut().unwrap().failure_rate = 1.5),
        ("policy.breaker.slow_call_rate", |it| it.breaker.as_mut().unwrap().slow_call_rate = f64::NAN),
        ("policy.breaker.calls", |it| {
            it.breaker.as_mut().unwrap().window = Some(pb::circuit_breaker::Window::Calls(10_001));
        }),
        ("policy.breaker.min_calls", |it| it.breaker.as_mut().unwrap().min_calls = 51),
        ("policy.breaker.max_open", |it| {
            it.breaker.as_mut().unwrap().open = Some(prost_types::Duration { seconds: 9, nanos: 0 });
        }),
        ("policy.breaker.probes", |it| it.breaker.as_mut().unwrap().probes = 1001),
        ("policy.retry.attempts", |it| it.retry.as_mut().unwrap().attempts = 11),
        ("policy.retry.budget_share", |it| it.retry.as_mut().unwrap().budget_share = 1.5),
        ("policy.retry", |it| {
            it.breaker = None;
            it.shadow = true;
        }),
        ("policy.target.operations.service", |it| {
            let of = pb::OperationTarget { service: "A".into(), operation: String::new() };
            it.target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) });
        }),
        ("policy.target.operations.operation", |it| {
            let of = pb::OperationTarget { service: String::new(), operation: "a b".into() };
            it.target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) });
        }),
    ];
    for (field, change) in table {
        let mut wrong = full();
        change(&mut wrong);
        let named = policy("policy", wrong).err().unwrap_or_default();
        assert!(named.iter().any(|(path, _)| path == field), "{field}: {named:?}");
    }
}

#[test]
fn what_holds_of_services_alone_is_refused_for_rpcs() {
    let rpcs = |method: &str| pb::policy_target::What::Rpcs(pb::RpcTarget { method: method.into() });
    let target = |method: &str| Some(pb::PolicyTarget { what: Some(rpcs(method)) });
    let named = |wire: pb::Policy| {
        let wrong = policy("policy", wire).err().unwrap_or_default();
        wrong.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    let method = "seaworthy.v1.FleetService/Register";
    assert_eq!(
        named(pb::Policy { target: target(method), ..full() }),
        [
            "policy.breaker",
            "policy.resources",
            "policy.pools",
            "policy.retry",
            "policy.limits[0].fleet_wide",
            "policy.permits[0].adaptive",
        ]
    );
    let bare =
        |method: &str| pb::Policy { name: "a".into(), target: target(method), ..pb::Policy::default() };
    assert_eq!(named(bare("Register")), ["policy.target.rpcs.method"]);
    assert!(named(bare("/seaworthy.v1.FleetService/Register")).is_empty());
    assert!(named(bare("")).is_empty());
}
