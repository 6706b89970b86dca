//! `seaworthy audit list`.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{AuditEntry, ListAuditEntriesRequest, ListAuditEntriesResponse};

use super::{Wanted, page, row, table};
use crate::cli::{Context, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote};

/// How many entries are asked for at a time.
const PAGE: i32 = 500;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    wanted: Wanted,
    /// At most so many entries, the newest
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "50")]
    limit: NonZeroUsize,
}

/// Runs it.
pub(crate) async fn run(flags: List, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let request = flags.wanted.request(context);
    let (answer, more) = newest(&remote, request, flags.limit.get()).await?;
    if context.output.is_json() {
        context.document("ListAuditEntriesResponse", &answer)?;
        return Ok(Exit::Done);
    }
    if answer.entries.is_empty() {
        note("no such entries");
        return Ok(Exit::Done);
    }
    let wide = context.output.is_wide();
    let mut table = table();
    answer.entries.iter().for_each(|entry| table.row(row(entry, wide)));
    context.output.table(&table)?;
    if more {
        note("there are older ones; --limit shows more");
    }
    Ok(Exit::Done)
}

/// The newest entries, oldest first, and whether there are older ones.
async fn newest(
    remote: &Remote,
    mut request: ListAuditEntriesRequest,
    limit: usize,
) -> Result<(ListAuditEntriesResponse, bool), Failure> {
    request.page_size = PAGE;
    let (mut newest, mut more) = (VecDeque::<AuditEntry>::new(), false);
    let mut pages = Pages::default();
    loop {
        let mut answer = page(remote, &request).await?;
        newest.extend(answer.entries);
        more |= newest.len() > limit;
        newest.drain(..newest.len().saturating_sub(limit));
        match pages.next(answer.next_page_token)? {
            Some(token) => request.page_token = token,
            None => {
                answer.entries = newest.into();
                answer.next_page_token = String::new();
                return Ok((answer, more));
            }
        }
    }
}
