//! Which check runs when: a plain value that time is passed to, so that it can be tested without any.
//!
//! Each check first runs after a part of its interval that follows from its name, so that those of a fleet
//! that registers at once spread out, and then at the interval, give or take a tenth. What is due waits in
//! line for a place among all and for one of the few at its address. A check is in line or runs once at the
//! most: what would have been due meanwhile is left out, never made up for.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    fleet::{lifecycle::is_checked, names::InstanceKey, registration::ActiveCheck, snapshot::Instance},
    probe::{Host, Kind},
    time::Mono,
};

/// Checks that run at one address at once.
pub(super) const PER_PLACE: usize = 2;
/// An interval is this much shorter or longer at the most: one part in so many.
const JITTER: u64 = 10;
/// Times that lie in the heap beyond those that count, before it is tidied.
const SPARE: usize = 4096;

/// One check of one incarnation, for as long as it is kept up. Never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct JobId(u64);

/// Where a check goes, as far as that is known before it runs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Place {
    Address(IpAddr),
    Name(String),
    /// The peer is not known: nothing will be asked.
    Nowhere,
}

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
    /// Since when it should have run.
    pub(super) wanted: Mono,
    place: Place,
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
    line: VecDeque<JobId>,
    /// In line, but for an address that has as many as it may have.
    parked: HashMap<Place, VecDeque<JobId>>,
    /// How many run at an address.
    places: HashMap<Place, usize>,
    running: usize,
    kept: [u64; Kind::ALL.len()],
    next_id: u64,
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
        let mut jobs = Vec::new();
        for (component, declared) in registration.components.iter().enumerate() {
            let Some(check) = &declared.check else { continue };
            let id = JobId(self.next_id);
            self.next_id += 1;
            let place = match (&check.host, &peer) {
                (Host::Ip(ip), _) | (Host::Peer, Some(ip)) => Place::Address(*ip),
                (Host::Name(name), _) => Place::Name(name.clone()),
                (Host::Peer, None) => Place::Nowhere,
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
                wanted: planned,
                place,
            };
            self.kept[check.ask.kind() as usize] += 1;
            self.entries.insert(id, Entry { job, stage: Stage::Idle, planned, armed: true, seed, runs: 0 });
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
                // It may have been called up for a place that nobody would take now.
                self.call_up(&entry.job.place);
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

    /// Puts in line what is due; answers how many runs were left out, by kind.
    pub(super) fn due(&mut self, now: Mono) -> [u64; Kind::ALL.len()] {
        let mut skipped = [0; Kind::ALL.len()];
        while let Some(Reverse((at, id))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.armed = false;
            match entry.stage {
                Stage::Idle => {
                    entry.stage = Stage::InLine;
                    entry.job.wanted = at;
                    self.line.push_back(id);
                }
                // Somebody wanted it just now: that is the run that was due.
                Stage::InLine | Stage::Running => skipped[entry.job.check.ask.kind() as usize] += 1,
            }
        }
        skipped
    }

    /// Puts checks of an incarnation at the head of the line, unless they are in it or run already.
    /// Answers those whose end is to be waited for; none: they are not kept up.
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
            if entry.stage == Stage::Idle {
                entry.stage = Stage::InLine;
                entry.job.wanted = now;
                self.line.push_front(*id);
            }
            wanted.push(*id);
        }
        wanted
    }

    /// The next one that may start, while fewer than `most` run.
    pub(super) fn start(&mut self, most: usize) -> Option<Job> {
        while self.running < most {
            let id = self.line.pop_front()?;
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let place = &entry.job.place;
            let there = self.places.get(place).copied().unwrap_or(0);
            if there >= PER_PLACE {
                self.parked.entry(place.clone()).or_default().push_back(id);
                continue;
            }
            self.places.insert(place.clone(), there + 1);
            self.running += 1;
            entry.stage = Stage::Running;
            return Some(entry.job.clone());
        }
        None
    }

    /// A run has ended; answers how many were left out because it took so long, by kind.
    pub(super) fn finish(&mut self, job: &Job, now: Mono) -> [u64; Kind::ALL.len()] {
        self.running = self.running.saturating_sub(1);
        match self.places.get_mut(&job.place) {
            Some(there) if *there > 1 => *there -= 1,
            _ => drop(self.places.remove(&job.place)),
        }
        self.call_up(&job.place);
        let mut skipped = [0; Kind::ALL.len()];
        let Some(entry) = self.entries.get_mut(&job.id) else { return skipped };
        entry.stage = Stage::Idle;
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

    /// Puts the next one that waits for an address back in line, where there is a place.
    fn call_up(&mut self, place: &Place) {
        let full = self.places.get(place).is_some_and(|there| *there >= PER_PLACE);
        let Some(parked) = self.parked.get_mut(place).filter(|_| !full) else { return };
        let entries = &self.entries;
        let next = std::iter::from_fn(|| parked.pop_front()).find(|id| entries.contains_key(id));
        if parked.is_empty() {
            self.parked.remove(place);
        }
        if let Some(next) = next {
            // At the head: it has waited already.
            self.line.push_front(next);
        }
    }

    /// How many checks are kept up, by kind.
    pub(super) fn counts(&self) -> [u64; Kind::ALL.len()] {
        self.kept
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        checks::testing::{INTERVAL, instance, key},
        fleet::lifecycle::Lifecycle,
    };

    fn address(number: usize) -> String {
        format!("10.0.{}.{}:1", number / 256, number % 256)
    }

    /// A schedule whose runs take as long as the test says.
    #[derive(Default)]
    struct Sim {
        schedule: Schedule,
        now: Mono,
        running: Vec<(Mono, Job)>,
        skipped: u64,
        most_running: usize,
        starts: BTreeMap<JobId, Vec<Mono>>,
    }

    impl Sim {
        fn step(&mut self, step: Duration, takes: Duration, most: usize) {
            self.now = self.now + step;
            let (ended, still): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.running).into_iter().partition(|(ends, _)| *ends <= self.now);
            self.running = still;
            for (_, job) in ended {
                self.skipped += self.schedule.finish(&job, self.now).iter().sum::<u64>();
            }
            self.skipped += self.schedule.due(self.now).iter().sum::<u64>();
            while let Some(job) = self.schedule.start(most) {
                self.starts.entry(job.id).or_default().push(self.now);
                self.running.push((self.now + takes, job));
            }
            self.most_running = self.most_running.max(self.running.len());
            self.check(most);
        }

        fn check(&self, most: usize) {
            assert!(self.running.len() <= most);
            let distinct: BTreeSet<JobId> = self.running.iter().map(|(_, job)| job.id).collect();
            assert_eq!(distinct.len(), self.running.len(), "one check runs twice");
            let mut places: HashMap<&Place, usize> = HashMap::new();
            for (_, job) in &self.running {
                *places.entry(&job.place).or_default() += 1;
            }
            assert!(places.values().all(|there| *there <= PER_PLACE), "{places:?}");
        }
    }

    #[test]
    fn ten_thousand_checks_spread_out_and_keep_their_interval() {
        let mut sim = Sim::default();
        for number in 0..10_000 {
            sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
        }
        let (step, takes) = (Duration::from_millis(10), Duration::from_millis(20));
        for _ in 0..3_500 {
            sim.step(step, takes, 128);
        }
        assert_eq!((sim.starts.len(), sim.skipped), (10_000, 0));
        // A thousand each second: no hundredth of one has more than a few times its share.
        let mut at_once: BTreeMap<Mono, usize> = BTreeMap::new();
        for starts in sim.starts.values() {
            assert!(starts[0] <= Mono::from_millis(10_020), "the first run is within the interval");
            for (before, after) in starts.iter().zip(&starts[1..]) {
                let pause = after.since(*before);
                assert!(
                    (Duration::from_millis(8_900)..=Duration::from_millis(11_100)).contains(&pause),
                    "{pause:?}"
                );
            }
            starts.iter().for_each(|start| *at_once.entry(*start).or_default() += 1);
        }
        assert!(at_once.values().all(|starts| *starts <= 40), "{:?}", at_once.values().max());
        assert!(sim.most_running < 128, "there was always room: {}", sim.most_running);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_everybody_still_gets_a_turn() {
        let mut sim = Sim::default();
        for number in 0..10_000 {
            sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
        }
        // 128 places and a second each: 128 of the 1,000 that are due each second.
        for _ in 0..1_000 {
            sim.step(Duration::from_millis(100), Duration::from_secs(1), 128);
        }
        assert_eq!(sim.most_running, 128);
        assert!(sim.schedule.line.len() <= 10_000, "each waits once: {}", sim.schedule.line.len());
        assert_eq!(sim.starts.len(), 10_000, "the line is in order, so nobody starves");
        assert!(sim.skipped > 10_000, "{}", sim.skipped);
    }

    #[test]
    fn one_address_has_two_at_once_and_holds_nobody_else_up() {
        let mut sim = Sim::default();
        sim.schedule.follow(sim.now, &instance(0, 60, "10.9.9.9:1"));
        sim.schedule.follow(sim.now, &instance(1, 1, "10.9.9.8:1"));
        let other = sim.schedule.instances[&key(1)].jobs[0];
        for _ in 0..4_000 {
            sim.step(Duration::from_millis(10), Duration::from_millis(900), 128);
        }
        assert!((3..=5).contains(&sim.starts[&other].len()), "{:?}", sim.starts[&other]);
        assert_eq!(sim.starts.len(), 61, "the line at the address moves on");
    }

    #[test]
    fn who_goes_after_being_called_up_passes_the_place_on() {
        let mut schedule = Schedule::default();
        let start = Mono::default();
        for number in 0..5 {
            schedule.follow(start, &instance(number, 1, "10.9.9.9:1"));
        }
        schedule.due(start + INTERVAL);
        let running = [schedule.start(9).unwrap(), schedule.start(9).unwrap()];
        assert!(schedule.start(9).is_none(), "the address has as many as it may have");
        // Both end, two others are called up in their places, and go before they start.
        for job in &running {
            schedule.finish(job, start + INTERVAL);
        }
        let called: Vec<InstanceKey> =
            schedule.line.iter().map(|id| schedule.entries[id].job.key.clone()).collect();
        assert_eq!(called.len(), 2);
        called.iter().for_each(|key| drop(schedule.forget(key)));
        assert!(schedule.start(9).is_some(), "the fifth waits for nobody");
    }

    #[test]
    fn the_lost_the_removed_and_the_replaced_are_not_checked() {
        let mut schedule = Schedule::default();
        let mut it = instance(0, 2, "10.0.0.1:1");
        let start = Mono::default();
        assert!(schedule.follow(start, &it).is_empty());
        let first = schedule.instances[&key(0)].jobs.clone();
        it.lifecycle = Lifecycle::Lost;
        assert_eq!(schedule.follow(start, &it), first);
        assert_eq!((schedule.counts(), schedule.entries.len()), ([0, 0, 0], 0));
        it.lifecycle = Lifecycle::Draining;
        schedule.follow(start, &it);
        let second = schedule.instances[&key(0)].jobs.clone();
        assert!(second.iter().all(|id| !first.contains(id)));
        assert!(schedule.hasten(start, &key(0), 2, &[0]).is_empty(), "another incarnation");
        it.incarnation = 2;
        assert_eq!(schedule.follow(start, &it), second);
        // Whoever is not there when the whole is read is gone.
        schedule.begin_reading();
        assert_eq!(schedule.end_reading().len(), 2);
        assert!(schedule.due(start + INTERVAL * 2).iter().sum::<u64>() == 0 && schedule.start(9).is_none());
    }

    #[test]
    fn a_run_that_is_wanted_now_is_joined_and_moves_no_other() {
        let mut schedule = Schedule::default();
        let start = Mono::default();
        schedule.follow(start, &instance(0, 1, "10.0.0.1:1"));
        let planned = schedule.next().unwrap();
        let wanted = schedule.hasten(start, &key(0), 1, &[0]);
        assert_eq!(schedule.hasten(start, &key(0), 1, &[0]), wanted, "in line already");
        let job = schedule.start(9).unwrap();
        assert_eq!(schedule.hasten(start, &key(0), 1, &[0]), wanted, "under way");
        assert!(schedule.start(9).is_none());
        schedule.finish(&job, start);
        assert_eq!(schedule.next(), Some(planned), "what was planned stands");
        // However often it is wanted, nothing piles up.
        for _ in 0..1_000 {
            schedule.hasten(start, &key(0), 1, &[0]);
            let job = schedule.start(9).unwrap();
            schedule.finish(&job, start);
        }
        assert_eq!((schedule.due.len(), schedule.line.len()), (1, 0));
    }

    #[test]
    fn an_hour_of_registering_anew_leaves_no_heap_behind() {
        let mut schedule = Schedule::default();
        let mut it = instance(0, 64, "10.0.0.1:1");
        for incarnation in 1..1_000 {
            it.incarnation = incarnation;
            schedule.follow(Mono::default(), &it);
        }
        assert!(schedule.due.len() <= 2 * 64 + SPARE + 64, "{}", schedule.due.len());
    }

    proptest! {
        /// Instances come, go and are asked for while checks run; in the end every check that is left runs.
        #[test]
        fn nobody_is_forgotten_in_line(
            steps in proptest::collection::vec((0_u8..8, 0_usize..6), 1..120),
            most in 1_usize..6,
        ) {
            let mut sim = Sim::default();
            let mut incarnation = 1;
            for (what, number) in steps {
                match what {
                    0 | 1 => {
                        incarnation += 1;
                        // All of them at two addresses.
                        let mut it = instance(number, 3, &address(number % 2));
                        it.incarnation = incarnation;
                        sim.schedule.follow(sim.now, &it);
                    }
                    2 => drop(sim.schedule.forget(&key(number))),
                    3 => {
                        let known = sim.schedule.instances.get(&key(number)).map(|it| it.incarnation);
                        if let Some(known) = known {
                            sim.schedule.hasten(sim.now, &key(number), known, &[0, 2]);
                        }
                    }
                    _ => sim.step(Duration::from_millis(700), Duration::from_millis(1_000), most),
                }
            }
            sim.starts.clear();
            for _ in 0..200 {
                sim.step(Duration::from_millis(700), Duration::from_millis(100), most);
            }
            for (id, entry) in &sim.schedule.entries {
                prop_assert!(sim.starts.contains_key(id), "{:?} in {:?}", id, entry.stage);
            }
            prop_assert!(sim.schedule.places.len() <= 2 && sim.schedule.parked.len() <= 2);
        }
    }
}
