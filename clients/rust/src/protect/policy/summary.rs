//! What a policy says, in a line for people: `100 in 1s, token bucket, burst 100`.

use std::time::Duration;

use super::{OnUnavailable, PermitLimit, Policy, PoolLimit, RateLimit, Retry, Scope, choose::Part};
use crate::protect::{breaker, limit::Algorithm, resources::Ceiling, retry::Safety};

/// The name of a part: `limits GLOBAL`.
pub fn part(part: Part<'_>) -> String {
    match part {
        Part::Limits(scope) => format!("limits {}", scope.as_str()),
        Part::Permits(scope) => format!("permits {}", scope.as_str()),
        Part::Resources => "resources".to_owned(),
        Part::Pool(name) => format!("pool {name}"),
        Part::Breaker => "breaker".to_owned(),
        Part::Retry => "retry".to_owned(),
    }
}

/// What a policy says of a part.
pub fn of(policy: &Policy, part: Part<'_>) -> String {
    match part {
        Part::Limits(scope) => limits(policy, scope),
        Part::Permits(scope) => {
            policy.permits.iter().find(|rule| rule.scope == scope).map(permits).unwrap_or_default()
        }
        Part::Resources => policy.resources.as_ref().map(resources).unwrap_or_default(),
        Part::Pool(name) => policy.pools.iter().find(|it| it.name == name).map(pool).unwrap_or_default(),
        Part::Breaker => policy.breaker.as_ref().map(breaker).unwrap_or_default(),
        Part::Retry => policy.retry.as_ref().map(retry).unwrap_or_default(),
    }
}

fn limits(policy: &Policy, scope: Scope) -> String {
    let of_scope = policy.limits.iter().filter(|rule| rule.scope == scope);
    of_scope.map(limit).collect::<Vec<_>>().join("; ")
}

/// A rate limit.
pub fn limit(rule: &RateLimit) -> String {
    let rate = rule.settings.rate();
    let how = match rule.settings.algorithm() {
        Algorithm::TokenBucket { burst } => format!("token bucket, burst {burst}"),
        Algorithm::LeakyBucket { queue } => format!("leaky bucket, queue {queue}"),
        Algorithm::SlidingWindow => "sliding window".to_owned(),
        Algorithm::FixedWindow => "fixed window".to_owned(),
    };
    let fleet = match rule.fleet_wide {
        None => "",
        Some(OnUnavailable::LastSlice) => ", over the whole fleet",
        Some(OnUnavailable::Allow) => ", over the whole fleet, unlimited while the control plane is away",
        Some(OnUnavailable::Deny) => ", over the whole fleet, nothing while the control plane is away",
    };
    format!("{} in {}, {how}{fleet}", rate.amount(), time(rate.period()))
}

/// How much may be under way.
pub fn permits(rule: &PermitLimit) -> String {
    let adaptive = if rule.adaptive { ", as latency allows" } else { "" };
    let wait = match rule.wait {
        Duration::ZERO => String::new(),
        wait => format!(", up to {} wait {}", rule.max_waiting, time(wait)),
    };
    format!("{} under way{adaptive}{wait}", rule.max)
}

fn resources(ceiling: &Ceiling) -> String {
    ceiling.to_string()
}

fn pool(rule: &PoolLimit) -> String {
    format!("{} of them, waits {}", rule.size, time(rule.wait))
}

fn breaker(settings: &breaker::Settings) -> String {
    let options = settings.options();
    let mode = match options.mode {
        breaker::Mode::Normal => "",
        breaker::Mode::ForcedOpen => return "forced open".to_owned(),
        breaker::Mode::ForcedClosed => return "forced closed".to_owned(),
        breaker::Mode::MetricsOnly => "metrics only; ",
    };
    let mut opens = Vec::new();
    if let Some(failures) = options.consecutive_failures {
        opens.push(format!("{failures} failures in a row"));
    }
    let window = match options.window {
        breaker::SlidingWindow::Count(calls) => format!("{calls} calls"),
        breaker::SlidingWindow::Time(span) => time(span),
    };
    if let Some(rate) = options.failure_rate {
        opens.push(format!("{} failed", percent(rate)));
    }
    if let Some(slow) = options.slow_calls {
        opens.push(format!("{} slower than {}", percent(slow.rate), time(slow.longer_than)));
    }
    let of = if options.failure_rate.is_some() || options.slow_calls.is_some() {
        format!(" in {window} of at least {} calls", options.minimum_calls)
    } else {
        String::new()
    };
    let (open, most, probes) = (time(options.open_time), time(options.max_open_time), options.probes);
    format!("{mode}opens at {}{of}; for {open} to {most}; {probes} probes", opens.join(" or "))
}

fn retry(rule: &Retry) -> String {
    let values = rule.settings.values();
    let what = match rule.safety {
        Safety::Idempotent => "whatever may be repeated",
        Safety::Unsafe => "only what was certainly not done",
    };
    let (first, most, total) = (time(values.first_pause), time(values.max_pause), time(values.total));
    let budget = format!("{} of calls and {} in 1s", percent(values.budget_share), values.budget_per_second);
    format!("{} tries, {first} to {most} apart, {total} in all; {budget}; {what}", values.attempts)
}

fn percent(share: f64) -> String {
    format!("{}%", (share * 1000.0).round() / 10.0)
}

