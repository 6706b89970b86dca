//! Policies from the contract's messages, checked: every field that is wrong is named, all at once. And back again.
//!
//! Both ends read them by this: the control plane what it is sent by operators, a service what its control plane sends.

use std::{
    collections::BTreeSet,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{
    breaker::{self, Mode, SlidingWindow, SlowCalls},
    limit::{Algorithm, Rate, Settings},
    policy::{
        self, MAX_DESCRIPTION, MAX_LIMITS, MAX_POOLS, OnUnavailable, PermitLimit, PermitScope, Policy,
        PoolLimit, RateLimit, Retry, Scope, Target,
    },
    resources::{Ceiling, CpuShare},
    retry::{self, Safety},
};
use crate::{
    proto::{self, seaworthy::v1 as pb},
    rules::{
        names::{LABEL_LENGTH, is_label},
        registration,
    },
};

mod back;
mod stats;

pub use self::{
    back::to_wire,
    stats::{
        breaker as breaker_to_wire, operation as operation_to_wire, part as part_to_wire,
        pool as pool_to_wire, report, report_to_wire,
    },
};

/// Most permits, and the largest pool.
const MAX_PERMITS: u32 = 1_000_000;
/// Most callers that may wait for a permit, and calls that may wait in a leaky bucket.
const MAX_WAITING: u32 = 65_536;
/// Largest amount of a limit.
const MAX_AMOUNT: u32 = 1_000_000_000;
const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(31 * 24 * 3600));
/// Longest wait for a permit, and in a leaky bucket.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for one of a pool.
const MAX_POOL_WAIT: Duration = Duration::from_secs(600);
/// How long to wait for one of a pool of which nothing is said.
const POOL_WAIT: Duration = Duration::from_secs(5);
const WINDOW_TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// A field that is wrong: its path, and what is wrong with it.
pub type Wrong = (String, String);

/// Fields that are wrong.
#[derive(Default)]
struct Fields(Vec<Wrong>);

impl Fields {
    fn wrong(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.0.push((path.into(), what.into()));
    }

    fn take<T>(&mut self, path: impl Into<String>, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|wrong| self.wrong(path, wrong)).ok()
    }

    fn duration(&mut self, path: &str, wire: Option<prost_types::Duration>) -> Option<Duration> {
        let wire = wire?;
        let time = proto::time(Some(wire));
        if time.is_none() {
            self.wrong(path, "is negative or out of range");
        }
        time
    }

    fn within(&mut self, path: &str, value: Duration, (least, most): (Duration, Duration)) -> Duration {
        if value < least || value > most {
            self.wrong(path, format!("is {value:?}; write {least:?} to {most:?}"));
        }
        value.clamp(least, most)
    }
}

/// Reads a policy whose fields stand under `path`. What the control plane sets is not looked at.
///
/// # Errors
/// Every field that is wrong.
pub fn policy(path: &str, wire: pb::Policy) -> Result<Policy, Vec<Wrong>> {
    let pb::Policy {
        name,
        target: wire_target,
        caller,
        shadow,
        limits: wire_limits,
        permits: wire_permits,
        resources: wire_resources,
        pools: wire_pools,
        breaker: wire_breaker,
        retry: wire_retry,
        description,
        origin: _,
        revision: _,
        update_time: _,
        updater: _,
    } = wire;
    let mut fields = Fields::default();
    let at = |field: &str| format!("{path}.{field}");
    fields.take(at("name"), label(&name));
    fields.take(at("caller"), policy::caller(&caller));
    fields.take(at("description"), registration::text(&description, MAX_DESCRIPTION));
    let policy = Policy {
        name,
        target: target(&mut fields, &at("target"), wire_target),
        caller: (!caller.is_empty()).then_some(caller),
        shadow,
        limits: limits(&mut fields, &at("limits"), wire_limits),
        permits: permits(&mut fields, &at("permits"), wire_permits),
        resources: wire_resources.and_then(|wire| resources(&mut fields, &at("resources"), &wire)),
        pools: pools(&mut fields, &at("pools"), wire_pools),
        breaker: wire_breaker.and_then(|wire| breaker(&mut fields, &at("breaker"), wire)),
        retry: wire_retry.and_then(|wire| retry(&mut fields, &at("retry"), wire)),
        description,
    };
    if let Err(contradiction) = policy.check() {
        contradiction.fields().for_each(|(field, what)| fields.wrong(at(field), what));
    }
    if fields.0.is_empty() { Ok(policy) } else { Err(fields.0) }
}

