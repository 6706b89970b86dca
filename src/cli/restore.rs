//! `seaworthy restore`: gives the state of components back through the control plane, to where it came from or elsewhere.

mod plan;
mod run;

use clap::{Args, Subcommand};

use super::{Context, exit::Exit, failure::Failure};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a restore would change, how much it is, and what stands in its way; changes nothing
    Plan(plan::Plan),
    /// Restore a backup, and follow that to its end
    Run(run::Run),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Plan(command) => plan::run(command, context).await,
        Command::Run(command) => run::run(command, context).await,
    }
}

/// What is restored, and whereto.
#[derive(Args, Debug)]
struct What {
    /// Name of the service that the backup is of
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Id of the backup; latest is the newest that can be restored
    #[arg(value_name = "BACKUP", default_value = "latest")]
    backup: String,
    /// Only this component; can be repeated [default: all that the backup has]
    #[arg(long = "component", value_name = "COMPONENT")]
    components: Vec<String>,
    /// Service to restore into [default: the same]
    #[arg(long, value_name = "SERVICE", default_value = "", hide_default_value = true)]
    to_service: String,
    /// Instance to restore into [default: the one that it was taken from, else the only one that has the component]
    #[arg(long, value_name = "INSTANCE", default_value = "", hide_default_value = true)]
    to_instance: String,
}
