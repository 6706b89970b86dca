//! `seaworthy serve`: runs the control plane until it is told to stop.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Args;
use tracing::error;

use super::{config::Flags, exit::Exit, failure::Failure, output::note};
use crate::{
    api::declared,
    config::{self, Config, Environment},
    server::{self, Addresses, shutdown::Report},
    telemetry::log::{self, Shape},
};

/// How long the last lines of the log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Flags of `serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// Runs it.
pub(crate) async fn run(command: Serve) -> Result<Exit, Failure> {
    let flags = config::Flags::from(command.flags);
    let environment = Environment::of_process();
    let shape = Shape::on_stderr(config::log_format(&flags, &environment));
    Box::pin(serve(flags, &environment, shape)).await.map_err(|failure| told(failure, shape))
}

async fn serve(flags: config::Flags, environment: &Environment, shape: Shape) -> Result<Exit, Failure> {
    let config = config::load(&flags, environment).map_err(Failure::Config)?;
    declared::policies(&config.policies).map_err(Failure::Config)?;
    let log = log::install(&config.log_level, config.log_format).map_err(Failure::Start)?;
    let reload = move |current: &Config| {
        let reloaded = config::reload(current, &flags, &Environment::of_process())?;
        // A policy that is wrong makes the whole configuration wrong, as at a start.
        declared::policies(&reloaded.config.policies).map(|_| reloaded)
    };
    let is_encrypted = config.tls.cert_file.is_some();
    let started = |addresses: &Addresses, data_dir: &Path| {
        // Those who collect JSON get JSON and nothing else.
        if matches!(shape, Shape::Human { .. }) {
            greet(addresses, data_dir, is_encrypted);
        }
    };
    let ended = Box::pin(server::run(config, log.clone(), Arc::new(reload), started)).await;
    // Nothing else runs any more that this could hold up.
    log.flush(LAST_LINES);
    match ended.map_err(Failure::Start)? {
        Some(report) => Ok(exit(&report)),
        None => Ok(Exit::Interrupted),
    }
}

/// Tells a failure to start as a line of the log, where lines of the log are for programs.
fn told(failure: Failure, shape: Shape) -> Failure {
    let (Shape::Json, Failure::Config(error) | Failure::Start(error)) = (shape, &failure) else {
        return failure;
    };
    let reason = error.reason().as_str();
    let say =
        || error!(component = "server", operation = "start", reason, error = %failure, "could not start");
    match log::once_as_json(say) {
        Ok(()) => Failure::Told(failure.exit()),
        Err(_) => failure,
    }
}

/// Where it listens, and what to try next.
fn greet(addresses: &Addresses, data_dir: &Path, is_encrypted: bool) {
    let Addresses { grpc, http, metrics, probe } = addresses;
    let (scheme, plaintext) = if is_encrypted { ("https", "") } else { ("http", "-plaintext ") };
    let metrics = metrics.map(|at| format!("  metrics  {scheme}://{at}/metrics\n")).unwrap_or_default();
    let probe = probe.map(|at| format!("  probes   http://{at}/health\n")).unwrap_or_default();
    note(format_args!(
        "seaworthy {} serves\n  gRPC     {grpc}\n  HTTP     {scheme}://{http}/\n{metrics}{probe}  data     {}\n\n\
         try next, in another terminal:\n  \
         seaworthy status --server {scheme}://{grpc}\n  \
         seaworthy fleet list --server {scheme}://{grpc}\n  \
         grpcurl {plaintext}{grpc} list\n  \
         curl {scheme}://{http}/production-readiness\n\n\
         Ctrl-C stops it in order, a second one at once\n",
        env!("CARGO_PKG_VERSION"),
        data_dir.display(),
    ));
}

fn exit(report: &Report) -> Exit {
    match (report.state_saved && !report.failed, report.aborted) {
        (false, _) => Exit::Internal,
        (true, true) => Exit::Interrupted,
        (true, false) => Exit::Done,
    }
}
