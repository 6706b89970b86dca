//! A process that wants to be known: registers, is heard, reports, leaves, and comes back after whatever
//! happened, as the client libraries do. Half of them hold a stream, the others make calls.

use std::time::Duration;

use super::{
    letter::{Answer, Credentials, Event, Message, Sender, Stream, Timer, Who},
    world::World,
};
use crate::{
    error::Reason,
    fleet::{lifecycle::Lifecycle, member::Report},
    health::component::Reported,
    time::Mono,
};

/// How long opening or leaving may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is STARTING at the most, in milliseconds.
const LONGEST_START: u64 = 30_000;
/// Longest pause between two tries.
const LONGEST_PAUSE: u64 = 10_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Waits until it tries (again).
    Waiting,
    Opening,
    Running,
    Leaving,
    /// Another one holds its id: it stays quiet, and its supervisor starts it anew.
    Superseded,
    Dead,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) slot: usize,
    pub(super) stage: Stage,
    pub(super) attempt: u64,
    by_stream: bool,
    stream: Option<Stream>,
    pub(super) request: u64,
    pub(super) credentials: Option<Credentials>,
    pub(super) lifecycle: Lifecycle,
    said: Option<Lifecycle>,
    /// How its components really are.
    pub(super) truth: Vec<Reported>,
    acknowledged: Mono,
    /// It is starting until then.
    warm: Mono,
    tries: u32,
    /// It does nothing until then.
    pub(super) frozen: Mono,
}

impl World {
    /// Starts a process for a slot.
    pub(super) fn start(&mut self, slot: usize, after: Duration) -> Who {
        let who = self.clients.len();
        let components = self.slots[slot].registration.components.len();
        let (by_stream, request) = (self.dice.chance(500), self.fresh());
        let warm = self.now() + after + self.dice.millis(0..LONGEST_START);
        self.clients.push(Client {
            slot,
            stage: Stage::Waiting,
            attempt: 0,
            by_stream,
            stream: None,
            request,
            credentials: None,
            lifecycle: Lifecycle::Starting,
            said: None,
            truth: vec![Reported::Healthy; components],
            acknowledged: Mono::default(),
            warm,
            tries: 0,
            frozen: Mono::default(),
        });
        self.slots[slot].current = Some(who);
        self.set_timer(who, after, Timer::Open);
        who
    }

    /// The process is gone without a word.
    pub(super) fn kill(&mut self, who: Who) {
        self.drop_stream(who);
        self.clients[who].stage = Stage::Dead;
    }

    /// It says goodbye.
    pub(super) fn leave(&mut self, who: Who) {
        let client = &mut self.clients[who];
        if client.stage != Stage::Running {
            return self.kill(who);
        }
        client.lifecycle = Lifecycle::LameDuck;
        self.report(who);
        let client = &mut self.clients[who];
        client.stage = Stage::Leaving;
        let (from, slot) = (self.sender(who), self.clients[who].slot);
        match (self.clients[who].stream, self.clients[who].credentials) {
            (Some(stream), _) => self.send(slot, Message::StreamLeave { from, stream }),
            (None, Some(credentials)) => self.send(slot, Message::Leave { from, slot, credentials }),
            (None, None) => {}
        }
        self.set_timer(who, PATIENCE, Timer::GiveUp);
    }

    pub(super) fn timer(&mut self, from: Sender, timer: Timer) {
        let now = self.now();
        let client = &mut self.clients[from.who];
        if client.attempt != from.attempt {
            return;
        }
        if client.frozen > now {
            let at = client.frozen;
            return self.plan(at, Event::Timer(from, timer));
        }
        match (timer, client.stage) {
            (Timer::Open, Stage::Waiting) => self.open(from.who),
            (Timer::GiveUp, Stage::Opening) => self.again(from.who, None),
            (Timer::GiveUp, Stage::Leaving) => self.kill(from.who),
            (Timer::Beat, Stage::Running) => self.beat(from.who),
            (Timer::Report, Stage::Running) => {
                self.report(from.who);
                let interval = self.slots[self.clients[from.who].slot].report_interval();
                self.set_timer(from.who, interval, Timer::Report);
            }
            _ => {}
        }
    }

    fn open(&mut self, who: Who) {
        let stream = if self.clients[who].by_stream { Some(self.new_stream()) } else { None };
        let client = &mut self.clients[who];
        client.attempt += 1;
        client.stage = Stage::Opening;
        client.stream = stream;
        let (slot, request, credentials) = (client.slot, client.request, client.credentials);
        let from = self.sender(who);
        self.set_timer(who, PATIENCE, Timer::GiveUp);
        match (credentials, stream) {
            (Some(credentials), Some(stream)) => {
                self.send(slot, Message::Resume { from, slot, stream, credentials });
            }
            // A call needs no opening.
            (Some(_), None) => self.begin(who),
            (None, stream) => {
                self.send(slot, Message::Register { from, slot, request, claim: None, stream });
            }
        }
    }

    fn begin(&mut self, who: Who) {
        let now = self.now();
        let client = &mut self.clients[who];
        client.stage = Stage::Running;
        client.acknowledged = now;
        client.said = None;
        let soon = self.dice.millis(0..1_000);
        self.set_timer(who, soon, Timer::Beat);
        let soon = self.dice.millis(0..1_000);
        self.set_timer(who, soon, Timer::Report);
    }

