use proptest::prelude::*;

use super::{
    super::arrivals::{arrivals, nanos, rates},
    *,
};

/// The textbook: a queue of permits, of which one leaves each interval.
#[derive(Default)]
struct Model {
    /// When each permit leaves that was ever admitted.
    turns: Vec<u64>,
}

impl Model {
    fn waiting(&self, now: u64) -> usize {
        self.turns.iter().filter(|&&turn| turn > now).count()
    }

    /// When a call of so many permits leaves. `None` if they do not fit in the queue.
    fn join(&mut self, now: u64, permits: NonZeroU32, queue: u32, interval: u64) -> Option<u64> {
        let mut joined = Self { turns: self.turns.clone() };
        for _ in 0..permits.get() {
            let free = joined.turns.last().map_or(now, |last| last + interval);
            joined.turns.push(free.max(now));
        }
        if joined.waiting(now) > queue as usize {
            return None;
        }
        *self = joined;
        self.turns.last().copied()
    }
}

proptest! {
    /// Neither more nor less than the textbook, told the same.
    #[test]
    fn decides_as_a_queue_would(rate in rates(), queue in 0..20u32, arrivals in arrivals()) {
        let bucket = LeakyBucket::new(rate, queue);
        let interval = nanos(rate.interval());
        let mut model = Model::default();
        let (mut state, mut now) = (0, 0);
        for arrival in arrivals {
            now = arrival.after(now, rate);
            let used = model.turns.iter().filter(|&&turn| turn + interval > now).count();
            prop_assert_eq!(bucket.usage(&state, now).remaining as usize, (queue as usize + 1).saturating_sub(used));
            prop_assert_eq!(bucket.is_idle(&state, now), used == 0);

            let decision = bucket.decide(&mut state, now, arrival.permits);
            match model.join(now, arrival.permits, queue, interval) {
                _ if arrival.permits.get() > queue + 1 => {
                    let most = NonZeroU32::new(queue + 1).expect("not zero");
                    prop_assert_eq!(decision, Decision::TooMany { most });
                }
                None => prop_assert!(matches!(decision, Decision::Refused { .. }), "{:?}", decision),
                Some(turn) => {
                    let used = model.turns.iter().filter(|&&turn| turn + interval > now).count();
                    let near = used * 5 >= (queue as usize + 1) * 4;
                    let after = Duration::from_nanos(turn - now);
                    let right = if turn == now { Decision::Allowed { near } } else { Decision::Queued { after, near } };
                    prop_assert_eq!(decision, right);
                }
            }
        }
    }

    /// What leaves is spaced by the rate, permits of one call counted, and no more wait than may.
    #[test]
    fn what_leaves_is_spaced(rate in rates(), queue in 0..20u32, arrivals in arrivals()) {
        let bucket = LeakyBucket::new(rate, queue);
        let (mut state, mut now) = (0, 0);
        let mut left: Vec<(u64, u64)> = Vec::new();
        for arrival in arrivals {
            now = arrival.after(now, rate);
            let leaves = match bucket.decide(&mut state, now, arrival.permits) {
                Decision::Allowed { .. } => now,
                Decision::Queued { after, .. } => now + nanos(after),
                Decision::Refused { .. } | Decision::TooMany { .. } => continue,
            };
            let permits = u64::from(arrival.permits.get());
            if let Some((before, _)) = left.last() {
                // In whole numbers: leaves - before >= permits × period / amount.
                let spaced = (leaves - before) * u64::from(rate.amount().get());
                prop_assert!(spaced >= permits * nanos(rate.period()));
            }
            left.push((leaves, permits));
            let interval = nanos(rate.interval());
            let of_call = |(leaves, permits): &(u64, u64)| leaves.saturating_sub(now).div_ceil(interval).min(*permits);
            prop_assert!(left.iter().map(of_call).sum::<u64>() <= u64::from(queue));
        }
    }
}

#[test]
fn a_call_of_several_leaves_with_its_last() {
    let rate = Rate::new(1, Duration::from_secs(1)).expect("a rate");
    let bucket = LeakyBucket::new(rate, 4);
    let three = NonZeroU32::new(3).expect("not zero");
    let mut state = 0;
    let decide = |state: &mut u64, permits| bucket.decide(state, 0, permits);
    assert_eq!(decide(&mut state, three), Decision::Queued { after: Duration::from_secs(2), near: false });
    assert_eq!(decide(&mut state, three), Decision::Refused { retry_after: Duration::from_secs(1) });
    assert_eq!(
        decide(&mut state, NonZeroU32::MIN),
        Decision::Queued { after: Duration::from_secs(3), near: true }
    );
}

#[test]
fn without_a_queue_it_passes_at_once_or_not() {
    let rate = Rate::new(2, Duration::from_secs(1)).expect("a rate");
    let bucket = LeakyBucket::new(rate, 0);
    let mut state = 0;
    assert_eq!(bucket.decide(&mut state, 7, NonZeroU32::MIN), Decision::Allowed { near: true });
    let refused = Decision::Refused { retry_after: Duration::from_millis(500) };
    assert_eq!(bucket.decide(&mut state, 7, NonZeroU32::MIN), refused);
}
