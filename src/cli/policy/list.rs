//! `seaworthy policy list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ListPoliciesRequest, ListPoliciesResponse};

use crate::cli::{
    Context, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote, render::policy,
};

/// How many policies are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {}

/// Runs it.
pub(crate) async fn run(_: List, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = all(&remote).await?;
    show(&found, context)?;
    Ok(Exit::Done)
}

/// Writes policies in the format that was asked for.
pub(super) fn show(found: &ListPoliciesResponse, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("ListPoliciesResponse", found);
    }
    if found.policies.is_empty() {
        note("no policies");
        return Ok(());
    }
    let now = context.clock.now().wall;
    context.output.table(&policy::table(&found.policies, context.output.is_wide(), now))
}

/// All pages in one.
async fn all(remote: &Remote) -> Result<ListPoliciesResponse, Failure> {
    let mut found = ListPoliciesResponse::default();
    let mut request = ListPoliciesRequest { page_size: PAGE, page_token: String::new() };
    let mut pages = Pages::default();
    loop {
        let mut client = remote.policy();
        let page = remote.read("list policies", async || client.list_policies(request.clone()).await).await?;
        found.policies.extend(page.policies);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
