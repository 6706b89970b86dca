//! `seaworthy policy`: what protects the control plane and the operations of services.

mod delete;
mod explain;
mod get;
mod import;
mod list;
mod put;
mod short;
mod watch;

use clap::Subcommand;

use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List policies: put, from the configuration file, and built in
    List(list::List),
    /// Show one policy, part by part
    Get(get::Get),
    /// Put a policy, from a file or from flags, in place of the one of its name
    Put(Box<put::Put>),
    /// Delete a policy that was put; asks for its name first
    Delete(delete::Delete),
    /// Say which policies decide of a call, part by part, and which others they hide
    Explain(explain::Explain),
    /// Print policies, flags and overrides of breakers, and what changes of them, until Ctrl-C; survives lost connections
    Watch(watch::Watch),
    /// Put policies from a configuration file of envoyproxy/ratelimit
    Import(import::Import),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::List(command) => list::run(command, context).await,
        Command::Get(command) => get::run(command, context).await,
        Command::Put(command) => put::run(*command, context).await,
        Command::Delete(command) => delete::run(command, context).await,
        Command::Explain(command) => explain::run(command, context).await,
        Command::Watch(command) => watch::run(command, context).await,
        Command::Import(command) => import::run(command, context).await,
    }
}
