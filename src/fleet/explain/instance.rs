//! Why an instance is as it is: where it is in its life, or its components, followed down to those that
//! need no other one with a problem. Pure.
//!
//! What is to be said of one instance beside its health, or of one component, belongs here ([`facts`]);
//! what several instances share is `crowd`'s.

use std::{
    cmp::Reverse,
    time::{Duration, SystemTime},
};

use super::{
    cause::{About, Cause, Role},
    words::{age, at, cut},
};
use crate::{
    fleet::{
        lifecycle::Lifecycle,
        member::shown,
        registration::Component,
        snapshot::{ComponentHealth, Instance},
    },
    health::{
        State,
        component::{SILENT_INTERVALS, longest_wait},
        rollup::severity,
    },
};

/// What is said where nothing is wrong.
pub(super) const NOTHING: &str = "nothing is wrong with it";

/// The instance, and below it the components that have problems.
pub(super) fn chain(instance: &Instance, now: SystemTime) -> Vec<Cause> {
    let life = decided_by_life(instance, now);
    let mut parts = Parts::new(instance, life.is_none());
    parts.all();
    let found = parts.found;
    let sick = instance.health.state != State::Healthy;
    let root = sick && !found.iter().any(|part| part.root);
    let (text, step) = match life {
        Some((text, step)) => (text, Some(step)),
        None => (cut(&instance.health.cause), None),
    };
    let text = match (leaving(instance, now), text.as_str()) {
        (None, "") => NOTHING.to_owned(),
        (None, _) => text,
        (Some(leaving), "") => leaving,
        (Some(leaving), text) => format!("{leaving}; {text}"),
    };
    let head = Cause {
        depth: 0,
        about: About::Instance(instance.registration.key.clone()),
        role: if sick { Role::Cause } else { Role::Context },
        state: Some(instance.health.state),
        since: Some(since(instance)),
        text,
        root,
        instances: 1,
        step,
    };
    std::iter::once(head).chain(found).collect()
}

/// One component at the top, and below it those that it needs and that have problems too.
pub(super) fn component(instance: &Instance, at: usize) -> Vec<Cause> {
    let mut parts = Parts::new(instance, true);
    parts.follow(at, Role::Cause, 0);
    parts.found
}

/// Since when it is as it is.
pub(super) fn since(instance: &Instance) -> SystemTime {
    if instance.lifecycle == Lifecycle::Lost { instance.lifecycle_changed } else { instance.health_changed }
}

/// What its life says where that alone decides its health, and what to do.
fn decided_by_life(instance: &Instance, now: SystemTime) -> Option<(String, String)> {
    let key = &instance.registration.key;
    match instance.lifecycle {
        Lifecycle::Lost => {
            let heard = match instance.last_heard {
                Some(heard) => format!("{} was last heard at {}", key.id, at(heard, now)),
                None => format!("{} was not heard since the control plane started", key.id),
            };
            Some((
                format!("{}; {heard}", instance.health.cause),
                format!("see whether {key} still runs and reaches the control plane: {heard}"),
            ))
        }
        Lifecycle::Failed => Some((
            instance.health.cause.clone(),
            format!("read the log of {key}: it said itself that it failed, and has to be started again"),
        )),
        _ if !instance.confirmed => {
            let lease = shown(instance.registration.lease_ttl);
            Some((
                instance.health.cause.clone(),
                format!(
                    "wait for {key}: the control plane has just started, and it has its lease of {lease} to be heard"
                ),
            ))
        }
        _ => None,
    }
}

/// That it takes no new work, although it is heard.
fn leaving(instance: &Instance, now: SystemTime) -> Option<String> {
    let (word, since) = (instance.lifecycle.as_str(), at(instance.lifecycle_changed, now));
    match instance.lifecycle {
        Lifecycle::Ready | Lifecycle::Failed | Lifecycle::Lost => None,
        Lifecycle::Starting => Some(format!("starting since {since}, takes no work yet")),
        Lifecycle::LameDuck | Lifecycle::Draining | Lifecycle::Stopping | Lifecycle::Stopped => {
            Some(format!("{word} since {since}, takes no new work and does not count as available"))
        }
    }
}

