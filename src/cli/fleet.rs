//! `seaworthy fleet`: instances.

mod get;
mod list;
mod remove;
mod watch;

use clap::Subcommand;

pub(crate) use self::{list::all, watch::board};
use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List instances, with what is wrong with them
    List(list::List),
    /// Show one instance and its components
    Get(get::Get),
    /// Follow instances until Ctrl-C: redrawn in place on a terminal, elsewhere a line for each change;
    /// survives lost connections
    Watch(watch::Watch),
    /// Remove an instance, whatever it does; asks for its name first
    Remove(remove::Remove),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::List(command) => list::run(command, context).await,
        Command::Get(command) => get::run(command, context).await,
        Command::Watch(command) => watch::run(command, context).await,
        Command::Remove(command) => remove::run(command, context).await,
    }
}
