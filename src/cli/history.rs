//! `seaworthy history`: what changed, and when; the first question of a report after an outage.

use std::{num::NonZeroUsize, time::Duration};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    HealthTransition, ListTransitionsRequest, ListTransitionsResponse,
};

use super::{
    Context,
    args::{target::Target, value},
    exit::Exit,
    failure::Failure,
    output::{note, table::Table},
    pages::Pages,
    remote::Remote,
    render::{instance::short, when, words},
};

/// How many changes are asked for at a time, at the most.
const PAGE: usize = 500;

/// Its flags.
#[derive(Args, Debug)]
#[command(
    after_help = "The last 256 changes of each service are kept, its instances' included, also after a restart."
)]
pub(crate) struct History {
    /// Whose: orders, orders/i-1 or orders/i-1/database [default: everybody's]
    #[arg(value_name = "SERVICE[/INSTANCE[/COMPONENT]]")]
    target: Option<Target>,
    /// Only what happened within this time until now, with its unit: 30m, 1h, 1h30m
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    since: Option<Duration>,
    /// At most so many changes, the newest
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "50")]
    limit: NonZeroUsize,
}

/// Runs it.
pub(crate) async fn run(flags: History, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let Target { service, instance, component } = flags.target.unwrap_or_default();
    let start = flags.since.and_then(|since| context.clock.now().wall.checked_sub(since));
    let request = ListTransitionsRequest {
        service,
        instance_id: instance,
        component,
        start_time: start.map(Into::into),
        ..ListTransitionsRequest::default()
    };
    let (transitions, more) = newest(&remote, request, flags.limit.get()).await?;
    if context.output.is_json() {
        let answer = ListTransitionsResponse { transitions, ..ListTransitionsResponse::default() };
        context.document("ListTransitionsResponse", &answer)?;
        return Ok(Exit::Done);
    }
    if transitions.is_empty() {
        note(match flags.since {
            Some(_) => "no changes of health are known since then",
            None => "no changes of health are known",
        });
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
    mut request: ListTransitionsRequest,
    limit: usize,
) -> Result<(Vec<HealthTransition>, bool), Failure> {
    let mut found = Vec::new();
    let mut pages = Pages::default();
    loop {
        // One more than is shown tells whether there are older ones.
        let wanted = (limit - found.len()).saturating_add(1).min(PAGE);
        request.page_size = i32::try_from(wanted).unwrap_or(0);
        let page = remote
            .read("list changes of health", async || remote.health().list_transitions(request.clone()).await)
            .await?;
        found.extend(page.transitions);
        if found.len() > limit {
            found.truncate(limit);
            return Ok((found, true));
        }
        // A page may be empty although there are more.
        match pages.next(page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok((found, false)),
        }
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
