//! The world of one seed: what is in it, and what happens in it, one event after the other.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::{advance, sleep_until};

use super::{
    client::Client,
    dice::Dice,
    judge::Judge,
    letter::{Event, Message, Who},
    network::Network,
    plane::{Asking, Plane},
    watcher::Watcher,
    weather::{CALM, Weather},
};
use crate::{
    fleet::{registration::Registration, state::Limits},
    store::simulated::Medium,
    time::{Clock, Mono},
};

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
    hurry: bool,
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
        world.plan(Mono::from_millis(120_000), Event::Calm);
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

    /// Nothing runs for a while: the process, or the whole machine, stood still.
    pub(super) async fn stall(&mut self, lasts: Duration) {
        advance(lasts).await;
        self.judge.count("stall");
        self.judge.stalled(self.now(), lasts);
        // What arrived meanwhile is read before the timers are, or after.
        self.hurry = self.dice.chance(500);
    }

    /// The storm is over: what is broken heals, who is a ghost goes.
    fn calm(&mut self) {
        self.weather = CALM;
        *self.disk_weather.lock() = CALM;
        self.network.cut.clear();
        for who in 0..self.clients.len() {
            let slot = self.clients[who].slot;
            if self.slots[slot].current != Some(who) {
                self.kill(who);
            }
        }
        for slot in 0..self.slots.len() {
            let is_dead = self.slots[slot].current.is_none_or(|who| self.is_dead(who));
            if is_dead && self.dice.chance(500) {
                let after = self.dice.millis(0..5_000);
                self.start(slot, after);
            }
            if let Some(who) = self.slots[slot].current {
                self.clients[who].truth.fill(crate::health::component::Reported::Healthy);
            }
        }
        let now = self.now();
        self.plan(now, Event::Up);
        self.plan(now + super::HEALING, Event::Settled);
    }

    /// Everything has had the time to heal: whoever lives is known and well.
    fn settled(&mut self) -> Result<(), String> {
        let Some(plane) = &self.plane else { return Err("it does not run although all is calm".into()) };
        for slot in &self.slots {
            let Some(who) = slot.current else { continue };
            let client = &self.clients[who];
            if client.stage != super::client::Stage::Dead {
                super::recount::is_well(&plane.handle, client, &slot.registration.key)?;
            }
        }
        let watchers: Vec<usize> = (0..self.watchers.len()).collect();
        for watcher in watchers {
            self.catch_up(watcher)?;
        }
        let now = self.now();
        self.weather = self.storm;
        *self.disk_weather.lock() = self.storm;
        let lasts = self.dice.millis(30_000..400_000);
        self.plan(now + lasts, Event::Calm);
        self.judge.count("healed");
        Ok(())
    }

    pub(super) fn is_dead(&self, who: Who) -> bool {
        self.clients[who].stage == super::client::Stage::Dead
    }

    /// One turn of the weather.
    async fn weather(&mut self) {
        let now = self.now();
        let pause = self.dice.millis(300..2_000);
        self.plan(now + pause, Event::Weather);
        let weather = self.weather;
        if self.dice.chance(weather.partition) {
            self.judge.count("partition");
            let share = self.dice.below(1000);
            let lasts = self.dice.millis(1_000..60_000);
            for slot in 0..self.slots.len() {
                if self.dice.below(1000) <= share && self.network.cut.insert(slot) {
                    self.plan(now + lasts, Event::Heal(slot));
                }
            }
        }
        if self.dice.chance(weather.crash) && self.plane.is_some() {
            let after = self.dice.millis(0..15_000);
            self.plan(now, Event::Down);
            self.plan(now + after, Event::Up);
        }
        if self.dice.chance(weather.restart)
            && let Some(plane) = &self.plane
        {
            plane.drain.begin();
            self.judge.draining();
            let ends = now + self.dice.millis(0..5_000);
            let after = self.dice.millis(0..5_000);
            self.plan(ends, Event::Down);
            self.plan(ends + after, Event::Up);
        }
        self.mischief();
        if self.dice.chance(weather.stall) && self.plane.is_some() {
            let lasts = self.dice.millis(100..40_000);
            self.stall(lasts).await;
        }
    }

    fn mischief(&mut self) {
        let weather = self.weather;
        let slot = self.dice.below(self.slots.len());
        let current = self.slots[slot].current;
        if self.dice.chance(weather.mishap) {
            let after = self.dice.millis(0..40_000);
            match (self.dice.below(6), current) {
                (0, Some(who)) => {
                    self.kill(who);
                    self.start(slot, after);
                }
                (1, Some(who)) => self.kill(who),
                (2, Some(who)) => self.leave(who),
                (3, Some(who)) => self.clients[who].frozen = self.now() + after,
                // A twin: another process with the same id, while the first still runs.
                (4, Some(_)) => {
                    self.judge.count("twin");
                    self.start(slot, after);
                }
                (_, Some(who)) if !self.is_dead(who) => {}
                (..) => drop(self.start(slot, after)),
            }
        }
        if let Some(who) = current {
            let state = super::setting::truth(&mut self.dice);
            let parts = self.clients[who].truth.len();
            if parts > 0 && weather.mishap > 0 && self.dice.chance(300) {
                let part = self.dice.below(parts);
                self.clients[who].truth[part] = state;
                self.judge.count("health moved");
            }
        }
        if self.dice.chance(weather.operator) {
            let service = self.slots[slot].registration.key.service.clone();
            match self.dice.below(3) {
                0 => self.remove(slot),
                1 => {
                    let spec = super::setting::spec(&mut self.dice);
                    self.put_spec(service, Some(spec));
                }
                _ => self.put_spec(service, None),
            }
        }
        if self.dice.chance(weather.forged)
            && let Some(message) = self.forged(slot)
        {
            let at = self.now();
            self.plan(at, Event::Arrives(message));
        }
    }

    /// Somebody tries what an earlier life knew.
    fn forged(&mut self, slot: usize) -> Option<Message> {
        let who = self.slots[slot].current?;
        let from = super::letter::Sender { who, attempt: u64::MAX };
        let credentials = self.judge.old_credentials(&self.slots[slot].registration.key, &mut self.dice)?;
        let stream = self.new_stream();
        Some(match self.dice.below(5) {
            0 => Message::Beat { from, slot, credentials },
            1 => Message::Report { from, slot, credentials, reports: vec![], lifecycle: None },
            2 => Message::Resume { from, slot, stream, credentials },
            3 => Message::Leave { from, slot, credentials },
            _ => {
                let request = self.fresh();
                Message::Register { from, slot, request, claim: Some(credentials.token), stream: None }
            }
        })
    }
}
