//! `seaworthy flags`: feature flags, which services evaluate while they run. The flags of the command line that set the
//! configuration are in `config`.

mod delete;
mod get;
mod list;
mod put;
mod switch;

use clap::Subcommand;

use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List flags, the control plane's own among them
    List(list::List),
    /// Show one flag, rule by rule
    Get(get::Get),
    /// Put a flag from a file, or switch one that is true or false
    Put(Box<put::Put>),
    /// Delete a flag; asks for its name first
    Delete(delete::Delete),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::List(command) => list::run(command, context).await,
        Command::Get(command) => get::run(command, context).await,
        Command::Put(command) => put::run(*command, context).await,
        Command::Delete(command) => delete::run(command, context).await,
    }
}
