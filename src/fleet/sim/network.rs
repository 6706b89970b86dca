//! The network: letters are late, lost, doubled and overtaken; streams keep their order and break.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    letter::{Answer, Event, Message, Sender, Stream},
    world::World,
};
use crate::time::Mono;

/// What is cut off, and where streams are.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Slots that are cut off from the control plane.
    pub(super) cut: BTreeSet<usize>,
    last_stream: Stream,
    /// Streams that carry nothing any more.
    broken: BTreeSet<Stream>,
    /// When the last letter on a stream arrives, there and back.
    there: BTreeMap<Stream, Mono>,
    back: BTreeMap<Stream, Mono>,
}

impl World {
    pub(super) fn new_stream(&mut self) -> Stream {
        self.network.last_stream += 1;
        self.network.last_stream
    }

    /// A client sends something.
    pub(super) fn send(&mut self, slot: usize, message: Message) {
        let Some(stream) = message.stream() else {
            // A call of its own: two of them may overtake each other, and one may arrive twice.
            let copies = 1 + usize::from(self.dice.chance(self.weather.twice));
            for _ in 0..copies {
                if self.passes(slot) {
                    let at = self.now() + self.weather.delay(&mut self.dice);
                    self.plan(at, Event::Arrives(message.clone()));
                }
            }
            return;
        };
        let from = message.from();
        if self.carries(slot, stream, from) {
            let earliest = self.now() + self.weather.delay(&mut self.dice);
            let at = earliest.max(self.network.there.get(&stream).copied().unwrap_or_default());
            self.network.there.insert(stream, at);
            self.plan(at, Event::Arrives(message));
        }
    }

    /// The control plane answers.
    pub(super) fn answer(&mut self, to: Sender, stream: Option<Stream>, answer: Answer) {
        let slot = self.clients[to.who].slot;
        let passes = match stream {
            None => self.passes(slot),
            Some(stream) => self.carries(slot, stream, Some(to)),
        };
        if passes {
            let mut at = self.now() + self.weather.delay(&mut self.dice);
            if let Some(stream) = stream {
                at = at.max(self.network.back.get(&stream).copied().unwrap_or_default());
                self.network.back.insert(stream, at);
            }
            self.plan(at, Event::Answered(to, answer));
        }
    }

    fn passes(&mut self, slot: usize) -> bool {
        !self.network.cut.contains(&slot) && !self.dice.chance(self.weather.lost)
    }

    /// Whether a stream carries one more letter. One that is lost breaks it: the ends learn of that
    /// later, each for itself, and one that is cut off not at all.
    fn carries(&mut self, slot: usize, stream: Stream, end: Option<Sender>) -> bool {
        if self.network.broken.contains(&stream) {
            return false;
        }
        if self.passes(slot) {
            return true;
        }
        let is_cut = self.network.cut.contains(&slot);
        if let Some(end) = end.filter(|_| !is_cut) {
            let at = self.now() + self.dice.millis(1..3_000);
            self.plan(at, Event::Answered(end, Answer::Broken));
        }
        self.break_stream(stream, if is_cut { 60_000 } else { 5_000 });
        false
    }

    /// From here on a stream carries nothing; the control plane learns of it within a time.
    pub(super) fn break_stream(&mut self, stream: Stream, within: u64) {
        if self.network.broken.insert(stream) {
            let at = self.now() + self.dice.millis(1..within);
            self.plan(at, Event::Arrives(Message::StreamEnd { stream }));
        }
    }
}
