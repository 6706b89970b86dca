//! What Linux says of a process and its machine, in `/proc` and in control groups (version 2). On other systems
//! there is nothing to read, and nothing is found.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Reading;

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Ticks of CPU time in a second as `/proc` counts them (`USER_HZ`): a part of the kernel's interface that is
/// 100 on every architecture that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Reads all there is of this process.
pub(super) fn read() -> Reading {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let groups = own_groups();
    let free = least(machine_available().ok(), left_in_any(&groups));
    Reading { memory: resident(&status), free, cpu_time: cpu_time(&stat), cpus: cpus(&status, &groups) }
}

fn least(machine: Option<u64>, left: Option<u64>) -> Option<u64> {
    [machine, left].into_iter().flatten().min()
}

/// Memory that the machine has to give: `MemAvailable`.
pub(crate) fn machine_available() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    kibibytes(&text, "MemAvailable:").ok_or_else(|| io::Error::other("no MemAvailable in /proc/meminfo"))
}

/// The groups around this process, innermost first: a limit of any of them counts.
pub(crate) fn own_groups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match group_path(&text) {
        Some(path) => Path::new(path).ancestors().map(|up| Path::new(CGROUPS).join(below(up))).collect(),
        None => Vec::new(),
    }
}

/// The memory that the tightest of these groups still allows. `None`: none of them has a limit.
pub(crate) fn left_in_any(groups: &[PathBuf]) -> Option<u64> {
    let left_in = |group: &PathBuf| {
        let read = |file: &str| fs::read_to_string(group.join(file)).ok();
        left(&read("memory.max")?, &read("memory.current")?, &read("memory.stat").unwrap_or_default())
    };
    groups.iter().filter_map(left_in).min()
}

/// CPUs that the process may use: the least quota of its groups, and never more than it may run on.
fn cpus(status: &str, groups: &[PathBuf]) -> Option<f64> {
    let quota_of = |group: &PathBuf| quota(&fs::read_to_string(group.join("cpu.max")).ok()?);
    match (groups.iter().filter_map(quota_of).reduce(f64::min), allowed_cpus(status).map(f64::from)) {
        (Some(quota), Some(allowed)) => Some(quota.min(allowed)),
        // The standard library also knows the quota of version 1, in whole CPUs.
        (None, Some(_)) => available_parallelism(),
        (quota, None) => quota,
    }
}

fn available_parallelism() -> Option<f64> {
    let cpus = u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?;
    Some(f64::from(cpus))
}

/// A line of `/proc/meminfo` or `/proc/self/status`, as `MemAvailable:   9000000 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Resident memory, of `/proc/self/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    kibibytes(status, "VmRSS:")
}

/// How many CPUs the process may run on, of `/proc/self/status`: `0-3,8` are five.
fn allowed_cpus(status: &str) -> Option<u32> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim().split(',').map(count).sum()
}

/// CPU time used in user and system mode, of `/proc/self/stat`.
fn cpu_time(stat: &str) -> Option<Duration> {
    // The second field is the name of the program, which may hold blanks and brackets: what follows does not.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
    let millis = user.checked_add(system)?.checked_mul(1_000 / TICKS_PER_SECOND)?;
    Some(Duration::from_millis(millis))
}

/// CPUs by a group's `cpu.max`: `150000 100000` are 1.5. `None`: it has no limit.
fn quota(cpu_max: &str) -> Option<f64> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    let (quota, period): (u32, u32) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

/// The line of version 2: `0::/system.slice/orders.service`.
fn group_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| path.starts_with('/'))
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Limit less use of a group; the kernel gives inactive file cache back when it must. `None`: it has no limit.
fn left(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let cache: u64 = cache.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(cache)))
}

#[cfg(test)]
mod tests;
