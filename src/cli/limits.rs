//! `seaworthy limits`: how much is used of limits, permits and pools.

mod watch;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{GetUsageRequest, GetUsageResponse};

use super::{
    Context,
    args::target::ServiceOrInstance,
    exit::Exit,
    failure::Failure,
    output::{Looks, note},
    pages::Pages,
    remote::Remote,
    render::usage,
};

/// How many rows are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
First the limits and permits of the control plane itself, then those of attached instances, their operations and pools, as
they reported them last. NEAR counts what was let through when at least 0.8 of a limit was used; P50 and P99 are bounds that half,
and 99 of a hundred, of the calls did not exceed.")]
pub(crate) struct Limits {
    /// Whose operations: orders, or orders/i-1 [default: everybody's, and the control plane's own limits]
    #[arg(value_name = "SERVICE[/INSTANCE]")]
    target: Option<ServiceOrInstance>,
    /// Follow it until Ctrl-C: redrawn in place every second on a terminal, elsewhere a line for each now and whenever it
    /// changes; survives lost connections
    #[arg(short, long)]
    watch: bool,
    /// With --watch: print lines, on a terminal too
    #[arg(long, requires = "watch")]
    lines: bool,
}

/// Runs it.
pub(crate) async fn run(flags: Limits, context: &mut Context) -> Result<Exit, Failure> {
    let Limits { target, watch, lines } = flags;
    let ServiceOrInstance { service, instance } = target.unwrap_or_default();
    let request =
        GetUsageRequest { service, instance_id: instance, page_size: PAGE, page_token: String::new() };
    let remote = context.connect().await?;
    if watch {
        return match context.output.screen().filter(|_| !lines) {
            Some(screen) => watch::picture(&remote, &request, screen, context).await,
            None => watch::lines(&remote, &request, context).await,
        };
    }
    let found = all(&remote, &request).await?;
    if context.output.is_json() {
        context.document("GetUsageResponse", &found)?;
        return Ok(Exit::Done);
    }
    let lines = drawn(&found, context.output.is_wide(), context.output.looks);
    if lines.is_empty() {
        note("nothing is limited, and nobody reported operations");
    }
    lines.into_iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}

/// Tables of what there is, with an empty line between them.
fn drawn(found: &GetUsageResponse, wide: bool, looks: Looks) -> Vec<String> {
    let mut tables = Vec::new();
    if !found.limits.is_empty() {
        tables.push(usage::limits(&found.limits));
    }
    if found.instances.iter().any(|it| !it.limits.is_empty()) {
        tables.push(usage::decided(&found.instances));
    }
    if found.instances.iter().any(|it| !it.operations.is_empty()) {
        tables.push(usage::operations(&found.instances, wide));
    }
    if found.instances.iter().any(|it| !it.pools.is_empty()) {
        tables.push(usage::pools(&found.instances));
    }
    let mut lines = Vec::new();
    for table in tables {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(table.lines(looks));
    }
    lines
}

/// All pages in one.
async fn all(remote: &Remote, request: &GetUsageRequest) -> Result<GetUsageResponse, Failure> {
    let (mut found, mut request) = (GetUsageResponse::default(), request.clone());
    let mut pages = Pages::default();
    loop {
        let mut client = remote.policy();
        let page = remote.read("get what is used", async || client.get_usage(request.clone()).await).await?;
        found.limits.extend(page.limits);
        found.instances.extend(page.instances);
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::{InstanceUsage, LimitUsage, OperationStats, PoolUsage};

    use super::*;

    #[test]
    fn only_what_there_is_has_a_table() {
        let looks = Looks { colour: false, unicode: false };
        let first = |found: &GetUsageResponse| {
            let lines = drawn(found, false, looks);
            let headings = lines.iter().filter(|line| line.starts_with(char::is_uppercase));
            headings.filter_map(|line| line.split("  ").next().map(str::to_owned)).collect::<Vec<_>>()
        };
        let mut found = GetUsageResponse::default();
        assert_eq!(drawn(&found, false, looks), Vec::<String>::new());
        // An instance that has reported nothing yet is no row.
        found.instances.push(InstanceUsage::default());
        assert_eq!(drawn(&found, false, looks), Vec::<String>::new());
        found.instances[0].pools.push(PoolUsage::default());
        assert_eq!(drawn(&found, false, looks)[0], "INSTANCE  POOL  SIZE  IN USE  WAITING  REFUSED");
        found.instances[0].operations.push(OperationStats::default());
        found.limits.push(LimitUsage::default());
        assert_eq!(first(&found), ["POLICY", "INSTANCE", "INSTANCE"]);
        assert_eq!(drawn(&found, false, looks).iter().filter(|line| line.is_empty()).count(), 2);
        found.instances[0].limits.push(LimitUsage { policy: "orders".into(), ..LimitUsage::default() });
        assert_eq!(first(&found).len(), 4);
    }
}
