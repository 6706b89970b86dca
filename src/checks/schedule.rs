//! Which check runs when: a plain value that time is passed to, so that it can be tested without any.
//!
//! Each check first runs after a part of its interval that follows from its name, so that those of a fleet
//! that registers at once spread out, and then at the interval, give or take a tenth. What is due waits in
//! line (`line`) for a place among all and for one of the few at its address; a name is looked up first, in a
//! place of its own, and then waits for the address. A check is in line or runs once at the most: what would
//! have been due meanwhile is left out, never made up for.

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
    probe::{Host, Kind, permit::Peer},
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

    /// Puts checks of an incarnation in line as wanted, unless they are in it or run already. Answers those
    /// whose end is to be waited for; none: they are not kept up.
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
                self.line.push(entry.enter(now, true));
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        checks::{
            line::PER_PLACE,
            testing::{INTERVAL, instance, key},
        },
        fleet::lifecycle::Lifecycle,
    };

    fn address(number: usize) -> String {
        format!("10.0.{}.{}:1", number / 256, number % 256)
    }

    fn key_number(key: &InstanceKey) -> usize {
        key.id.as_str()[2..].parse().unwrap()
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
            self.pass(step, most, |_| takes);
        }

        /// As `step`, where each run takes as long as it takes.
        fn pass(&mut self, step: Duration, most: usize, takes: impl Fn(&Job) -> Duration) {
            self.now = self.now + step;
            let (ended, still): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.running).into_iter().partition(|(ends, _)| *ends <= self.now);
            self.running = still;
            for (_, job) in ended {
                let in_time = takes(&job) < job.check.timeout;
                let answer = if in_time { Answer::Given } else { Answer::Missing };
                self.skipped += self.schedule.finish(&job, answer, self.now).iter().sum::<u64>();
            }
            self.schedule.due(self.now);
            while let Some(job) = self.schedule.start(most) {
                if matches!((&job.check.host, job.settled), (Host::Name(_), None)) {
                    // All names mean one address, and are looked up at once.
                    self.schedule.settle(&job, [10, 7, 7, 7].into());
                    continue;
                }
                self.starts.entry(job.id).or_default().push(self.now);
                self.running.push((self.now + takes(&job), job));
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
                *places.entry(&job.ticket.place).or_default() += 1;
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
        // 128 places, and most of a second each: far fewer than the 1,000 that are due each second. Those that
        // were never asked have half of them until there are others.
        for _ in 0..2_000 {
            sim.step(Duration::from_millis(100), Duration::from_millis(900), 128);
        }
        assert_eq!(sim.most_running, 128);
        assert_eq!(sim.starts.len(), 10_000, "the line is in order, so nobody starves");
        assert!(sim.skipped > 10_000, "{}", sim.skipped);
    }

    #[test]
    fn one_address_has_two_at_once_and_holds_nobody_else_up() {
        let mut sim = Sim::default();
        sim.schedule.follow(sim.now, &instance(0, 60, "10.9.9.9:1"));
        sim.schedule.follow(sim.now, &instance(1, 1, "10.9.9.8:1"));
        let other = sim.schedule.instances[&key(1)].jobs[0];
        for _ in 0..8_000 {
            sim.step(Duration::from_millis(10), Duration::from_millis(900), 128);
        }
        assert!((7..=9).contains(&sim.starts[&other].len()), "{:?}", sim.starts[&other]);
        assert_eq!(sim.starts.len(), 61, "the line at the address moves on");
    }

    /// An instance with so many checks of this host.
    fn elsewhere(number: usize, components: usize, peer: &str, host: impl Fn(usize) -> Host) -> Instance {
        let mut it = instance(number, components, peer);
        let registration = Arc::get_mut(&mut it.registration).unwrap();
        for (at, component) in Arc::make_mut(&mut registration.components).iter_mut().enumerate() {
            component.check.as_mut().unwrap().host = host(at);
        }
        it
    }

    #[test]
    fn the_good_are_asked_in_time_beside_thousands_that_are_dead() {
        let mut sim = Sim::default();
        let is_good = |job: &Job| key_number(&job.key) < 200;
        let takes = |job: &Job| Duration::from_millis(if is_good(job) { 20 } else { 1_000 });
        for number in 0..5_200 {
            sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
        }
        for _ in 0..3_000 {
            sim.pass(Duration::from_millis(100), 128, takes);
        }
        for number in 0..200 {
            let id = sim.schedule.instances[&key(number)].jobs[0];
            let starts = &sim.starts[&id];
            let longest = starts.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap();
            assert!(longest < Duration::from_secs(15), "{number}: {longest:?}");
        }
        assert_eq!(sim.starts.len(), 5_200, "the dead are asked too");
    }

    #[test]
    fn who_gives_each_check_a_name_of_its_own_holds_nobody_else_up() {
        let mut sim = Sim::default();
        for number in 0..10 {
            let name = |at| Host::Name(format!("a{number}-{at}.example"));
            sim.schedule.follow(sim.now, &elsewhere(number, 64, "10.9.9.9:1", name));
        }
        for number in 10..60 {
            sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
        }
        let takes = |job: &Job| Duration::from_millis(if key_number(&job.key) < 10 { 9_900 } else { 20 });
        for _ in 0..600 {
            sim.pass(Duration::from_millis(100), 128, takes);
        }
        for number in 10..60 {
            let id = sim.schedule.instances[&key(number)].jobs[0];
            assert!(
                sim.starts.get(&id).is_some_and(|it| it.len() >= 5),
                "{number}: {:?}",
                sim.starts.get(&id)
            );
        }
    }

    #[test]
    fn neighbours_at_one_address_take_turns() {
        let mut sim = Sim::default();
        sim.schedule.follow(sim.now, &instance(0, 64, "10.9.9.9:1"));
        sim.schedule.follow(sim.now, &instance(1, 1, "10.9.9.9:2"));
        let neighbour = sim.schedule.instances[&key(1)].jobs[0];
        let takes = |job: &Job| Duration::from_millis(if key_number(&job.key) == 0 { 9_000 } else { 20 });
        for _ in 0..1_200 {
            sim.pass(Duration::from_millis(100), 128, takes);
        }
        assert!(sim.starts[&neighbour].len() >= 8, "{:?}", sim.starts[&neighbour]);
    }

    #[test]
    fn who_asks_for_checks_all_the_time_leaves_places_to_the_others() {
        let mut sim = Sim::default();
        for number in 0..200 {
            sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
        }
        let takes = |job: &Job| Duration::from_millis(if key_number(&job.key) < 100 { 900 } else { 20 });
        for _ in 0..400 {
            for number in 0..100 {
                sim.schedule.hasten(sim.now, &key(number), 1, &[0]);
            }
            sim.pass(Duration::from_millis(100), 8, takes);
        }
        for number in 100..200 {
            let id = sim.schedule.instances[&key(number)].jobs[0];
            assert!(
                sim.starts.get(&id).is_some_and(|it| it.len() >= 2),
                "{number}: {:?}",
                sim.starts.get(&id)
            );
        }
    }

    #[test]
    fn who_goes_after_being_called_up_passes_the_place_on() {
        let mut schedule = Schedule::default();
        let start = Mono::default();
        for number in 0..5 {
            schedule.follow(start, &instance(number, 1, "10.9.9.9:1"));
        }
        schedule.due(start + INTERVAL);
        let running = schedule.start(9).unwrap();
        assert!(schedule.start(9).is_none(), "the address has as many as it may have that were never asked");
        // One ends, another is called up in its place, and they all go but one before they start.
        schedule.finish(&running, Answer::Given, start + INTERVAL);
        for left in (0..5).filter(|number| running.key != key(*number)).take(3) {
            schedule.forget(&key(left));
        }
        assert!(schedule.start(9).is_some(), "the last waits for nobody");
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
        schedule.due(start + INTERVAL * 2);
        assert!(schedule.start(9).is_none());
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
        schedule.finish(&job, Answer::Given, start);
        assert_eq!(schedule.next(), Some(planned), "what was planned stands");
        // However often it is wanted, nothing piles up.
        for _ in 0..1_000 {
            schedule.hasten(start, &key(0), 1, &[0]);
            let job = schedule.start(9).unwrap();
            schedule.finish(&job, Answer::Given, start);
        }
        assert_eq!(schedule.due.len(), 1);
        assert!(schedule.start(9).is_none());
    }

    #[test]
    fn a_wanted_run_is_the_one_that_was_due_meanwhile() {
        let mut schedule = Schedule::default();
        schedule.follow(Mono::default(), &instance(0, 1, "10.0.0.1:1"));
        let planned = schedule.next().unwrap();
        schedule.hasten(Mono::default(), &key(0), 1, &[0]);
        let job = schedule.start(9).unwrap();
        schedule.due(planned);
        assert!(schedule.start(9).is_none());
        assert_eq!(schedule.finish(&job, Answer::Given, planned), [0; Kind::ALL.len()], "none was left out");
        assert!(schedule.next().unwrap() > planned);
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
        }
    }
}
