//! `seaworthy audit follow`.

use std::time::Duration;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{AuditEntry, ListAuditEntriesRequest};
use tokio::time::sleep;

use super::{Wanted, page, row};
use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    follow::{passing, until_interrupted},
    output::note,
    remote::Remote,
    render::document::Contract,
};

/// How many entries are asked for at a time.
const PAGE: i32 = 500;
/// Time between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "Without --since or --after it begins with what is written next.")]
pub(crate) struct Follow {
    #[command(flatten)]
    wanted: Wanted,
    /// Begin after the entry with this number; 0 for the oldest [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

/// Runs it.
pub(crate) async fn run(flags: Follow, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let all = flags.wanted.since.is_some();
    let mut request = flags.wanted.request(context);
    request.page_size = PAGE;
    request.after_sequence = match flags.after {
        Some(after) => after,
        None if all => 0,
        None => {
            let asked = ListAuditEntriesRequest { page_size: 1, ..ListAuditEntriesRequest::default() };
            page(&remote, &asked).await?.newest_sequence
        }
    };
    let contract = context.output.is_json().then(Contract::load).transpose()?;
    until_interrupted(follow(&remote, request, contract, context)).await
}

async fn follow(
    remote: &Remote,
    mut request: ListAuditEntriesRequest,
    contract: Option<Contract>,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let mut away = false;
    loop {
        match page(remote, &request).await {
            Ok(answer) => {
                if std::mem::take(&mut away) {
                    note("connected again");
                }
                for entry in &answer.entries {
                    print(entry, contract.as_ref(), context)?;
                }
                context.output.flush()?;
                let last = answer.entries.last().map_or(0, |entry| entry.sequence);
                if answer.next_page_token.is_empty() {
                    // Everything up to there was looked at.
                    request.page_token.clear();
                    request.after_sequence = request.after_sequence.max(answer.newest_sequence).max(last);
                } else {
                    request.page_token = answer.next_page_token;
                    continue;
                }
            }
            Err(failure) if passing(&failure).is_some() => {
                if !std::mem::replace(&mut away, true) {
                    note(format_args!("not connected: {failure}; trying again"));
                }
            }
            Err(failure) => return Err(failure),
        }
        sleep(PAUSE).await;
    }
}

fn print(entry: &AuditEntry, contract: Option<&Contract>, context: &mut Context) -> Result<(), Failure> {
    if let Some(contract) = contract {
        return context.output.object(&contract.document("AuditEntry", entry)?);
    }
    let (wide, looks) = (context.output.is_wide(), context.output.looks);
    let cells = row(entry, wide);
    let cells = cells.iter().filter(|cell| !cell.plain.is_empty()).map(|cell| looks.paint(cell));
    context.output.line(cells.collect::<Vec<_>>().join("  "))
}
