//! `seaworthy policy get`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{GetPolicyRequest, Policy};

use crate::cli::{Context, exit::Exit, failure::Failure, remote::Remote, render::policy};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Name of the policy
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

/// Writes a policy in the format that was asked for.
pub(super) fn show(found: &Policy, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("Policy", found);
    }
    context.output.table(&policy::facts(found, context.clock.now().wall))
}

/// The policy of this name that counts now.
pub(super) async fn get(remote: &Remote, name: &str) -> Result<Policy, Failure> {
    let mut client = remote.policy();
    let request = GetPolicyRequest { name: name.to_owned() };
    let response =
        remote.read(&format!("get policy {name}"), async || client.get_policy(request.clone()).await).await?;
    Ok(response.policy.unwrap_or_default())
}
