//! What happens in the demo, and when: made from a seed, so that it can be shown again. Pure: it knows no clock.
//!
//! Whatever goes wrong is mended, and never more than a few things are wrong at once: it is a fleet to look
//! at, not a simulation to learn from.

use std::{collections::BTreeMap, time::Duration};

use super::cast::Role;
use crate::{error::Result, id::Entropy};

/// Things that are wrong at once, at the most.
const MOST: usize = 3;
/// When the first thing goes wrong: soon enough to be waited for.
const FIRST: Duration = Duration::from_secs(3);
/// Pauses and troubles last between these, in milliseconds.
const PAUSE: (u64, u64) = (3_000, 8_000);
const TROUBLE: (u64, u64) = (8_000, 20_000);
/// Where leases are not longer.
const DEATH: (u64, u64) = (12_000, 20_000);

/// What happens. Players are counted as the cast counts them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// A part of these players has a trouble, all the same one.
    Fails { players: Vec<usize>, part: usize, trouble: usize },
    /// That part of them is well again.
    Recovers { players: Vec<usize>, part: usize },
    /// A player dies without a word.
    Dies { player: usize },
    /// It is started again.
    Returns { player: usize },
}

/// Makes one event after the other, for ever.
#[derive(Debug)]
pub(super) struct Script {
    entropy: Entropy,
    cast: Vec<(&'static Role, usize)>,
    /// What ends a trouble, by time and number.
    ends: BTreeMap<(Duration, u64), Event>,
    next: Duration,
    made: u64,
    /// Whoever dies is dead for so long at the least.
    least_death: Duration,
}

impl Script {
    /// The script of a seed for a cast, which has at least one player. Where `lease` is how long a lease is in
    /// the script's time, whoever dies is lost, and can be seen to be, before it is started again.
    pub(super) fn new(seed: u64, cast: Vec<(&'static Role, usize)>, lease: Duration) -> Self {
        let (entropy, least_death) = (Entropy::seeded(seed), lease * 2);
        Self { entropy, cast, ends: BTreeMap::new(), next: FIRST, made: 0, least_death }
    }

    /// The next event, and when it happens, counted from the beginning.
    ///
    /// # Errors
    /// None in practice: a seed always has more.
    pub(super) fn next(&mut self) -> Result<(Duration, Event)> {
        loop {
            match self.ends.first_entry() {
                Some(first) if first.key().0 <= self.next => {
                    let ((at, _), event) = first.remove_entry();
                    return Ok((at, event));
                }
                _ => {}
            }
            let at = self.next;
            self.next = at + self.between(PAUSE)?;
            if self.ends.len() < MOST
                && let Some(event) = self.trouble(at)?
            {
                return Ok((at, event));
            }
        }
    }

    fn trouble(&mut self, at: Duration) -> Result<Option<Event>> {
        let well: Vec<usize> = (0..self.cast.len()).filter(|player| !self.is_in_trouble(*player)).collect();
        let Some(player) = self.choose(&well)? else { return Ok(None) };
        let kind = self.below(6)?;
        // One at a time: where time is fast, leases make deaths long, and nothing else would happen.
        if kind == 0 && !self.is_anybody_dead() {
            let death = self.between(DEATH)?.max(self.least_death);
            self.end(at + death, Event::Returns { player });
            return Ok(Some(Event::Dies { player }));
        }
        let Some((role, _)) = self.cast.get(player).copied() else { return Ok(None) };
        let part = self.below(role.parts.len())?;
        let troubles = role.parts.get(part).map_or(1, |part| part.troubles.len());
        let trouble = self.below(troubles)?;
        // What a service shares goes wrong for all of it at once.
        let shared = |other: &usize| self.cast.get(*other).is_some_and(|(it, _)| it.service == role.service);
        let players = if kind == 1 { well.into_iter().filter(shared).collect() } else { vec![player] };
        let end = at + self.between(TROUBLE)?;
        self.end(end, Event::Recovers { players: players.clone(), part });
        Ok(Some(Event::Fails { players, part, trouble }))
    }

    fn is_anybody_dead(&self) -> bool {
        self.ends.values().any(|event| matches!(event, Event::Returns { .. }))
    }

    fn is_in_trouble(&self, player: usize) -> bool {
        self.ends.values().any(|event| match event {
            Event::Recovers { players, .. } => players.contains(&player),
            Event::Returns { player: other } => *other == player,
            Event::Fails { .. } | Event::Dies { .. } => false,
        })
    }

    fn end(&mut self, at: Duration, event: Event) {
        self.made += 1;
        self.ends.insert((at, self.made), event);
    }

    fn choose(&self, players: &[usize]) -> Result<Option<usize>> {
        if players.is_empty() {
            return Ok(None);
        }
        Ok(players.get(self.below(players.len())?).copied())
    }

    fn between(&self, (least, most): (u64, u64)) -> Result<Duration> {
        let spread = u64::from_le_bytes(self.entropy.bytes()?) % (most - least + 1);
        Ok(Duration::from_millis(least + spread))
    }

    fn below(&self, bound: usize) -> Result<usize> {
        let random = u32::from_le_bytes(self.entropy.bytes()?);
        Ok(usize::try_from(random).unwrap_or_default() % bound.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::cast::cast, *};

    const LEASE: Duration = Duration::from_secs(3);

    fn events(seed: u64, instances: usize) -> Vec<(Duration, Event)> {
        let mut script = Script::new(seed, cast(instances), LEASE);
        (0..400).map(|_| script.next().unwrap()).collect()
    }

    #[test]
    fn a_seed_is_a_script_and_another_seed_another() {
        assert_eq!(events(7, 10), events(7, 10));
        assert_ne!(events(7, 10), events(8, 10));
        assert_eq!(events(7, 10)[0].0, FIRST);
    }

    #[test]
    fn whoever_dies_is_dead_for_two_leases_however_long_those_are() {
        for lease in [LEASE, LEASE * 20, LEASE * 100] {
            let mut script = Script::new(1, cast(10), lease);
            let (mut dead, mut deaths) = (BTreeMap::new(), 0);
            for (at, event) in (0..1000).map(|_| script.next().unwrap()) {
                match event {
                    Event::Dies { player } => {
                        assert!(dead.is_empty(), "one at a time");
                        dead.insert(player, at);
                    }
                    Event::Returns { player } => {
                        assert!(at - dead.remove(&player).unwrap() >= lease * 2);
                        deaths += 1;
                    }
                    Event::Fails { .. } | Event::Recovers { .. } => {}
                }
            }
            assert!(deaths > 3, "{deaths}");
        }
    }

    #[test]
    fn whatever_goes_wrong_is_mended_and_only_what_is_well_goes_wrong() {
        for (seed, instances) in [(1, 10), (2, 4), (3, 64), (4, 1)] {
            let (mut ill, mut last) = (BTreeSet::new(), Duration::ZERO);
            let mut kinds = BTreeSet::new();
            for (at, event) in events(seed, instances) {
                assert!(at >= last, "time goes forward");
                last = at;
                match event {
                    Event::Fails { players, part, trouble } => {
                        let (role, _) = cast(instances)[players[0]];
                        assert!(trouble < role.parts[part].troubles.len());
                        kinds.insert(if players.len() > 1 { "outage" } else { "failure" });
                        assert!(players.into_iter().all(|player| ill.insert(player)));
                    }
                    Event::Recovers { players, .. } => {
                        assert!(players.iter().all(|player| ill.remove(player)));
                    }
                    Event::Dies { player } => {
                        kinds.insert("death");
                        assert!(ill.insert(player));
                    }
                    Event::Returns { player } => assert!(ill.remove(&player)),
                }
            }
            if instances >= 8 {
                assert_eq!(kinds.len(), 3, "{kinds:?}");
            }
        }
    }
}