fn target(fields: &mut Fields, path: &str, wire: Option<pb::PolicyTarget>) -> Target {
    use pb::policy_target::What;
    match wire.and_then(|target| target.what) {
        None => Target::Everything,
        Some(What::Rpcs(pb::RpcTarget { method })) => {
            let method = method.trim_start_matches('/').to_owned();
            let well_formed = method.is_empty()
                || (method.len() <= 256 && method.split('/').filter(|part| !part.is_empty()).count() == 2);
            if !well_formed || !method.bytes().all(|byte| byte.is_ascii_graphic()) {
                let wrong = "is no RPC; write it like seaworthy.v1.FleetService/ListInstances";
                fields.wrong(format!("{path}.rpcs.method"), wrong);
            }
            Target::Rpcs { method: (!method.is_empty()).then_some(method) }
        }
        Some(What::Operations(pb::OperationTarget { service, operation })) => {
            if !service.is_empty() {
                fields.take(format!("{path}.operations.service"), label(&service));
            }
            if !operation.is_empty() {
                fields.take(format!("{path}.operations.operation"), policy::operation(&operation));
            }
            Target::Operations {
                service: (!service.is_empty()).then_some(service),
                operation: (!operation.is_empty()).then_some(operation),
            }
        }
    }
}

fn limits(fields: &mut Fields, path: &str, wire: Vec<pb::RateLimit>) -> Vec<RateLimit> {
    if wire.len() > MAX_LIMITS {
        fields.wrong(path, format!("has {} entries; {MAX_LIMITS} are the most", wire.len()));
        return Vec::new();
    }
    let read = |(n, wire)| limit(fields, &format!("{path}[{n}]"), wire);
    wire.into_iter().enumerate().filter_map(read).collect()
}

