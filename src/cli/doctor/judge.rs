//! What is right and what is wrong, judged from what was seen alone.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use seaworthy_client::proto::seaworthy::v1::{
    CheckOutcome, DependencyKind, GetStatusResponse, HealthState, ReadinessCheck, Service,
};

use super::{finding::Finding, fleet::Unheard};
use crate::{cli::render::when, system::readiness::Outcome, text::counted};

/// Clocks that differ by this mislead whoever compares times.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);
/// An answer that takes longer is not what an idle network gives.
const SLOW_ANSWER: Duration = Duration::from_secs(1);
/// A bound is near from this share of it, in percent.
const NEAR: u64 = 80;
/// Names that are shown before it says that there are more.
const SHOWN: usize = 5;

/// Whether it answered as quickly as one may expect.
pub(super) fn answer(took: Duration) -> Finding {
    let (id, title, found) = ("reach.answer", "control plane answers", format!("within {}", shown(took)));
    if took < SLOW_ANSWER {
        return Finding::pass(id, title, found);
    }
    Finding::warn(id, title, found, "look at the network between, and at the load of both machines")
}

/// Whether both ends are of one release.
pub(super) fn versions(server: &str, own: &str) -> Finding {
    let (id, title) = ("version.match", "versions match");
    let both = format!("the control plane is {server}, this program {own}");
    let (Some(theirs), Some(ours)) = (parts(server), parts(own)) else {
        return Finding::warn(id, title, both, "use a released version of both");
    };
    if theirs == ours {
        let found = if server == own { format!("both are {own}") } else { both };
        return Finding::pass(id, title, found);
    }
    if theirs.0 != ours.0 {
        let found = format!("{both}: they need not understand each other");
        return Finding::fail(id, title, found, format!("use this program in version {server}"));
    }
    if theirs > ours {
        let found = format!("{both}, and does not show what is new there");
        return Finding::warn(id, title, found, format!("update this program to {server}"));
    }
    let found = format!("{both}, and may ask for what is not there yet (UNIMPLEMENTED)");
    Finding::warn(
        id,
        title,
        found,
        format!("update the control plane to {own}, or use this program in {server}"),
    )
}

