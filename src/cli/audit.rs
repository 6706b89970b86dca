//! `seaworthy audit`: who did what, and whether the entries that say so are as they were written.

mod follow;
mod list;
mod verify;

use std::time::Duration;

use clap::{Args, Subcommand};
use seaworthy_client::proto::seaworthy::v1::{
    AuditEntry, AuditStage, ListAuditEntriesRequest, ListAuditEntriesResponse,
};

use super::{
    Context,
    args::value,
    exit::Exit,
    failure::Failure,
    output::{Text, Tone, table::Table},
    remote::Remote,
    render::{instance::short, when},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List who did what, oldest first
    List(list::List),
    /// Print entries as they are written, until Ctrl-C
    Follow(follow::Follow),
    /// Say whether all entries are as they were written, or which is the first that is not; exits with 1 if one is not
    Verify(verify::Verify),
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::List(command) => list::run(command, context).await,
        Command::Follow(command) => follow::run(command, context).await,
        Command::Verify(command) => verify::run(command, context).await,
    }
}

/// Which entries are wanted.
#[derive(Args, Debug)]
struct Wanted {
    /// Only of this principal, for example token:alice [default: of all]
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// Only of this operation, for example PutService [default: of all]
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Only about this object and what is below it, for example service/orders [default: about all]
    #[arg(long, value_name = "OBJECT")]
    object: Option<String>,
    /// Only what was written within this time until now, with its unit: 30m, 1h, 1h30m
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    since: Option<Duration>,
}

impl Wanted {
    fn request(self, context: &Context) -> ListAuditEntriesRequest {
        let start = self.since.and_then(|since| context.clock.now().wall.checked_sub(since));
        ListAuditEntriesRequest {
            principal: self.principal.unwrap_or_default(),
            operation: self.operation.unwrap_or_default(),
            object: self.object.unwrap_or_default(),
            start_time: start.map(Into::into),
            ..ListAuditEntriesRequest::default()
        }
    }
}

/// One page.
async fn page(
    remote: &Remote,
    request: &ListAuditEntriesRequest,
) -> Result<ListAuditEntriesResponse, Failure> {
    let mut system = remote.system();
    remote.read("list entries of the audit", async || system.list_audit_entries(request.clone()).await).await
}

/// The columns of entries.
fn table() -> Table {
    Table::new(["NUMBER", "TIME", "WHO", "WHAT", "ON", "OUTCOME", "DETAIL"])
}

/// An entry in columns.
fn row(entry: &AuditEntry, wide: bool) -> [Text; 7] {
    let who = match entry.peer.as_str() {
        "" => entry.principal.clone(),
        peer if wide => format!("{} from {peer}", entry.principal),
        _ => entry.principal.clone(),
    };
    let method = entry.operation.rsplit_once('/').filter(|_| !wide);
    let what = method.map_or(entry.operation.as_str(), |(_, method)| method);
    let outcome = match (entry.stage(), entry.outcome.as_str()) {
        (AuditStage::Received, _) => "begun".into(),
        (AuditStage::Unspecified, _) => Text::toned("unreadable", Tone::Bad),
        (AuditStage::Completed, "OK") => Text::toned("OK", Tone::Good),
        (AuditStage::Completed, outcome) => Text::toned(outcome, Tone::Bad),
        (AuditStage::Denied, outcome) => Text::toned(&format!("denied: {outcome}"), Tone::Bad),
    };
    [
        entry.sequence.to_string().into(),
        when::stamp(entry.time.as_ref()).into(),
        who.into(),
        what.into(),
        entry.object.as_str().into(),
        outcome,
        short(&entry.detail, wide).into(),
    ]
}
