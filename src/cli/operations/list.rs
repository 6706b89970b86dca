//! `seaworthy operations`, without an id: the list, once or again and again.

use std::collections::HashMap;

use seaworthy_client::proto::seaworthy::v1::{
    ListOperationsRequest, ListOperationsResponse, Operation, OperationKind, OperationState,
};

use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    follow::{self, note_lost, until_interrupted},
    live::{self, Frame, fitting},
    output::{Screen, note},
    pages::Pages,
    remote::Remote,
    render::{document::Contract, operation, when},
};

/// How many operations are asked for at a time.
const PAGE: u32 = 1000;

/// Which operations are wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    request: ListOperationsRequest,
    limit: usize,
}

impl Wanted {
    pub(super) fn new(
        service: Option<String>,
        kind: Option<OperationKind>,
        state: Option<OperationState>,
        limit: u32,
    ) -> Self {
        let request = ListOperationsRequest {
            service: service.unwrap_or_default(),
            kind: kind.unwrap_or_default().into(),
            state: state.unwrap_or_default().into(),
            page_size: i32::try_from(limit.min(PAGE)).unwrap_or_default(),
            page_token: String::new(),
        };
        Self { request, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }
}

/// Shows them.
pub(super) async fn run(
    wanted: &Wanted,
    watch: bool,
    lines: bool,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    if watch {
        return match context.output.screen().filter(|_| !lines) {
            Some(screen) => picture(&remote, wanted, screen, context).await,
            None => each_change(&remote, wanted, context).await,
        };
    }
    let found = all(&remote, wanted).await?;
    if context.output.is_json() {
        context.document("ListOperationsResponse", &found)?;
    } else if found.operations.is_empty() {
        note("no such operations");
    } else {
        let now = context.clock.now().wall;
        context.output.table(&operation::table(&found.operations, context.output.is_wide(), now))?;
    }
    Ok(Exit::Done)
}

/// The newest of them, whatever the pages.
async fn all(remote: &Remote, wanted: &Wanted) -> Result<ListOperationsResponse, Failure> {
    let (mut found, mut request) = (ListOperationsResponse::default(), wanted.request.clone());
    let mut pages = Pages::default();
    loop {
        let mut client = remote.operation();
        let page =
            remote.read("list operations", async || client.list_operations(request.clone()).await).await?;
        found.operations.extend(page.operations);
        let next = pages.next(page.next_page_token)?;
        match next.filter(|_| found.operations.len() < wanted.limit) {
            Some(token) => request.page_token = token,
            None => {
                found.operations.truncate(wanted.limit);
                return Ok(found);
            }
        }
    }
}

async fn picture(
    remote: &Remote,
    wanted: &Wanted,
    screen: Screen,
    context: &Context,
) -> Result<Exit, Failure> {
    let wide = context.output.is_wide();
    let lines = |found: &ListOperationsResponse, frame: &Frame| {
        let all = &found.operations;
        if all.is_empty() {
            return vec!["no such operations".to_owned()];
        }
        let shown = fitting(all.len(), frame.height);
        let newest = all.get(..shown).unwrap_or_default();
        let mut lines = operation::table(newest, wide, frame.now.wall).lines(frame.looks);
        if shown < all.len() {
            lines.push(format!("  and {} more, all older", all.len() - shown));
        }
        lines
    };
    let screen = (screen, context.output.looks);
    let remote = &remote.without_retries();
    match live::poll(remote, screen, context.clock, || all(remote, wanted), lines).await? {}
}

/// Prints a line, or an object, for each now and whenever it is another one.
async fn each_change(remote: &Remote, wanted: &Wanted, context: &mut Context) -> Result<Exit, Failure> {
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let mut known = Known::default();
    let take = |found: ListOperationsResponse| {
        for news in known.take(found.operations) {
            match &contract {
                Some(contract) => output.object(&contract.document("Operation", &news)?)?,
                None => {
                    let now = when::clock(clock.now().wall);
                    output.line(format_args!("{now}  {}", operation::line(&news, output.looks)))?;
                }
            }
        }
        output.flush()
    };
    // The poll itself goes on, and tells that the server is away.
    let remote = remote.without_retries();
    let ask = || all(&remote, wanted);
    match until_interrupted(follow::poll(ask, take, |link| note_lost(&link))).await? {}
}

/// The revisions that were printed last.
#[derive(Debug, Default)]
struct Known(HashMap<String, u64>);

impl Known {
    /// Those that changed, or that are new, oldest first. One that is gone is forgotten.
    fn take(&mut self, found: Vec<Operation>) -> Vec<Operation> {
        let now = found.iter().map(|it| (it.id.clone(), it.revision)).collect();
        let is_news = |it: &Operation| self.0.get(&it.id) != Some(&it.revision);
        let news = found.into_iter().filter(is_news).rev().collect();
        self.0 = now;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_printed_only_where_something_changes() {
        let at = |id: &str, revision| Operation { id: id.into(), revision, ..Operation::default() };
        let mut known = Known::default();
        let ids = |news: Vec<Operation>| news.into_iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(known.take(vec![at("b", 2), at("a", 1)])), ["a", "b"]);
        assert_eq!(ids(known.take(vec![at("b", 2), at("a", 1)])), [""; 0]);
        assert_eq!(ids(known.take(vec![at("c", 4), at("b", 3), at("a", 1)])), ["b", "c"]);
    }

    #[test]
    fn no_more_is_asked_for_than_is_wanted() {
        let wanted = Wanted::new(None, Some(OperationKind::Backup), None, 20);
        assert_eq!((wanted.request.page_size, wanted.limit), (20, 20));
        assert_eq!(Wanted::new(None, None, None, 5000).request.page_size, 1000);
    }
}
