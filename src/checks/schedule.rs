//! Which check runs when: a plain value that time is passed to, so that it can be tested without any.
//!
//! Each check first runs after a part of its interval that follows from its name, so that those of a fleet
//! that registers at once spread out, and then at the interval, give or take a tenth. What is due waits in
//! line (`line`) for a place among all and for one of the few at its address; a name is looked up first, in a
//! place of its own, and then waits for the address. A check is in line or runs once at the most: what would
//! have been due meanwhile is left out, never made up for.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::line::{Lane, Line, Place, Ticket};
use crate::{
    fleet::{lifecycle::is_checked, names::InstanceKey, registration::ActiveCheck, snapshot::Instance},
    peer::Peer,
    probe::{Host, Kind},
    time::Mono,
};

/// An interval is this much shorter or longer at the most: one part in so many.
const JITTER: u64 = 10;
/// Times that lie in the heap beyond those that count, before it is tidied.
const SPARE: usize = 4096;

/// One check of one incarnation, for as long as it is kept up. Never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct JobId(u64);

/// A run of a check.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) key: InstanceKey,
    pub(super) incarnation: u64,
    /// Position of the component.
    pub(super) component: usize,
    pub(super) check: Arc<ActiveCheck>,
    /// Where the registration came from.
    pub(super) peer: Option<IpAddr>,
    /// The address of the name that is to be asked, once that was looked up for this run.
    pub(super) settled: Option<IpAddr>,
    /// Since when it should have run.
    pub(super) wanted: Mono,
    ticket: Ticket,
}

/// What the end of a run says of who was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// There was one, good or bad.
    Given,
    /// There was none in time.
    Missing,
    /// It was not asked.
    NotAsked,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Idle,
    InLine,
    Running,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    stage: Stage,
    /// When the next run is due; `armed`: the heap says so too.
    planned: Mono,
    armed: bool,
    /// Whether it was answered when it was asked last; None: it never was.
    answers: Option<bool>,
    seed: u64,
    runs: u64,
}

#[derive(Debug)]
struct Watched {
    incarnation: u64,
    jobs: Vec<JobId>,
    /// The reading in which it was last seen.
    seen: u64,
}

/// What runs when.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: HashMap<JobId, Entry>,
    instances: HashMap<InstanceKey, Watched>,
    due: BinaryHeap<Reverse<(Mono, JobId)>>,
    line: Line,
    kept: [u64; Kind::ALL.len()],
    next_id: u64,
    next_instance: u64,
    reading: u64,
}

impl Schedule {
    // === what the fleet says ===

    /// Takes an instance as it is now; answers the checks that are no longer kept up.
    pub(super) fn follow(&mut self, now: Mono, instance: &Instance) -> Vec<JobId> {
        let registration = &instance.registration;
        let checked = is_checked(instance.lifecycle)
            && registration.components.iter().any(|component| component.check.is_some());
        if !checked {
            return self.forget(&registration.key);
        }
        if let Some(watched) = self.instances.get_mut(&registration.key)
            && watched.incarnation == instance.incarnation
        {
            watched.seen = self.reading;
            return Vec::new();
        }
        let gone = self.forget(&registration.key);
        let peer = instance.peer.parse::<SocketAddr>().ok().map(|peer| peer.ip().to_canonical());
        let number = self.next_instance;
        self.next_instance += 1;
        let mut jobs = Vec::new();
        for (component, declared) in registration.components.iter().enumerate() {
            let Some(check) = &declared.check else { continue };
            let id = JobId(self.next_id);
            self.next_id += 1;
            let ticket = Ticket {
                id,
                instance: number,
                peer: peer.map(Peer::of),
                place: place(&check.host, peer),
                lane: Lane::Slow,
                slow: true,
            };
            let seed = seed(&registration.key, declared.name.as_str());
            let planned = now + part(check.interval, seed);
            let job = Job {
                id,
                key: registration.key.clone(),
                incarnation: instance.incarnation,
                component,
                check: Arc::new((**check).clone()),
                peer,
                settled: None,
                wanted: planned,
                ticket,
            };
            self.kept[check.ask.kind() as usize] += 1;
            let entry = Entry { job, stage: Stage::Idle, planned, armed: true, answers: None, seed, runs: 0 };
            self.entries.insert(id, entry);
            self.due.push(Reverse((planned, id)));
            jobs.push(id);
        }
        let watched = Watched { incarnation: instance.incarnation, jobs, seen: self.reading };
        self.instances.insert(registration.key.clone(), watched);
        gone
    }

    /// An instance is not checked any more; answers its checks. A run that is under way ends by itself.
    pub(super) fn forget(&mut self, key: &InstanceKey) -> Vec<JobId> {
        let Some(watched) = self.instances.remove(key) else { return Vec::new() };
        for id in &watched.jobs {
            if let Some(entry) = self.entries.remove(id) {
                self.kept[entry.job.check.ask.kind() as usize] -= 1;
                self.line.forget(&entry.job.ticket);
            }
        }
        if self.due.len() > 2 * self.entries.len() + SPARE {
            let entries = &self.entries;
            self.due.retain(|Reverse((_, id))| entries.contains_key(id));
        }
        watched.jobs
    }

    /// The whole fleet is about to be read: who is not seen until its end is not there.
    pub(super) fn begin_reading(&mut self) {
        self.reading += 1;
    }

    /// The whole fleet was read; answers the checks of those who are not there any more.
    pub(super) fn end_reading(&mut self) -> Vec<JobId> {
        let unseen = self.instances.iter().filter(|(_, watched)| watched.seen < self.reading);
        let unseen: Vec<InstanceKey> = unseen.map(|(key, _)| key.clone()).collect();
        unseen.iter().flat_map(|key| self.forget(key)).collect()
    }

