//! Slices of limits that a whole fleet shares: who holds how much, and until when.
//!
//! A plain value: time is passed in. All slices that are out, whoever holds them, never exceed the limit, because what is
//! given is at most what is left of it; in between they follow what instances need, by filling the smallest needs first
//! (max-min fairness) and spreading evenly what nobody needs. It knows no instance but by its name, and forgets it with its slice.

use std::{collections::HashMap, hash::Hash, time::Duration};

use crate::time::Mono;

/// How often a slice is asked for again at the least.
const REFRESH: Duration = Duration::from_secs(1);
/// Holders for whom each asks once a second; more ask less often, so that all together ask as often.
const HOLDERS_PER_SECOND: usize = 1000;
/// A slice holds for so many times as long as it is to be asked for again.
const HELD_FOR: u32 = 3;
/// How old the level may be by which slices are filled.
const LEVEL_AGE: Duration = Duration::from_millis(250);
/// How long it takes until all have asked who are there when the first one does: as long as its slice holds.
const SETTLING: Duration = Duration::from_secs(3);
/// Share of an even slice that whoever needs nothing gets at least: its first call must not wait for its next slice.
const FLOOR: f64 = 0.02;

/// What is shared: one limit.
#[derive(Clone, Debug)]
pub struct Quota<K> {
    holders: HashMap<K, Holder>,
    /// What they hold together, those included whose slices have ended and are yet to be looked for.
    total: f64,
    level: Level,
    /// When those are looked for whose slices have ended.
    swept: Mono,
    /// When the first one asked.
    began: Option<Mono>,
}

/// What one instance holds.
#[derive(Clone, Copy, Debug)]
struct Holder {
    amount: f64,
    /// None: it has not said yet.
    demand: Option<f64>,
    until: Mono,
}

/// How far everybody is filled.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Needs are met up to here.
    height: f64,
    /// What everybody gets beside.
    spare: f64,
    at: Mono,
    holders: usize,
}

/// A part of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// How much of the limit's amount.
    pub amount: f64,
    /// How long it holds.
    pub ttl: Duration,
    /// How many hold a part.
    pub holders: usize,
}

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self {
            holders: HashMap::new(),
            total: 0.0,
            level: Level::default(),
            swept: Mono::default(),
            began: None,
        }
    }
}

impl<K: Clone + Eq + Hash> Quota<K> {
    /// Gives somebody a slice of `limit` in place of the one before. `demand`: what it asked itself for in a period; None
    /// where that is not known yet.
    /// `expected`: how many are going to ask, as far as that is known. At first nobody gets more than an even part among
    /// those, or whoever asks first would hold all of it, and the others nothing, until it asks again.
    pub fn acquire(
        &mut self,
        holder: &K,
        limit: f64,
        demand: Option<f64>,
        expected: usize,
        now: Mono,
    ) -> Slice {
        self.sweep(now);
        let began = *self.began.get_or_insert(now);
        let known = self.holders.get(holder).and_then(|held| held.demand);
        let demand = demand.or(known);
        let entry = Holder { amount: 0.0, demand, until: now };
        self.holders.entry(holder.clone()).or_insert(entry).demand = demand;
        self.fill(limit, now);
        let count = self.holders.len();
        let refresh = refresh(count);
        let ttl = refresh * HELD_FOR;
        let own = self.holders.get(holder).map_or(0.0, |held| held.amount);
        let others = self.total - own;
        let mut wanted = self.level.share(need(demand, limit, count));
        if now.since(began) < SETTLING {
            wanted = wanted.min(limit / as_float(count.max(expected)));
        }
        let amount = wanted.min(limit - others).max(0.0);
        self.total = others + amount;
        self.holders.insert(holder.clone(), Holder { amount, demand, until: now + ttl });
        Slice { amount, ttl, holders: count }
    }

    /// Takes a slice back.
    pub fn release(&mut self, holder: &K) {
        if let Some(held) = self.holders.remove(holder) {
            self.total -= held.amount;
        }
    }

