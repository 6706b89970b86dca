//! `seaworthy restore plan`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::PlanRestoreRequest;

use super::What;
use crate::cli::{Context, exit::Exit, failure::Failure, output::clean, render::restore};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
What stands in the way is named with the flag of `restore run` that forces it; force only what you have looked at.")]
pub(crate) struct Plan {
    #[command(flatten)]
    what: What,
}

/// Runs it.
pub(super) async fn run(flags: Plan, context: &mut Context) -> Result<Exit, Failure> {
    let What { service, backup, components, to_service, to_instance } = flags.what;
    let action = format!("plan to restore {}", clean(&service));
    let request = PlanRestoreRequest {
        service,
        backup_id: backup,
        components,
        target_service: to_service,
        target_instance_id: to_instance,
    };
    let remote = context.connect().await?;
    let mut client = remote.restore();
    let plan = remote.read(&action, async || client.plan_restore(request.clone()).await).await?;
    if context.output.is_json() {
        context.document("PlanRestoreResponse", &plan)?;
        return Ok(Exit::Done);
    }
    let page = restore::page(&plan, context.output.looks, context.clock.now().wall);
    page.into_iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}