    // === what time says ===

    /// When something is due next that is not in line yet.
    pub(super) fn next(&self) -> Option<Mono> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Puts in line what is due.
    pub(super) fn due(&mut self, now: Mono) {
        while let Some(Reverse((at, id))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.armed = false;
            // Otherwise somebody wanted it just now: that is the run that was due.
            if entry.stage == Stage::Idle {
                self.line.push(entry.enter(at, false));
            }
        }
    }

    /// Puts checks of an incarnation in line as wanted, out of the lane in which they wait, unless they run
    /// already. Answers those whose end is to be waited for; none: they are not kept up.
    pub(super) fn hasten(
        &mut self,
        now: Mono,
        key: &InstanceKey,
        incarnation: u64,
        components: &[usize],
    ) -> Vec<JobId> {
        let Some(watched) = self.instances.get(key).filter(|it| it.incarnation == incarnation) else {
            return Vec::new();
        };
        let mut wanted = Vec::new();
        for id in &watched.jobs {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            if !components.contains(&entry.job.component) {
                continue;
            }
            match entry.stage {
                Stage::Idle => self.line.push(entry.enter(now, true)),
                Stage::InLine if entry.job.ticket.lane != Lane::Wanted => {
                    self.line.take_out(&entry.job.ticket);
                    entry.job.ticket.lane = Lane::Wanted;
                    self.line.push(entry.job.ticket.clone());
                }
                Stage::InLine | Stage::Running => {}
            }
            wanted.push(*id);
        }
        wanted
    }

    /// The next one that may start, while fewer than `most` run. It ends by [`Schedule::finish`] or
    /// [`Schedule::settle`].
    pub(super) fn start(&mut self, most: usize) -> Option<Job> {
        while let Some(ticket) = self.line.start(most) {
            if let Some(entry) = self.entries.get_mut(&ticket.id) {
                entry.stage = Stage::Running;
                return Some(entry.job.clone());
            }
            self.line.ended(&ticket);
        }
        None
    }

    /// A run has found out which address it has to ask, and waits for its turn there.
    pub(super) fn settle(&mut self, job: &Job, ip: IpAddr) {
        self.line.ended(&job.ticket);
        if let Some(entry) = self.entries.get_mut(&job.id) {
            entry.stage = Stage::InLine;
            entry.job.settled = Some(ip);
            entry.job.ticket.place = Place::Address(ip);
            self.line.push_first(entry.job.ticket.clone());
        }
    }

    /// A run has ended; answers how many were left out because it took so long, by kind.
    pub(super) fn finish(&mut self, job: &Job, answer: Answer, now: Mono) -> [u64; Kind::ALL.len()] {
        self.line.ended(&job.ticket);
        let mut skipped = [0; Kind::ALL.len()];
        let Some(entry) = self.entries.get_mut(&job.id) else { return skipped };
        entry.stage = Stage::Idle;
        match answer {
            Answer::Given => entry.answers = Some(true),
            Answer::Missing => entry.answers = Some(false),
            Answer::NotAsked => {}
        }
        if entry.armed {
            // It ran between two times that were planned; the next one stands.
            return skipped;
        }
        entry.runs += 1;
        let interval = jittered(job.check.interval, entry.seed, entry.runs);
        let mut next = entry.planned + interval;
        if next <= now {
            let late = now.since(next).as_millis() / interval.as_millis().max(1) + 1;
            let late = u32::try_from(late).unwrap_or(u32::MAX);
            skipped[job.check.ask.kind() as usize] += u64::from(late);
            next = next + interval.saturating_mul(late);
        }
        (entry.planned, entry.armed) = (next, true);
        self.due.push(Reverse((next, job.id)));
        skipped
    }

    /// How many checks are kept up, by kind.
    pub(super) fn counts(&self) -> [u64; Kind::ALL.len()] {
        self.kept
    }
}

impl Entry {
    /// Begins to wait for a run; answers how.
    fn enter(&mut self, since: Mono, wanted: bool) -> Ticket {
        self.stage = Stage::InLine;
        let job = &mut self.job;
        (job.wanted, job.settled) = (since, None);
        job.ticket.place = place(&job.check.host, job.peer);
        job.ticket.slow = self.answers != Some(true);
        job.ticket.lane = match self.answers {
            _ if wanted => Lane::Wanted,
            Some(true) => Lane::Quick,
            Some(false) | None => Lane::Slow,
        };
        job.ticket.clone()
    }
}

/// Where a check goes, before any name is looked up.
fn place(host: &Host, peer: Option<IpAddr>) -> Place {
    match (host, peer) {
        (Host::Ip(ip), _) => Place::Address(*ip),
        (Host::Peer, Some(ip)) => Place::Address(ip),
        (Host::Name(name), _) => Place::Name(name.as_str().into()),
        (Host::Peer, None) => Place::Nowhere,
    }
}

/// What tells a check from others, the same after a restart.
fn seed(key: &InstanceKey, component: &str) -> u64 {
    let hash = blake3::hash(format!("{key}/{component}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// A part of a duration, from nothing to all of it.
fn part(whole: Duration, seed: u64) -> Duration {
    whole.mul_f64(f64::from(u32::try_from(seed >> 32).unwrap_or(0)) / f64::from(u32::MAX))
}

/// An interval, a tenth shorter or longer at the most; another one for each run.
fn jittered(interval: Duration, seed: u64, run: u64) -> Duration {
    // Steps of the golden ratio: evenly spread, and no two checks in step.
    let step = seed.wrapping_add(run.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let most = millis / JITTER;
    let more = if most == 0 { 0 } else { (step >> 16) % (2 * most + 1) };
    Duration::from_millis((millis - most).saturating_add(more))
}
