//! `seaworthy backup`: backups of services, taken, seen, verified and deleted through the control plane.

mod create;
mod delete;
mod list;
mod show;
mod undelete;
mod verify;

use clap::Subcommand;

use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a backup of a service, and follow it to its end
    Create(create::Create),
    /// List backups, newest first
    List(list::List),
    /// Show one backup with its components
    Show(show::Show),
    /// Look whether a backup could be restored, and follow that to its end
    Verify(verify::Verify),
    /// Delete a backup; asks for its id first
    Delete(delete::Delete),
    /// Bring a deleted backup back, as long as nothing of it is gone
    Undelete(undelete::Undelete),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Create(command) => create::run(command, context).await,
        Command::List(command) => list::run(command, context).await,
        Command::Show(command) => show::run(command, context).await,
        Command::Verify(command) => verify::run(command, context).await,
        Command::Delete(command) => delete::run(command, context).await,
        Command::Undelete(command) => undelete::run(command, context).await,
    }
}
