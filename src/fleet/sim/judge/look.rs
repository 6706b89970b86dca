//! Looks at the whole fleet after every step, and compares it with what must be.

use std::{collections::BTreeMap, time::Duration};

use super::{GRAIN, Judge, Life, Record, SILENT_INTERVALS, TICK, credit, credit_by, losses};
use crate::{
    fleet::{
        member::Member,
        names::InstanceKey,
        record,
        sim::{plane::Plane, recount},
        snapshot::Removal,
        state::State,
    },
    health::State as Health,
    store::simulated::Medium,
    time::{Mono, Now},
};

/// How often what is expensive is compared, in looks.
const SELDOM: u64 = 64;
/// How long registry and store may differ when nothing is on its way.
const DIFFER: Duration = Duration::from_secs(5);

impl Judge {
    /// Compares everything with what must be. `waiting`: somebody waits for something durable.
    pub(in crate::fleet::sim) fn look(
        &mut self,
        now: Mono,
        plane: &Plane,
        medium: &Medium,
        waiting: bool,
    ) -> Result<(), String> {
        self.looks += 1;
        self.losses.clear();
        self.protections.clear();
        self.replaced = 0;
        self.watch_disk(now, plane.engine.is_quiet());
        let shared = &plane.handle.shared;
        let state = shared.state.read();
        if state.revision() < self.revision {
            return Err(format!("revision {} came after {}", state.revision(), self.revision));
        }
        self.revision = state.revision();
        for group in state.groups().values() {
            for member in group.members.values() {
                let at = shared.clock.now();
                self.member(now, at, member)
                    .map_err(|what| format!("{}: {what}", member.registration.key))?;
            }
        }
        self.gone(now, &state)?;
        self.recount_waves(now)?;
        self.last_look = now;
        self.history(&state)?;
        recount::totals(&state)?;
        if self.looks.is_multiple_of(SELDOM) {
            self.agreement(now, &state, medium, !waiting && plane.engine.is_quiet())?;
        }
        Ok(())
    }

    fn member(&mut self, now: Mono, at: Now, member: &Member) -> Result<(), String> {
        let key = &member.registration.key;
        if !self.records.contains_key(key) {
            return Err("nobody ever registered it".into());
        }
        let incarnation = member.incarnation;
        self.appears(now, at, member)?;
        let Some(life) = self.records.get(key).and_then(|record| record.lives.get(&incarnation)) else {
            return Err(format!("incarnation {incarnation} was given to nobody"));
        };
        let since = life.heard.unwrap_or(self.booted);
        let heard = self.booted + member.lease.last_heard().since(Mono::default());
        if heard != since {
            let (heard, since) = (heard.as_millis(), since.as_millis());
            return Err(format!("last heard at {since}, but the registry says at {heard}"));
        }
        let (_, most) = self.credit(since);
        let silent = now.since(since);
        let lost = member.lost_since().map(|lost| self.booted + lost.since(Mono::default()));
        match lost {
            Some(lost)
                if !life.lost_now && lost.since(since) < life.ttl + credit_by(&self.stalls, since, lost) =>
            {
                let least = credit_by(&self.stalls, since, lost);
                return Err(format!(
                    "lost after {:?} of silence, of which {least:?} do not count",
                    lost.since(since)
                ));
            }
            None if self.judging && silent > life.ttl + TICK + most + GRAIN => {
                return Err(format!("still {:?} after {silent:?} of silence", member.lifecycle()));
            }
            _ => {}
        }
        let serves = member.health().state.serves();
        if (serves || member.confirmed()) && life.heard.is_none() {
            let health = member.health().state;
            return Err(format!("shown {health:?} without having been heard since the restart"));
        }
        if serves && lost.is_some() {
            return Err("shown healthy although it is lost".into());
        }
        let patience = life.report_interval.saturating_mul(SILENT_INTERVALS);
        for (part, reported) in life.reported.iter().enumerate() {
            let known = member.part(part).is_some_and(|verdict| verdict.state != Health::Unknown);
            match reported {
                None if known => return Err(format!("component {part} is known without a report")),
                Some(at) if known && self.judging => {
                    let (_, most) = self.credit(*at);
                    if now.since(*at) > patience + TICK + most + GRAIN {
                        return Err(format!(
                            "component {part} is known, and silent for {:?}",
                            now.since(*at)
                        ));
                    }
                }
                Some(at) if !known && now.since(*at) < patience + self.credit(*at).0 => {
                    return Err(format!(
                        "component {part} is unknown, and reported {:?} ago",
                        now.since(*at)
                    ));
                }
                _ => {}
            }
        }
        if lost.is_none() && member.lifecycle() != life.lifecycle {
            return Err(format!("shown {:?}, and it said {:?}", member.lifecycle(), life.lifecycle));
        }
        let looks = self.looks;
        self.record_of(key).looked = looks;
        self.lost_or_not(now, key, lost, member.protection().is_some())
    }

