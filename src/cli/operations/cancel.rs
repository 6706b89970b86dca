//! `seaworthy operations cancel`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{CancelOperationRequest, OperationState};

use crate::cli::{Context, exit::Exit, failure::Failure, output::clean, render::operation::state};

/// Its flags.
#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// Id of the operation
    #[arg(value_name = "ID")]
    id: String,
    /// Why, up to 1024 characters [default: empty]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
}

/// Runs it.
pub(super) async fn run(flags: Cancel, context: &mut Context) -> Result<Exit, Failure> {
    let Cancel { id, message } = flags;
    let remote = context.connect().await?;
    let request = CancelOperationRequest { id: id.clone(), message };
    let mut client = remote.operation();
    let action = format!("cancel operation {}", clean(&id));
    let told = remote.write(&action, async || client.cancel_operation(request.clone()).await).await?;
    if context.output.is_json() {
        context.document("CancelOperationResponse", &told)?;
        return Ok(Exit::Done);
    }
    let found = told.operation.unwrap_or_default();
    context.output.line(match found.state() {
        OperationState::Cancelling => format!("operation {} was told to end", clean(&id)),
        ended => format!("operation {} has ended before: {}", clean(&id), state(ended).plain),
    })?;
    Ok(Exit::Done)
}
