//! What parts of a policy cannot be together with. Whoever takes a policy asks this: from the wire, or from a service's own
//! code.

use std::{error::Error, fmt};

use super::{Policy, Target};

/// A policy says what nothing could come of: its fields, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contradiction(Vec<(String, &'static str)>);

impl Contradiction {
    /// The fields, and what is wrong with each.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.0.iter().map(|(field, what)| (field.as_str(), *what))
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (field, what)) in self.fields().enumerate() {
            let before = if n == 0 { "" } else { "; " };
            write!(f, "{before}{field} {what}")?;
        }
        Ok(())
    }
}

impl Error for Contradiction {}

impl Policy {
    /// Whether all that it says can hold.
    ///
    /// # Errors
    /// Something of it never could.
    pub fn check(&self) -> Result<(), Contradiction> {
        let mut wrong = Vec::new();
        of_all(self, &mut wrong);
        match &self.target {
            Target::Rpcs { method } => of_rpcs(self, method.is_some(), &mut wrong),
            Target::Operations { operation: Some(_), .. } if !self.pools.is_empty() => wrong
                .push(("pools".to_owned(), "are of a service, whatever it does; leave the operation out")),
            Target::Operations { .. } | Target::Everything => {}
        }
        if wrong.is_empty() { Ok(()) } else { Err(Contradiction(wrong)) }
    }
}

fn of_all(policy: &Policy, wrong: &mut Vec<(String, &'static str)>) {
    let (caller, shadow) = (policy.caller.is_some(), policy.shadow);
    let pools = !policy.pools.is_empty();
    for (field, is_there, what) in [
        (
            "breaker",
            caller && policy.breaker.is_some(),
            "is of an operation, whoever calls it; leave the caller out",
        ),
        ("breaker", shadow && policy.breaker.is_some(), "has no shadow; use its mode METRICS_ONLY"),
        ("retry", shadow && policy.retry.is_some(), "has no shadow"),
        (
            "resources",
            caller && policy.resources.is_some(),
            "are what the process has, whoever calls; leave the caller out",
        ),
        ("pools", caller && pools, "are of a service, whoever holds of them; leave the caller out"),
        ("pools", shadow && pools, "have no shadow"),
    ] {
        if is_there {
            wrong.push((field.to_owned(), what));
        }
    }
}

fn of_rpcs(policy: &Policy, one: bool, wrong: &mut Vec<(String, &'static str)>) {
    const OF_SERVICES: &str = "holds of operations of services alone";
    if one && policy.breaker.is_some() {
        let what = "is of what the control plane depends on, not of one RPC; leave the method out";
        wrong.push(("breaker".to_owned(), what));
    }
    for (field, is_there) in [
        ("resources", policy.resources.is_some()),
        ("pools", !policy.pools.is_empty()),
        ("retry", policy.retry.is_some()),
    ] {
        if is_there {
            wrong.push((field.to_owned(), OF_SERVICES));
        }
    }
    for (n, _) in policy.limits.iter().enumerate().filter(|(_, limit)| limit.fleet_wide.is_some()) {
        wrong.push((format!("limits[{n}].fleet_wide"), OF_SERVICES));
    }
    for (n, _) in policy.permits.iter().enumerate().filter(|(_, rule)| rule.adaptive) {
        wrong.push((format!("permits[{n}].adaptive"), OF_SERVICES));
    }
}
