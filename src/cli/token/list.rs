//! `seaworthy token list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ListTokensRequest, ListTokensResponse};

use crate::cli::{
    Context, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote, render::identity,
};

/// How many tokens are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// List revoked and expired tokens too
    #[arg(long)]
    all: bool,
}

/// Runs it.
pub(crate) async fn run(flags: List, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = all(&remote, flags.all).await?;
    if context.output.is_json() {
        context.document("ListTokensResponse", &found)?;
    } else if found.tokens.is_empty() {
        note("no tokens");
    } else {
        let now = context.clock.now().wall;
        let table = identity::tokens(&found.tokens, context.output.is_wide(), flags.all, now);
        context.output.table(&table)?;
    }
    Ok(Exit::Done)
}

/// All pages in one.
pub(super) async fn all(remote: &Remote, show_ended: bool) -> Result<ListTokensResponse, Failure> {
    let mut found = ListTokensResponse::default();
    let mut request = ListTokensRequest { page_size: PAGE, page_token: String::new(), show_ended };
    let mut pages = Pages::default();
    loop {
        let mut system = remote.system();
        let page = remote.read("list tokens", async || system.list_tokens(request.clone()).await).await?;
        found.tokens.extend(page.tokens);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
