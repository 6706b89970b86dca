//! A service's specification in words.

use seaworthy_client::proto::seaworthy::v1::{Budget, Objectives, Quantity, ServiceSpec, budget, quantity};

use super::{when, words};

/// What a service needs: `payments (hard), cache (soft)`.
pub(crate) fn dependencies(spec: &ServiceSpec) -> String {
    let each: Vec<_> = spec
        .depends_on
        .iter()
        .map(|needed| format!("{} ({})", needed.service, words::dependency(needed.kind())))
        .collect();
    or_dash(each.join(", "))
}

/// How many instances a service needs: `at least 2 available`.
pub(crate) fn budget(spec: &ServiceSpec) -> String {
    let Some(budget) = &spec.budget else { return "at least 1 available (default)".to_owned() };
    let limit = limit(budget);
    match budget.quorum_size {
        0 => limit,
        members => format!("{limit}, quorum of {members}"),
    }
}

fn limit(budget: &Budget) -> String {
    match &budget.limit {
        Some(budget::Limit::MinAvailable(least)) => format!("at least {} available", amount(least)),
        Some(budget::Limit::MaxUnavailable(most)) => format!("at most {} unavailable", amount(most)),
        None => "at least 1 available (default)".to_owned(),
    }
}

fn amount(amount: &Quantity) -> String {
    match amount.value {
        Some(quantity::Value::Count(count)) => count.to_string(),
        Some(quantity::Value::Percent(percent)) => format!("{percent}%"),
        None => "-".to_owned(),
    }
}

/// What is promised: `99.9% available, RPO 5m, RTO 1h`.
pub(crate) fn objectives(spec: &ServiceSpec) -> String {
    let Some(Objectives { availability_percent, rpo, rto }) = &spec.objectives else { return "-".to_owned() };
    let mut promises = Vec::new();
    if *availability_percent > 0.0 {
        promises.push(format!("{availability_percent}% available"));
    }
    if rpo.is_some() {
        promises.push(format!("RPO {}", when::span(rpo.as_ref())));
    }
    if rto.is_some() {
        promises.push(format!("RTO {}", when::span(rto.as_ref())));
    }
    or_dash(promises.join(", "))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}
