//! What became of protected operations, as the contract's messages, and from them.

use super::back::duration;
use crate::{
    protect::{
        breaker::State,
        policy::Scope,
        stats::{BUCKETS, BreakerStats, OperationStats, PartName, PartStats, PoolStats, Report},
    },
    proto::{seaworthy::v1 as pb, time},
};

/// Most operations, and as many breakers, of a report.
const MAX_OPERATIONS: usize = 256;
/// Most parts of policies of a report.
const MAX_PARTS: usize = 256;
/// Longest text that says what a part is, and longest name of who was refused.
const MAX_TEXT: usize = 256;
/// Most names of who was refused last.
const MAX_REFUSED: usize = 8;
/// Most pools of a report.
const MAX_POOLS: usize = 32;

/// Reads what an instance reports. It is taken as far as it goes: what is too much, or cannot be shown, is left out.
pub fn report(wire: pb::OperationReport) -> Report {
    let pb::OperationReport { operations, breakers, pools, limits } = wire;
    Report {
        operations: operations.into_iter().take(MAX_OPERATIONS).filter_map(read_operation).collect(),
        breakers: breakers.into_iter().take(MAX_OPERATIONS).filter_map(read_breaker).collect(),
        pools: pools.into_iter().take(MAX_POOLS).filter_map(read_pool).collect(),
        parts: limits.into_iter().take(MAX_PARTS).filter_map(read_part).collect(),
    }
}

/// Writes a report.
pub fn report_to_wire(value: &Report) -> pb::OperationReport {
    let Report { operations, breakers, pools, parts } = value;
    pb::OperationReport {
        operations: operations.iter().take(MAX_OPERATIONS).map(operation).collect(),
        breakers: breakers.iter().take(MAX_OPERATIONS).map(|it| breaker(it, "", "")).collect(),
        pools: pools.iter().take(MAX_POOLS).map(pool).collect(),
        limits: parts.iter().take(MAX_PARTS).map(part).collect(),
    }
}

fn read_operation(wire: pb::OperationStats) -> Option<OperationStats> {
    let pb::OperationStats {
        operation,
        calls,
        successes,
        failures,
        limited,
        full,
        exhausted,
        broken,
        turned_away,
        cancelled,
        retries,
        shadow_refused,
        near_limit,
        total_latency,
        max_latency,
        latency_buckets,
        in_flight,
        peak_in_flight,
        max_in_flight,
    } = wire;
    crate::protect::policy::operation(&operation).ok()?;
    let mut buckets = [0; BUCKETS];
    buckets.iter_mut().zip(latency_buckets).for_each(|(bucket, count)| *bucket = count);
    Some(OperationStats {
        operation,
        calls,
        successes,
        failures,
        limited,
        full,
        exhausted,
        broken,
        turned_away,
        cancelled,
        retries,
        shadow_refused,
        near_limit,
        total_latency: time(total_latency).unwrap_or_default(),
        max_latency: time(max_latency).unwrap_or_default(),
        buckets,
        in_flight,
        peak_in_flight,
        max_in_flight,
    })
}

/// Writes what became of an operation.
pub fn operation(value: &OperationStats) -> pb::OperationStats {
    let OperationStats {
        operation,
        calls,
        successes,
        failures,
        limited,
        full,
        exhausted,
        broken,
        turned_away,
        cancelled,
        retries,
        shadow_refused,
        near_limit,
        total_latency,
        max_latency,
        buckets,
        in_flight,
        peak_in_flight,
        max_in_flight,
    } = value;
    pb::OperationStats {
        operation: operation.clone(),
        calls: *calls,
        successes: *successes,
        failures: *failures,
        limited: *limited,
        full: *full,
        exhausted: *exhausted,
        broken: *broken,
        turned_away: *turned_away,
        cancelled: *cancelled,
        retries: *retries,
        shadow_refused: *shadow_refused,
        near_limit: *near_limit,
        total_latency: duration(*total_latency),
        max_latency: duration(*max_latency),
        latency_buckets: buckets.to_vec(),
        in_flight: *in_flight,
        peak_in_flight: *peak_in_flight,
        max_in_flight: *max_in_flight,
    }
}

