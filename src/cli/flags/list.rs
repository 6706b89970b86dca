//! `seaworthy flags list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ListFlagsRequest, ListFlagsResponse};

use crate::cli::{
    Context, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote, render::flag,
};

/// How many flags are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {}

/// Runs it.
pub(crate) async fn run(_: List, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = all(&remote).await?;
    if context.output.is_json() {
        context.document("ListFlagsResponse", &found)?;
    } else if found.flags.is_empty() {
        note("no flags");
    } else {
        let now = context.clock.now().wall;
        context.output.table(&flag::table(&found.flags, context.output.is_wide(), now))?;
    }
    Ok(Exit::Done)
}

/// All pages in one.
async fn all(remote: &Remote) -> Result<ListFlagsResponse, Failure> {
    let mut found = ListFlagsResponse::default();
    let mut request = ListFlagsRequest { page_size: PAGE, page_token: String::new() };
    let mut pages = Pages::default();
    loop {
        let mut client = remote.policy();
        let page = remote.read("list flags", async || client.list_flags(request.clone()).await).await?;
        found.flags.extend(page.flags);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