    /// An incarnation that was not there before.
    fn appears(&mut self, now: Mono, at: Now, member: &Member) -> Result<(), String> {
        let booted = self.booted;
        let shown = self.record_of(&member.registration.key).present;
        self.replaced += usize::from(shown.is_some_and(|shown| shown != member.incarnation));
        let record = self.record_of(&member.registration.key);
        let incarnation = member.incarnation;
        let mut is_adopted = false;
        if record.present == Some(incarnation) && record.lives.contains_key(&incarnation) {
            return Ok(());
        }
        record.begin_anew(incarnation);
        if incarnation < record.highest
            || (incarnation == record.highest && record.present.is_none() && !record.doubtful)
        {
            return Err(format!("incarnation {incarnation} came after {}", record.highest));
        }
        if !record.lives.contains_key(&incarnation) {
            if record.open == 0 && !record.doubtful {
                return Err(format!("incarnation {incarnation} came, and nobody had asked for it"));
            }
            let heard = booted + member.lease.last_heard().since(Mono::default());
            let heard = member.confirmed().then_some(heard.max(booted)).filter(|heard| *heard <= now);
            record.lives.insert(incarnation, Life::new(&member.snapshot(at), None, heard));
            is_adopted = true;
        }
        record.present = Some(incarnation);
        record.highest = incarnation;
        record.end_before(incarnation);
        if is_adopted {
            self.count("nobody was told");
        }
        Ok(())
    }

    /// Who is no longer there was removed for a reason.
    fn gone(&mut self, now: Mono, state: &State) -> Result<(), String> {
        let (looks, limits, booted) = (self.looks, self.limits, self.booted);
        let mut removals = Vec::new();
        for (key, record) in &mut self.records {
            let Some(incarnation) = record.present.filter(|_| record.looked != looks) else {
                if record.present.is_none() && state.grave(key).is_none() {
                    record.may_begin_anew = true;
                }
                continue;
            };
            record.present = None;
            let Some(life) = record.lives.get_mut(&incarnation) else { continue };
            life.ended = true;
            let Some(grave) = state.grave(key) else {
                return Err(format!("{key}: gone without a tombstone"));
            };
            removals.push((grave.tombstone.removal, life.protected.is_some(), life.unprotected.is_some()));
            match grave.tombstone.removal {
                Removal::Lost => {
                    let heard = life.heard.unwrap_or(booted);
                    let silent = now.since(heard);
                    let credit = credit(&self.stalls, heard).0;
                    // Its end and the removal may fall into one turn.
                    losses::protection_ends(&self.stalls, now, life)
                        .map_err(|what| format!("{key}: removed, {what}"))?;
                    if silent < life.ttl + limits.lost_removal + credit {
                        return Err(format!("{key}: removed as lost {silent:?} after it was heard"));
                    }
                }
                Removal::Deregistered | Removal::Operator if record.removal_asked => {}
                removal => return Err(format!("{key}: {removal:?}, and nobody had asked for it")),
            }
        }
        for (removal, ends, ended) in removals {
            self.replaced += 1;
            self.count(removal.as_str());
            if removal == Removal::Lost && ends {
                self.count("protection ended by itself");
            }
            if removal == Removal::Lost && (ends || ended) {
                self.count("removed after protection");
            }
        }
        Ok(())
    }

    /// Sequences of changes of health rise, over restarts too.
    fn history(&mut self, state: &State) -> Result<(), String> {
        let Some((sequence, newest)) = state.history().last_key_value() else { return Ok(()) };
        if newest.time > self.booted_wall && *sequence <= self.floor {
            return Err(format!("change of health {sequence} came after {}", self.floor));
        }
        self.newest_transition = self.newest_transition.max(*sequence);
        Ok(())
    }

    /// Registry and store hold the same when nothing is on its way.
    fn agreement(&mut self, now: Mono, state: &State, medium: &Medium, quiet: bool) -> Result<(), String> {
        let decoded = medium.entries(record::INSTANCES);
        let stored: Result<BTreeMap<InstanceKey, u64>, _> = decoded
            .iter()
            .map(|entry| {
                record::decode_instance(entry)
                    .map(|birth| (birth.registration.key.clone(), birth.incarnation))
            })
            .collect();
        let stored = stored.map_err(|error| error.to_string())?;
        let members = state.groups().values().flat_map(|group| group.members.values());
        let held = members.map(|member| (member.registration.key.clone(), member.incarnation)).collect();
        let buried = medium.entries(record::TOMBSTONES);
        let graves_differ = state.graves().iter().any(|grave| {
            !buried.iter().any(|entry| entry.key == record::tombstone_key(&grave.tombstone.key))
        });
        if stored == held && !graves_differ || !quiet {
            self.differ = None;
            return Ok(());
        }
        let since = *self.differ.get_or_insert(now);
        if now.since(since) > DIFFER {
            return Err(format!(
                "the store holds {stored:?}, the registry {held:?}; graves differ: {graves_differ}"
            ));
        }
        Ok(())
    }

    pub(super) fn record_of(&mut self, key: &InstanceKey) -> &mut Record {
        self.records.get_mut(key).expect("it was looked up before")
    }
}
