//! Recounts waves of losses: from who is there, who was lost and when, by the rule as it is written down, and
//! by nothing that the registry counts.
//!
//! Between two looks several things may have happened, in an order that is not known. So there are two counts:
//! of what is certain, from which it follows who must be under protection, and of what is possible, without
//! which nobody may be.

use std::collections::BTreeMap;

use super::{GRAIN, Judge, Life, Stand, TICK, credit};
use crate::{fleet::names::ServiceName, time::Mono};

/// Losses and those that are left, at the last loss.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    certainly_lost: usize,
    possibly_lost: usize,
    certainly_there: usize,
    possibly_there: usize,
}

impl Count {
    /// 15 % of the fleet, and three.
    fn is_wave(lost: usize, there: usize) -> bool {
        lost >= 3 && 100 * lost >= 15 * (lost + there)
    }

    /// All of a service, and two.
    fn is_all(lost: usize, there: usize) -> bool {
        lost >= 2 && there == 0
    }
}

impl Judge {
    /// Compares who came under protection since the last look with who was lost.
    pub(super) fn recount_waves(&mut self, now: Mono) -> Result<(), String> {
        if self.losses.is_empty() && self.protections.is_empty() {
            return Ok(());
        }
        // Who went, or was replaced, may have been lost or there at the time.
        let start = Count { possibly_lost: self.replaced, possibly_there: self.replaced, ..Count::default() };
        let (mut fleet, mut services) = (start, BTreeMap::<&ServiceName, Count>::new());
        for (key, life) in self.present() {
            let service = services.entry(&key.service).or_insert(start);
            for count in [&mut fleet, service] {
                self.add(now, life, count);
            }
        }
        let must = Count::is_wave(fleet.certainly_lost, fleet.possibly_there);
        let may = Count::is_wave(fleet.possibly_lost, fleet.certainly_there);
        for (key, life) in self.present() {
            let service = &services[&key.service];
            let is_struck = self.losses.iter().any(|loss| loss.service == key.service);
            let must_here = is_struck && Count::is_all(service.certainly_lost, service.possibly_there);
            let counts = matches!(life.stands, Stand::Lost(since) if self.certainly_counts(now, life, since));
            if counts && life.protected.is_none() && !self.losses.is_empty() && (must || must_here) {
                return Err(format!("{key}: lost in a wave and not protected: {fleet:?}, {service:?}"));
            }
        }
        for key in &self.protections {
            let service = services.get(&key.service).copied().unwrap_or(start);
            if !may && !Count::is_all(service.possibly_lost, service.certainly_there) {
                return Err(format!("{key}: protected, and there is no wave: {fleet:?}, {service:?}"));
            }
        }
        let what = if self.protections.is_empty() { "no wave recounted" } else { "wave recounted" };
        self.count(what);
        Ok(())
    }

    fn present(&self) -> impl Iterator<Item = (&super::InstanceKey, &Life)> {
        self.records.iter().filter_map(|(key, record)| Some((key, record.lives.get(&record.present?)?)))
    }

    fn add(&self, now: Mono, life: &Life, count: &mut Count) {
        let was_lost = matches!(life.stood, Stand::Lost(since) if self.possibly_counts(life, since));
        let was_there = life.stood == Stand::Present;
        match life.stands {
            Stand::Lost(since) => {
                count.certainly_lost += usize::from(self.certainly_counts(now, life, since));
                count.possibly_lost += usize::from(self.possibly_counts(life, since));
            }
            Stand::Present => {
                // Who was heard just now may have been lost until then.
                let is_heard = life.heard == Some(now);
                count.possibly_there += 1;
                count.certainly_there += usize::from(was_there && !is_heard);
                count.possibly_lost += usize::from(was_lost || was_there && is_heard);
            }
            Stand::Unexpected | Stand::Absent => {
                count.possibly_there += usize::from(was_there);
                count.possibly_lost += usize::from(was_lost || was_there);
            }
        }
    }

    /// Whether a loss still counts, at whatever moment until now.
    fn certainly_counts(&self, now: Mono, life: &Life, since: Mono) -> bool {
        now.since(since) < life.ttl + credit(&self.stalls, since).0
    }

    /// Whether a loss may still have counted since the last look.
    fn possibly_counts(&self, life: &Life, since: Mono) -> bool {
        self.last_look.since(since) <= life.ttl + credit(&self.stalls, since).1 + 2 * TICK + GRAIN
    }
}
