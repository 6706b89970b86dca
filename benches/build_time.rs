//! Release build of the server from nothing, as a newcomer does it after the download.
//!
//! The dependencies are fetched first; then `cargo build --release --locked` runs into an empty target
//! folder. `BENCH_BUILDS` says how often, default once: it takes minutes.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{process::Command, time::Instant};

use support::{
    Result,
    process::data_folder,
    report::{self, Goal},
    settings,
};

fn main() -> Result<()> {
    let builds = settings::number("BENCH_BUILDS", 1)?;
    cargo(&["fetch", "--locked"])?;
    let mut minutes = Vec::new();
    let mut megabytes = Vec::new();
    for _ in 0..builds {
        let target = data_folder()?;
        let into = target.path().display().to_string();
        let start = Instant::now();
        cargo(&["build", "--release", "--locked", "--package", "seaworthy", "--target-dir", &into])?;
        minutes.push(start.elapsed().as_secs_f64() / 60.0);
        megabytes.push(size_mib(&target.path().join("release").join("seaworthy"))?);
    }
    report::head("Release build from nothing", "no peer");
    report::figure("build", " min", &minutes, &[], Goal::AtMost(8.0, 5.0));
    report::figure("binary", " MiB", &megabytes, &[], Goal::Shown);
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {arguments:?} ended with {status}").into()) }
}

#[allow(clippy::cast_precision_loss, reason = "a file of a few MiB")]
fn size_mib(file: &std::path::Path) -> Result<f64> {
    Ok(std::fs::metadata(file)?.len() as f64 / f64::from(1 << 20))
}
