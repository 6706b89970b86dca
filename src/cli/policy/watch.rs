//! `seaworthy policy watch`: what there is, and then a line for whatever changes of it.
//!
//! The control plane sends all there is whenever something changes; what has changed is found here.

use std::{collections::BTreeMap, mem};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    BreakerOverride, Flag, Policy, WatchPoliciesRequest, WatchPoliciesResponse,
};

use crate::{
    cli::{
        Context,
        exit::Exit,
        failure::Failure,
        follow::{follow, until_interrupted},
        output::{Output, clean},
        render::{breaker, document::Contract, flag, instance::short, policy, when},
    },
    time::Clock,
};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Watch {}

/// Runs it.
pub(crate) async fn run(_: Watch, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let open = |_: &Known| {
        let mut client = remote.policy();
        async move { client.watch_policies(WatchPoliciesRequest {}).await }
    };
    let take = |known: &mut Known, response: WatchPoliciesResponse| match &contract {
        Some(contract) => output.object(&contract.document("WatchPoliciesResponse", &response)?),
        None => print(output, clock, &known.take(response)),
    };
    until_interrupted(follow(&remote, "watch policies", &mut Known::default(), open, take)).await?;
    Ok(Exit::Done)
}

/// What became of something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Became {
    /// It was there from the first.
    Present,
    Added,
    Changed,
    Removed,
}

/// A line of what is printed.
#[derive(Debug, Eq, PartialEq)]
struct Line {
    kind: &'static str,
    name: String,
    became: Became,
    says: String,
}

/// What was told last, each by its name.
#[derive(Debug, Default)]
struct Known {
    /// Whether anything was told yet.
    begun: bool,
    policies: BTreeMap<String, Policy>,
    flags: BTreeMap<String, Flag>,
    overrides: BTreeMap<String, BreakerOverride>,
}

impl Known {
    /// Takes all there is, and says what has changed.
    fn take(&mut self, response: WatchPoliciesResponse) -> Vec<Line> {
        let WatchPoliciesResponse { policies, flags, overrides, .. } = response;
        let first = !mem::replace(&mut self.begun, true);
        let policies = policies.into_iter().map(|it| (it.name.clone(), it)).collect();
        let flags = flags.into_iter().map(|it| (it.name.clone(), it)).collect();
        let overrides = overrides.into_iter().map(|it| {
            // How long it still holds is other each time, and no news.
            let it = BreakerOverride { ttl: None, ..it };
            (override_name(&it), it)
        });
        let overrides = overrides.collect();
        let mut lines = changes("policy", &self.policies, &policies, first, policy_says);
        lines.extend(changes("flag", &self.flags, &flags, first, flag::says));
        lines.extend(changes("override", &self.overrides, &overrides, first, override_says));
        (self.policies, self.flags, self.overrides) = (policies, flags, overrides);
        lines
    }
}

fn changes<T: PartialEq>(
    kind: &'static str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    first: bool,
    says: fn(&T) -> String,
) -> Vec<Line> {
    let line = |name: &String, became, says| Line { kind, name: name.clone(), became, says };
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| line(name, Became::Removed, String::new()));
    let news = after.iter().filter_map(|(name, it)| match before.get(name) {
        Some(old) if old == it => None,
        Some(_) => Some(line(name, Became::Changed, says(it))),
        None => Some(line(name, if first { Became::Present } else { Became::Added }, says(it))),
    });
    gone.chain(news).collect()
}

fn policy_says(it: &Policy) -> String {
    let shadow = if it.shadow { ", in shadow" } else { "" };
    let caller = if it.caller.is_empty() { String::new() } else { format!(" by {}", it.caller) };
    format!("{}{caller}{shadow}: {}", policy::about(it.target.as_ref()), policy::says(it))
}

/// `charge-card of orders/i-1`.
fn override_name(it: &BreakerOverride) -> String {
    let instance = if it.instance_id.is_empty() { String::new() } else { format!("/{}", it.instance_id) };
    format!("{} of {}{instance}", it.operation, it.service)
}

fn override_says(it: &BreakerOverride) -> String {
    let state = breaker::state(it.state()).plain;
    let until = when::stamp(it.expire_time.as_ref());
    let why = if it.message.is_empty() { String::new() } else { format!(": {}", it.message) };
    format!("{state} until {until}, by {}{why}", it.creator)
}