/// Major and minor; what comes after them changes nothing that the other end could see.
fn parts(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether both clocks show the same. The question was sent at `sent` by the own clock; when it was
/// answered within the round trip nobody knows, so only what is beyond that counts.
pub(super) fn clocks(server: Option<SystemTime>, sent: SystemTime, round_trip: Duration) -> Finding {
    let (id, title) = ("clock.difference", "clocks agree");
    let Some(server) = server else {
        let found = "the control plane does not tell its time";
        return Finding::warn(id, title, found, "update it: this program is newer");
    };
    let own = sent + round_trip / 2;
    let (ahead, apart) = match server.duration_since(own) {
        Ok(ahead) => ("ahead of", ahead),
        Err(behind) => ("behind", behind.duration()),
    };
    let found = format!("the control plane's is {} {ahead} this one's", shown(apart));
    if apart.saturating_sub(round_trip / 2) < CLOCK_DIFFERENCE {
        return Finding::pass(id, title, found);
    }
    let remedy = "run a time service (chrony, systemd-timesyncd) on both machines: ages and times in tables \
                  and logs are off by that";
    Finding::warn(id, title, found, remedy)
}

/// A check of the control plane's own report.
pub(super) fn folded(check: &ReadinessCheck) -> Finding {
    let outcome = match check.outcome() {
        CheckOutcome::Pass => Outcome::Pass,
        // What a newer server says and is not known here is no reason to be at ease.
        CheckOutcome::Warn | CheckOutcome::Unspecified => Outcome::Warn,
        CheckOutcome::Fail => Outcome::Fail,
    };
    Finding::new(&check.id, &check.title, outcome, check.message.as_str(), check.hint.as_str())
}

/// Bounds that are near.
pub(super) fn limits(status: &GetStatusResponse) -> Vec<Finding> {
    vec![
        limit(
            ("limits.connections", "connections have room"),
            (status.connections, status.max_connections, "connections of the gRPC port"),
            "raise grpc.max_connections, or find out who opens so many: seaworthy_connections on /metrics",
        ),
        limit(
            ("limits.open_files", "open files have room"),
            (status.open_files, status.max_open_files, "files and sockets"),
            "raise the limit of open files (LimitNOFILE= of systemd, ulimit -n) and start it again",
        ),
    ]
}

fn limit((id, title): (&str, &str), (used, most, what): (u64, u64, &str), remedy: &str) -> Finding {
    if most == 0 {
        return Finding::pass(id, title, format!("{used} {what}, no bound is known"));
    }
    let outcome = match used {
        _ if used >= most => Outcome::Fail,
        _ if used.saturating_mul(100) >= most.saturating_mul(NEAR) => Outcome::Warn,
        _ => Outcome::Pass,
    };
    Finding::new(id, title, outcome, format!("{used} of at most {most} {what}"), remedy)
}

/// How the fleet is.
pub(super) fn fleet(services: &[Service], unheard: Unheard) -> Vec<Finding> {
    vec![
        needs(services),
        confirmed(unheard),
        protection(services),
        dependencies(services),
        specifications(services),
        circles(services),
    ]
}

fn needs(services: &[Service]) -> Finding {
    let (id, title) = ("fleet.services", "services have what they need");
    let below = |service: &&Service| {
        service.counts.unwrap_or_default().available < service.required_available
            || service.health() == HealthState::Unhealthy
    };
    let short: Vec<String> = services
        .iter()
        .filter(below)
        .map(|service| {
            let available = service.counts.unwrap_or_default().available;
            format!("{} ({available} of {} needed)", service.name, service.required_available)
        })
        .collect();
    if let [first, ..] = short.as_slice() {
        let name = first.split(' ').next().unwrap_or_default();
        let found = format!("{} of {} have not: {}", short.len(), services.len(), list(&short));
        return Finding::fail(id, title, found, format!("see why: `seaworthy health {name}`"));
    }
    let unwell: Vec<String> =
        services.iter().filter(|it| it.health() != HealthState::Healthy).map(|it| it.name.clone()).collect();
    if let [name, ..] = unwell.as_slice() {
        let found = format!("all have, but {} not well: {}", are(unwell.len()), list(&unwell));
        return Finding::warn(id, title, found, format!("see why: `seaworthy health {name}`"));
    }
    let found = match services.len() {
        0 => "nobody is registered".to_owned(),
        many => format!("all of {}", counted(many as u64, "service")),
    };
    Finding::pass(id, title, found)
}

fn are(many: usize) -> String {
    if many == 1 { "1 is".to_owned() } else { format!("{many} are") }
}

fn confirmed(unheard: Unheard) -> Finding {
    let (id, title) = ("fleet.confirmed", "instances were heard since the start");
    let Unheard { instances, of, more } = unheard;
    if instances == 0 && more {
        let found =
            format!("the first {of} of unknown health were, and there are more that were not looked at");
        return Finding::warn(id, title, found, "see them all: `seaworthy fleet list --health unknown`");
    }
    if instances == 0 {
        return Finding::pass(id, title, "all of them");
    }
    let many = counted(instances as u64, "instance");
    let found = format!(
        "{many}{} not yet heard since the control plane was started",
        if more { " or more" } else { "" }
    );
    let remedy =
        "wait for one lease (15s unless an instance asked for another): who is not heard then is lost";
    Finding::warn(id, title, found, remedy)
}

fn protection(services: &[Service]) -> Finding {
    let (id, title) = ("fleet.protection", "nothing large was lost at once");
    let lost = |service: &Service| {
        let protection = service.protection.as_ref()?;
        let instances = counted(protection.protected_instances.into(), "instance");
        let end = when::stamp(protection.end_time.as_ref());
        Some((service.name.clone(), format!("{} ({instances}, to {end})", service.name)))
    };
    let (names, lost): (Vec<String>, Vec<String>) = services.iter().filter_map(lost).unzip();
    let Some(name) = names.first() else {
        return Finding::pass(id, title, "nobody is under protection");
    };
    let found = format!("lost together, and protected from removal for so long: {}", list(&lost));
    let remedy = format!(
        "look for what they share, the network rather than they: `seaworthy explain {name}`; who is not heard by \
         then is removed"
    );
    Finding::warn(id, title, found, remedy)
}

fn dependencies(services: &[Service]) -> Finding {
    let (id, title) = ("fleet.dependencies", "services that others need are known");
    let known: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let mut missing = Vec::new();
    for service in services {
        for needed in service.spec.iter().flat_map(|spec| &spec.depends_on) {
            let hard = needed.kind() != DependencyKind::Soft;
            if hard && !known.contains(needed.service.as_str()) {
                missing.push(format!("{} (needed by {})", needed.service, service.name));
            }
        }
    }
    if missing.is_empty() {
        return Finding::pass(id, title, "all of them");
    }
    let remedy = "start it, correct the name, or let it be needed softly only";
    Finding::warn(id, title, format!("nobody has registered {}", list(&missing)), remedy)
}

fn specifications(services: &[Service]) -> Finding {
    let (id, title) = ("fleet.specifications", "specifications agree with what versions declare");
    let differing: Vec<String> = services
        .iter()
        .filter(|service| !service.disagreements.is_empty())
        .map(|service| format!("{} ({})", service.name, service.disagreements.join(", ")))
        .collect();
    if differing.is_empty() {
        return Finding::pass(id, title, "they do");
    }
    let remedy = "the operator's counts: put it anew with `seaworthy service put`, delete it, or deploy a version \
                  that declares the same";
    Finding::warn(id, title, list(&differing), remedy)
}

fn circles(services: &[Service]) -> Finding {
    let (id, title) = ("fleet.circles", "no services need each other in a circle");
    let circles: BTreeSet<String> = services
        .iter()
        .filter(|service| !service.dependency_circle.is_empty())
        .map(|service| {
            let mut names = service.dependency_circle.clone();
            names.sort_unstable();
            names.join(" and ")
        })
        .collect();
    if circles.is_empty() {
        return Finding::pass(id, title, "there is none");
    }
    let circles: Vec<String> = circles.into_iter().collect();
    Finding::warn(
        id,
        title,
        list(&circles),
        "let one of them need another only softly: `seaworthy service put`",
    )
}

/// The first few, and how many more.
fn list(names: &[String]) -> String {
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A span in the unit that fits: `850µs`, `12ms`, `1.5s`.
pub(super) fn shown(span: Duration) -> String {
    let wire = prost_types::Duration::try_from(span).ok();
    when::measured(wire.as_ref()).unwrap_or_else(|| format!("{span:?}"))
}

#[cfg(test)]
mod tests;
