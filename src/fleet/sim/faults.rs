//! What goes wrong, and what goes well again: one turn of the weather, and the calm after a storm.

use std::time::Duration;

use tokio::time::advance;

use super::{
    HEALING,
    client::Stage,
    letter::{Event, Message, Sender, Who},
    recount, setting,
    weather::CALM,
    world::World,
};
use crate::health::component::Reported;

impl World {
    /// Nothing runs for a while: the process, or the whole machine, stood still.
    async fn stall(&mut self, lasts: Duration) {
        advance(lasts).await;
        self.judge.count("stall");
        self.judge.stalled(self.now(), lasts);
        // What arrived meanwhile is read before the timers are, or after.
        self.hurry = self.dice.chance(500);
    }

    /// The storm is over: what is broken heals, who is a ghost goes.
    pub(super) fn calm(&mut self) {
        self.weather = CALM;
        *self.disk_weather.lock() = CALM;
        self.network.cut.clear();
        for who in 0..self.clients.len() {
            let slot = self.clients[who].slot;
            // Who hangs is killed by its supervisor.
            let hangs = self.clients[who].frozen > self.now();
            if hangs || self.slots[slot].current != Some(who) {
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
                self.clients[who].truth.fill(Reported::Healthy);
            }
        }
        let now = self.now();
        self.plan(now, Event::Up);
        self.plan(now + HEALING, Event::Settled);
    }

    /// Everything has had the time to heal: whoever lives is known and well.
    pub(super) fn settled(&mut self) -> Result<(), String> {
        let Some(plane) = &self.plane else { return Err("it does not run although all is calm".into()) };
        for slot in &self.slots {
            let Some(who) = slot.current else { continue };
            let client = &self.clients[who];
            if client.stage != Stage::Dead {
                recount::is_well(&plane.handle, client, &slot.registration.key)?;
            }
        }
        self.judge.overdue(self.now())?;
        let watchers: Vec<usize> = (0..self.watchers.len()).collect();
        for watcher in watchers {
            self.catch_up(watcher)?;
        }
        let now = self.now();
        self.weather = self.storm;
        *self.disk_weather.lock() = self.storm;
        let lasts = self.storm.storm(&mut self.dice);
        self.plan(now + lasts, Event::Calm);
        self.judge.count("healed");
        Ok(())
    }

    fn is_dead(&self, who: Who) -> bool {
        self.clients[who].stage == Stage::Dead
    }

    /// One turn of the weather.
    pub(super) async fn weather(&mut self) {
        let now = self.now();
        let pause = self.dice.millis(300..2_000);
        self.plan(now + pause, Event::Weather);
        let weather = self.weather;
        if self.dice.chance(weather.partition) {
            self.judge.count("partition");
            let share = self.dice.below(1000);
            let lasts = self.dice.millis(weather.cut.0..weather.cut.1);
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
                (3, Some(who)) => {
                    // To be back about when it would be removed is worst.
                    let registration = &self.slots[slot].registration;
                    let removal = registration.lease_ttl + self.limits.lost_removal;
                    let hangs = if self.dice.chance(500) { removal } else { Duration::ZERO } + after / 4;
                    self.clients[who].frozen = self.now() + hangs;
                }
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
            let state = setting::truth(&mut self.dice);
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
                    let spec = setting::spec(&mut self.dice);
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

    /// Somebody tries what an earlier life knew, or what was said long ago comes again.
    fn forged(&mut self, slot: usize) -> Option<Message> {
        let who = self.slots[slot].current?;
        let from = Sender { who, attempt: u64::MAX };
        if self.dice.chance(200) {
            // A copy of a registration that was on its way for long.
            let request = self.clients[who].request;
            return Some(Message::Register { from, slot, request, claim: None, stream: None });
        }
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