    fn beat(&mut self, who: Who) {
        let now = self.now();
        let ttl = self.slots[self.clients[who].slot].registration.lease_ttl;
        let client = &self.clients[who];
        let slot = client.slot;
        let from = self.sender(who);
        match (client.stream, client.credentials) {
            (Some(_), _) if now.since(client.acknowledged) > ttl => return self.again(who, None),
            (Some(stream), _) => self.send(slot, Message::StreamBeat { from, stream }),
            (None, Some(credentials)) => self.send(slot, Message::Beat { from, slot, credentials }),
            (None, None) => {}
        }
        let third = u64::try_from(ttl.as_millis()).unwrap() / 3;
        let pause = self.dice.millis(third * 8 / 10..third * 12 / 10);
        self.set_timer(who, pause, Timer::Beat);
    }

    fn report(&mut self, who: Who) {
        let now = self.now();
        let client = &mut self.clients[who];
        if client.lifecycle == Lifecycle::Starting && client.warm <= now {
            client.lifecycle = Lifecycle::Ready;
        }
        // Who makes calls does not learn that the control plane restarted: it says it each time.
        let repeats = client.stream.is_none() || client.said != Some(client.lifecycle);
        let lifecycle = repeats.then_some(client.lifecycle);
        let report = |(component, state): (usize, &Reported)| Report {
            component,
            state: *state,
            message: format!("{state:?}"),
            response_time: None,
            details: Default::default(),
        };
        let reports: Vec<Report> = client.truth.iter().enumerate().map(report).collect();
        let (slot, stream, credentials) = (client.slot, client.stream, client.credentials);
        let from = self.sender(who);
        match (stream, credentials) {
            (Some(stream), _) => self.send(slot, Message::StreamReport { from, stream, reports, lifecycle }),
            (None, Some(credentials)) => {
                self.send(slot, Message::Report { from, slot, credentials, reports, lifecycle });
            }
            (None, None) => {}
        }
    }

    /// An answer arrives.
    pub(super) fn answered(&mut self, to: Sender, answer: Answer) {
        let now = self.now();
        let client = &mut self.clients[to.who];
        if client.attempt != to.attempt || matches!(client.stage, Stage::Dead | Stage::Superseded) {
            return;
        }
        if client.frozen > now {
            let at = client.frozen;
            return self.plan(at, Event::Answered(to, answer));
        }
        match (answer, client.stage) {
            (Answer::Left, _) | (Answer::Refused(..) | Answer::Broken, Stage::Leaving) => self.kill(to.who),
            (Answer::Registered(credentials), Stage::Opening) => {
                client.credentials = Some(credentials);
                client.tries = 0;
                self.begin(to.who);
            }
            (Answer::Unregistered(reason, retry), Stage::Opening) => self.refused(to.who, reason, retry),
            (Answer::Resumed, Stage::Opening) => {
                client.tries = 0;
                self.begin(to.who);
            }
            (Answer::Acknowledged, _) => {
                client.acknowledged = now;
            }
            (Answer::Reported(lifecycle), _) => {
                client.acknowledged = now;
                client.said = lifecycle.or(client.said);
            }
            (Answer::Refused(reason, retry), Stage::Opening | Stage::Running) => {
                self.refused(to.who, reason, retry);
            }
            (Answer::Broken, Stage::Opening) => self.again(to.who, None),
            (Answer::Broken, Stage::Running) if client.stream.is_some() => self.again(to.who, None),
            _ => {}
        }
    }

    fn refused(&mut self, who: Who, reason: Reason, retry: Option<Duration>) {
        match reason {
            Reason::InstanceNotFound | Reason::InstanceRemoved => {
                self.clients[who].credentials = None;
                self.clients[who].request = self.fresh();
                self.again(who, retry);
            }
            Reason::StaleIncarnation | Reason::SessionTokenInvalid => {
                self.drop_stream(who);
                self.judge.count("superseded");
                self.clients[who].stage = Stage::Superseded;
                let slot = self.clients[who].slot;
                if self.slots[slot].current == Some(who) {
                    // Nobody else was meant to have it: a letter of its own came twice.
                    let after = self.dice.millis(500..3_000);
                    self.start(slot, after);
                }
            }
            // Not of opening: said again with the next report.
            Reason::LifecycleOrder => {}
            _ => self.again(who, retry),
        }
    }

    /// Tries again after a pause. What it was waiting for no longer counts.
    fn again(&mut self, who: Who, retry: Option<Duration>) {
        self.drop_stream(who);
        let client = &mut self.clients[who];
        client.stage = Stage::Waiting;
        client.attempt += 1;
        client.tries = (client.tries + 1).min(6);
        let longest = (250_u64 << client.tries).min(LONGEST_PAUSE);
        let pause = self.dice.millis(longest / 2..longest);
        let pause = retry.map_or(pause, |retry| pause.max(retry.min(Duration::from_millis(LONGEST_PAUSE))));
        self.set_timer(who, pause, Timer::Open);
    }

    fn drop_stream(&mut self, who: Who) {
        if let Some(stream) = self.clients[who].stream.take() {
            self.break_stream(stream, 5_000);
        }
    }

    fn sender(&self, who: Who) -> Sender {
        Sender { who, attempt: self.clients[who].attempt }
    }

    fn set_timer(&mut self, who: Who, after: Duration, timer: Timer) {
        let at = self.now() + after;
        let from = self.sender(who);
        self.plan(at, Event::Timer(from, timer));
    }
}