fn limit(fields: &mut Fields, path: &str, wire: pb::RateLimit) -> Option<RateLimit> {
    let pb::RateLimit {
        scope: wire_scope,
        amount,
        period,
        algorithm,
        burst,
        queue,
        fleet_wide,
        on_unavailable,
    } = wire;
    let at = |field: &str| format!("{path}.{field}");
    let scope = scope(fields, &at("scope"), wire_scope);
    let period = fields.duration(&at("period"), period).unwrap_or(Duration::from_secs(1));
    let period = fields.within(&at("period"), period, PERIODS);
    if amount > MAX_AMOUNT {
        fields.wrong(at("amount"), format!("is {amount}; write 1 to {MAX_AMOUNT}"));
        return None;
    }
    let named =
        |field: &str, given: &str, allowed: &str| (at(field), format!("is {given}; it must be {allowed}"));
    let rate = match Rate::new(amount, period) {
        Ok(rate) => rate,
        Err(invalid) => {
            fields.0.push(named(invalid.field, &invalid.given, &invalid.allowed));
            return None;
        }
    };
    use pb::RateAlgorithm as Wire;
    let algorithm = match Wire::try_from(algorithm) {
        Ok(Wire::Unspecified | Wire::TokenBucket) => {
            Algorithm::TokenBucket { burst: NonZeroU32::new(burst).unwrap_or_else(|| rate.default_burst()) }
        }
        Ok(Wire::LeakyBucket) => Algorithm::LeakyBucket { queue },
        Ok(Wire::SlidingWindow) => Algorithm::SlidingWindow,
        Ok(Wire::FixedWindow) => Algorithm::FixedWindow,
        Err(_) => {
            fields.wrong(at("algorithm"), format!("{algorithm} is none that is known here"));
            return None;
        }
    };
    if burst > 0 && !matches!(algorithm, Algorithm::TokenBucket { .. }) {
        fields.wrong(at("burst"), "goes with TOKEN_BUCKET alone");
    }
    if queue > 0 && !matches!(algorithm, Algorithm::LeakyBucket { .. }) {
        fields.wrong(at("queue"), "goes with LEAKY_BUCKET alone");
    }
    if queue > MAX_WAITING || rate.interval().checked_mul(queue).is_none_or(|wait| wait > MAX_WAIT) {
        fields.wrong(
            at("queue"),
            format!(
                "is {queue}; {MAX_WAITING} are the most, and the last one may wait {MAX_WAIT:?} at this rate"
            ),
        );
    }
    let settings = match Settings::new(rate, algorithm) {
        Ok(settings) => settings,
        Err(invalid) => {
            fields.0.push(named(invalid.field, &invalid.given, &invalid.allowed));
            return None;
        }
    };
    let away = on_unavailable_of(fields, &at("on_unavailable"), on_unavailable);
    if fleet_wide && (scope == Some(Scope::Caller) || !matches!(algorithm, Algorithm::TokenBucket { .. })) {
        fields.wrong(at("fleet_wide"), "goes with TOKEN_BUCKET and the scope GLOBAL or OPERATION alone");
    }
    Some(RateLimit { scope: scope?, settings, fleet_wide: fleet_wide.then_some(away) })
}

fn on_unavailable_of(fields: &mut Fields, path: &str, wire: i32) -> OnUnavailable {
    match pb::OnUnavailable::try_from(wire) {
        Ok(pb::OnUnavailable::Unspecified | pb::OnUnavailable::LastSlice) => OnUnavailable::LastSlice,
        Ok(pb::OnUnavailable::Allow) => OnUnavailable::Allow,
        Ok(pb::OnUnavailable::Deny) => OnUnavailable::Deny,
        Err(_) => {
            fields.wrong(path, format!("{wire} is none; use ALLOW, DENY or LAST_SLICE"));
            OnUnavailable::LastSlice
        }
    }
}

fn scope(fields: &mut Fields, path: &str, wire: i32) -> Option<Scope> {
    match pb::PolicyScope::try_from(wire) {
        Ok(pb::PolicyScope::Global) => Some(Scope::Global),
        Ok(pb::PolicyScope::Operation) => Some(Scope::Operation),
        Ok(pb::PolicyScope::Caller) => Some(Scope::Caller),
        Ok(pb::PolicyScope::Unspecified) | Err(_) => {
            fields.wrong(path, "is missing or unknown; use GLOBAL, OPERATION or CALLER");
            None
        }
    }
}

fn permits(fields: &mut Fields, path: &str, wire: Vec<pb::PermitLimit>) -> Vec<PermitLimit> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (n, wire) in wire.into_iter().enumerate().take(8) {
        let path = format!("{path}[{n}]");
        let Some(rule) = permit(fields, &path, wire) else { continue };
        if seen.insert(rule.scope) {
            found.push(rule);
        } else {
            fields.wrong(format!("{path}.scope"), "is there twice; a policy has one number for each scope");
        }
    }
    found
}

