//! `seaworthy backup show`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{GetBackupRequest, GetBackupResponse};

use crate::cli::{Context, exit::Exit, failure::Failure, output::clean, remote::Remote, render::backup};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Id of the backup, or latest: the newest that can be restored
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs it.
pub(super) async fn run(flags: Show, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = get(&remote, &flags.service, &flags.id).await?;
    if context.output.is_json() {
        context.document("GetBackupResponse", &found)?;
        return Ok(Exit::Done);
    }
    let now = context.clock.now().wall;
    let page = backup::page(&found.backup.unwrap_or_default(), context.output.looks, now);
    page.into_iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}

/// One backup.
pub(super) async fn get(remote: &Remote, service: &str, id: &str) -> Result<GetBackupResponse, Failure> {
    let request = GetBackupRequest { service: service.to_owned(), id: id.to_owned() };
    let mut client = remote.backup();
    let action = format!("get backup {} of {}", clean(id), clean(service));
    remote.read(&action, async || client.get_backup(request.clone()).await).await
}
