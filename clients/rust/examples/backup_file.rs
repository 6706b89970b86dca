//! A program whose whole state is one file, which is backed up and restored.
//!
//! ```text
//! cargo run --release -p seaworthy-client --example backup_file -- http://127.0.0.1:7777 files /var/lib/files/state
//! seaworthy backup create files
//! ```
//!
//! It writes `attached` once it is, and ends when it is asked to. `benches/backup` measures backups by it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{error::Error, process::ExitCode};

use seaworthy_client::{Agent, Component, backup};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a wrong command line (`EX_USAGE`).
const USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(control_plane), Some(service), Some(file), None) =
        (args.next(), args.next(), args.next(), args.next())
    else {
        eprintln!("usage: backup_file CONTROL_PLANE SERVICE FILE");
        return ExitCode::from(USAGE);
    };
    match run(control_plane, service, file).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(control_plane: String, service: String, file: String) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let component = Component::new("file").backup(backup::File::new(file)).without_health();
    let agent = Agent::builder(control_plane, service).instance_id("file").component(component).attach()?;
    agent.handle().attached().await?;
    println!("attached");
    terminate.recv().await;
    agent.leave("it was asked to end").await;
    Ok(())
}
