//! Memory of the vault's index for each chunk that it knows.
//!
//! Ten million chunks with random ids, some to a record as a first backup makes them. What the process holds more than
//! before is divided by their number. There is no peer: the figure is judged by itself.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::cast_precision_loss, reason = "counts of chunks are far below 2^52")]
#![allow(clippy::disallowed_methods)] // a measurement is told by the environment how large it is

use std::{error::Error, fs, process::Command};

use seaworthy::vault::fuzzing::Simulated;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let chunks: u64 = std::env::var("BENCH_CHUNKS").map_or(Ok(10_000_000), |text| text.parse())?;
    // Each in a process of its own: what an allocator keeps of the one before would be counted for nothing.
    if let Ok(in_record) = std::env::var("BENCH_IN_RECORD") {
        return measure(chunks, in_record.parse()?);
    }
    println!("Memory of the index for each of {chunks} chunks: must be at most 32 B, aim 16 B");
    for in_record in [32, 64, 1] {
        let mut child = Command::new(std::env::current_exe()?);
        if !child.env("BENCH_IN_RECORD", in_record.to_string()).status()?.success() {
            return Err("a measurement failed".into());
        }
    }
    Ok(())
}

fn measure(chunks: u64, in_record: u8) -> Result<(), Box<dyn Error>> {
    let before = resident()?;
    let index = Simulated::new(chunks, in_record)?;
    let held = resident()?.saturating_sub(before) as f64 / chunks as f64;
    if !(index.has(0) && index.has(chunks - 1)) || index.has(chunks) {
        return Err("the index does not have what was put".into());
    }
    println!("{in_record:>3} chunks to a record: {held:.1} B");
    Ok(())
}
