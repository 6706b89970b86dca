//! Counts the whole fleet from nothing, by rules of its own, and says whether a client is as it should be.

use std::collections::BTreeMap;

use super::client::Client;
use crate::{
    fleet::{Handle, lifecycle::Lifecycle, names::InstanceKey, state::State},
    health::{State as Health, rollup::Counts},
};

/// What is counted as it changes is what counting answers.
pub(super) fn totals(state: &State) -> Result<(), String> {
    let mut all = Counts::default();
    let mut names: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut services: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sessions = 0;
    for group in state.groups().values() {
        let mut counts = Counts::default();
        for member in group.members.values() {
            let (lifecycle, health) = (member.lifecycle(), member.health().state);
            for counts in [&mut counts, &mut all] {
                count(counts, lifecycle, health, member.confirmed());
                counts.protected += u32::from(member.protection().is_some());
            }
            *names.entry((lifecycle.as_str(), health.as_str())).or_default() += 1;
            sessions += u64::from(member.session.is_some());
        }
        if counts != *group.counts() {
            return Err(format!("{}: {:?} is kept, {counts:?} is counted", group.name, group.counts()));
        }
        let shown = group.snapshot().protection.map(|protection| (protection.instances, protection.ends));
        let ends = group.members.values().filter_map(|member| Some(member.protection()?.until)).max();
        let counted = ends.map(|ends| (counts.protected, ends));
        if shown != counted {
            return Err(format!("{}: protection {shown:?} is shown, {counted:?} is counted", group.name));
        }
        *services.entry(group.health().state.as_str()).or_default() += 1;
    }
    let totals = state.totals();
    let kept = (totals.services, totals.instances, totals.available, totals.lost, totals.sessions);
    let counted = (
        state.groups().len() as u64,
        u64::from(all.total),
        u64::from(all.available),
        u64::from(all.lost),
        sessions,
    );
    if kept != counted {
        return Err(format!("totals {kept:?} are kept, {counted:?} are counted"));
    }
    let kept = state.tally().instances();
    if !kept
        .iter()
        .copied()
        .eq(names.iter().map(|((lifecycle, health), count)| (*lifecycle, *health, *count)))
    {
        return Err(format!("{kept:?} are kept, {names:?} are counted"));
    }
    for health in [Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Unknown] {
        let (kept, counted) =
            (state.tally().services(health), services.get(health.as_str()).copied().unwrap_or_default());
        if kept != counted {
            return Err(format!("{kept} services are kept as {health:?}, {counted} are counted"));
        }
    }
    Ok(())
}

fn count(counts: &mut Counts, lifecycle: Lifecycle, health: Health, confirmed: bool) {
    use Lifecycle::{Draining, Failed, LameDuck, Lost, Ready, Starting, Stopped, Stopping};
    counts.total += 1;
    counts.alive += u32::from(!matches!(lifecycle, Stopped | Failed | Lost));
    let serves = matches!(health, Health::Healthy | Health::Degraded);
    match health {
        Health::Healthy => counts.healthy += 1,
        Health::Degraded => counts.degraded += 1,
        Health::Unhealthy => counts.unhealthy += 1,
        Health::Unknown => counts.unknown += 1,
    }
    match lifecycle {
        Ready if serves => counts.available += 1,
        Ready if !confirmed => counts.unconfirmed += 1,
        Starting => counts.starting += 1,
        Lost => counts.lost += 1,
        LameDuck | Draining | Stopping => counts.leaving += 1,
        Ready | Stopped | Failed => {}
    }
}

/// A client that has had the time for it is registered, heard and healthy.
pub(super) fn is_well(handle: &Handle, client: &Client, key: &InstanceKey) -> Result<(), String> {
    let instance = handle
        .instance(key)
        .map_err(|error| format!("{key} lives ({:?}), and is not known: {error}", client.stage))?;
    let incarnation = client.credentials.map(|credentials| credentials.incarnation);
    let known = (Some(instance.incarnation), instance.lifecycle, instance.health.state, instance.confirmed);
    if known != (incarnation, Lifecycle::Ready, Health::Healthy, true) {
        let stage = client.stage;
        return Err(format!(
            "{key} lives ({stage:?}, incarnation {incarnation:?}), and is shown as {known:?}"
        ));
    }
    Ok(())
}
