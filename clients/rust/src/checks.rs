//! Ready-made checks: free disk space and memory, dependencies over TCP, HTTP and gRPC, and what stands
//! between a service and its data: a query, a pool, a cache. Each one is measured by whoever runs it, and
//! says its figures as details. They hold nothing between two runs (a connection that was good a minute
//! ago proves nothing now), but for the hit rate of a cache, which is one over time. None brings a driver:
//! they ask through the service's own.

mod cache;
mod disk;
mod grpc;
mod http;
mod memory;
pub mod once;
mod pool;
mod query;
mod tcp;

pub use self::{
    cache::{Cache, HitCounter, Lookups, cache},
    disk::disk_space,
    grpc::grpc,
    http::http,
    memory::memory_available,
    pool::{Pool, PoolUse, pool},
    query::{Query, query},
    tcp::tcp,
};

use crate::Report;

/// Degraded below this many times the minimum.
const COMFORT: u64 = 2;

/// Judges what is left of something that must not run out.
fn enough(what: &str, left: u64, minimum: u64) -> Report {
    match left {
        _ if left < minimum => {
            Report::unhealthy(format!("{what}: {left} bytes left, at least {minimum} are needed"))
        }
        _ if left / COMFORT < minimum => {
            Report::degraded(format!("{what}: {left} bytes left, close to the {minimum} that are needed"))
        }
        _ => Report::healthy(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthState;

    #[test]
    fn what_is_left_is_judged_as_a_table() {
        for (left, minimum, state) in [
            (99, 100, HealthState::Unhealthy),
            (100, 100, HealthState::Degraded),
            (199, 100, HealthState::Degraded),
            (200, 100, HealthState::Healthy),
            (0, 0, HealthState::Healthy),
            (u64::MAX, u64::MAX, HealthState::Degraded),
        ] {
            assert_eq!(enough("disk", left, minimum).state(), state, "{left} of {minimum}");
        }
    }
}
