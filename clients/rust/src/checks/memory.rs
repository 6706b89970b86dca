//! Memory that this process can still get: what the machine has to give, and what the control groups
//! around the process still allow. Linux only.

use super::enough;
use crate::{
    Check, Report,
    protect::resources::linux::{left_in_any, machine_available, own_groups},
};

/// Checks the memory that is available to this process: `MemAvailable` of the machine, or what a
/// control group's limit still allows where that is less. Unhealthy below `min_bytes` or where it
/// cannot be read, degraded below twice that. Linux only: elsewhere `attach` refuses it.
///
/// Details: `available_bytes`, and `limited_by` (`machine` or `cgroup`).
pub fn memory_available(min_bytes: u64) -> Check {
    if cfg!(target_os = "linux") {
        Check::blocking(move || measure(min_bytes))
    } else {
        Check::invalid("memory_available needs Linux; leave it out on this system")
    }
}

fn measure(min_bytes: u64) -> Report {
    let machine = match machine_available() {
        Ok(bytes) => bytes,
        Err(error) => return Report::unhealthy(format!("cannot read the available memory: {error}")),
    };
    let (available, limited_by) = match left_in_any(&own_groups()) {
        Some(left) if left < machine => (left, "cgroup"),
        _ => (machine, "machine"),
    };
    enough("memory", available, min_bytes)
        .detail("available_bytes", available)
        .detail("limited_by", limited_by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthState;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn real_memory_is_measured() {
        let plenty = memory_available(1).run().await;
        assert_eq!(plenty.state(), HealthState::Healthy, "{}", plenty.message());
        let available: u64 = plenty.details()["available_bytes"].parse().expect("a number");
        assert!(available > 1 << 20);
        assert_eq!(memory_available(u64::MAX).run().await.state(), HealthState::Unhealthy);
    }
}
