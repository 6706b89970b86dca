//! `seaworthy health history`: what changed, and when; the first question of a report after an outage.

use std::num::NonZeroUsize;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    HealthTransition, ListTransitionsRequest, ListTransitionsResponse,
};

use crate::cli::{
    Context,
    args::target::Target,
    exit::Exit,
    failure::Failure,
    output::{note, table::Table},
    remote::Remote,
    render::{instance::short, when, words},
};

/// How many changes are asked for at a time, at the most.
const PAGE: usize = 500;

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "The last 256 changes of each service are kept, its instances' included.")]
pub(crate) struct History {
    /// Whose: orders, orders/i-1 or orders/i-1/database [default: everybody's]
    #[arg(value_name = "SERVICE[/INSTANCE[/COMPONENT]]")]
    target: Option<Target>,
    /// At most so many changes, the newest
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "50")]
    limit: NonZeroUsize,
}

/// Runs it.
pub(crate) async fn run(flags: History, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let (transitions, more) = newest(&remote, flags.target.as_ref(), flags.limit.get()).await?;
    if context.output.is_json() {
        let answer = ListTransitionsResponse { transitions, ..ListTransitionsResponse::default() };
        context.document("ListTransitionsResponse", &answer)?;
        return Ok(Exit::Done);
    }
    if transitions.is_empty() {
        note("no changes of health are known");
        return Ok(Exit::Done);
    }
    context.output.table(&table(&transitions, context.output.is_wide()))?;
    if more {
        note("there are older ones; --limit shows more");
    }
    Ok(Exit::Done)
}

/// The newest changes, and whether there are older ones.
async fn newest(
    remote: &Remote,
    target: Option<&Target>,
    limit: usize,
) -> Result<(Vec<HealthTransition>, bool), Failure> {
    let Target { service, instance, component } = target.cloned().unwrap_or_default();
    let mut request = ListTransitionsRequest { service, instance_id: instance, ..Default::default() };
    let mut found = Vec::new();
    loop {
        // One more than is shown tells whether there are older ones. How many of a page are of a
        // component is not known before.
        let wanted = if component.is_empty() { (limit - found.len()).saturating_add(1) } else { PAGE };
        request.page_size = i32::try_from(wanted.min(PAGE)).unwrap_or(0);
        let page =
            remote.call("list changes of health", remote.health().list_transitions(request.clone())).await?;
        let wanted = |change: &HealthTransition| component.is_empty() || change.component == component;
        found.extend(page.transitions.into_iter().filter(wanted));
        if found.len() > limit {
            found.truncate(limit);
            return Ok((found, true));
        }
        if page.next_page_token.is_empty() {
            return Ok((found, false));
        }
        request.page_token = page.next_page_token;
    }
}

fn table(transitions: &[HealthTransition], wide: bool) -> Table {
    let mut table = Table::new(["TIME", "WHAT", "FROM", "TO", "CAUSE"]);
    for change in transitions {
        let what = Target {
            service: change.service.clone(),
            instance: change.instance_id.clone(),
            component: change.component.clone(),
        };
        table.row([
            when::stamp(change.time.as_ref()).into(),
            what.to_string().into(),
            words::health(change.from()),
            words::health(change.to()),
            short(&change.cause, wide).into(),
        ]);
    }
    table
}
