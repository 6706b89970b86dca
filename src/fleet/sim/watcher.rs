//! Followers of a watch: slow, interrupted, resumed, reset. Whenever one has caught up, it holds exactly
//! what a get returns.

use std::collections::BTreeMap;

use super::{letter::Event, world::World};
use crate::{
    fleet::{
        changes::{Change, TooFarBehind},
        lifecycle::Lifecycle,
        names::{InstanceKey, ServiceName},
        reading::Reading,
        snapshot::{Instance, Revision, Service},
        state::State,
    },
    health::{Verdict, rollup::Counts},
};

/// How much it reads under one hold of the lock: little, so that a reading has many pieces.
const HOLD: usize = 5;
/// Turns in which even the slowest one catches up with a fleet that is quiet.
const TURNS: usize = 2_000;

/// What is known of an instance: all but figures that every report moves.
type Known = (u64, Revision, Lifecycle, Verdict, bool, bool, Vec<Verdict>);

#[derive(Debug, Default, PartialEq)]
struct Mirror {
    instances: BTreeMap<InstanceKey, Known>,
    services: BTreeMap<ServiceName, (Verdict, Counts, u64)>,
}

#[derive(Debug)]
enum Stage {
    /// Not connected: it knows up to here, of this run of the control plane.
    Away(Option<(String, Revision)>),
    Reading(String, Reading),
    Following(String, Revision),
}

#[derive(Debug)]
pub(super) struct Watcher {
    only: Option<ServiceName>,
    /// Milliseconds between two looks, at the most.
    pace: u64,
    stage: Stage,
    mirror: Mirror,
    /// How often it had to start over, and how often it was compared.
    pub(super) resets: u64,
    pub(super) compared: u64,
}

impl Watcher {
    pub(super) fn new(only: Option<ServiceName>, pace: u64) -> Self {
        Self { only, pace, stage: Stage::Away(None), mirror: Mirror::default(), resets: 0, compared: 0 }
    }
}

impl World {
    pub(super) fn watch(&mut self, at: usize) -> Result<(), String> {
        let pause = self.dice.millis(1..self.watchers[at].pace);
        let now = self.now();
        self.plan(now + pause, Event::Watcher(at));
        let (turns, leaves) = (1 + self.dice.below(4), self.dice.chance(20));
        for _ in 0..turns {
            self.turn(at)?;
        }
        if leaves {
            let stage = &mut self.watchers[at].stage;
            *stage = match std::mem::replace(stage, Stage::Away(None)) {
                Stage::Following(epoch, revision) => Stage::Away(Some((epoch, revision))),
                // Who stops half way starts over.
                Stage::Reading(..) => Stage::Away(None),
                away @ Stage::Away(_) => away,
            };
        }
        Ok(())
    }

    /// Reads to the end, and compares.
    pub(super) fn catch_up(&mut self, at: usize) -> Result<(), String> {
        let before = self.watchers[at].compared;
        for _ in 0..TURNS {
            self.turn(at)?;
            if self.watchers[at].compared > before {
                return Ok(());
            }
        }
        Err(format!("watcher {at} does not catch up"))
    }

    fn turn(&mut self, at: usize) -> Result<(), String> {
        let Some(plane) = &self.plane else { return Ok(()) };
        let handle = &plane.handle;
        let Watcher { only, stage, mirror, resets, compared, .. } = &mut self.watchers[at];
        let epoch = handle.boot_epoch().to_owned();
        let start_over = |mirror: &mut Mirror, resets: &mut u64, epoch: String| {
            *mirror = Mirror::default();
            *resets += 1;
            Stage::Reading(epoch, handle.reading(only.clone()))
        };
        let next = match std::mem::replace(stage, Stage::Away(None)) {
            // Its stream ended with the process.
            Stage::Following(of, revision) if of != epoch => Stage::Away(Some((of, revision))),
            Stage::Reading(of, _) if of != epoch => Stage::Away(None),
            Stage::Away(Some((of, revision))) if of == epoch => Stage::Following(of, revision),
            Stage::Away(_) => start_over(mirror, resets, epoch),
            Stage::Reading(of, mut reading) => {
                let part = reading.read_on(&handle.shared.state.read(), handle.shared.clock.now(), HOLD);
                match part {
                    Err(TooFarBehind) => start_over(mirror, resets, of),
                    Ok(part) => {
                        for change in &part.changes {
                            mirror.apply(change)?;
                        }
                        part.services.iter().for_each(|service| mirror.service(service));
                        for instance in &part.instances {
                            mirror.instance(instance)?;
                        }
                        match part.complete {
                            Some(revision) => Stage::Following(of, revision),
                            None => Stage::Reading(of, reading),
                        }
                    }
                }
            }
            Stage::Following(of, revision) => match handle.changes_after(revision, only.as_ref(), 3) {
                Err(TooFarBehind) => start_over(mirror, resets, of),
                Ok((looked, changes)) => {
                    for (_, change) in &changes {
                        mirror.apply(change)?;
                    }
                    Stage::Following(of, looked)
                }
            },
        };
        if let Stage::Following(_, revision) = &next {
            let state = handle.shared.state.read();
            if *revision == state.revision() {
                *compared += 1;
                let shown = Mirror::of(&state, handle, only.as_ref())?;
                if *mirror != shown {
                    return Err(format!("watcher {at} holds {mirror:?}, a get returns {shown:?}"));
                }
            }
        }
        self.watchers[at].stage = next;
        Ok(())
    }
}

impl Mirror {
    fn of(state: &State, handle: &crate::fleet::Handle, only: Option<&ServiceName>) -> Result<Self, String> {
        let mut mirror = Self::default();
        let now = handle.shared.clock.now();
        for group in state.groups().values().filter(|group| only.is_none_or(|only| *only == group.name)) {
            mirror.service(&group.snapshot());
            for member in group.members.values() {
                mirror.instance(&member.snapshot(now))?;
            }
        }
        Ok(mirror)
    }

    fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Instance(instance) => return self.instance(instance),
            Change::Service(service) => self.service(service),
            Change::Removed(tombstone) => {
                let gone = self.instances.remove(&tombstone.key);
                gone.ok_or_else(|| format!("{} goes, and was not there", tombstone.key))?;
            }
            Change::ServiceRemoved(name) => {
                let gone = self.services.remove(name);
                gone.ok_or_else(|| format!("{name} goes, and was not there"))?;
            }
        }
        Ok(())
    }

    fn instance(&mut self, it: &Instance) -> Result<(), String> {
        let parts = it.components.iter().map(|part| part.health.clone()).collect();
        let health = it.health.clone();
        let known = (it.incarnation, it.revision, it.lifecycle, health, it.confirmed, it.attached, parts);
        let key = &it.registration.key;
        match self.instances.insert(key.clone(), known) {
            Some(before) if before.1 > it.revision => {
                Err(format!("{key} goes back from revision {}", before.1))
            }
            _ => Ok(()),
        }
    }

    fn service(&mut self, it: &Service) {
        self.services.insert(it.name.clone(), (it.health.clone(), it.counts, it.spec_revision));
    }
}
