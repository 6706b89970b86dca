//! `seaworthy operations ID`: one operation, whole.

use seaworthy_client::proto::seaworthy::v1::GetOperationRequest;

use crate::cli::{Context, exit::Exit, failure::Failure, output::clean, render::operation};

/// Shows it.
pub(super) async fn run(id: &str, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let request = GetOperationRequest { id: id.to_owned() };
    let mut client = remote.operation();
    let action = format!("get operation {}", clean(id));
    let found = remote.read(&action, async || client.get_operation(request.clone()).await).await?;
    if context.output.is_json() {
        context.document("GetOperationResponse", &found)?;
        return Ok(Exit::Done);
    }
    let now = context.clock.now().wall;
    let lines = operation::page(&found.operation.unwrap_or_default(), context.output.looks, now);
    lines.into_iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}
