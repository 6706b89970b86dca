//! The schedule, driven by a world of its own time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

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

    /// The first check of each of these instances has run so often at least.
    #[track_caller]
    fn have_run(&self, numbers: Range<usize>, times: usize) {
        for number in numbers {
            let starts = self.starts.get(&self.schedule.instances[&key(number)].jobs[0]);
            assert!(starts.is_some_and(|it| it.len() >= times), "{number}: {starts:?}");
        }
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
    sim.have_run(10..60, 5);
}

#[test]
fn whoever_has_many_leaves_a_place_for_who_comes_next() {
    let mut schedule = Schedule::default();
    let start = Mono::default();
    let many = |at| Host::Ip([10, 1, at, 1].into());
    for number in 0..200 {
        schedule.follow(start, &elsewhere(number, 1, "10.9.9.9:1", |_| many(u8::try_from(number).unwrap())));
    }
    // Never asked, then all of them answered the last time: the bound of their lane alone, of all places.
    for (answers, had) in [(false, 32), (true, 64)] {
        for entry in schedule.entries.values_mut() {
            entry.answers = Some(answers);
        }
        let (running, next) = loaded(&mut schedule, start + INTERVAL * if answers { 3 } else { 1 }, answers);
        assert_eq!(running.len(), had);
        assert!(next.is_some(), "{answers}: who comes next waits for nobody");
        for job in running.into_iter().chain(next) {
            schedule.finish(&job, Answer::Given, start);
        }
        schedule.forget(&key(200));
        while let Some(job) = schedule.start(128) {
            schedule.finish(&job, Answer::Given, start);
        }
    }
}

/// Starts all that may start of what is due, and then one of somebody else.
fn loaded(schedule: &mut Schedule, now: Mono, answers: bool) -> (Vec<Job>, Option<Job>) {
    schedule.due(now);
    let running = std::iter::from_fn(|| schedule.start(128)).collect();
    schedule.follow(now, &instance(200, 1, "10.9.9.8:1"));
    let id = schedule.instances[&key(200)].jobs[0];
    schedule.entries.get_mut(&id).unwrap().answers = Some(answers);
    schedule.due(now + INTERVAL);
    (running, schedule.start(128))
}

#[test]
fn those_who_answer_leave_turns_to_those_who_do_not() {
    let mut sim = Sim::default();
    let answers = |number: usize| number < 400;
    for number in 0..420 {
        sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
    }
    // Who answers could use five times the places that there are.
    let takes = |job: &Job| Duration::from_millis(if answers(key_number(&job.key)) { 900 } else { 1_000 });
    for _ in 0..3_000 {
        sim.pass(Duration::from_millis(100), 8, takes);
    }
    sim.have_run(400..420, 5);
}

#[test]
fn those_who_answer_leave_turns_to_who_is_wanted() {
    let mut sim = Sim::default();
    for number in 0..400 {
        sim.schedule.follow(sim.now, &instance(number, 1, &address(number)));
    }
    let takes = |_: &Job| Duration::from_millis(900);
    for _ in 0..1_500 {
        sim.pass(Duration::from_millis(100), 8, takes);
    }
    assert_eq!(sim.starts.len(), 400, "all of them have answered");
    for number in 0..20 {
        let id = sim.schedule.instances[&key(number)].jobs[0];
        let (before, runs) = (sim.starts[&id].len(), sim.running.iter().any(|(_, job)| job.id == id));
        sim.schedule.hasten(sim.now, &key(number), 1, &[0]);
        for _ in 0..20 {
            sim.pass(Duration::from_millis(100), 8, takes);
        }
        assert!(runs || sim.starts[&id].len() > before, "{number} waits with the others");
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
        assert!(sim.starts.get(&id).is_some_and(|it| it.len() >= 2), "{number}: {:?}", sim.starts.get(&id));
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
fn who_is_wanted_now_passes_those_who_wait() {
    let mut schedule = Schedule::default();
    let start = Mono::default();
    for number in 0..50 {
        schedule.follow(start, &instance(number, 1, &address(number)));
    }
    schedule.due(start + INTERVAL);
    let mut running: Vec<Job> = std::iter::from_fn(|| schedule.start(4)).collect();
    assert_eq!(running.len(), 2, "who was never asked has half of the places");
    let last = (0..50).find(|number| running.iter().all(|job| job.key != key(*number))).unwrap();
    schedule.hasten(start + INTERVAL, &key(last), 1, &[0]);
    let wanted = schedule.start(4).expect("a place is left to who is wanted");
    assert_eq!(wanted.key, key(last));
    // It waits nowhere else any more.
    let mut started = BTreeSet::new();
    running.push(wanted);
    while let Some(job) = running.pop() {
        assert!(started.insert(job.id), "{} runs twice", job.key);
        schedule.finish(&job, Answer::Given, start + INTERVAL);
        running.extend(std::iter::from_fn(|| schedule.start(4)));
    }
    assert_eq!(started.len(), 50);
}

#[test]
fn who_is_wanted_now_passes_those_who_wait_for_its_address() {
    let mut schedule = Schedule::default();
    let start = Mono::default();
    for number in 0..20 {
        schedule.follow(start, &instance(number, 1, "10.9.9.9:1"));
    }
    schedule.due(start + INTERVAL);
    let first = schedule.start(9).unwrap();
    assert!(schedule.start(9).is_none(), "the others wait for the address");
    let last = (0..20).rev().find(|number| first.key != key(*number)).unwrap();
    schedule.hasten(start + INTERVAL, &key(last), 1, &[0]);
    assert!(schedule.start(9).is_none(), "being wanted makes no place there");
    let mut passed = 0;
    let mut running = first;
    while running.key != key(last) {
        schedule.finish(&running, Answer::Missing, start + INTERVAL);
        running = schedule.start(9).expect("the line at the address moves on");
        passed += 1;
    }
    assert!(passed <= 3, "{passed} ran before it: the lanes take turns");
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
