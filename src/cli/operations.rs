//! `seaworthy operations`: what takes its time, followed to its end, and cancelled.

mod bar;
mod begun;
mod cancel;
mod follow;
mod list;
mod show;

use clap::{Args, Subcommand};
use seaworthy_client::proto::seaworthy::v1::{OperationKind, OperationState};

pub(crate) use self::begun::Begin;
use self::follow::{follow, outcome};
use super::{Context, args::value, exit::Exit, failure::Failure};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
With --watch and an id it ends with the operation. Its exit code tells the outcome: 0 succeeded, 6 done in part,
7 failed, 8 cancelled.")]
pub(crate) struct Operations {
    /// Id of one operation, to be shown whole [default: a list of all, newest first]
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Follow it to its end, or all that are listed until Ctrl-C; redrawn in place on a terminal, elsewhere a line now and
    /// after every change; survives lost connections
    #[arg(short, long)]
    watch: bool,
    /// With --watch: print lines, on a terminal too
    #[arg(long, requires = "watch")]
    lines: bool,
    /// Only about this service [default: about all]
    #[arg(long, value_name = "SERVICE", conflicts_with = "id")]
    service: Option<String>,
    /// Only of this kind [default: of any]
    #[arg(long, value_name = "KIND", conflicts_with = "id", value_parser = value::operation_kind())]
    kind: Option<OperationKind>,
    /// Only in this state [default: in any]
    #[arg(long, value_name = "STATE", conflicts_with = "id", value_parser = value::operation_state())]
    state: Option<OperationState>,
    /// So many at the most
    #[arg(long, value_name = "NUMBER", conflicts_with = "id", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_256))]
    limit: u32,
    #[command(subcommand)]
    change: Option<Change>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Change {
    /// Ask an operation to end; what it has done stays
    Cancel(cancel::Cancel),
}

/// Runs it.
pub(crate) async fn run(flags: Operations, context: &mut Context) -> Result<Exit, Failure> {
    let Operations { id, watch, lines, service, kind, state, limit, change } = flags;
    match (change, id) {
        (Some(Change::Cancel(command)), None) if !watch => cancel::run(command, context).await,
        (Some(_), _) => {
            let wrong = "what is before `cancel` is of the list alone; name the operation behind it";
            Err(Failure::Usage(wrong.to_owned()))
        }
        (None, Some(id)) if watch => {
            let remote = context.connect().await?;
            let ended = follow(&remote, &id, lines, context).await?;
            Ok(outcome(&ended))
        }
        (None, Some(id)) => show::run(&id, context).await,
        (None, None) => {
            let wanted = list::Wanted::new(service, kind, state, limit);
            list::run(&wanted, watch, lines, context).await
        }
    }
}
