//! `seaworthy backup verify`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{VerifyBackupRequest, VerifyDepth};

use crate::cli::{Context, args::value, exit::Exit, failure::Failure, operations::Begin, output::clean};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
presence looks whether every object is there, as large as it should be; structure whether the table of every pack opens and \
has what it should; data whether every byte decrypts and is what was put. Its exit code tells the outcome: 0 it could be \
restored, 7 it could not.")]
pub(crate) struct Verify {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Id of the backup, or latest: the newest that can be restored
    #[arg(value_name = "ID")]
    id: String,
    /// How deep to look
    #[arg(long, value_name = "DEPTH", default_value = "data", value_parser = value::depth())]
    depth: VerifyDepth,
    #[command(flatten)]
    begin: Begin,
}

/// Runs it.
pub(super) async fn run(flags: Verify, context: &mut Context) -> Result<Exit, Failure> {
    let Verify { service, id, depth, begin } = flags;
    let request = VerifyBackupRequest { service, id, depth: depth.into(), request_id: begin.request_id()? };
    let remote = context.connect().await?;
    let mut client = remote.backup();
    let action = format!("verify backup {} of {}", clean(&request.id), clean(&request.service));
    let begun = remote.read(&action, async || client.verify_backup(request.clone()).await).await?;
    let response = ("VerifyBackupResponse", &begun);
    begin.see_through(&remote, response, begun.operation.as_ref(), context).await
}
