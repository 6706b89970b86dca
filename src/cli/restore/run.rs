//! `seaworthy restore run`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{RestoreGuard, StartRestoreRequest};

use super::What;
use crate::cli::{Context, args::value, exit::Exit, failure::Failure, operations::Begin, output::clean};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
Guards, each forced by its own name:
  serving        the component works, and its instance takes work
  not-empty      the component holds something that would be overwritten
  newer-schema   the component's schema is newer than that of the backup
  unverified     nobody has verified the backup, and --no-verify is given
  partial        the backup does not have all that was asked for

It ends with the restore; its exit code tells the outcome: 0 succeeded, 6 done in part, 7 failed, 8 cancelled. \
Ctrl-C ends the view, never the restore.

  seaworthy restore plan orders
  seaworthy restore run orders --force not-empty --safety-backup")]
pub(crate) struct Run {
    #[command(flatten)]
    what: What,
    /// Restore although this guard stands in the way; can be repeated
    #[arg(long, value_name = "GUARD", value_parser = value::guard())]
    force: Vec<RestoreGuard>,
    /// Verify the backup before, where nobody has, and let components look, after they were put back, whether they work
    /// [default]
    #[arg(long, overrides_with = "no_verify")]
    verify: bool,
    /// Do neither
    #[arg(long, overrides_with = "verify")]
    no_verify: bool,
    /// Take a backup of what is overwritten before; where that fails, nothing is restored
    #[arg(long)]
    safety_backup: bool,
    #[command(flatten)]
    begin: Begin,
}

/// Runs it.
pub(super) async fn run(flags: Run, context: &mut Context) -> Result<Exit, Failure> {
    let Run { what, force, verify: _, no_verify, safety_backup, begin } = flags;
    let What { service, backup, components, to_service, to_instance } = what;
    let action = format!("restore {}", clean(&service));
    let request = StartRestoreRequest {
        service,
        backup_id: backup,
        components,
        target_service: to_service,
        target_instance_id: to_instance,
        force: force.into_iter().map(Into::into).collect(),
        verify: !no_verify,
        safety_backup,
        request_id: begin.request_id()?,
    };
    let remote = context.connect().await?;
    let mut client = remote.restore();
    // With its request id it can be asked again.
    let begun = remote.read(&action, async || client.start_restore(request.clone()).await).await?;
    let response = ("StartRestoreResponse", &begun);
    begin.see_through(&remote, response, begun.operation.as_ref(), context).await
}
