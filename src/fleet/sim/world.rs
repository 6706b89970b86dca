//! The world of one seed: what is in it, and what happens in it, one event after the other.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::sleep_until;

use super::{
    client::Client,
    dice::Dice,
    judge::Judge,
    letter::{Event, Who},
    network::Network,
    plane::{Asking, Plane},
    watcher::Watcher,
    weather::Weather,
};
use crate::{
    fleet::{registration::Registration, state::Limits},
    store::simulated::Medium,
    time::{Clock, Mono},
};

/// How long the first storm lasts at the least.
const FIRST_STORM: Duration = Duration::from_secs(120);

/// An id that a process can have.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) registration: Arc<Registration>,
    /// The process that is meant to have it.
    pub(super) current: Option<Who>,
}

impl Slot {
    pub(super) fn report_interval(&self) -> Duration {
        let first = self.registration.components.first();
        first.map_or(Duration::from_secs(10), |component| component.report_interval)
    }
}

/// Where and why a simulation failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failure {
    pub(super) step: u64,
    pub(super) at: Mono,
    pub(super) what: String,
}

pub(super) struct World {
    pub(super) dice: Dice,
    /// The weather of this seed, and the one that there is now.
    pub(super) storm: Weather,
    pub(super) weather: Weather,
    pub(super) disk_weather: Arc<Mutex<Weather>>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) medium: Medium,
    pub(super) plane: Option<Plane>,
    pub(super) asking: FuturesUnordered<Asking>,
    pub(super) clients: Vec<Client>,
    pub(super) slots: Vec<Slot>,
    pub(super) network: Network,
    pub(super) watchers: Vec<Watcher>,
    pub(super) judge: Judge,
    pub(super) steps: u64,
    /// What happened, as a number: the same seed comes to the same.
    pub(super) digest: DefaultHasher,
    /// The last things that happened, where somebody wants to read them.
    pub(super) story: Option<Vec<String>>,
    numbers: u64,
    plans: BTreeMap<(Mono, u64), Event>,
    /// Messages that are overdue come before anything else has its turn.
    pub(super) hurry: bool,
}

impl World {
    pub(super) fn new(seed: u64, storm: Weather, told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let limits = super::setting::limits(&mut dice);
        let slots = super::setting::slots(&mut dice);
        let watchers = super::setting::watchers(&mut dice, &slots);
        let mut world = Self {
            storm,
            weather: storm,
            disk_weather: Arc::new(Mutex::new(storm)),
            clock: Clock::start(),
            judge: Judge::new(limits),
            limits,
            medium: Medium::default(),
            plane: None,
            asking: FuturesUnordered::new(),
            clients: Vec::new(),
            slots,
            network: Network::default(),
            watchers,
            steps: 0,
            digest: DefaultHasher::new(),
            story: told.then(Vec::new),
            numbers: 0,
            plans: BTreeMap::new(),
            hurry: false,
            dice,
        };
        for slot in 0..world.slots.len() {
            let after = world.dice.millis(0..20_000);
            world.start(slot, after);
        }
        for watcher in 0..world.watchers.len() {
            world.plan(Mono::from_millis(1), Event::Watcher(watcher));
        }
        world.plan(Mono::from_millis(0), Event::Up);
        world.plan(Mono::from_millis(2), Event::Weather);
        let lasts = storm.storm(&mut world.dice).max(FIRST_STORM);
        world.plan(Mono::default() + lasts, Event::Calm);
        world
    }

    /// What happened, counted.
    pub(super) fn seen(&self) -> BTreeMap<&'static str, u64> {
        let mut seen = self.judge.seen.clone();
        let resets: u64 = self.watchers.iter().map(|watcher| watcher.resets).sum();
        let compared: u64 = self.watchers.iter().map(|watcher| watcher.compared).sum();
        seen.extend([("watcher reset", resets), ("watcher compared", compared)]);
        seen.retain(|_, count| *count > 0);
        seen
    }

    /// Since the world began.
    pub(super) fn now(&self) -> Mono {
        self.clock.mono()
    }

    pub(super) fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.clock.elapsed()
    }

    /// A number that nothing else in this world has.
    pub(super) fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn plan(&mut self, at: Mono, event: Event) {
        let number = self.fresh();
        self.plans.insert((at, number), event);
    }

    /// Lets so many things happen, and judges after each.
    pub(super) async fn run(&mut self, steps: u64) -> Result<(), Failure> {
        while self.steps < steps {
            self.step().await.map_err(|what| Failure { step: self.steps, at: self.now(), what })?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), String> {
        let Some((at, _)) = self.plans.keys().next().copied() else {
            return Err("nothing is left to happen".into());
        };
        if at > self.now() || !self.hurry {
            self.hurry = false;
            let until = self.clock.instant(at);
            tokio::select! {
                biased;
                Some(first) = self.asking.next(), if !self.asking.is_empty() => {
                    // Several are answered at one moment in no certain order: it is made one.
                    let mut all = vec![first];
                    while let Some(Some(next)) = self.asking.next().now_or_never() {
                        all.push(next);
                    }
                    all.sort_by_key(|(number, ..)| *number);
                    for (_, asked, outcome) in all {
                        self.steps += 1;
                        self.note(&(&asked, &outcome));
                        self.done(asked, outcome)?;
                    }
                    return self.judged();
                }
                () = sleep_until(until) => {}
            }
        }
        let Some((_, event)) = self.plans.pop_first() else { return Ok(()) };
        self.steps += 1;
        self.note(&event);
        match event {
            Event::Timer(from, timer) => self.timer(from, timer),
            Event::Arrives(message) => self.arrives(message)?,
            Event::Answered(to, answer) => self.answered(to, answer),
            Event::Watcher(watcher) => self.watch(watcher)?,
            Event::Weather => self.weather().await,
            Event::Heal(slot) => drop(self.network.cut.remove(&slot)),
            Event::Down => self.down(),
            Event::Up => self.up().await?,
            Event::Calm => self.calm(),
            Event::Settled => self.settled()?,
        }
        self.judged()
    }

    fn judged(&mut self) -> Result<(), String> {
        let Some(plane) = &self.plane else { return Ok(()) };
        let waiting = !self.asking.is_empty();
        self.judge.look(self.clock.mono(), plane, &self.medium, waiting)
    }

    fn note(&mut self, what: &impl std::fmt::Debug) {
        let now = self.now();
        if let Some(story) = &mut self.story {
            story.push(format!("{:>7} {:>9} {what:?}", self.steps, now.as_millis()));
        }
        now.hash(&mut self.digest);
        self.numbers.hash(&mut self.digest);
    }
}
