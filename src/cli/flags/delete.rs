//! `seaworthy flags delete`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{DeleteFlagRequest, Flag};

use super::get::get;
use crate::cli::{
    Context, confirm::confirm, exit::Exit, failure::Failure, output::clean, render::flag::says,
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "One of the control plane's own, control-plane.*, is as it was at first again.")]
pub(crate) struct Delete {
    /// Name of the flag
    #[arg(value_name = "NAME")]
    name: String,
    /// Only if this is its revision now [default: the one that was shown]
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// The same name again, instead of being asked for it; needed where there is no terminal
    #[arg(long, value_name = "NAME")]
    yes: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Delete, context: &mut Context) -> Result<Exit, Failure> {
    let Delete { name, if_revision, yes } = flags;
    let remote = context.connect().await?;
    let found = get(&remote, &name).await?;
    confirm(&name, yes.as_deref(), &loss(&found))?;
    // What was shown is what is deleted, not what was put since.
    let if_revision = Some(if_revision.unwrap_or(found.revision));
    let request = DeleteFlagRequest { name: name.clone(), if_revision, allow_missing: false };
    let mut client = remote.policy();
    let deleted = remote
        .write(&format!("delete flag {name}"), async || client.delete_flag(request.clone()).await)
        .await?;
    if context.output.is_json() {
        context.document("DeleteFlagResponse", &deleted)?;
        return Ok(Exit::Done);
    }
    context.output.line(match &deleted.flag {
        Some(first) => format!("deleted flag {name}; it is as it was at first: {}", clean(&says(first))),
        None => format!("deleted flag {name}"),
    })?;
    Ok(Exit::Done)
}

fn loss(flag: &Flag) -> String {
    format!(
        "deleting flag {}, revision {}, ends what it says ({}) within a second; services then take their own default",
        clean(&flag.name),
        flag.revision,
        clean(&says(flag)),
    )
}