fn time(duration: Duration) -> String {
    format!("{duration:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protect::wire, proto::seaworthy::v1 as pb};

    fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    fn read(wire: pb::Policy) -> Policy {
        let target = pb::OperationTarget { service: "orders".into(), operation: String::new() };
        let target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(target)) });
        wire::policy("policy", pb::Policy { name: "charges".into(), target, ..wire }).unwrap()
    }

    fn told(policy: &Policy) -> Vec<(String, String)> {
        policy.parts().into_iter().map(|it| (part(it), of(policy, it))).collect()
    }

    fn words<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
        expected.map(|(part, says)| (part.to_owned(), says.to_owned())).to_vec()
    }

    #[test]
    fn rates_are_told_with_how_they_are_measured() {
        let with = |change: fn(&mut pb::RateLimit)| {
            let scope = pb::PolicyScope::Operation.into();
            let mut limit = pb::RateLimit { scope, amount: 100, ..pb::RateLimit::default() };
            change(&mut limit);
            of(
                &read(pb::Policy { limits: vec![limit], ..pb::Policy::default() }),
                Part::Limits(Scope::Operation),
            )
        };
        for (told, expected) in [
            (with(|_| ()), "100 in 1s, token bucket, burst 100"),
            (with(|it| it.burst = 20), "100 in 1s, token bucket, burst 20"),
            (with(|it| it.period = span(0, 500_000_000)), "100 in 500ms, token bucket, burst 200"),
            (
                with(|it| (it.queue, it.algorithm) = (5, pb::RateAlgorithm::LeakyBucket.into())),
                "100 in 1s, leaky bucket, queue 5",
            ),
            (with(|it| it.algorithm = pb::RateAlgorithm::SlidingWindow.into()), "100 in 1s, sliding window"),
            (with(|it| it.algorithm = pb::RateAlgorithm::FixedWindow.into()), "100 in 1s, fixed window"),
            (with(|it| it.fleet_wide = true), "100 in 1s, token bucket, burst 100, over the whole fleet"),
            (
                with(|it| {
                    (it.fleet_wide, it.on_unavailable) = (true, pb::OnUnavailable::Deny.into());
                }),
                "100 in 1s, token bucket, burst 100, over the whole fleet, nothing while the control plane is away",
            ),
        ] {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn what_is_not_said_is_told_with_its_default() {
        let scope = pb::PolicyScope::Global.into();
        let policy = read(pb::Policy {
            permits: vec![pb::PermitLimit { scope, max_in_flight: 64, ..pb::PermitLimit::default() }],
            pools: vec![pb::PoolLimit { name: "database".into(), size: 10, wait: None }],
            breaker: Some(pb::CircuitBreaker::default()),
            retry: Some(pb::Retry::default()),
            ..pb::Policy::default()
        });
        let expected = [
            ("permits GLOBAL", "64 under way"),
            ("pool database", "10 of them, waits 5s"),
            (
                "breaker",
                "opens at 7 failures in a row or 50% failed or 100% slower than 5s in 30s of at least 20 calls; for 10s to \
                 60s; 5 probes",
            ),
            (
                "retry",
                "3 tries, 100ms to 5s apart, 30s in all; 20% of calls and 10 in 1s; only what was certainly not done",
            ),
        ];
        assert_eq!(told(&policy), words(expected));
    }

    #[test]
    fn what_is_said_is_told() {
        let breaker = pb::CircuitBreaker {
            mode: pb::BreakerMode::MetricsOnly.into(),
            consecutive_failures: 3,
            failure_rate: 0.25,
            slow_call_rate: 0.9,
            slow_call: span(1, 0),
            window: Some(pb::circuit_breaker::Window::Calls(200)),
            min_calls: 50,
            open: span(5, 0),
            max_open: span(30, 0),
            probes: 2,
        };
        let said = pb::Policy {
            permits: vec![pb::PermitLimit {
                scope: pb::PolicyScope::Operation.into(),
                max_in_flight: 8,
                wait: span(0, 100_000_000),
                max_waiting: 4,
                adaptive: true,
            }],
            resources: Some(pb::ResourceLimit {
                max_memory_bytes: 1 << 30,
                max_cpu: 0.855,
                operation_memory_bytes: 64 << 20,
            }),
            breaker: Some(breaker),
            retry: Some(pb::Retry {
                attempts: 5,
                first_pause: span(0, 50_000_000),
                max_pause: span(1, 0),
                total: span(10, 0),
                budget_share: 0.1,
                budget_per_second: Some(0),
                idempotent: true,
            }),
            ..pb::Policy::default()
        };
        let expected = [
            ("resources", "memory up to 1 GiB, cpu up to 85.5%, 64 MiB for each"),
            ("permits OPERATION", "8 under way, as latency allows, up to 4 wait 100ms"),
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
        assert_eq!(told(&read(said)), words(expected));
        for (mode, expected) in
            [(pb::BreakerMode::ForcedOpen, "forced open"), (pb::BreakerMode::ForcedClosed, "forced closed")]
        {
            let breaker = Some(pb::CircuitBreaker { mode: mode.into(), ..breaker });
            assert_eq!(of(&read(pb::Policy { breaker, ..pb::Policy::default() }), Part::Breaker), expected);
        }
    }
}
