//! `seaworthy whoami`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::GetIdentityRequest;

use super::{Context, exit::Exit, failure::Failure, remote::Remote, render::identity};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Whoami {}

/// Runs it.
pub(crate) async fn run(_: Whoami, context: &mut Context) -> Result<Exit, Failure> {
    let access = context.access()?;
    let remote = Remote::connect(&access, context.timeout).await?;
    let mut system = remote.system();
    let answer =
        remote.read("ask who this is", async || system.get_identity(GetIdentityRequest {}).await).await?;
    if context.output.is_json() {
        context.document("GetIdentityResponse", &answer)?;
        return Ok(Exit::Done);
    }
    let who = answer.identity.unwrap_or_default();
    let now = context.clock.now().wall;
    let table = identity::facts(&who, &access.server, access.context.as_deref().unwrap_or_default(), now);
    context.output.table(&table)?;
    Ok(Exit::Done)
}
