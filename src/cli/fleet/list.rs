//! `seaworthy fleet list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    HealthState, Lifecycle, ListInstancesRequest, ListInstancesResponse,
};

use crate::cli::{
    Context, args::value, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote,
    render::instance,
};

/// How many instances are asked for at a time.
const PAGE: i32 = 500;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only instances of this service [default: of all]
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only instances in this lifecycle [default: in any]
    #[arg(long, value_name = "LIFECYCLE", value_parser = value::lifecycle())]
    lifecycle: Option<Lifecycle>,
    /// Only instances in this health [default: in any]
    #[arg(long, value_name = "HEALTH", value_parser = value::health())]
    health: Option<HealthState>,
    /// Only instances with this label; repeat it to ask for several at once [default: any]
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
    labels: Vec<(String, String)>,
    /// Also show instances that were removed in the last 24 hours, and why
    #[arg(long)]
    removed: bool,
}

/// Runs it.
pub(crate) async fn run(flags: List, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let request = ListInstancesRequest {
        service: flags.service.unwrap_or_default(),
        lifecycle: flags.lifecycle.unwrap_or_default().into(),
        health: flags.health.unwrap_or_default().into(),
        labels: flags.labels.into_iter().collect(),
        show_removed: flags.removed,
        ..ListInstancesRequest::default()
    };
    let found = all(&remote, request).await?;
    if context.output.is_json() {
        context.document("ListInstancesResponse", &found)?;
        return Ok(Exit::Done);
    }
    let now = context.clock.now().wall;
    if found.instances.is_empty() {
        note("no such instances");
    } else {
        let table = instance::table(&found.instances, context.output.is_wide(), now);
        context.output.table(&table)?;
    }
    if !found.removed.is_empty() {
        context.output.line("")?;
        context.output.table(&instance::tombstones(&found.removed, now))?;
    }
    Ok(Exit::Done)
}

/// All pages in one.
pub(crate) async fn all(
    remote: &Remote,
    mut request: ListInstancesRequest,
) -> Result<ListInstancesResponse, Failure> {
    let mut found = ListInstancesResponse::default();
    request.page_size = PAGE;
    let mut pages = Pages::default();
    loop {
        let mut fleet = remote.fleet();
        let page =
            remote.read("list instances", async || fleet.list_instances(request.clone()).await).await?;
        found.instances.extend(page.instances);
        found.removed.extend(page.removed);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