/// The components of one instance, and those that were told already.
struct Parts<'a> {
    instance: &'a Instance,
    /// Whether components decide the state of the instance.
    decisive: bool,
    told: Vec<bool>,
    found: Vec<Cause>,
}

impl<'a> Parts<'a> {
    fn new(instance: &'a Instance, decisive: bool) -> Self {
        Self { instance, decisive, told: vec![false; instance.components.len()], found: Vec::new() }
    }

    fn get(&self, at: usize) -> Option<(&'a Component, &'a ComponentHealth)> {
        Some((self.instance.registration.components.get(at)?, self.instance.components.get(at)?))
    }

    fn is_sick(&self, at: usize) -> bool {
        let sick = |(declared, health): (&Component, &ComponentHealth)| {
            // That nothing is known of a part is no news where nothing is known of the whole.
            let known = self.decisive || health.health.state != State::Unknown;
            declared.reports_health() && known && health.health.state != State::Healthy
        };
        self.get(at).is_some_and(sick)
    }

    /// Whether it brought the state of the instance about: the same rule that the roll-up follows.
    fn decides(&self, at: usize) -> bool {
        let Some((declared, health)) = self.get(at) else { return false };
        self.decisive
            && self.is_sick(at)
            && match self.instance.health.state {
                State::Healthy => false,
                State::Degraded => true,
                state => declared.essential && health.health.state == state,
            }
    }

    /// Those with problems that this one needs, the worst first.
    fn needs(&self, at: usize) -> Vec<usize> {
        let needed = self.get(at).map(|(declared, _)| declared.depends_on.as_slice()).unwrap_or_default();
        let mut needed: Vec<usize> = needed.iter().copied().filter(|next| self.is_sick(*next)).collect();
        needed.sort_by_key(|next| self.urgency(*next));
        needed
    }

    fn urgency(&self, at: usize) -> (bool, Reverse<u8>, usize) {
        let essential = self.get(at).is_some_and(|(declared, _)| declared.essential);
        let state = self.get(at).map_or(State::Healthy, |(_, health)| health.health.state);
        (!essential, Reverse(severity(state)), at)
    }

    /// First what decides, from the top down, then the rest.
    fn all(&mut self) {
        let mut sick: Vec<usize> = (0..self.told.len()).filter(|at| self.is_sick(*at)).collect();
        sick.sort_by_key(|at| self.urgency(*at));
        let deciding: Vec<usize> = sick.iter().copied().filter(|at| self.decides(*at)).collect();
        let needed: Vec<usize> = deciding.iter().flat_map(|at| self.needs(*at)).collect();
        let tops = deciding.iter().filter(|at| !needed.contains(at));
        // Those in a wrong circle have no top.
        for at in tops.chain(&deciding) {
            self.follow(*at, Role::Cause, 1);
        }
        let needed: Vec<usize> = sick.iter().flat_map(|at| self.needs(*at)).collect();
        let tops = sick.iter().filter(|at| !needed.contains(at));
        for at in tops.chain(&sick) {
            self.follow(*at, Role::Context, 1);
        }
    }

    /// Tells one, and below it what it needs. Each is told once, so it ends even in a circle.
    fn follow(&mut self, at: usize, role: Role, depth: u32) {
        let Some((declared, health)) = self.get(at).filter(|_| !self.told[at]) else { return };
        self.told[at] = true;
        let key = &self.instance.registration.key;
        let needs = self.needs(at);
        let above: Vec<&str> = needs
            .iter()
            .filter(|next| self.told[**next])
            .filter_map(|next| Some(self.get(*next)?.0.name.as_str()))
            .collect();
        let mut text = facts(declared, health, self.decisive);
        if !above.is_empty() {
            text = format!("{text}; it needs {}, told above", above.join(", "));
        }
        let root = role == Role::Cause && needs.is_empty() && self.is_sick(at);
        let step = root.then(|| format!("look at component {} of {key} first", declared.name));
        self.found.push(Cause {
            depth,
            about: About::Component(key.clone(), declared.name.clone()),
            role: if self.is_sick(at) { role } else { Role::Context },
            state: Some(health.health.state),
            since: Some(health.changed),
            text,
            root,
            instances: 1,
            step,
        });
        for next in needs {
            self.follow(next, role, depth + 1);
        }
    }
}

