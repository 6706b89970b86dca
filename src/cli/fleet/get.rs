//! `seaworthy fleet get`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{GetInstanceRequest, Instance};

use crate::cli::{
    Context,
    args::target::InstanceName,
    exit::Exit,
    failure::Failure,
    remote::Remote,
    render::{health::Tree, instance},
};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The instance: orders/i-1
    #[arg(value_name = "SERVICE/INSTANCE")]
    name: InstanceName,
}

/// Runs it.
pub(crate) async fn run(flags: Get, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = get(&remote, &flags.name).await?;
    if context.output.is_json() {
        context.document("Instance", &found)?;
        return Ok(Exit::Done);
    }
    let now = context.clock.now().wall;
    context.output.table(&instance::facts(&found, now))?;
    if !found.components.is_empty() {
        context.output.line("\ncomponents")?;
    }
    let tree = Tree { looks: context.output.looks, wide: context.output.is_wide(), now };
    for line in found.components.iter().flat_map(|component| tree.component(component)) {
        context.output.line(format_args!("  {line}"))?;
    }
    Ok(Exit::Done)
}

/// The instance as it is now.
pub(crate) async fn get(remote: &Remote, name: &InstanceName) -> Result<Instance, Failure> {
    let request = GetInstanceRequest { service: name.service.clone(), instance_id: name.instance.clone() };
    let mut fleet = remote.fleet();
    let response = remote
        .read(&format!("get instance {name}"), async || fleet.get_instance(request.clone()).await)
        .await?;
    Ok(response.instance.unwrap_or_default())
}
