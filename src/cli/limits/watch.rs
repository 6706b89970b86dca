//! `seaworthy limits --watch`: a picture that is redrawn, or a line for each now and whenever it changes.

use std::collections::HashMap;

use seaworthy_client::proto::seaworthy::v1::{GetUsageRequest, GetUsageResponse};

use super::{all, drawn};
use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    follow::{self, note_lost, until_interrupted},
    live::{self, Frame},
    output::{Screen, Text},
    remote::Remote,
    render::{document::Contract, usage, when},
};

/// Shows it in place.
pub(super) async fn picture(
    remote: &Remote,
    request: &GetUsageRequest,
    screen: Screen,
    context: &Context,
) -> Result<Exit, Failure> {
    let wide = context.output.is_wide();
    let lines = |found: &GetUsageResponse, frame: &Frame| {
        let lines = drawn(found, wide, frame.looks);
        match lines.is_empty() {
            true => vec!["nothing is limited, and nobody reported operations".to_owned()],
            false => fitted(lines, frame.height),
        }
    };
    let screen = (screen, context.output.looks);
    let remote = &remote.without_retries();
    match live::poll(remote, screen, context.clock, || all(remote, request), lines).await? {}
}

/// As many lines as there is room for; the last one says how many more there are.
fn fitted(mut lines: Vec<String>, room: usize) -> Vec<String> {
    if lines.len() > room {
        let shown = room.saturating_sub(1);
        let more = lines.len() - shown;
        lines.truncate(shown);
        lines.push(format!("  and {more} more lines"));
    }
    lines
}

/// Prints a line for each limit, operation and pool now and whenever it changes; or all of it as an object.
pub(super) async fn lines(
    remote: &Remote,
    request: &GetUsageRequest,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let (wide, looks) = (output.is_wide(), output.looks);
    let (mut known, mut last) = (HashMap::new(), None);
    let take = |found: GetUsageResponse| {
        if let Some(contract) = &contract {
            if last.as_ref() != Some(&found) {
                output.object(&contract.document("GetUsageResponse", &found)?)?;
                last = Some(found);
            }
            return Ok(());
        }
        let now = when::clock(clock.now().wall);
        for row in news(&mut known, rows(&found, wide)) {
            let cells: Vec<_> = row.iter().map(|cell| looks.paint(cell)).collect();
            output.line(format_args!("{now}  {}", cells.join("  ")))?;
        }
        output.flush()
    };
    // The poll itself goes on, and tells that the server is away.
    let remote = remote.without_retries();
    let ask = || all(&remote, request);
    match until_interrupted(follow::poll(ask, take, |link| note_lost(&link))).await? {}
}

/// What one row is of, and the row.
type Row = (String, Vec<Text>);

/// All there is, each with what it is, for lines have no headings.
fn rows(found: &GetUsageResponse, wide: bool) -> Vec<Row> {
    let row = |kind: &str, name: String, cells: Vec<Text>| {
        (format!("{kind} {name}"), [&[kind.into()], &cells[..]].concat())
    };
    let limits = found.limits.iter().map(|it| {
        let name = format!("{} {} {} {}", it.policy, it.scope, it.shadow, it.summary);
        row("limit", name, usage::limit_row(it).to_vec())
    });
    let of_instances = found.instances.iter().flat_map(|instance| {
        let name = usage::name(instance);
        let operations = instance.operations.iter().map({
            let name = name.clone();
            move |it| {
                row("operation", format!("{name} {}", it.operation), usage::operation_row(&name, it, wide))
            }
        });
        let limits = instance.limits.iter().map({
            let name = name.clone();
            move |it| {
                let of = format!("{name} {} {} {} {}", it.policy, it.scope, it.shadow, it.summary);
                let cells = std::iter::once(name.clone().into()).chain(usage::limit_row(it));
                row("limit", of, cells.collect())
            }
        });
        let pools = instance
            .pools
            .iter()
            .map(move |it| row("pool", format!("{name} {}", it.name), usage::pool_row(&name, it).to_vec()));
        limits.chain(operations).chain(pools)
    });
    limits.chain(of_instances).collect()
}

/// Those that are not as they were known. What is gone is forgotten.
fn news(known: &mut HashMap<String, Vec<Text>>, rows: Vec<Row>) -> Vec<Vec<Text>> {
    let changed = rows.iter().filter(|(name, row)| known.get(name) != Some(row));
    let changed = changed.map(|(_, row)| row.clone()).collect();
    *known = rows.into_iter().collect();
    changed
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::{InstanceUsage, LimitUsage, OperationStats, PoolUsage};

    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(fitted(lines(3), 3), ["0", "1", "2"]);
        assert_eq!(fitted(lines(5), 3), ["0", "1", "  and 3 more lines"]);
        assert_eq!(fitted(lines(5), 0), ["  and 5 more lines"]);
        assert_eq!(fitted(Vec::new(), 0), Vec::<String>::new());
    }

    #[test]
    fn a_line_is_printed_only_where_something_changes() {
        let mut found = GetUsageResponse {
            limits: vec![LimitUsage { policy: "own-lists".into(), ..LimitUsage::default() }],
            instances: vec![InstanceUsage {
                limits: Vec::new(),
                service: "orders".into(),
                instance_id: "i-1".into(),
                operations: vec![OperationStats {
                    operation: "charge-card".into(),
                    ..OperationStats::default()
                }],
                pools: vec![PoolUsage { name: "database".into(), ..PoolUsage::default() }],
                policy_revision: 1,
            }],
            next_page_token: String::new(),
        };
        let mut known = HashMap::new();
        let mut kinds = |found: &GetUsageResponse| {
            let news = news(&mut known, rows(found, false));
            news.iter().map(|row| format!("{} {}", row[0].plain, row[1].plain)).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&found), ["limit own-lists", "operation orders/i-1", "pool orders/i-1"]);
        found.instances[0].policy_revision = 2;
        assert_eq!(kinds(&found), Vec::<String>::new());
        found.limits[0].refused += 1;
        found.instances[0].pools[0].waiting += 1;
        assert_eq!(kinds(&found), ["limit own-lists", "pool orders/i-1"]);
    }
}
