//! Why a service is as it is: how many instances work and how many are needed, which of them pull it
//! down, and what it needs. Pure.
//!
//! What is to be said of a service beside its health belongs into [`arithmetic`] or beside it.

use std::time::SystemTime;

use super::{
    cause::{About, Cause, Explanation, Role, explanation},
    crowd::Share,
    instance,
    needs::{self, Known, Needing},
    words::{at, names},
};
use crate::{
    fleet::{
        lifecycle::Lifecycle,
        names::{InstanceId, InstanceKey},
        snapshot::{Instance, Service},
    },
    health::State,
    text::counted,
};

/// What was found out about a service.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) service: Service,
    pub(super) shares: Vec<Share>,
    /// Instances that are not healthy and in no share.
    pub(super) others: usize,
    /// The first of each share, if it was still there.
    pub(super) leaders: Vec<Option<Instance>>,
    pub(super) known: Known,
    pub(super) near: Near,
}

/// What is nearly wrong with healthy instances.
#[derive(Debug, Default)]
pub(super) struct Near {
    pub(super) causes: Vec<Cause>,
    /// Whether there are instances that were not looked at.
    pub(super) unseen: bool,
}

/// The explanation.
pub(super) fn explain(facts: Facts, now: SystemTime) -> Explanation {
    let Facts { service, shares, others, leaders, known, near } = facts;
    let about = About::Service(service.name.clone());
    let state = service.health.state;
    let mut below = Vec::new();
    below.extend(shortage(&service));
    for (share, leader) in shares.iter().zip(&leaders) {
        below.extend(told(&service, share, leader.as_ref(), now));
    }
    if others > 0 {
        let others = counted(others as u64, "more instance");
        below.push(Cause::context(about.clone(), format!("and {others} not healthy")));
    }
    below.extend(circle(&service));
    let root = state != State::Healthy && !below.iter().any(|cause| cause.root);
    let needing = Needing { name: &service.name, spec: &service.spec, state, since: service.health_changed };
    let needs = needs::chain(needing, &known, now);
    below.extend(none_to_spare(&service));
    below.extend(near.causes);
    if near.unseen {
        below
            .push(Cause::context(about.clone(), "not every instance was looked at for what is nearly wrong"));
    }
    below.extend(needs);
    let head = Cause {
        depth: 0,
        about,
        role: if state == State::Healthy { Role::Context } else { Role::Cause },
        state: Some(state),
        since: Some(service.health_changed),
        text: arithmetic(&service),
        root,
        instances: service.counts.total,
        step: None,
    };
    let headline = headline(&service, &below, now);
    let mut causes = vec![head];
    causes.extend(below);
    explanation(headline, state, Some(service.health_changed), causes)
}

/// `2 of 5 instances available, 3 needed; 1 lost, 1 starting`.
fn arithmetic(service: &Service) -> String {
    let counts = &service.counts;
    if counts.total == 0 {
        return "no instances are registered".to_owned();
    }
    let total = counted(counts.total.into(), "instance");
    let mut text =
        format!("{} of {total} available, {} needed", counts.available, service.required_available);
    for (count, word) in [
        (counts.lost, "lost"),
        (counts.starting, "starting"),
        (counts.leaving, "leaving on purpose"),
        (counts.unconfirmed, "not yet heard since the control plane started"),
    ] {
        if count > 0 {
            text.push_str(&format!("; {count} {word}"));
        }
    }
    text
}

/// What no instance is to blame for: too few are registered, or they leave on purpose.
fn shortage(service: &Service) -> Vec<Cause> {
    let (counts, name) = (&service.counts, &service.name);
    let needed = service.required_available.max(1);
    let short = counts.available < needed;
    let about = || About::Service(name.clone());
    let mut found = Vec::new();
    if counts.total < needed {
        let text = match counts.total {
            0 if service.required_available == 0 => "nobody is registered".to_owned(),
            0 => format!("nobody is registered, {needed} needed"),
            total => format!("only {} registered, {needed} needed", counted(total.into(), "instance")),
        };
        let step = match counts.total {
            0 => format!("start instances of {name}, or see why they do not register"),
            _ => format!("start more instances of {name}, or ask for fewer in its budget"),
        };
        found.push(Cause {
            role: Role::Cause,
            root: true,
            step: Some(step),
            ..Cause::context(about(), text)
        });
    }
    if counts.leaving > 0 {
        let leaving = counted(counts.leaving.into(), "instance");
        let text = format!("{leaving} leaving on purpose (lame_duck, draining or stopping), not available");
        let blamed = short && counts.available + counts.leaving >= needed;
        let step =
            format!("wait for those that replace the leaving ones: `seaworthy fleet list --service {name}`");
        found.push(Cause {
            role: if blamed { Role::Cause } else { Role::Context },
            root: blamed,
            step: blamed.then_some(step),
            instances: counts.leaving,
            ..Cause::context(about(), text)
        });
    }
    found
}

