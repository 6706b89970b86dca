//! `seaworthy backup create`.

use std::time::Duration;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::CreateBackupRequest;

use crate::cli::{Context, args::value, exit::Exit, failure::Failure, operations::Begin, output::clean};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
It ends with the backup; its exit code tells the outcome: 0 succeeded, 6 done in part, 7 failed, 8 cancelled. \
Ctrl-C ends the view, never the backup.

  seaworthy backup create orders
  seaworthy backup create orders --component database --detach
  seaworthy backup create _seaworthy     # the control plane's own state")]
pub(crate) struct Create {
    /// Name of the service; _seaworthy is the control plane's own state
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Only this component; can be repeated [default: all that can be captured]
    #[arg(long = "component", value_name = "COMPONENT")]
    components: Vec<String>,
    /// Only of this instance; can be repeated [default: of one, or of each, as the component says]
    #[arg(long = "instance", value_name = "INSTANCE")]
    instances: Vec<String>,
    /// How long components may be asked to hold still at the most, with its unit [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    max_quiesce: Option<Duration>,
    #[command(flatten)]
    begin: Begin,
}

/// Runs it.
pub(super) async fn run(flags: Create, context: &mut Context) -> Result<Exit, Failure> {
    let Create { service, components, instances, max_quiesce, begin } = flags;
    let request = CreateBackupRequest {
        service,
        components,
        instance_ids: instances,
        request_id: begin.request_id()?,
        max_quiesce: max_quiesce.and_then(|time| time.try_into().ok()),
    };
    let remote = context.connect().await?;
    let mut client = remote.backup();
    let action = format!("back up {}", clean(&request.service));
    // With its request id it can be asked again.
    let begun = remote.read(&action, async || client.create_backup(request.clone()).await).await?;
    let response = ("CreateBackupResponse", &begun);
    begin.see_through(&remote, response, begun.operation.as_ref(), context).await
}
