//! `seaworthy token`: what proves who calls. The control plane keeps only hashes of secrets, and shows each once.

mod create;
mod list;
mod revoke;

use clap::Subcommand;

use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token, and print its secret: once, alone on the standard output
    Create(create::Create),
    /// List tokens, without their secrets
    List(list::List),
    /// Revoke a token; asks for its name first
    Revoke(revoke::Revoke),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Create(command) => create::run(command, context).await,
        Command::List(command) => list::run(command, context).await,
        Command::Revoke(command) => revoke::run(command, context).await,
    }
}
