//! `seaworthy backup undelete`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::UndeleteBackupRequest;

use crate::cli::{Context, exit::Exit, failure::Failure, output::clean, render::backup};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Undelete {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Id of the backup
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs it.
pub(super) async fn run(flags: Undelete, context: &mut Context) -> Result<Exit, Failure> {
    let Undelete { service, id } = flags;
    let request = UndeleteBackupRequest { service: service.clone(), id: id.clone() };
    let remote = context.connect().await?;
    let mut client = remote.backup();
    let action = format!("undelete backup {} of {}", clean(&id), clean(&service));
    let back = remote.write(&action, async || client.undelete_backup(request.clone()).await).await?;
    if context.output.is_json() {
        context.document("UndeleteBackupResponse", &back)?;
        return Ok(Exit::Done);
    }
    let found = back.backup.unwrap_or_default();
    let says = backup::says(&found, context.clock.now().wall);
    context.output.line(format_args!("backup {} of {} is back: {says}", clean(&id), clean(&service)))?;
    Ok(Exit::Done)
}
