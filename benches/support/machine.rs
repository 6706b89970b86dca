//! Names the machine that the figures belong to, and says when it is not quiet.

use std::{fs, thread};

/// One sentence: processor, cores, memory, kernel, date, and a warning when others use it.
pub(crate) fn describe() -> String {
    let cpu = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let family =
        format!("family {} model {}", field("/proc/cpuinfo", "cpu family"), field("/proc/cpuinfo", "model"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "Machine: {cpu} ({family}), {cores} cores, {memory}, Linux {}; {date}; load before: {load}.",
        kernel.trim(),
    )
}

fn field(file: &str, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    });
    value.unwrap_or_else(|| format!("unknown {key}"))
}
