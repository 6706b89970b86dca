//! What the parts of a policy say, in the words by which the control plane explains them. What a policy leaves to its
//! default is told as the contract has it.

use std::time::Duration;

use seaworthy_client::proto::seaworthy::v1::{
    BreakerMode, CircuitBreaker, OnUnavailable, PermitLimit, Policy, PolicyScope, PoolLimit, RateAlgorithm,
    RateLimit, ResourceLimit, Retry, circuit_breaker::Window,
};

use crate::cli::render::{system::bytes, when};

/// Its parts, each with what it says: `limits OPERATION`, `100 in 1s, token bucket, burst 100`.
pub(crate) fn parts(policy: &Policy) -> Vec<(String, String)> {
    let Policy { limits, permits, resources, pools, breaker: circuit, retry: again, .. } = policy;
    let limits = limits.iter().map(|it| (format!("limits {}", scope(it.scope())), limit(it)));
    let permits = permits.iter().map(|it| (format!("permits {}", scope(it.scope())), permit(it)));
    let resources = resources.iter().map(|it| ("resources".to_owned(), resource(it)));
    let pools = pools.iter().map(|it| (format!("pool {}", it.name), pool(it)));
    let circuit = circuit.iter().map(|it| ("breaker".to_owned(), breaker(it)));
    let again = again.iter().map(|it| ("retry".to_owned(), retry(it)));
    limits.chain(permits).chain(resources).chain(pools).chain(circuit).chain(again).collect()
}

/// As the names of parts have it.
fn scope(scope: PolicyScope) -> &'static str {
    scope.as_str_name().trim_start_matches("POLICY_SCOPE_")
}

fn limit(it: &RateLimit) -> String {
    let period = when::length(it.period.as_ref()).unwrap_or(Duration::from_secs(1));
    let how = match it.algorithm() {
        RateAlgorithm::LeakyBucket => format!("leaky bucket, queue {}", it.queue),
        RateAlgorithm::SlidingWindow => "sliding window".to_owned(),
        RateAlgorithm::FixedWindow => "fixed window".to_owned(),
        // What comes in a second is the control plane's to work out.
        RateAlgorithm::TokenBucket | RateAlgorithm::Unspecified if it.burst == 0 => "token bucket".to_owned(),
        RateAlgorithm::TokenBucket | RateAlgorithm::Unspecified => {
            format!("token bucket, burst {}", it.burst)
        }
    };
    let away = match it.on_unavailable() {
        OnUnavailable::Allow => ", unlimited while the control plane is away",
        OnUnavailable::Deny => ", nothing while the control plane is away",
        OnUnavailable::LastSlice | OnUnavailable::Unspecified => "",
    };
    let fleet = if it.fleet_wide { format!(", over the whole fleet{away}") } else { String::new() };
    format!("{} in {period:?}, {how}{fleet}", it.amount)
}

fn permit(it: &PermitLimit) -> String {
    let adaptive = if it.adaptive { ", as latency allows" } else { "" };
    let wait = match when::length(it.wait.as_ref()).filter(|wait| !wait.is_zero()) {
        Some(wait) => format!(", waits {wait:?}"),
        None => String::new(),
    };
    let waiting =
        if it.max_waiting > 0 { format!(", {} at the most", it.max_waiting) } else { String::new() };
    format!("{} under way{adaptive}{wait}{waiting}", it.max_in_flight)
}

fn resource(it: &ResourceLimit) -> String {
    let mut says = Vec::new();
    if it.max_memory_bytes > 0 {
        says.push(format!("memory up to {}", bytes(it.max_memory_bytes)));
    }
    if it.max_cpu > 0.0 {
        says.push(format!("processor up to {}", percent(it.max_cpu)));
    }
    if it.operation_memory_bytes > 0 {
        says.push(format!("{} free for each operation", bytes(it.operation_memory_bytes)));
    }
    if says.is_empty() { "any".to_owned() } else { says.join(", ") }
}

fn pool(it: &PoolLimit) -> String {
    let wait = when::length(it.wait.as_ref()).unwrap_or(Duration::from_secs(5));
    format!("{} of them, waits {wait:?}", it.size)
}

fn breaker(it: &CircuitBreaker) -> String {
    let mode = match it.mode() {
        BreakerMode::ForcedOpen => return "forced open".to_owned(),
        BreakerMode::ForcedClosed => return "forced closed".to_owned(),
        BreakerMode::MetricsOnly => "metrics only; ",
        BreakerMode::Normal | BreakerMode::Unspecified => "",
    };
    let or = |said: u32, default: u32| if said == 0 { default } else { said };
    let share = |said: f64, default: f64| percent(if said > 0.0 { said } else { default });
    let time = |said: Option<&prost_types::Duration>, default| {
        when::length(said).unwrap_or_else(|| Duration::from_secs(default))
    };
    let window = match &it.window {
        Some(Window::Calls(calls)) => format!("{calls} calls"),
        Some(Window::Time(span)) => format!("{:?}", time(Some(span), 30)),
        None => "30s".to_owned(),
    };
    format!(
        "{mode}opens at {} failures in a row or {} failed or {} slower than {:?} in {window} of at least {} calls; for \
         {:?} to {:?}; {} probes",
        or(it.consecutive_failures, 7),
        share(it.failure_rate, 0.5),
        share(it.slow_call_rate, 1.0),
        time(it.slow_call.as_ref(), 5),
        or(it.min_calls, 20),
        time(it.open.as_ref(), 10),
        time(it.max_open.as_ref(), 60),
        or(it.probes, 5),
    )
}

fn retry(it: &Retry) -> String {
    let time = |said: Option<&prost_types::Duration>, default| {
        when::length(said).unwrap_or_else(|| Duration::from_millis(default))
    };
    let what = if it.idempotent { "whatever may be repeated" } else { "only what was certainly not done" };
    format!(
        "{} tries, {:?} to {:?} apart, {:?} in all; {} of calls and {} in 1s; {what}",
        if it.attempts == 0 { 3 } else { it.attempts },
        time(it.first_pause.as_ref(), 100),
        time(it.max_pause.as_ref(), 5_000),
        time(it.total.as_ref(), 30_000),
        percent(if it.budget_share > 0.0 { it.budget_share } else { 0.2 }),
        it.budget_per_second.unwrap_or(10),
    )
}

/// A share: `12.5%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{}%", (share * 1000.0).round() / 10.0)
}
