//! `seaworthy breakers`: how breakers are, and forcing them by hand.

mod change;
mod list;
mod watch;

use clap::{Args, Subcommand};

use super::{Context, exit::Exit, failure::Failure};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Breakers {
    #[command(flatten)]
    list: list::List,
    #[command(subcommand)]
    change: Option<Change>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Change {
    /// Force the breaker of an operation open or closed, for a time; asks for the operation's name first where that
    /// refuses calls
    Force(change::Force),
    /// Take back what forced the breaker of an operation: it goes by what it counts again
    Release(change::Release),
}

/// Runs it.
pub(crate) async fn run(flags: Breakers, context: &mut Context) -> Result<Exit, Failure> {
    let Breakers { list, change } = flags;
    if change.is_some() && list.is_given() {
        return Err(Failure::Usage(
            "what is before `force` and `release` is of the list alone; name the service behind them"
                .to_owned(),
        ));
    }
    match change {
        None => list::run(list, context).await,
        Some(Change::Force(command)) => change::force(command, context).await,
        Some(Change::Release(command)) => change::release(command, context).await,
    }
}
