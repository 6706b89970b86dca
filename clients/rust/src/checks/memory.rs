//! Memory that this process can still get: what the machine has to give, and what the control groups
//! around the process still allow. Linux only.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::enough;
use crate::{Check, Report};

/// Where control groups (version 2) are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

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
    let group = own_groups().iter().filter_map(|group| left_in(group)).min();
    let (available, limited_by) = match group {
        Some(left) if left < machine => (left, "cgroup"),
        _ => (machine, "machine"),
    };
    enough("memory", available, min_bytes)
        .detail("available_bytes", available)
        .detail("limited_by", limited_by)
}

fn machine_available() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    mem_available(&text).ok_or_else(|| io::Error::other("no MemAvailable in /proc/meminfo"))
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The groups around this process, innermost first: a limit of any of them counts.
fn own_groups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match group_path(&text) {
        Some(path) => Path::new(path).ancestors().map(|up| Path::new(CGROUPS).join(below(up))).collect(),
        None => Vec::new(),
    }
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The line of version 2: `0::/system.slice/orders.service`.
fn group_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| path.starts_with('/'))
}

/// What a group still allows. `None`: it has no limit, or does not say.
fn left_in(group: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    left(&read("memory.max")?, &read("memory.current")?, &read("memory.stat").unwrap_or_default())
}

/// Limit less use; the kernel gives inactive file cache back when it must.
fn left(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let cache: u64 = cache.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthState;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let meminfo = "MemTotal:       16316412 kB\nMemAvailable:    9000000 kB\nBuffers: 1 kB\n";
        assert_eq!(mem_available(meminfo), Some(9_000_000 * 1024));
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
        assert_eq!(mem_available("MemAvailable: many kB\n"), None);
        assert_eq!(
            group_path("12:cpu:/x\n0::/system.slice/orders.service\n"),
            Some("/system.slice/orders.service")
        );
        assert_eq!(group_path("1:memory:/docker/abc\n"), None);
        assert_eq!(left("max\n", "100\n", ""), None);
        assert_eq!(left("1000\n", "400\n", "anon 300\ninactive_file 100\n"), Some(700));
        assert_eq!(left("1000\n", "1200\n", ""), Some(0));
    }

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
