//! `seaworthy status`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::GetStatusRequest;

use super::{Context, exit::Exit, failure::Failure, render::system};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Status {}

/// Runs it.
pub(crate) async fn run(_: Status, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let mut system = remote.system();
    let status = remote.read("get the status", async || system.get_status(GetStatusRequest {}).await).await?;
    if context.output.is_json() {
        context.document("GetStatusResponse", &status)?;
    } else {
        let table = system::status(&status, context.output.is_wide(), context.clock.now().wall);
        context.output.table(&table)?;
    }
    Ok(Exit::Done)
}
