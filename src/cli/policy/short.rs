//! A policy by flags: limits and permits of one scope, which is what most policies are.

use std::time::Duration;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    OperationTarget, PermitLimit, Policy, PolicyScope, PolicyTarget, RateAlgorithm, RateLimit, RpcTarget,
    policy_target::What,
};

use crate::cli::{
    args::{rate::Rate, value},
    failure::Failure,
};

/// What `--rpc` takes for all of them: a method always has a slash.
const ALL_RPCS: &str = "all";

/// The flags.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "A policy by flags, with its NAME")]
pub(crate) struct Short {
    /// Service that it is about [default: all, of --operation]
    #[arg(long, value_name = "SERVICE", conflicts_with = "rpc")]
    service: Option<String>,
    /// Operation that it is about [default: all, of --service]
    #[arg(long, value_name = "OPERATION", conflicts_with = "rpc")]
    operation: Option<String>,
    /// RPC of the control plane that it is about, instead: seaworthy.v1.FleetService/ListInstances, or all
    #[arg(long, value_name = "METHOD")]
    rpc: Option<String>,
    /// Only what this caller asks for [default: whatever anybody does]
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// How many in which time: 100/s, 5000/min, 20/500ms
    #[arg(long, value_name = "AMOUNT/TIME")]
    limit: Option<Rate>,
    /// How the rate is measured [default: token-bucket]
    #[arg(long, value_name = "ALGORITHM", requires = "limit", value_parser = value::algorithm())]
    algorithm: Option<RateAlgorithm>,
    /// With token-bucket: how many may come at once [default: what comes in a second]
    #[arg(long, value_name = "COUNT", requires = "limit")]
    burst: Option<u32>,
    /// With leaky-bucket: how many may wait for their turn [default: none]
    #[arg(long, value_name = "COUNT", requires = "limit")]
    queue: Option<u32>,
    /// All instances of the service share the limit: with token-bucket, and not for each caller
    #[arg(long, requires = "limit")]
    fleet_wide: bool,
    /// How many may be under way at once
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<u32>,
    /// How long to wait for a place among them, with its unit: 100ms [default: not at all]
    #[arg(long, value_name = "TIME", requires = "max_in_flight", value_parser = value::duration)]
    wait: Option<Duration>,
    /// What is counted together: each operation or RPC by itself, all in one process (global), or each caller by itself
    /// [default: operation]
    #[arg(long, value_name = "SCOPE", value_parser = value::scope())]
    scope: Option<PolicyScope>,
    /// Count what would be refused, and refuse nothing
    #[arg(long)]
    shadow: bool,
    /// What it is for, up to 1024 characters [default: empty]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Short {
    /// Whether no flag was given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The whole policy.
    ///
    /// # Errors
    /// It is not said what it limits, or what it is about.
    pub(crate) fn policy(self, name: &str) -> Result<Policy, Failure> {
        let usage = |what: &str| Failure::Usage(format!("policy {name}: {what}"));
        let scope = self.scope.unwrap_or(PolicyScope::Operation);
        if self.limit.is_none() && self.max_in_flight.is_none() {
            return Err(usage(
                "say how much it allows: --limit 100/s, or --max-in-flight 8; breakers, retries, pools and resources are \
                 put from a file",
            ));
        }
        if self.max_in_flight.is_some() && scope == PolicyScope::Caller {
            return Err(usage("--max-in-flight goes with --scope operation or global"));
        }
        let Some(what) = self.what() else {
            return Err(usage("say what it is about: --service, --operation, or --rpc"));
        };
        let limit = self.limit.map(|Rate { amount, period }| RateLimit {
            scope: scope.into(),
            amount,
            period: period.try_into().ok(),
            algorithm: self.algorithm.unwrap_or(RateAlgorithm::TokenBucket).into(),
            burst: self.burst.unwrap_or_default(),
            queue: self.queue.unwrap_or_default(),
            fleet_wide: self.fleet_wide,
            ..RateLimit::default()
        });
        let permits = self.max_in_flight.map(|max_in_flight| PermitLimit {
            scope: scope.into(),
            max_in_flight,
            wait: self.wait.and_then(|wait| wait.try_into().ok()),
            ..PermitLimit::default()
        });
        Ok(Policy {
            name: name.to_owned(),
            target: Some(PolicyTarget { what: Some(what) }),
            caller: self.caller.unwrap_or_default(),
            shadow: self.shadow,
            limits: limit.into_iter().collect(),
            permits: permits.into_iter().collect(),
            description: self.description.unwrap_or_default(),
            ..Policy::default()
        })
    }