fn read_part(wire: pb::LimitUsage) -> Option<PartStats> {
    let scope = match wire.scope() {
        pb::PolicyScope::Global => Scope::Global,
        pb::PolicyScope::Operation => Scope::Operation,
        pb::PolicyScope::Caller => Scope::Caller,
        pb::PolicyScope::Unspecified => return None,
    };
    let pb::LimitUsage {
        policy,
        scope: _,
        summary,
        shadow,
        allowed,
        near_limit,
        refused,
        in_use,
        peak,
        last_refused,
        permits,
    } = wire;
    super::label(&policy).ok()?;
    let is_short = |text: &String| text.len() <= MAX_TEXT && !text.contains(char::is_control);
    Some(PartStats {
        part: PartName { policy, permits, scope, shadow },
        summary: Some(summary).filter(is_short).unwrap_or_default(),
        allowed,
        near: near_limit,
        refused,
        in_use,
        peak,
        last_refused: last_refused.into_iter().take(MAX_REFUSED).filter(is_short).collect(),
    })
}

/// Writes what a part of a policy has decided.
pub fn part(value: &PartStats) -> pb::LimitUsage {
    let PartStats { part, summary, allowed, near, refused, in_use, peak, last_refused } = value;
    let scope = match part.scope {
        Scope::Global => pb::PolicyScope::Global,
        Scope::Operation => pb::PolicyScope::Operation,
        Scope::Caller => pb::PolicyScope::Caller,
    };
    pb::LimitUsage {
        policy: part.policy.clone(),
        scope: scope.into(),
        summary: summary.clone(),
        shadow: part.shadow,
        allowed: *allowed,
        near_limit: *near,
        refused: *refused,
        in_use: *in_use,
        peak: *peak,
        last_refused: last_refused.clone(),
        permits: part.permits,
    }
}

fn read_breaker(wire: pb::Breaker) -> Option<BreakerStats> {
    let pb::Breaker {
        service: _,
        instance_id: _,
        operation,
        state: wire_state,
        state_age,
        cause,
        calls,
        failure_rate,
        slow_call_rate,
        consecutive_failures,
        opened,
        refused,
        retry_after,
        override_ttl,
    } = wire;
    crate::protect::policy::operation(&operation).ok()?;
    let share = |share: f64| if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let is_word = cause.len() <= 64 && cause.bytes().all(|byte| byte.is_ascii_graphic());
    Some(BreakerStats {
        operation,
        state: state(wire_state)?,
        age: time(state_age).unwrap_or_default(),
        cause: if is_word { cause } else { String::new() },
        calls,
        failure_rate: share(failure_rate),
        slow_call_rate: share(slow_call_rate),
        consecutive_failures,
        opened,
        refused,
        retry_after: time(retry_after),
        override_ttl: time(override_ttl),
    })
}

/// Writes a breaker of an instance.
pub fn breaker(value: &BreakerStats, service: &str, instance_id: &str) -> pb::Breaker {
    let BreakerStats {
        operation,
        state,
        age,
        cause,
        calls,
        failure_rate,
        slow_call_rate,
        consecutive_failures,
        opened,
        refused,
        retry_after,
        override_ttl,
    } = value;
    pb::Breaker {
        service: service.to_owned(),
        instance_id: instance_id.to_owned(),
        operation: operation.clone(),
        state: state_to_wire(*state).into(),
        state_age: duration(*age),
        cause: cause.clone(),
        calls: *calls,
        failure_rate: *failure_rate,
        slow_call_rate: *slow_call_rate,
        consecutive_failures: *consecutive_failures,
        opened: *opened,
        refused: *refused,
        retry_after: retry_after.and_then(duration),
        override_ttl: override_ttl.and_then(duration),
    }
}

fn read_pool(wire: pb::PoolUsage) -> Option<PoolStats> {
    let pb::PoolUsage { name, size, in_use, peak, waiting, refused } = wire;
    super::label(&name).ok()?;
    Some(PoolStats { name, size, in_use, peak, waiting, refused })
}

