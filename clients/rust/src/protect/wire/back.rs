//! Policies as the contract's messages.

use std::{num::NonZeroU64, time::Duration};

use crate::{
    protect::{
        breaker::{self, Mode, SlidingWindow},
        limit::Algorithm,
        policy::{
            OnUnavailable, PermitLimit, PermitScope, Policy, PoolLimit, RateLimit, Retry, Scope, Target,
        },
        resources::{Ceiling, CpuShare},
        retry::Safety,
    },
    proto::seaworthy::v1 as pb,
};

/// Writes a policy. What the control plane sets is left out.
pub fn to_wire(policy: &Policy) -> pb::Policy {
    let Policy {
        name,
        target: about,
        caller,
        shadow,
        limits,
        permits,
        resources: ceiling,
        pools,
        breaker: settings,
        retry: again,
        description,
    } = policy;
    pb::Policy {
        name: name.clone(),
        target: target(about),
        caller: caller.clone().unwrap_or_default(),
        shadow: *shadow,
        limits: limits.iter().map(limit).collect(),
        permits: permits.iter().map(permit).collect(),
        resources: ceiling.as_ref().map(resources),
        pools: pools.iter().map(pool).collect(),
        breaker: settings.as_ref().map(breaker),
        retry: again.as_ref().map(retry),
        description: description.clone(),
        ..pb::Policy::default()
    }
}

fn target(about: &Target) -> Option<pb::PolicyTarget> {
    use pb::policy_target::What;
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let what = match about {
        Target::Everything => return None,
        Target::Rpcs { method } => What::Rpcs(pb::RpcTarget { method: or_empty(method) }),
        Target::Operations { service, operation } => {
            let (service, operation) = (or_empty(service), or_empty(operation));
            What::Operations(pb::OperationTarget { service, operation })
        }
    };
    Some(pb::PolicyTarget { what: Some(what) })
}

fn limit(rule: &RateLimit) -> pb::RateLimit {
    let RateLimit { scope, settings, fleet_wide } = rule;
    let (algorithm, burst, queue) = match settings.algorithm() {
        Algorithm::TokenBucket { burst } => (pb::RateAlgorithm::TokenBucket, burst.get(), 0),
        Algorithm::LeakyBucket { queue } => (pb::RateAlgorithm::LeakyBucket, 0, queue),
        Algorithm::SlidingWindow => (pb::RateAlgorithm::SlidingWindow, 0, 0),
        Algorithm::FixedWindow => (pb::RateAlgorithm::FixedWindow, 0, 0),
    };
    let scope = match scope {
        Scope::Global => pb::PolicyScope::Global,
        Scope::Operation => pb::PolicyScope::Operation,
        Scope::Caller => pb::PolicyScope::Caller,
    };
    let on_unavailable = match fleet_wide {
        None => pb::OnUnavailable::Unspecified,
        Some(OnUnavailable::Allow) => pb::OnUnavailable::Allow,
        Some(OnUnavailable::Deny) => pb::OnUnavailable::Deny,
        Some(OnUnavailable::LastSlice) => pb::OnUnavailable::LastSlice,
    };
    pb::RateLimit {
        scope: scope.into(),
        amount: settings.rate().amount().get(),
        period: duration(settings.rate().period()),
        algorithm: algorithm.into(),
        burst,
        queue,
        fleet_wide: fleet_wide.is_some(),
        on_unavailable: on_unavailable.into(),
    }
}

fn permit(rule: &PermitLimit) -> pb::PermitLimit {
    let PermitLimit { scope, max, wait, max_waiting, adaptive } = rule;
    let scope = match scope {
        PermitScope::Global => pb::PolicyScope::Global,
        PermitScope::Operation => pb::PolicyScope::Operation,
    };
    pb::PermitLimit {
        scope: scope.into(),
        max_in_flight: max.get(),
        wait: duration(*wait),
        max_waiting: *max_waiting,
        adaptive: *adaptive,
    }
}

fn pool(rule: &PoolLimit) -> pb::PoolLimit {
    let PoolLimit { name, size, wait } = rule;
    pb::PoolLimit { name: name.clone(), size: size.get(), wait: duration(*wait) }
}

fn breaker(settings: &breaker::Settings) -> pb::CircuitBreaker {
    let options = settings.options();
    let mode = match options.mode {
        Mode::Normal => pb::BreakerMode::Normal,
        Mode::ForcedOpen => pb::BreakerMode::ForcedOpen,
        Mode::ForcedClosed => pb::BreakerMode::ForcedClosed,
        Mode::MetricsOnly => pb::BreakerMode::MetricsOnly,
    };
    let window = match options.window {
        SlidingWindow::Count(calls) => Some(pb::circuit_breaker::Window::Calls(calls)),
        SlidingWindow::Time(span) => duration(span).map(pb::circuit_breaker::Window::Time),
    };
    pb::CircuitBreaker {
        mode: mode.into(),
        consecutive_failures: options.consecutive_failures.unwrap_or_default(),
        failure_rate: options.failure_rate.unwrap_or_default(),
        slow_call_rate: options.slow_calls.map(|slow| slow.rate).unwrap_or_default(),
        slow_call: options.slow_calls.and_then(|slow| duration(slow.longer_than)),
        window,
        min_calls: options.minimum_calls,
        open: duration(options.open_time),
        max_open: duration(options.max_open_time),
        probes: options.probes,
    }
}

fn retry(rule: &Retry) -> pb::Retry {
    let values = rule.settings.values();
    pb::Retry {
        attempts: values.attempts,
        first_pause: duration(values.first_pause),
        max_pause: duration(values.max_pause),
        total: duration(values.total),
        budget_share: values.budget_share,
        budget_per_second: Some(values.budget_per_second),
        idempotent: rule.safety == Safety::Idempotent,
    }
}

fn resources(ceiling: &Ceiling) -> pb::ResourceLimit {
    let bytes = |bytes: Option<NonZeroU64>| bytes.map_or(0, NonZeroU64::get);
    pb::ResourceLimit {
        max_memory_bytes: bytes(ceiling.memory()),
        max_cpu: ceiling.cpu().map_or(0.0, CpuShare::get),
        operation_memory_bytes: bytes(ceiling.operation()),
    }
}

/// What is longer than the contract can say is left out, which no duration of a policy is.
pub(super) fn duration(value: Duration) -> Option<prost_types::Duration> {
    value.try_into().ok()
}
