//! `seaworthy policy delete`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{DeletePolicyRequest, Policy, PolicyOrigin};

use super::get::get;
use crate::cli::{
    Context,
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    output::clean,
    render::policy::{about, says},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
What comes with the control plane or from its configuration file cannot be deleted, but hidden by a policy of the same name;
once that is deleted, it counts again.")]
pub(crate) struct Delete {
    /// Name of the policy
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
    let Delete { name, mut if_revision, yes } = flags;
    let remote = context.connect().await?;
    let found = get(&remote, &name).await?;
    // Where it was not put, the control plane says why it cannot be deleted.
    if found.origin() == PolicyOrigin::Put {
        confirm(&name, yes.as_deref(), &loss(&found))?;
        // What was shown is what is deleted, not what was put since.
        if_revision = if_revision.or(Some(found.revision));
    }
    let request = DeletePolicyRequest { name: name.clone(), if_revision, allow_missing: false };
    let mut client = remote.policy();
    let deleted = remote
        .write(&format!("delete policy {name}"), async || client.delete_policy(request.clone()).await)
        .await?;
    if context.output.is_json() {
        context.document("DeletePolicyResponse", &deleted)?;
        return Ok(Exit::Done);
    }
    context.output.line(match &deleted.policy {
        Some(next) => format!("deleted policy {name}; what it hid counts again: {}", clean(&says(next))),
        None => format!("deleted policy {name}"),
    })?;
    Ok(Exit::Done)
}

fn loss(policy: &Policy) -> String {
    format!(
        "deleting policy {}, revision {}, ends what it says of {} ({}) within a second",
        clean(&policy.name),
        policy.revision,
        clean(&about(policy.target.as_ref())),
        clean(&says(policy)),
    )
}