fn permit(fields: &mut Fields, path: &str, wire: pb::PermitLimit) -> Option<PermitLimit> {
    let pb::PermitLimit { scope: wire_scope, max_in_flight, wait, max_waiting, adaptive } = wire;
    let at = |field: &str| format!("{path}.{field}");
    let scope = match scope(fields, &at("scope"), wire_scope)? {
        Scope::Global => PermitScope::Global,
        Scope::Operation => PermitScope::Operation,
        Scope::Caller => {
            fields.wrong(at("scope"), "is CALLER, which limits alone can have; use GLOBAL or OPERATION");
            return None;
        }
    };
    let max = count(fields, &at("max_in_flight"), max_in_flight, MAX_PERMITS);
    let wait = fields.duration(&at("wait"), wait).unwrap_or_default();
    let wait = fields.within(&at("wait"), wait, (Duration::ZERO, MAX_WAIT));
    if max_waiting > MAX_WAITING {
        fields.wrong(at("max_waiting"), format!("is {max_waiting}; {MAX_WAITING} are the most"));
    }
    if adaptive && scope == PermitScope::Global {
        fields.wrong(at("adaptive"), "goes with the scope OPERATION alone");
    }
    let max = max?;
    let max_waiting = if max_waiting == 0 { max.get().min(MAX_WAITING) } else { max_waiting };
    Some(PermitLimit { scope, max, wait, max_waiting, adaptive })
}

fn count(fields: &mut Fields, path: &str, given: u32, most: u32) -> Option<NonZeroU32> {
    let found = NonZeroU32::new(given).filter(|given| given.get() <= most);
    if found.is_none() {
        fields.wrong(path, format!("is {given}; write 1 to {most}"));
    }
    found
}