/// What there is to know of a component, as a sentence.
fn facts(declared: &Component, health: &ComponentHealth, current: bool) -> String {
    let cause = match (health.health.cause.as_str(), health.health.state) {
        ("", State::Healthy) => NOTHING.to_owned(),
        ("", state) => format!("it says {state} and not why"),
        (cause, _) => cut(cause),
    };
    let mut facts = vec![if current { cause } else { format!("when it was last heard: {cause}") }];
    if declared.essential {
        facts.push("the instance is useless without it".to_owned());
    }
    if health.consecutive_failures > 1 {
        facts.push(format!("{} bad reports in a row", health.consecutive_failures));
    }
    let recovers = health.reported == Some(crate::health::component::Reported::Healthy)
        && matches!(health.health.state, State::Degraded | State::Unhealthy);
    if recovers {
        let pass = declared.thresholds.pass_needed(health.flapping);
        facts.push(format!("its last report is good, {pass} in a row make it healthy"));
    }
    facts.join("; ")
}

/// What is not wrong with an instance yet, and soon may be.
pub(super) fn nearly_wrong(instance: &Instance, now: SystemTime) -> Vec<Cause> {
    let mut found = Vec::new();
    if !instance.lifecycle.is_alive() || !instance.confirmed {
        return found;
    }
    let key = &instance.registration.key;
    let near = |about, state, text: String, step: String| Cause {
        role: Role::NearlyWrong,
        state: Some(state),
        step: Some(step),
        instances: 1,
        ..Cause::context(about, text)
    };
    let ttl = instance.registration.lease_ttl;
    let mut silence_told = false;
    if let Some(silent) =
        instance.last_heard.map(|heard| age(heard, now)).filter(|silent| *silent * 3 > ttl * 2)
    {
        found.push(near(
            About::Instance(key.clone()),
            instance.health.state,
            format!("not heard for {}; lost after {}", shown(silent), shown(ttl)),
            format!("see whether {key} still reaches the control plane"),
        ));
        silence_told = true;
    }
    for (declared, health) in instance.declared_components() {
        if !declared.reports_health() || health.health.state != State::Healthy {
            continue;
        }
        let about = || About::Component(key.clone(), declared.name.clone());
        let step = || format!("keep an eye on component {} of {key}", declared.name);
        let (bad, fail) = (health.consecutive_failures, declared.thresholds.fail.get());
        if let Some(leads_to) = health.leads_to {
            let towards = State::from(leads_to);
            let why =
                if health.message.is_empty() { String::new() } else { format!(": {}", cut(&health.message)) };
            found.push(near(
                about(),
                State::Healthy,
                format!("{bad} of {fail} bad reports towards {towards}{why}"),
                step(),
            ));
        }
        let patience = declared.report_interval * SILENT_INTERVALS;
        let silent = health.reported_at.map(|reported| age(reported, now));
        let soon = |silent: &Duration| !silence_told && *silent > declared.report_interval * 2;
        match (silent, &declared.check) {
            // Whoever is asked is not silent: it is the control plane that is late, whatever the lease says.
            (Some(silent), Some(check)) if silent > check.interval * 2 => {
                let longest = longest_wait(check.interval);
                let (since, interval) = (shown(silent), shown(check.interval));
                found.push(near(
                    about(),
                    State::Healthy,
                    format!(
                        "not asked for {since}, and due every {interval}; unknown after {}",
                        shown(longest)
                    ),
                    "see whether active checks wait for each other: seaworthy_active_check_delayed_total, \
                     checks.max_concurrent"
                        .to_owned(),
                ));
            }
            (Some(silent), None) if soon(&silent) => found.push(near(
                about(),
                State::Healthy,
                format!("no report for {}; unknown after {}", shown(silent), shown(patience)),
                step(),
            )),
            _ => {}
        }
    }
    found
}
