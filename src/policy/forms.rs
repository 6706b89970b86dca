//! How a policy stands in a record: plain fields that a person can read, checked again when they are read.
//!
//! Names are those of the contract where there is one. What a build does not know is refused by name, and nothing is guessed.

use std::{num::NonZeroU32, time::Duration};

use seaworthy_client::protect::{
    breaker::{self, Mode, SlidingWindow, SlowCalls},
    limit::{Algorithm, Rate, Settings},
    policy::{OnUnavailable, PermitLimit, PermitScope, Policy, PoolLimit, RateLimit, Retry, Scope, Target},
    retry::{self, Safety},
};
use serde::{Deserialize, Serialize};

mod resources;

use self::resources::ResourcesForm;

/// A policy.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyForm {
    name: String,
    target: TargetForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(default)]
    shadow: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    permits: Vec<PermitForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resources: Option<ResourcesForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pools: Vec<PoolForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<RetryForm>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum TargetForm {
    Everything,
    Rpcs { method: Option<String> },
    Operations { service: Option<String>, operation: Option<String> },
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum ScopeForm {
    Global,
    Operation,
    Caller,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LimitForm {
    scope: ScopeForm,
    amount: u32,
    period: Duration,
    algorithm: AlgorithmForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fleet_wide: Option<AwayForm>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum AlgorithmForm {
    TokenBucket { burst: NonZeroU32 },
    LeakyBucket { queue: u32 },
    SlidingWindow,
    FixedWindow,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum AwayForm {
    Allow,
    Deny,
    LastSlice,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PermitForm {
    scope: ScopeForm,
    max_in_flight: NonZeroU32,
    wait: Duration,
    max_waiting: u32,
    #[serde(default)]
    adaptive: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PoolForm {
    name: String,
    size: NonZeroU32,
    wait: Duration,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BreakerForm {
    mode: ModeForm,
    consecutive_failures: Option<u32>,
    failure_rate: Option<f64>,
    slow_call_rate: Option<f64>,
    slow_call: Option<Duration>,
    window: WindowForm,
    min_calls: u32,
    open: Duration,
    max_open: Duration,
    jitter: f64,
    probes: u32,
    probe_timeout: Duration,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum ModeForm {
    Normal,
    ForcedOpen,
    ForcedClosed,
    MetricsOnly,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum WindowForm {
    Calls(u32),
    Time(Duration),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RetryForm {
    attempts: u32,
    first_pause: Duration,
    max_pause: Duration,
    multiplier: f64,
    jitter: f64,
    total: Duration,
    budget_share: f64,
    budget_per_second: u32,
    budget_ttl: Duration,
    idempotent: bool,
}

impl From<&Policy> for PolicyForm {
    fn from(policy: &Policy) -> Self {
        let Policy {
            name,
            target,
            caller,
            shadow,
            limits,
            permits,
            resources,
            pools,
            breaker,
            retry,
            description,
        } = policy;
        let target = match target.clone() {
            Target::Everything => TargetForm::Everything,
            Target::Rpcs { method } => TargetForm::Rpcs { method },
            Target::Operations { service, operation } => TargetForm::Operations { service, operation },
        };
        Self {
            name: name.clone(),
            target,
            caller: caller.clone(),
            shadow: *shadow,
            limits: limits.iter().map(LimitForm::from).collect(),
            permits: permits.iter().map(PermitForm::from).collect(),
            resources: resources.as_ref().map(ResourcesForm::from),
            pools: pools.iter().map(PoolForm::from).collect(),
            breaker: breaker.as_ref().map(BreakerForm::from),
            retry: retry.as_ref().map(RetryForm::from),
            description: description.clone(),
        }
    }
}

impl PolicyForm {
    /// The policy that it is.
    ///
    /// # Errors
    /// What does not make sense.
    pub(super) fn policy(self) -> Result<Policy, String> {
        let target = match self.target {
            TargetForm::Everything => Target::Everything,
            TargetForm::Rpcs { method } => Target::Rpcs { method },
            TargetForm::Operations { service, operation } => Target::Operations { service, operation },
        };
        Ok(Policy {
            name: self.name,
            target,
            caller: self.caller,
            shadow: self.shadow,
            limits: self.limits.into_iter().map(LimitForm::limit).collect::<Result<_, _>>()?,
            permits: self.permits.into_iter().map(PermitForm::permit).collect::<Result<_, _>>()?,
            resources: self.resources.map(ResourcesForm::ceiling).transpose()?,
            pools: self.pools.into_iter().map(PoolForm::pool).collect(),
            breaker: self.breaker.map(BreakerForm::settings).transpose()?,
            retry: self.retry.map(RetryForm::retry).transpose()?,
            description: self.description,
        })
    }
}

impl From<&RateLimit> for LimitForm {
    fn from(RateLimit { scope, settings, fleet_wide }: &RateLimit) -> Self {
        let algorithm = match settings.algorithm() {
            Algorithm::TokenBucket { burst } => AlgorithmForm::TokenBucket { burst },
            Algorithm::LeakyBucket { queue } => AlgorithmForm::LeakyBucket { queue },
            Algorithm::SlidingWindow => AlgorithmForm::SlidingWindow,
            Algorithm::FixedWindow => AlgorithmForm::FixedWindow,
        };
        let scope = match scope {
            Scope::Global => ScopeForm::Global,
            Scope::Operation => ScopeForm::Operation,
            Scope::Caller => ScopeForm::Caller,
        };
        let fleet_wide = fleet_wide.map(|away| match away {
            OnUnavailable::Allow => AwayForm::Allow,
            OnUnavailable::Deny => AwayForm::Deny,
            OnUnavailable::LastSlice => AwayForm::LastSlice,
        });
        let rate = settings.rate();
        Self { scope, amount: rate.amount().get(), period: rate.period(), algorithm, fleet_wide }
    }
}

impl LimitForm {
    fn limit(self) -> Result<RateLimit, String> {
        let rate = Rate::new(self.amount, self.period).map_err(|invalid| invalid.to_string())?;
        let algorithm = match self.algorithm {
            AlgorithmForm::TokenBucket { burst } => Algorithm::TokenBucket { burst },
            AlgorithmForm::LeakyBucket { queue } => Algorithm::LeakyBucket { queue },
            AlgorithmForm::SlidingWindow => Algorithm::SlidingWindow,
            AlgorithmForm::FixedWindow => Algorithm::FixedWindow,
        };
        let settings = Settings::new(rate, algorithm).map_err(|invalid| invalid.to_string())?;
        let scope = match self.scope {
            ScopeForm::Global => Scope::Global,
            ScopeForm::Operation => Scope::Operation,
            ScopeForm::Caller => Scope::Caller,
        };
        let fleet_wide = self.fleet_wide.map(|away| match away {
            AwayForm::Allow => OnUnavailable::Allow,
            AwayForm::Deny => OnUnavailable::Deny,
            AwayForm::LastSlice => OnUnavailable::LastSlice,
        });
        Ok(RateLimit { scope, settings, fleet_wide })
    }
}

impl From<&PermitLimit> for PermitForm {
    fn from(PermitLimit { scope, max, wait, max_waiting, adaptive }: &PermitLimit) -> Self {
        let scope = match scope {
            PermitScope::Global => ScopeForm::Global,
            PermitScope::Operation => ScopeForm::Operation,
        };
        let (wait, max_waiting, adaptive) = (*wait, *max_waiting, *adaptive);
        Self { scope, max_in_flight: *max, wait, max_waiting, adaptive }
    }
}

impl PermitForm {
    fn permit(self) -> Result<PermitLimit, String> {
        let scope = match self.scope {
            ScopeForm::Global => PermitScope::Global,
            ScopeForm::Operation => PermitScope::Operation,
            ScopeForm::Caller => return Err("permits have no scope of callers".to_owned()),
        };
        let (wait, max_waiting, adaptive) = (self.wait, self.max_waiting, self.adaptive);
        Ok(PermitLimit { scope, max: self.max_in_flight, wait, max_waiting, adaptive })
    }
}

impl From<&PoolLimit> for PoolForm {
    fn from(PoolLimit { name, size, wait }: &PoolLimit) -> Self {
        Self { name: name.clone(), size: *size, wait: *wait }
    }
}

impl PoolForm {
    fn pool(self) -> PoolLimit {
        PoolLimit { name: self.name, size: self.size, wait: self.wait }
    }
}

impl From<&breaker::Settings> for BreakerForm {
    fn from(settings: &breaker::Settings) -> Self {
        let options = settings.options();
        let mode = match options.mode {
            Mode::Normal => ModeForm::Normal,
            Mode::ForcedOpen => ModeForm::ForcedOpen,
            Mode::ForcedClosed => ModeForm::ForcedClosed,
            Mode::MetricsOnly => ModeForm::MetricsOnly,
        };
        let window = match options.window {
            SlidingWindow::Count(calls) => WindowForm::Calls(calls),
            SlidingWindow::Time(span) => WindowForm::Time(span),
        };
        Self {
            mode,
            consecutive_failures: options.consecutive_failures,
            failure_rate: options.failure_rate,
            slow_call_rate: options.slow_calls.map(|slow| slow.rate),
            slow_call: options.slow_calls.map(|slow| slow.longer_than),
            window,
            min_calls: options.minimum_calls,
            open: options.open_time,
            max_open: options.max_open_time,
            jitter: options.jitter,
            probes: options.probes,
            probe_timeout: options.probe_timeout,
        }
    }
}

impl BreakerForm {
    fn settings(self) -> Result<breaker::Settings, String> {
        let slow = |(rate, longer_than)| SlowCalls { rate, longer_than };
        let options = breaker::Options {
            consecutive_failures: self.consecutive_failures,
            failure_rate: self.failure_rate,
            slow_calls: self.slow_call_rate.zip(self.slow_call).map(slow),
            window: match self.window {
                WindowForm::Calls(calls) => SlidingWindow::Count(calls),
                WindowForm::Time(span) => SlidingWindow::Time(span),
            },
            minimum_calls: self.min_calls,
            open_time: self.open,
            max_open_time: self.max_open,
            jitter: self.jitter,
            probes: self.probes,
            probe_timeout: self.probe_timeout,
            mode: match self.mode {
                ModeForm::Normal => Mode::Normal,
                ModeForm::ForcedOpen => Mode::ForcedOpen,
                ModeForm::ForcedClosed => Mode::ForcedClosed,
                ModeForm::MetricsOnly => Mode::MetricsOnly,
            },
        };
        breaker::Settings::new(options).map_err(|invalid| invalid.to_string())
    }
}

impl From<&Retry> for RetryForm {
    fn from(Retry { settings, safety }: &Retry) -> Self {
        let values = *settings.values();
        Self {
            attempts: values.attempts,
            first_pause: values.first_pause,
            max_pause: values.max_pause,
            multiplier: values.multiplier,
            jitter: values.jitter,
            total: values.total,
            budget_share: values.budget_share,
            budget_per_second: values.budget_per_second,
            budget_ttl: values.budget_ttl,
            idempotent: *safety == Safety::Idempotent,
        }
    }
}

impl RetryForm {
    fn retry(self) -> Result<Retry, String> {
        let values = retry::Values {
            attempts: self.attempts,
            first_pause: self.first_pause,
            max_pause: self.max_pause,
            multiplier: self.multiplier,
            jitter: self.jitter,
            total: self.total,
            budget_share: self.budget_share,
            budget_per_second: self.budget_per_second,
            budget_ttl: self.budget_ttl,
        };
        let settings = retry::Settings::new(values).map_err(|invalid| invalid.to_string())?;
        let safety = if self.idempotent { Safety::Idempotent } else { Safety::Unsafe };
        Ok(Retry { settings, safety })
    }
}
