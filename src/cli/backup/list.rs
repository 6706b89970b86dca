//! `seaworthy backup list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ListBackupsRequest, ListBackupsResponse};

use crate::cli::{
    Context, exit::Exit, failure::Failure, output::note, pages::Pages, remote::Remote, render::backup,
};

/// How many backups are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only of this service [default: of all that you see]
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// List deleted ones too, which `backup undelete` may bring back
    #[arg(long)]
    all: bool,
}

/// Runs it.
pub(super) async fn run(flags: List, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = all(&remote, flags).await?;
    if context.output.is_json() {
        context.document("ListBackupsResponse", &found)?;
    } else if found.backups.is_empty() {
        note("no such backups");
    } else {
        let now = context.clock.now().wall;
        context.output.table(&backup::table(&found.backups, context.output.is_wide(), now))?;
    }
    Ok(Exit::Done)
}

/// All pages in one.
async fn all(remote: &Remote, flags: List) -> Result<ListBackupsResponse, Failure> {
    let mut request = ListBackupsRequest {
        service: flags.service.unwrap_or_default(),
        show_deleted: flags.all,
        page_size: PAGE,
        page_token: String::new(),
    };
    let (mut found, mut pages) = (ListBackupsResponse::default(), Pages::default());
    loop {
        let mut client = remote.backup();
        let page = remote.read("list backups", async || client.list_backups(request.clone()).await).await?;
        found.backups.extend(page.backups);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}