/// Writes a pool.
pub fn pool(value: &PoolStats) -> pb::PoolUsage {
    let PoolStats { name, size, in_use, peak, waiting, refused } = value;
    let (size, in_use, peak, waiting, refused) = (*size, *in_use, *peak, *waiting, *refused);
    pb::PoolUsage { name: name.clone(), size, in_use, peak, waiting, refused }
}

fn state(wire: i32) -> Option<State> {
    Some(match pb::BreakerState::try_from(wire).ok()? {
        pb::BreakerState::Unspecified => return None,
        pb::BreakerState::Closed => State::Closed,
        pb::BreakerState::Open => State::Open,
        pb::BreakerState::HalfOpen => State::HalfOpen,
        pb::BreakerState::ForcedOpen => State::ForcedOpen,
        pb::BreakerState::ForcedClosed => State::ForcedClosed,
        pb::BreakerState::MetricsOnly => State::MetricsOnly,
    })
}

fn state_to_wire(state: State) -> pb::BreakerState {
    match state {
        State::Closed => pb::BreakerState::Closed,
        State::Open => pb::BreakerState::Open,
        State::HalfOpen => pb::BreakerState::HalfOpen,
        State::ForcedOpen => pb::BreakerState::ForcedOpen,
        State::ForcedClosed => pb::BreakerState::ForcedClosed,
        State::MetricsOnly => pb::BreakerState::MetricsOnly,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was_said() {
        let buckets = std::array::from_fn(|n| n as u64);
        let second = Duration::from_secs(1);
        let said = Report {
            operations: vec![OperationStats {
                operation: "charge-card".into(),
                calls: 10,
                successes: 5,
                failures: 1,
                limited: 2,
                full: 3,
                exhausted: 4,
                broken: 5,
                turned_away: 6,
                cancelled: 7,
                retries: 8,
                shadow_refused: 9,
                near_limit: 11,
                total_latency: second,
                max_latency: second,
                buckets,
                in_flight: 12,
                peak_in_flight: 13,
                max_in_flight: 14,
            }],
            breakers: State::ALL
                .map(|state| BreakerStats {
                    operation: state.as_str().into(),
                    state,
                    age: second,
                    cause: "failure_rate".into(),
                    calls: 1,
                    failure_rate: 0.5,
                    slow_call_rate: 0.25,
                    consecutive_failures: 2,
                    opened: 3,
                    refused: 4,
                    retry_after: Some(second),
                    override_ttl: None,
                })
                .into(),
            pools: vec![PoolStats { name: "db".into(), size: 1, in_use: 2, peak: 3, waiting: 4, refused: 5 }],
            parts: [
                (Scope::Global, false, true),
                (Scope::Operation, true, false),
                (Scope::Caller, false, false),
            ]
            .map(|(scope, permits, shadow)| PartStats {
                part: PartName { policy: "bank".into(), permits, scope, shadow },
                summary: "10 in 1s".into(),
                allowed: 1,
                near: 2,
                refused: 3,
                in_use: 4,
                peak: 5,
                last_refused: vec!["shop".into()],
            })
            .into(),
        };
        assert_eq!(report(report_to_wire(&said)), said);
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        let nameless = pb::OperationReport {
            operations: vec![pb::OperationStats::default(); 2],
            breakers: vec![pb::Breaker {
                operation: "a".into(),
                failure_rate: f64::NAN,
                ..Default::default()
            }],
            pools: vec![pb::PoolUsage { name: "A B".into(), ..Default::default() }],
            limits: vec![
                pb::LimitUsage { policy: "bank".into(), ..Default::default() },
                pb::LimitUsage { policy: "A B".into(), scope: 1, ..Default::default() },
            ],
        };
        assert_eq!(report(nameless), Report::default());
        let many = pb::OperationStats { operation: "a".into(), ..Default::default() };
        let many = pb::OperationReport { operations: vec![many; 1000], ..Default::default() };
        assert_eq!(report(many).operations.len(), MAX_OPERATIONS);
    }
}