    /// Forgets whose slices have ended. True: nobody holds any.
    pub fn sweep(&mut self, now: Mono) -> bool {
        if now.since(self.swept) >= LEVEL_AGE {
            self.swept = now;
            self.holders.retain(|_, held| held.until > now);
            // Anew, so that what sums and differences lack in precision does not add up.
            self.total = self.holders.values().map(|held| held.amount).sum();
        }
        self.holders.is_empty()
    }

    /// How much is out.
    pub fn out(&self, now: Mono) -> f64 {
        self.holders.values().filter(|held| held.until > now).map(|held| held.amount).sum()
    }

    /// Finds the level anew, where it is old or many have come since.
    fn fill(&mut self, limit: f64, now: Mono) {
        let count = self.holders.len();
        let grown = count > self.level.holders + self.level.holders / 8 || count < self.level.holders / 2;
        if !grown && self.level.holders > 0 && now.since(self.level.at) < LEVEL_AGE {
            return;
        }
        let mut needs: Vec<f64> = self.holders.values().map(|held| need(held.demand, limit, count)).collect();
        needs.sort_unstable_by(f64::total_cmp);
        let (height, spare) = level(&needs, limit);
        self.level = Level { height, spare, at: now, holders: count };
    }
}

impl Level {
    fn share(&self, need: f64) -> f64 {
        need.min(self.height) + self.spare
    }
}

/// What somebody needs of a limit. Of whom nothing is known yet that is an even share.
fn need(demand: Option<f64>, limit: f64, holders: usize) -> f64 {
    let even = limit / as_float(holders.max(1));
    demand.map_or(even, |demand| demand.max(FLOOR * even))
}

/// How far needs, the smallest first, are met by a limit, and what is left for each beside.
fn level(needs: &[f64], limit: f64) -> (f64, f64) {
    let mut left = limit;
    for (at, need) in needs.iter().enumerate() {
        let even = left / as_float(needs.len() - at);
        if *need >= even {
            return (even, 0.0);
        }
        left -= need;
    }
    (f64::INFINITY, left / as_float(needs.len().max(1)))
}

