//! `seaworthy flags get`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{Flag, GetFlagRequest};

use crate::cli::{Context, exit::Exit, failure::Failure, remote::Remote, render::flag};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Name of the flag
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs it.
pub(crate) async fn run(flags: Get, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = get(&remote, &flags.name).await?;
    show(&found, context)?;
    Ok(Exit::Done)
}

/// Writes a flag in the format that was asked for.
pub(super) fn show(found: &Flag, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("Flag", found);
    }
    context.output.table(&flag::facts(found, context.clock.now().wall))
}

/// The flag as it is now.
pub(super) async fn get(remote: &Remote, name: &str) -> Result<Flag, Failure> {
    let mut client = remote.policy();
    let request = GetFlagRequest { name: name.to_owned() };
    let response =
        remote.read(&format!("get flag {name}"), async || client.get_flag(request.clone()).await).await?;
    Ok(response.flag.unwrap_or_default())
}
