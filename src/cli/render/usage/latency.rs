//! Latencies from the buckets of an operation: what so many of a hundred calls did not exceed.

use std::time::Duration;

use seaworthy_client::proto::seaworthy::v1::OperationStats;

use crate::cli::render::when;

/// Upper bounds of the buckets, in milliseconds; what took longer is in one more.
const BOUNDS: [u64; 14] = [5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000];

/// Which latency so many of a hundred calls did not exceed, as far as buckets tell: `≤25ms`; a dash where there were none.
pub(crate) fn quantile(stats: &OperationStats, percent: u64) -> String {
    let calls: u64 = stats.latency_buckets.iter().fold(0, |sum, calls| sum.saturating_add(*calls));
    // The first call that so many are not beyond, counted from 1.
    let wanted = u128::from(calls) * u128::from(percent);
    let mut passed = 0_u128;
    let bucket = stats.latency_buckets.iter().position(|calls| {
        passed += u128::from(*calls) * 100;
        passed > 0 && passed >= wanted
    });
    let Some(bucket) = bucket else { return "-".to_owned() };
    let longest = when::length(stats.max_latency.as_ref()).filter(|longest| !longest.is_zero());
    let bound = BOUNDS.get(bucket).map(|millis| Duration::from_millis(*millis));
    // No call was longer than the longest one, whatever its bucket says.
    match [bound, longest].into_iter().flatten().min() {
        Some(most) => format!("≤{}", shown(most)),
        None => ">10s".to_owned(),
    }
}

fn shown(latency: Duration) -> String {
    latency.try_into().ok().and_then(|span| when::measured(Some(&span))).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests;
