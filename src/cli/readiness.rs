//! `seaworthy readiness`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{CheckOutcome, GetReadinessRequest};

use super::{Context, exit::Exit, failure::Failure, render::system};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Readiness {}

/// Runs it.
pub(crate) async fn run(_: Readiness, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let mut system = remote.system();
    let request = system.get_readiness(GetReadinessRequest {});
    let report = remote.call("get the readiness report", request).await?;
    if context.output.is_json() {
        context.document("GetReadinessResponse", &report)?;
    } else {
        for line in system::readiness(&report, context.output.looks) {
            context.output.line(line)?;
        }
    }
    // The checks decide, so that a report which forgot to sum itself up cannot pass.
    let failed = report.outcome() == CheckOutcome::Fail
        || report.checks.iter().any(|check| check.outcome() == CheckOutcome::Fail);
    Ok(if failed { Exit::No } else { Exit::Done })
}