/// How often each of so many asks again.
fn refresh(holders: usize) -> Duration {
    let seconds = holders.div_ceil(HOLDERS_PER_SECOND).max(1);
    REFRESH * u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Exact up to 2^53, which no fleet has.
#[allow(clippy::cast_precision_loss)]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: f64 = 1000.0;

    fn at(millis: u64) -> Mono {
        Mono::from_millis(millis)
    }

    /// Everybody asks once a second, each at another moment, for so many seconds.
    fn settle(quota: &mut Quota<usize>, demands: &[f64], from: u64, seconds: u64) -> Vec<f64> {
        let mut slices = vec![0.0; demands.len()];
        for second in 0..seconds {
            for (holder, demand) in demands.iter().enumerate() {
                let now = from + second * 1000 + holder as u64 * 1000 / demands.len() as u64;
                slices[holder] = quota.acquire(&holder, LIMIT, Some(*demand), 0, at(now)).amount;
                assert!(quota.out(at(now)) <= LIMIT * (1.0 + 1e-9), "more is out than there is");
            }
        }
        slices
    }

    #[test]
    fn who_asks_first_leaves_the_others_their_part() {
        let mut quota = Quota::default();
        for holder in 0..100 {
            let slice = quota.acquire(&holder, LIMIT, None, 100, at(holder));
            assert!((slice.amount - LIMIT / 100.0).abs() < 1e-9, "{holder}: {slice:?}");
        }
        // Where nobody else is known it may have all of it, and once it has settled whatever it needs.
        let mut quota = Quota::default();
        assert_eq!(quota.acquire(&1, LIMIT, None, 1, at(0)).amount, LIMIT);
        let mut quota = Quota::default();
        quota.acquire(&1, LIMIT, None, 100, at(0));
        let later = at(u64::try_from(SETTLING.as_millis()).unwrap());
        assert_eq!(quota.acquire(&1, LIMIT, Some(LIMIT), 100, later).amount, LIMIT);
    }

    #[test]
    fn everybody_gets_an_even_slice_of_what_all_want() {
        for holders in [1, 2, 7, 100] {
            let slices = settle(&mut Quota::default(), &vec![LIMIT; holders], 0, 6);
            let even = LIMIT / holders as f64;
            assert!(slices.iter().all(|slice| (slice - even).abs() < 1e-6 * even), "{slices:?}");
        }
    }

    #[test]
    fn slices_follow_what_is_needed() {
        // One needs nearly all, the others little.
        let mut demands = vec![1.0; 100];
        demands[42] = 5000.0;
        let mut quota = Quota::default();
        let slices = settle(&mut quota, &demands, 0, 8);
        assert!((slices[42] - (LIMIT - 99.0)).abs() < 1.0, "{}", slices[42]);
        assert!(slices.iter().all(|slice| *slice >= 0.99), "{slices:?}");
        // The need moves, and the slices with it.
        demands[42] = 1.0;
        demands[7] = 5000.0;
        let slices = settle(&mut quota, &demands, 8000, 8);
        assert!((slices[7] - (LIMIT - 99.0)).abs() < 1.0, "{}", slices[7]);
    }

    #[test]
    fn what_nobody_needs_is_spread_evenly() {
        let slices = settle(&mut Quota::default(), &[0.0, 0.0, 100.0, 300.0], 0, 6);
        let spare = (LIMIT - 400.0 - 2.0 * FLOOR * LIMIT / 4.0) / 4.0;
        for (slice, need) in slices.iter().zip([5.0, 5.0, 100.0, 300.0]) {
            assert!((slice - need - spare).abs() < 1e-6, "{slices:?}");
        }
    }

    #[test]
    fn who_comes_gets_what_is_left_and_soon_its_share_and_who_goes_leaves_it() {
        let mut quota = Quota::default();
        settle(&mut quota, &[LIMIT; 4], 0, 5);
        // All is out: the fifth waits for the others to ask again.
        assert_eq!(quota.acquire(&4, LIMIT, None, 0, at(5000)).amount, 0.0);
        let slices = settle(&mut quota, &[LIMIT; 5], 5001, 4);
        assert!(slices.iter().all(|slice| (slice - 200.0).abs() < 1e-6), "{slices:?}");
        // Three stop to ask: within the life of their slices the other two have all.
        let slices = settle(&mut quota, &[LIMIT; 2], 9001, 6);
        assert!(slices.iter().all(|slice| (slice - 500.0).abs() < 1e-6), "{slices:?}");
        assert!(quota.sweep(at(60_000)));
        assert_eq!(quota.holders.len(), 0);
    }

    #[test]
    fn a_large_fleet_asks_less_often() {
        assert_eq!(refresh(1), Duration::from_secs(1));
        assert_eq!(refresh(1000), Duration::from_secs(1));
        assert_eq!(refresh(100_000), Duration::from_secs(100));
    }

    proptest! {
        #[test]
        fn more_is_never_out_than_there_is(
            steps in proptest::collection::vec((0_usize..30, 0.0..3000.0_f64, 0_u64..2000, any::<bool>()), 1..300)
        ) {
            let mut quota = Quota::default();
            let mut now = 0;
            for (holder, demand, pause, known) in steps {
                now += pause;
                let slice = quota.acquire(&holder, LIMIT, known.then_some(demand), 0, at(now));
                prop_assert!(slice.amount >= 0.0 && slice.ttl >= REFRESH);
                prop_assert!(quota.out(at(now)) <= LIMIT * (1.0 + 1e-9));
            }
        }

        #[test]
        fn the_level_uses_up_the_limit(needs in proptest::collection::vec(0.0..500.0_f64, 1..50)) {
            let mut needs = needs;
            needs.sort_unstable_by(f64::total_cmp);
            let (height, spare) = level(&needs, LIMIT);
            let given: f64 = needs.iter().map(|need| need.min(height) + spare).sum();
            prop_assert!((given - LIMIT).abs() < 1e-6);
        }
    }
}
