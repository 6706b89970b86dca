//! `seaworthy service list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ListServicesRequest, ListServicesResponse};

use crate::cli::{
    Context, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote, render::service,
};

/// How many services are asked for at a time.
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

/// Writes services in the format that was asked for.
pub(crate) fn show(found: &ListServicesResponse, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("ListServicesResponse", found);
    }
    if found.services.is_empty() {
        note("no services");
        return Ok(());
    }
    let now = context.clock.now().wall;
    context.output.table(&service::table(&found.services, context.output.is_wide(), now))
}

/// All pages in one.
pub(crate) async fn all(remote: &Remote) -> Result<ListServicesResponse, Failure> {
    let mut found = ListServicesResponse::default();
    let mut request = ListServicesRequest { page_size: PAGE, page_token: String::new() };
    let mut pages = Pages::default();
    loop {
        let mut fleet = remote.fleet();
        let page = remote.read("list services", async || fleet.list_services(request.clone()).await).await?;
        found.services.extend(page.services);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
