//! A rate limit of envoyproxy/ratelimit as one of ours, its scope aside.

use seaworthy_client::proto::seaworthy::v1::{RateAlgorithm, RateLimit};

use crate::cli::{policy::import::ratelimit, render::policy::ALGORITHMS};

/// The highest amount that a limit can say.
const HIGHEST: u32 = 1_000_000_000;

/// Fields that are wrong, each with why.
type Wrong = Vec<(&'static str, String)>;

/// Reads a limit.
///
/// # Errors
/// What of it no policy can say.
pub(super) fn read(given: &ratelimit::RateLimit) -> Result<RateLimit, Wrong> {
    let mut wrong = Wrong::new();
    let unit = given.unit.as_deref().unwrap_or_default();
    let (seconds, amount) = if given.unlimited {
        if !unit.is_empty() {
            wrong.push(("unit", format!("is {unit}, and there is none with unlimited")));
        }
        (1, HIGHEST)
    } else {
        (period(unit, &mut wrong), amount(given.requests_per_unit, &mut wrong))
    };
    if given.replaces.as_ref().is_some_and(|replaces| !replaces.is_empty()) {
        let why =
            "ends other limits where this one holds; here that follows from which policy is more specific";
        wrong.push(("replaces", why.to_owned()));
    }
    let algorithm = match given.algorithm.as_deref().map(|word| (word, algorithm(word))) {
        None => RateAlgorithm::FixedWindow,
        Some((_, Some(algorithm))) => algorithm,
        Some((unknown, None)) => {
            let known = ALGORITHMS.map(|(word, _)| word).join(", ");
            wrong.push(("algorithm", format!("is {unknown:?}; write one of {known}")));
            RateAlgorithm::Unspecified
        }
    };
    if wrong.is_empty() { Ok(limit(amount, seconds, algorithm)) } else { Err(wrong) }
}

/// The highest limit there is: what hides the lower ones of others.
pub(super) fn unlimited() -> RateLimit {
    limit(HIGHEST, 1, RateAlgorithm::FixedWindow)
}

fn limit(amount: u32, seconds: i64, algorithm: RateAlgorithm) -> RateLimit {
    RateLimit {
        amount,
        period: Some(prost_types::Duration { seconds, nanos: 0 }),
        algorithm: algorithm.into(),
        ..RateLimit::default()
    }
}

/// The seconds of a unit.
fn period(unit: &str, wrong: &mut Wrong) -> i64 {
    let mut problem = |why: String| {
        wrong.push(("unit", why));
        1
    };
    match unit.to_ascii_lowercase().as_str() {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" | "month" | "year" => problem(format!("is {unit}; periods are second, minute, hour and day")),
        _ => problem(format!("is {unit:?}; write second, minute, hour or day")),
    }
}

fn amount(requests: u64, wrong: &mut Wrong) -> u32 {
    match u32::try_from(requests) {
        Ok(amount @ 1..=HIGHEST) => amount,
        Ok(0) => {
            wrong.push(("requests_per_unit", "is 0; a limit allows at least 1".to_owned()));
            1
        }
        _ => {
            wrong.push(("requests_per_unit", format!("is {requests}; a limit allows {HIGHEST} at the most")));
            HIGHEST
        }
    }
}

/// By its word, or by its name in the contract without the prefix.
fn algorithm(given: &str) -> Option<RateAlgorithm> {
    let given = given.to_ascii_lowercase().replace('_', "-");
    ALGORITHMS.iter().find(|(word, _)| *word == given).map(|(_, value)| *value)
}
