//! `seaworthy breakers`, without a subcommand.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{GetBreakersRequest, GetBreakersResponse};

use super::watch;
use crate::cli::{
    Context, args::target::ServiceOrInstance, exit::Exit, failure::Failure, output::note, pages::Pages,
    remote::Remote, render::breaker,
};

/// How many breakers are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Whose: orders, or orders/i-1 [default: everybody's, and the control plane's own]
    #[arg(value_name = "SERVICE[/INSTANCE]")]
    target: Option<ServiceOrInstance>,
    /// Only of this operation [default: of all]
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Follow them until Ctrl-C: redrawn in place every second on a terminal, elsewhere a line now and after every change
    /// of a state; survives lost connections
    #[arg(short, long)]
    watch: bool,
    /// With --watch: print lines, on a terminal too
    #[arg(long, requires = "watch")]
    lines: bool,
}

impl List {
    /// Whether anything was given.
    pub(super) fn is_given(&self) -> bool {
        let List { target, operation, watch, lines } = self;
        target.is_some() || operation.is_some() || *watch || *lines
    }
}

/// Runs it.
pub(super) async fn run(flags: List, context: &mut Context) -> Result<Exit, Failure> {
    let List { target, operation, watch, lines } = flags;
    let ServiceOrInstance { service, instance } = target.unwrap_or_default();
    let request = GetBreakersRequest {
        service,
        instance_id: instance,
        operation: operation.unwrap_or_default(),
        page_size: PAGE,
        page_token: String::new(),
    };
    let remote = context.connect().await?;
    if watch {
        return match context.output.screen().filter(|_| !lines) {
            Some(screen) => watch::picture(&remote, &request, screen, context).await,
            None => watch::lines(&remote, &request, context).await,
        };
    }
    let found = all(&remote, &request).await?;
    if context.output.is_json() {
        context.document("GetBreakersResponse", &found)?;
    } else if found.breakers.is_empty() {
        note("no such breakers");
    } else {
        context.output.table(&breaker::table(&found.breakers, context.output.is_wide()))?;
    }
    Ok(Exit::Done)
}

/// All pages in one.
pub(super) async fn all(
    remote: &Remote,
    request: &GetBreakersRequest,
) -> Result<GetBreakersResponse, Failure> {
    let (mut found, mut request) = (GetBreakersResponse::default(), request.clone());
    let mut pages = Pages::default();
    loop {
        let mut client = remote.policy();
        let page = remote.read("get breakers", async || client.get_breakers(request.clone()).await).await?;
        found.breakers.extend(page.breakers);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
