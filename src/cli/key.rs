//! `seaworthy key`: which key of a vault it is.

use clap::{ArgGroup, Args, Subcommand};
use seaworthy_client::proto::seaworthy::v1::ConfirmKeyRequest;
use serde_json::json;

use super::{
    Context,
    exit::Exit,
    failure::Failure,
    vault::{key::Key, wrong},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the id of a key, by which a vault calls it
    Show(Show),
    /// Tell the control plane that its key is kept elsewhere too, by a look at the copy
    Confirm(Confirm),
}

/// Its flags.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("copy").args(["id", "key_file"]).required(true), after_help = "\
Until it is said, the readiness report fails: with the machine every backup would be lost. Point it at the copy: neither the \
environment nor the key that the control plane uses itself is looked at.

  seaworthy key confirm --key-file /media/safe/vault.key
  seaworthy key confirm --id 0123456789abcdef       # as `seaworthy key show` said it there")]
pub(crate) struct Confirm {
    /// Id of the key that is kept, as `seaworthy key show` says it of the copy
    #[arg(long, value_name = "ID", conflicts_with = "key_file")]
    id: Option<String>,
    #[command(flatten)]
    key: Key,
}

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
The id tells nothing of the key; compare it with that of the copy that is kept elsewhere.")]
pub(crate) struct Show {
    #[command(flatten)]
    key: Key,
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Show(show) => self::show(&show, context),
        Command::Confirm(flags) => confirm(flags, context).await,
    }
}

async fn confirm(flags: Confirm, context: &mut Context) -> Result<Exit, Failure> {
    let Confirm { id, key } = flags;
    let key_id = match id {
        Some(id) => id,
        None => key.itself()?.id().map_err(|problem| wrong(&problem))?,
    };
    let remote = context.connect().await?;
    let mut client = remote.backup();
    let request = ConfirmKeyRequest { key_id };
    // Said twice it is the same.
    let answer = remote.read("confirm the key", async || client.confirm_key(request.clone()).await).await?;
    if context.output.is_json() {
        context.output.document(&json!({"key_id": answer.key_id}))?;
    } else {
        context.output.line(format!("the key {} is kept elsewhere too", answer.key_id))?;
    }
    Ok(Exit::Done)
}

fn show(flags: &Show, context: &mut Context) -> Result<Exit, Failure> {
    let Show { key } = flags;
    let id = key.itself()?.id().map_err(|problem| wrong(&problem))?;
    if context.output.is_json() {
        context.output.document(&json!({"key_id": id}))?;
    } else {
        context.output.line(id)?;
    }
    Ok(Exit::Done)
}