/// That it works, and that the next loss is one too many.
fn none_to_spare(service: &Service) -> Option<Cause> {
    let (counts, name) = (&service.counts, &service.name);
    let needed = service.required_available.max(1);
    (counts.total > 1 && counts.available == needed).then(|| {
        let text = format!("none to spare: the next one that fails makes {name} unhealthy");
        Cause { role: Role::NearlyWrong, ..Cause::context(About::Service(name.clone()), text) }
    })
}

/// One share, and what is behind it in the first of its instances.
fn told(service: &Service, share: &Share, leader: Option<&Instance>, now: SystemTime) -> Vec<Cause> {
    let blamed = match service.health.state {
        State::Healthy => false,
        State::Degraded => !share.is_excused(),
        State::Unhealthy | State::Unknown => !share.is_available(),
    };
    let mut chain = match leader {
        Some(leader) => instance::chain(leader, now),
        None => Vec::new(),
    };
    let first = share.first.first();
    if chain.is_empty() {
        // It has gone meanwhile; what was seen of it is told all the same.
        let Some(id) = first else { return Vec::new() };
        let key = InstanceKey { service: service.name.clone(), id: id.clone() };
        chain.push(Cause {
            depth: 0,
            role: Role::Cause,
            state: Some(share.state),
            text: share.cause.clone(),
            root: true,
            ..Cause::context(About::Instance(key), "")
        });
    }
    let head = &mut chain[0];
    head.since = Some(share.since);
    head.instances = share.count;
    if share.count > 1 {
        let shown = share.first.iter().map(InstanceId::as_str);
        let names = names(shown, share.count as usize - share.first.len());
        head.text = format!("{} instances ({names}): {}", share.count, head.text);
        if let Some(cause) = chain.iter_mut().rfind(|cause| cause.step.is_some()) {
            let alike = match share.lifecycle {
                Lifecycle::Lost => format!("; {} in all are lost", share.count),
                _ => format!("; {} in all say the same", share.count),
            };
            cause.step.as_mut().into_iter().for_each(|step| step.push_str(&alike));
        }
    }
    let place = |cause: Cause| if blamed { cause.below(1) } else { cause.below(1).aside() };
    chain.into_iter().map(place).collect()
}

/// That it is in a circle of hard dependencies, which nobody can start or stop in order.
fn circle(service: &Service) -> Option<Cause> {
    let names: Vec<&str> = service.circle.iter().map(|name| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let text = format!("hard dependencies join these to a circle: {}", names.join(", "));
        Cause::context(About::Service(service.name.clone()), text)
    })
}

fn headline(service: &Service, below: &[Cause], now: SystemTime) -> String {
    let (name, state) = (&service.name, service.health.state);
    let need = needed(below, now);
    if state == State::Healthy {
        return match (need, below.iter().find(|cause| cause.role == Role::NearlyWrong)) {
            (Some(need), _) => format!("{name} is healthy by itself; {need}"),
            (None, Some(near)) => format!("{name} is healthy; nearly wrong: {}", said(near)),
            (None, None) => format!("{name} is healthy; nothing to explain"),
        };
    }
    let since = at(service.health_changed, now);
    let mut text = format!("{name} is {state} since {since}: {}", arithmetic(service));
    // The instances speak for themselves only while their own cause counts.
    let blamed = below.iter().find(|cause| cause.role == Role::Cause && cause.depth == 1);
    if let Some(blamed) = blamed.filter(|_| service.counts.total > 0) {
        text.push_str(&format!("; {}", said(blamed)));
    }
    if let Some(need) = need {
        text.push_str(&format!("; {need}"));
    }
    text
}

/// The dependency at the root, as part of a sentence.
pub(super) fn needed(causes: &[Cause], now: SystemTime) -> Option<String> {
    let is_need = |cause: &&Cause| {
        cause.root
            && matches!(cause.role, Role::Likely | Role::NearlyWrong)
            && matches!(cause.about, About::Service(_))
    };
    let need = causes.iter().find(is_need)?;
    let About::Service(name) = &need.about else { return None };
    let what = if need.depth == 1 { "which it needs" } else { "which is needed further down" };
    let how = match (need.state, need.since) {
        (Some(state), Some(since)) => format!("is {state} since {}", at(since, now)),
        _ => "is not known to anybody".to_owned(),
    };
    Some(match need.role {
        Role::Likely => format!("{name}, {what}, {how} and is a likely cause"),
        Role::Cause | Role::NearlyWrong | Role::Context => format!("{name}, {what}, {how}"),
    })
}

/// A cause with its name, as part of a sentence.
fn said(cause: &Cause) -> String {
    match &cause.about {
        About::Instance(key) if cause.instances < 2 => format!("{}: {}", key.id, cause.text),
        About::Component(key, name) => format!("component {name} of {}: {}", key.id, cause.text),
        About::Instance(_) | About::Service(_) | About::Fleet => cause.text.clone(),
    }
}
