//! What a policy says, in a line for people: `100 in 1s, token bucket, burst 100`.

use std::time::Duration;

use super::{PermitLimit, Policy, PoolLimit, RateLimit, Retry, Scope, choose::Part};
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
    let fleet = if rule.fleet_wide.is_some() { ", over the whole fleet" } else { "" };
    format!("{} in {}, {how}{fleet}", rate.amount(), time(rate.period()))
}

/// How much may be under way.
pub fn permits(rule: &PermitLimit) -> String {
    let adaptive = if rule.adaptive { ", as latency allows" } else { "" };
    let wait = if rule.wait.is_zero() { String::new() } else { format!(", waits {}", time(rule.wait)) };
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
        breaker::Mode::ForcedOpen => "forced open; ",
        breaker::Mode::ForcedClosed => "forced closed; ",
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
        opens.push(format!("{} failed in {window}", percent(rate)));
    }
    if let Some(slow) = options.slow_calls {
        opens.push(format!("{} slower than {} in {window}", percent(slow.rate), time(slow.longer_than)));
    }
    let (open, most, probes) = (time(options.open_time), time(options.max_open_time), options.probes);
    format!("{mode}opens at {}; for {open} to {most}; {probes} probes", opens.join(" or "))
}

fn retry(rule: &Retry) -> String {
    let values = rule.settings.values();
    let what = match rule.safety {
        Safety::Idempotent => "whatever may be repeated",
        Safety::Unsafe => "only what was certainly not done",
    };
    let (first, most, total) = (time(values.first_pause), time(values.max_pause), time(values.total));
    format!("{} tries, {first} to {most} apart, {total} in all; {what}", values.attempts)
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

fn time(duration: Duration) -> String {
    format!("{duration:?}")
}