    /// None: nothing is said, which would be everything.
    fn what(&self) -> Option<What> {
        match (&self.rpc, &self.service, &self.operation) {
            (Some(method), _, _) if method == ALL_RPCS => Some(What::Rpcs(RpcTarget::default())),
            (Some(method), _, _) => Some(What::Rpcs(RpcTarget { method: method.clone() })),
            (None, None, None) => None,
            (None, service, operation) => Some(What::Operations(OperationTarget {
                service: service.clone().unwrap_or_default(),
                operation: operation.clone().unwrap_or_default(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::render::policy::{about, says};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        short: Short,
    }

    fn parsed(line: &str) -> Result<Short, clap::Error> {
        Line::try_parse_from(["put"].into_iter().chain(line.split_whitespace())).map(|line| line.short)
    }

    fn policy(line: &str) -> Policy {
        parsed(line).unwrap().policy("charges").unwrap()
    }

    #[test]
    fn flags_say_the_whole_policy() {
        for (line, target, expected) in [
            (
                "--service orders --operation charge-card --limit 100/s",
                "charge-card of orders",
                "limits OPERATION: 100 in 1s, token bucket, burst 100",
            ),
            (
                "--service orders --limit 100/min --burst 20 --scope caller",
                "all operations of orders",
                "limits CALLER: 100 in 60s, token bucket, burst 20",
            ),
            (
                "--operation charge-card --limit 10/d --algorithm fixed-window",
                "charge-card of all services",
                "limits OPERATION: 10 in 86400s, fixed window",
            ),
            (
                "--service orders --limit 9/s --algorithm leaky-bucket --queue 3 --scope global",
                "all operations of orders",
                "limits GLOBAL: 9 in 1s, leaky bucket, queue 3",
            ),
            (
                "--service orders --operation charge-card --limit 100/s --fleet-wide",
                "charge-card of orders",
                "limits OPERATION: 100 in 1s, token bucket, burst 100, over the whole fleet",
            ),
            (
                "--service orders --max-in-flight 8 --wait 100ms",
                "all operations of orders",
                "permits OPERATION: 8 under way, up to 8 wait 100ms",
            ),
            (
                "--rpc seaworthy.v1.FleetService/ListInstances --limit 5/s --max-in-flight 2 --scope global",
                "RPC seaworthy.v1.FleetService/ListInstances",
                "limits GLOBAL: 5 in 1s, token bucket, burst 5; permits GLOBAL: 2 under way",
            ),
            ("--rpc all --limit 5/s", "all RPCs", "limits OPERATION: 5 in 1s, token bucket, burst 5"),
        ] {
            let policy = policy(line);
            assert_eq!(
                (about(policy.target.as_ref()).as_str(), says(&policy).as_str()),
                (target, expected),
                "{line}"
            );
            assert!(!policy.shadow && policy.caller.is_empty(), "{line}");
        }
        let policy = policy("--service orders --limit 1/s --shadow --caller shop --description why");
        assert_eq!(
            (policy.name.as_str(), policy.shadow, policy.caller.as_str(), policy.description.as_str()),
            ("charges", true, "shop", "why")
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "--service orders --burst 3",
            "--service orders --queue 3",
            "--service orders --algorithm fixed-window",
            "--service orders --fleet-wide",
            "--service orders --wait 1s",
            "--service orders --rpc all --limit 1/s",
            "--operation charge-card --rpc all --limit 1/s",
            "--limit fast",
            "--limit 1/s --algorithm guess",
            "--limit 1/s --scope everybody",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        for (line, hint) in [
            ("--service orders", "--limit 100/s"),
            ("--service orders --shadow", "--limit 100/s"),
            ("--limit 1/s", "--service"),
            ("--limit 1/s --caller shop", "--service"),
            ("--service orders --max-in-flight 3 --scope caller", "--scope operation or global"),
        ] {
            let refused = parsed(line).unwrap().policy("charges").unwrap_err();
            assert_eq!(refused.exit().code(), 2);
            assert!(refused.to_string().contains(hint), "{line}: {refused}");
        }
    }

    #[test]
    fn any_flag_makes_it_a_policy_by_flags() {
        assert!(parsed("").unwrap().is_empty());
        for line in
            ["--shadow", "--limit 1/s", "--scope global", "--caller shop", "--description why", "--rpc all"]
        {
            assert!(!parsed(line).unwrap().is_empty(), "{line}");
        }
    }
}
