//! `seaworthy readiness`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{CheckOutcome, GetReadinessRequest, GetReadinessResponse};

use super::{
    Context,
    exit::Exit,
    failure::{self, Failure},
    render::system,
};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Readiness {}

/// Runs it.
pub(crate) async fn run(_: Readiness, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let mut system = remote.system();
    let ask = async || system.get_readiness(GetReadinessRequest {}).await;
    let report = remote.read("get the readiness report", ask).await?;
    // The checks decide, so that a report which forgot to sum itself up cannot pass.
    let failed = report.outcome() == CheckOutcome::Fail
        || report.checks.iter().any(|check| check.outcome() == CheckOutcome::Fail);
    failure::told(if failed { Exit::No } else { Exit::Done }, show(&report, context))
}

fn show(report: &GetReadinessResponse, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("GetReadinessResponse", report);
    }
    let lines = system::readiness(report, context.output.looks);
    lines.into_iter().try_for_each(|line| context.output.line(line))
}
