//! Policies: as rows of a table, in detail, and what decides of a call.

use std::time::SystemTime;

use seaworthy_client::{
    protect::{policy::summary, wire},
    proto::seaworthy::v1::{
        OperationTarget, Policy, PolicyOrigin, PolicyPart, PolicyScope, PolicyTarget, RateAlgorithm,
        RpcTarget, policy_target::What,
    },
};

use super::{
    instance::{dash, short},
    when,
};
use crate::cli::output::{Text, table::Table};

/// Everything that can be counted together.
pub(crate) const SCOPES: [(&str, PolicyScope); 3] =
    [("operation", PolicyScope::Operation), ("global", PolicyScope::Global), ("caller", PolicyScope::Caller)];

/// Every way to measure a rate.
pub(crate) const ALGORITHMS: [(&str, RateAlgorithm); 4] = [
    ("token-bucket", RateAlgorithm::TokenBucket),
    ("leaky-bucket", RateAlgorithm::LeakyBucket),
    ("sliding-window", RateAlgorithm::SlidingWindow),
    ("fixed-window", RateAlgorithm::FixedWindow),
];

/// Policies as a table.
pub(crate) fn table(policies: &[Policy], wide: bool, now: SystemTime) -> Table {
    let mut heading = vec!["POLICY", "ABOUT", "CALLER", "SHADOW", "FROM"];
    if wide {
        heading.extend(["REVISION", "PUT", "BY", "DESCRIPTION"]);
    }
    heading.push("SAYS");
    let mut table = Table::new(heading);
    for policy in policies {
        let mut row: Vec<Text> = vec![
            policy.name.as_str().into(),
            about(policy.target.as_ref()).into(),
            dash(&policy.caller).into(),
            yes(policy.shadow).into(),
            origin(policy.origin()).into(),
        ];
        if wide {
            row.push(policy.revision.to_string().into());
            row.push(when::ago(policy.update_time.as_ref(), now).into());
            row.push(dash(&policy.updater).into());
            row.push(dash(&policy.description).into());
        }
        row.push(short(&says(policy), wide).into());
        table.row(row);
    }
    table
}

/// What is known of one policy, as names and values.
pub(crate) fn facts(policy: &Policy, now: SystemTime) -> Table {
    let mut table = Table::new([]);
    let mut fact = |name: &str, value: Text| table.row([name.into(), value]);
    fact("policy", policy.name.as_str().into());
    fact("about", about(policy.target.as_ref()).into());
    fact("caller", if policy.caller.is_empty() { "anybody" } else { &policy.caller }.into());
    for (part, says) in parts(policy) {
        fact(&part, says.into());
    }
    fact("shadow", if policy.shadow { "yes: it refuses nothing, and counts" } else { "no" }.into());
    fact("from", put(policy, now).into());
    fact("description", dash(&policy.description).into());
    table
}

/// What decides of a call, part by part.
pub(crate) fn explained(parts: &[PolicyPart]) -> Table {
    let mut table = Table::new(["PART", "POLICY", "SHADOW", "SAYS", "HIDDEN"]);
    for part in parts {
        table.row([
            part.part.as_str().into(),
            part.policy.as_str().into(),
            yes(part.shadow).into(),
            part.summary.as_str().into(),
            dash(&part.hidden.join(", ")).into(),
        ]);
    }
    table
}

/// The parts of a policy, each with what it says: `limits OPERATION`, `100 in 1s, token bucket, burst 100`.
pub(crate) fn parts(policy: &Policy) -> Vec<(String, String)> {
    match wire::policy("policy", policy.clone()) {
        Ok(policy) => {
            let each = policy.parts().into_iter();
            each.map(|part| (summary::part(part), summary::of(&policy, part))).collect()
        }
        // A newer control plane may know what this program does not.
        Err(wrong) => wrong,
    }
}

/// What it says, in a line: `limits OPERATION: 100 in 1s, token bucket, burst 100; breaker: forced open`.
pub(crate) fn says(policy: &Policy) -> String {
    let each: Vec<_> = parts(policy).into_iter().map(|(part, says)| format!("{part}: {says}")).collect();
    dash(&each.join("; ")).to_owned()
}

/// What a policy is about: `charge-card of orders`.
pub(crate) fn about(target: Option<&PolicyTarget>) -> String {
    match target.and_then(|target| target.what.as_ref()) {
        None => "everything".to_owned(),
        Some(What::Rpcs(RpcTarget { method })) if method.is_empty() => "all RPCs".to_owned(),
        Some(What::Rpcs(RpcTarget { method })) => format!("RPC {method}"),
        Some(What::Operations(OperationTarget { service, operation })) => {
            let operation = if operation.is_empty() { "all operations" } else { operation };
            let service = if service.is_empty() { "all services" } else { service };
            format!("{operation} of {service}")
        }
    }
}

/// What is counted together, as it is typed.
pub(crate) fn scope(scope: PolicyScope) -> &'static str {
    SCOPES.iter().find(|(_, value)| *value == scope).map_or("-", |(word, _)| word)
}

fn origin(origin: PolicyOrigin) -> &'static str {
    match origin {
        PolicyOrigin::Unspecified => "-",
        PolicyOrigin::BuiltIn => "built in",
        PolicyOrigin::File => "configuration",
        PolicyOrigin::Put => "put",
    }
}

/// Where it comes from: `put 3m ago by token:alice, revision 12`.
fn put(policy: &Policy, now: SystemTime) -> String {
    let origin = origin(policy.origin());
    if policy.origin() != PolicyOrigin::Put {
        return origin.to_owned();
    }
    let (ago, by) = (when::ago(policy.update_time.as_ref(), now), dash(&policy.updater));
    format!("{origin} {ago} by {by}, revision {}", policy.revision)
}

fn yes(shadow: bool) -> &'static str {
    if shadow { "yes" } else { "-" }
}

#[cfg(test)]
mod tests;
