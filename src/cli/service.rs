//! `seaworthy service`: services and their specifications.

mod change;
mod delete;
mod get;
mod list;
mod put;

use clap::Subcommand;

pub(crate) use self::list::{all, show};
use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List services, with what is wrong with them
    List(list::List),
    /// Show one service: its specification and how it is
    Get(get::Get),
    /// Put the operator's specification of a service, from a file, from flags, or both
    Put(Box<put::Put>),
    /// Delete the operator's specification of a service; asks for its name first
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
