//! `seaworthy backup delete`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::DeleteBackupRequest;

use super::show::get;
use crate::cli::{Context, confirm::confirm_by, exit::Exit, failure::Failure, output::clean, render::backup};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
Nothing of it goes for 24 hours at least; until then `seaworthy backup undelete` brings it back.")]
pub(crate) struct Delete {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Id of the backup
    #[arg(value_name = "ID")]
    id: String,
    /// The same id again, instead of being asked for it; needed where there is no terminal
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
    /// Why, up to 1024 characters [default: empty]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
}

/// Runs it.
pub(super) async fn run(flags: Delete, context: &mut Context) -> Result<Exit, Failure> {
    let Delete { service, id, confirm, message } = flags;
    let remote = context.connect().await?;
    let found = get(&remote, &service, &id).await?.backup.unwrap_or_default();
    let loss = format!(
        "deleting backup {} of {} takes {} away once the grace is over",
        clean(&id),
        clean(&service),
        backup::says(&found, context.clock.now().wall),
    );
    confirm_by("--confirm", &id, confirm.as_deref(), &loss)?;
    let request =
        DeleteBackupRequest { service: service.clone(), id: id.clone(), confirm_id: id.clone(), message };
    let mut client = remote.backup();
    let action = format!("delete backup {} of {}", clean(&id), clean(&service));
    let deleted = remote.write(&action, async || client.delete_backup(request.clone()).await).await?;
    if context.output.is_json() {
        context.document("DeleteBackupResponse", &deleted)?;
        return Ok(Exit::Done);
    }
    let (service, id) = (clean(&service), clean(&id));
    context.output.line(format_args!(
        "deleted backup {id} of {service}; for 24 hours at least this brings it back: seaworthy backup undelete {service} {id}"
    ))?;
    Ok(Exit::Done)
}
