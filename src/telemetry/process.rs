//! Figures of this process under the names that Prometheus' client libraries use. They come from
//! `/proc`; where that is missing there are none.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::exposition::{Family, Labels};

/// Knows what of the process never changes.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    ticks_per_second: f64,
    page_size: f64,
    /// When the machine was started, in seconds since 1970.
    booted: Option<f64>,
}

/// What `/proc/self/stat` says, in its own units.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Process {
    /// Looks up what never changes.
    #[allow(clippy::cast_precision_loss)] // both are small powers of two or ten
    pub fn new() -> Self {
        Self {
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_size: rustix::param::page_size() as f64,
            booted: fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text)),
        }
    }

    /// The figures of this moment. Reads a few small files, which takes some microseconds.
    pub fn figures(&self) -> Vec<Family> {
        let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| read_stat(&text)) else {
            return Vec::new();
        };
        let gauge = |name, help, value: f64| Family::gauge(name, help, [(Labels::none(), value)]);
        let cpu = [(Labels::none(), stat.cpu_ticks / self.ticks_per_second)];
        let mut families = vec![
            Family::counter("process_cpu", "User and system CPU time spent.", cpu).unit("seconds"),
            gauge("process_resident_memory", "Resident memory.", stat.resident_pages * self.page_size)
                .unit("bytes"),
            gauge("process_virtual_memory", "Virtual memory.", stat.virtual_bytes).unit("bytes"),
            gauge("process_threads", "Threads of the operating system.", stat.threads),
        ];
        if let Some(booted) = self.booted {
            let started = booted + stat.start_ticks / self.ticks_per_second;
            let help = "When the process was started, in seconds since 1970.";
            families.push(gauge("process_start_time", help, started).unit("seconds"));
        }
        if let Some(open) = open_files() {
            families.push(gauge("process_open_fds", "Open file descriptors.", precise(open)));
        }
        let most = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, precise);
        families.push(gauge("process_max_fds", "How many file descriptors may be open.", most));
        families
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

/// Files and sockets that this process has open; None where there is no `/proc`.
pub fn open_files() -> Option<u64> {
    // The listing itself holds one open.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
}

#[allow(clippy::cast_precision_loss)] // exact to 2^53
fn precise(number: u64) -> f64 {
    number as f64
}

/// The fields after the name, which stands in parentheses and may itself hold spaces and parentheses.
fn read_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc(5) counts from 1 and the state, the first one here, is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

fn boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 8000 123456 99 18446744073709551615";
        let expected = Stat {
            cpu_ticks: 300.0,
            threads: 7.0,
            start_ticks: 8000.0,
            virtual_bytes: 123_456.0,
            resident_pages: 99.0,
        };
        assert_eq!(read_stat(text), Some(expected));
        assert_eq!(read_stat("42 (a) S 1 42"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000.0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_plausible_figures() {
        let text = super::super::exposition::render(&Process::new().figures(), Default::default());
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
            - value("process_start_time_seconds");
        assert!((-5.0..86_400.0).contains(&age), "{age}");
    }
}