fn print(output: &mut Output, clock: Clock, lines: &[Line]) -> Result<(), Failure> {
    let now = when::clock(clock.now().wall);
    for Line { kind, name, became, says } in lines {
        let became = match became {
            Became::Present => "present",
            Became::Added => "added",
            Became::Changed => "changed",
            Became::Removed => "removed",
        };
        let says = clean(&short(says, output.is_wide()));
        output.line(format!("{now}  {kind:<8}  {:<28}  {became:<7}  {says}", clean(name)).trim_end())?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use seaworthy_client::proto::seaworthy::v1::BreakerState;

    use super::*;

    fn named(name: &str, shadow: bool) -> Policy {
        Policy { name: name.into(), shadow, ..Policy::default() }
    }

    fn forced(ttl: i64, state: BreakerState) -> BreakerOverride {
        BreakerOverride {
            service: "orders".into(),
            operation: "charge-card".into(),
            state: state.into(),
            expire_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ttl: Some(prost_types::Duration { seconds: ttl, nanos: 0 }),
            creator: "token:alice".into(),
            message: "the bank is down".into(),
            ..BreakerOverride::default()
        }
    }

    fn told(
        known: &mut Known,
        policies: Vec<Policy>,
        overrides: Vec<BreakerOverride>,
    ) -> Vec<(String, Became)> {
        let response = WatchPoliciesResponse { policies, overrides, ..WatchPoliciesResponse::default() };
        known
            .take(response)
            .into_iter()
            .map(|line| (format!("{} {}", line.kind, line.name), line.became))
            .collect()
    }

    #[test]
    fn all_there_is_comes_first_and_then_what_changed() {
        let mut known = Known::default();
        let policy = |name: &str, became| (format!("policy {name}"), became);
        assert_eq!(
            told(&mut known, vec![named("b", false), named("a", false)], Vec::new()),
            [policy("a", Became::Present), policy("b", Became::Present)]
        );
        assert_eq!(told(&mut known, vec![named("a", false), named("b", false)], Vec::new()), []);
        assert_eq!(
            told(&mut known, vec![named("b", true), named("c", false)], Vec::new()),
            [policy("a", Became::Removed), policy("b", Became::Changed), policy("c", Became::Added)]
        );
        // Nothing at first is something that was told.
        let mut known = Known::default();
        assert_eq!(told(&mut known, Vec::new(), Vec::new()), []);
        assert_eq!(told(&mut known, vec![named("a", false)], Vec::new()), [policy("a", Became::Added)]);
    }

    #[test]
    fn an_override_that_only_runs_on_is_no_news() {
        let mut known = Known::default();
        let name = "override charge-card of orders".to_owned();
        let open = BreakerState::ForcedOpen;
        assert_eq!(told(&mut known, Vec::new(), vec![forced(300, open)]), [(name.clone(), Became::Present)]);
        assert_eq!(told(&mut known, Vec::new(), vec![forced(200, open)]), []);
        let closed = forced(200, BreakerState::ForcedClosed);
        assert_eq!(told(&mut known, Vec::new(), vec![closed]), [(name.clone(), Became::Changed)]);
        assert_eq!(told(&mut known, Vec::new(), Vec::new()), [(name, Became::Removed)]);
    }

    #[test]
    fn each_kind_says_what_it_is() {
        let override_of = |instance: &str| BreakerOverride {
            instance_id: instance.into(),
            ..forced(1, BreakerState::ForcedOpen)
        };
        assert_eq!(override_name(&override_of("i-1")), "charge-card of orders/i-1");
        assert_eq!(
            override_says(&override_of("")),
            "forced_open until 2023-11-14T22:13:20Z, by token:alice: the bank is down"
        );
        let by_shop = Policy { caller: "shop".into(), ..named("a", true) };
        assert_eq!(policy_says(&by_shop), "everything by shop, in shadow: -");
        assert_eq!(policy_says(&named("a", false)), "everything: -");
        let mut known = Known::default();
        let flags = vec![Flag { name: "f".into(), default_variant: "off".into(), ..Flag::default() }];
        let lines = known.take(WatchPoliciesResponse { flags, ..WatchPoliciesResponse::default() });
        let line = Line { kind: "flag", name: "f".into(), became: Became::Present, says: "off".into() };
        assert_eq!(lines, [line]);
    }
}