fn pools(fields: &mut Fields, path: &str, wire: Vec<pb::PoolLimit>) -> Vec<PoolLimit> {
    if wire.len() > MAX_POOLS {
        fields.wrong(path, format!("has {} entries; {MAX_POOLS} are the most", wire.len()));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (n, pb::PoolLimit { name, size, wait }) in wire.into_iter().enumerate() {
        let at = |field: &str| format!("{path}[{n}].{field}");
        fields.take(at("name"), label(&name));
        if !seen.insert(name.clone()) {
            fields.wrong(at("name"), format!("{name} is there twice"));
        }
        let size = count(fields, &at("size"), size, MAX_PERMITS);
        let wait = fields.duration(&at("wait"), wait).unwrap_or(POOL_WAIT);
        let wait = fields.within(&at("wait"), wait, (Duration::ZERO, MAX_POOL_WAIT));
        found.extend(size.map(|size| PoolLimit { name, size, wait }));
    }
    found
}

fn breaker(fields: &mut Fields, path: &str, wire: pb::CircuitBreaker) -> Option<breaker::Settings> {
    let pb::CircuitBreaker {
        mode,
        consecutive_failures,
        failure_rate,
        slow_call_rate,
        slow_call,
        window,
        min_calls,
        open,
        max_open,
        probes,
    } = wire;
    let at = |field: &str| format!("{path}.{field}");
    let mode = match pb::BreakerMode::try_from(mode) {
        Ok(pb::BreakerMode::Unspecified | pb::BreakerMode::Normal) => Mode::Normal,
        Ok(pb::BreakerMode::ForcedOpen) => Mode::ForcedOpen,
        Ok(pb::BreakerMode::ForcedClosed) => Mode::ForcedClosed,
        Ok(pb::BreakerMode::MetricsOnly) => Mode::MetricsOnly,
        Err(_) => {
            fields.wrong(
                at("mode"),
                format!("{mode} is none; use NORMAL, FORCED_OPEN, FORCED_CLOSED or METRICS_ONLY"),
            );
            Mode::Normal
        }
    };
    let mut options = breaker::Options { mode, ..breaker::Options::default() };
    let said = |given: f64, default: f64| if given == 0.0 { default } else { given };
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    options.consecutive_failures =
        options.consecutive_failures.map(|default| or(consecutive_failures, default));
    options.failure_rate = options.failure_rate.map(|default| said(failure_rate, default));
    let slow = SlowCalls::default();
    options.slow_calls = Some(SlowCalls {
        rate: said(slow_call_rate, slow.rate),
        longer_than: fields.duration(&at("slow_call"), slow_call).unwrap_or(slow.longer_than),
    });
    match window {
        None => {}
        Some(pb::circuit_breaker::Window::Calls(calls)) => options.window = SlidingWindow::Count(calls),
        Some(pb::circuit_breaker::Window::Time(time)) => {
            let time = fields.duration(&at("time"), Some(time)).unwrap_or_default();
            options.window = SlidingWindow::Time(fields.within(&at("time"), time, WINDOW_TIMES));
        }
    }
    let fits = match options.window {
        SlidingWindow::Count(calls) => options.minimum_calls.min(calls.max(1)),
        SlidingWindow::Time(_) => options.minimum_calls,
    };
    options.minimum_calls = or(min_calls, fits);
    options.open_time = fields.duration(&at("open"), open).unwrap_or(options.open_time);
    let most = fields.duration(&at("max_open"), max_open);
    options.max_open_time = most.unwrap_or_else(|| options.max_open_time.max(options.open_time));
    options.probes = or(probes, options.probes);
    match breaker::Settings::new(options) {
        Ok(settings) => Some(settings),
        Err(invalid) => {
            let field = match invalid.field {
                "slow_calls.rate" => "slow_call_rate",
                "slow_calls.longer_than" => "slow_call",
                "window" if matches!(options.window, SlidingWindow::Count(_)) => "calls",
                "window" => "time",
                "minimum_calls" => "min_calls",
                "open_time" => "open",
                "max_open_time" => "max_open",
                same => same,
            };
            fields.wrong(at(field), format!("is {}; it must be {}", invalid.given, invalid.allowed));
            None
        }
    }
}

fn retry(fields: &mut Fields, path: &str, wire: pb::Retry) -> Option<Retry> {
    let pb::Retry { attempts, first_pause, max_pause, total, budget_share, budget_per_second, idempotent } =
        wire;
    let at = |field: &str| format!("{path}.{field}");
    let mut values = retry::Values::default();
    if attempts != 0 {
        values.attempts = attempts;
    }
    values.first_pause = fields.duration(&at("first_pause"), first_pause).unwrap_or(values.first_pause);
    let most = fields.duration(&at("max_pause"), max_pause);
    values.max_pause = most.unwrap_or_else(|| values.max_pause.max(values.first_pause));
    values.total = fields.duration(&at("total"), total).unwrap_or(values.total);
    if budget_share != 0.0 {
        values.budget_share = budget_share;
    }
    values.budget_per_second = budget_per_second.unwrap_or(values.budget_per_second);
    let safety = if idempotent { Safety::Idempotent } else { Safety::Unsafe };
    match retry::Settings::new(values) {
        Ok(settings) => Some(Retry { settings, safety }),
        Err(invalid) => {
            fields.wrong(at(invalid.field), invalid.problem);
            None
        }
    }
}

/// A DNS label, as names of services and policies are.
fn label(text: &str) -> Result<(), String> {
    if is_label(text) {
        return Ok(());
    }
    Err(format!(
        "is not a DNS label: use 1 to {LABEL_LENGTH} lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
    ))
}

fn resources(fields: &mut Fields, path: &str, wire: &pb::ResourceLimit) -> Option<Ceiling> {
    let pb::ResourceLimit { max_memory_bytes, max_cpu, operation_memory_bytes } = *wire;
    let cpu = (max_cpu != 0.0).then(|| CpuShare::new(max_cpu));
    let cpu = match cpu.transpose() {
        Ok(cpu) => cpu,
        Err(_) => {
            fields.wrong(format!("{path}.max_cpu"), format!("is {max_cpu}; write more than 0, and up to 1"));
            return None;
        }
    };
    let (memory, operation) = (NonZeroU64::new(max_memory_bytes), NonZeroU64::new(operation_memory_bytes));
    let ceiling = Ceiling::new(memory, cpu, operation);
    fields.take(
        format!("{path}.operation_memory_bytes"),
        ceiling.map_err(|_| "is more than max_memory_bytes".to_owned()),
    )
}

#[cfg(test)]
mod tests;
