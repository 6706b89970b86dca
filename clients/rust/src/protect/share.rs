//! A limit that all instances of a service share: the slice that this one holds of it, and spends by itself.
//!
//! A bucket of tokens that can be filled faster or slower while it is used, so that another slice forgets nothing. Who
//! asks for slices is [`quota`](super::super::quota); a call never waits for that. Until the first slice comes an instance is
//! held to the whole amount by itself, for as long as a slice lives; then, as after the last slice, what the policy says of a
//! control plane that is away.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    Time,
    clock::Clock,
    limit::{Algorithm, Decision, NEAR_LIMIT_PERCENT, Settings},
    policy::OnUnavailable,
};

/// When somebody who is refused everything should come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// How long the first slice is waited for: as long as one lives. After that the control plane is away.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

/// Which limit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Which {
    pub(crate) policy: String,
    /// Its place in the policy.
    pub(crate) limit: usize,
    /// Empty: all operations together.
    pub(crate) operation: String,
}

/// The slice of one limit.
#[derive(Debug)]
pub(crate) struct Share {
    which: Which,
    settings: Settings,
    away: OnUnavailable,
    time: Time,
    asked: AtomicU64,
    bucket: Mutex<Bucket>,
}

/// A bucket of tokens whose size can change.
#[derive(Debug)]
struct Bucket {
    /// What it holds now.
    tokens: f64,
    /// As of when.
    at: Duration,
    /// How fast it fills, in tokens a second.
    rate: f64,
    /// What it can hold.
    burst: f64,
    /// Until when the slice holds; where there was none yet, until when the whole amount does.
    until: Duration,
    /// What was given so far.
    given: Given,
}

/// What the control plane has given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Given {
    /// It was not heard of this limit.
    Nothing,
    /// A slice.
    Slice,
    /// A slice of nothing: others hold all of it. The part is an even one, which holds should this be the last slice.
    Empty { even: f64 },
}

impl Share {
    pub(crate) fn new(which: Which, settings: Settings, away: OnUnavailable, time: Time) -> Self {
        let (rate, burst) = whole(&settings);
        let now = time.now();
        let until = now + FIRST_WITHIN;
        let bucket = Bucket { tokens: burst, at: now, rate, burst, until, given: Given::Nothing };
        Self { which, settings, away, time, asked: AtomicU64::new(0), bucket: Mutex::new(bucket) }
    }

    /// Which limit it is of.
    pub(crate) fn which(&self) -> &Which {
        &self.which
    }

    /// Decides of one call, at this reading of its clock.
    pub(crate) fn decide_at(&self, now: Duration) -> Decision {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut bucket = self.bucket.lock();
        if now < bucket.until {
            return bucket.take(now);
        }
        match self.away {
            OnUnavailable::Allow => Decision::Allowed { near: false },
            OnUnavailable::Deny => Decision::Refused { retry_after: COME_BACK },
            OnUnavailable::LastSlice => {
                if let Given::Empty { even } = bucket.given {
                    bucket.fill(now);
                    bucket.hold(even, &self.settings);
                    bucket.given = Given::Slice;
                }
                bucket.take(now)
            }
        }
    }

    /// Takes back what a call used up that was let through, and that somebody else refuses: nor was it needed.
    pub(crate) fn give_back(&self) {
        let one_less = |asked: u64| Some(asked.saturating_sub(1));
        self.asked.try_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok();
        let mut bucket = self.bucket.lock();
        bucket.tokens = (bucket.tokens + 1.0).min(bucket.burst);
    }

    /// How often it was asked since [`forget_asked`](Self::forget_asked): what the instance needs.
    pub(crate) fn asked_so_far(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Begins to count anew.
    pub(crate) fn forget_asked(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// The amount of the whole limit in each period.
    pub(crate) fn amount(&self) -> f64 {
        f64::from(self.settings.rate().amount().get())
    }

    /// The period of the limit.
    pub(crate) fn period(&self) -> Duration {
        self.settings.rate().period()
    }

    /// Begins with the part of the whole that another one held of the same limit, whose amount has changed.
    pub(crate) fn go_on_from(&self, before: &Share) {
        let part = before.part();
        let mut old = before.bucket.lock();
        let now = self.time.now();
        old.fill(now);
        let full = if old.burst > 0.0 { old.tokens / old.burst } else { 0.0 };
        let (until, given) = (old.until, old.given);
        drop(old);
        let mut bucket = self.bucket.lock();
        bucket.hold(part, &self.settings);
        bucket.tokens = bucket.burst * full;
        (bucket.at, bucket.until, bucket.given) = (now, until, given);
    }

    /// The slice that it holds, and for how long still. None: it holds none any more, or never did.
    pub(crate) fn slice(&self) -> Option<(f64, Duration)> {
        let Bucket { until, given, .. } = *self.bucket.lock();
        let left = until.checked_sub(self.time.now()).filter(|left| !left.is_zero())?;
        (given == Given::Slice).then(|| (self.amount() * self.part(), left))
    }

    /// How much of the whole it holds.
    fn part(&self) -> f64 {
        let (rate, _) = whole(&self.settings);
        (self.bucket.lock().rate / rate).clamp(0.0, 1.0)
    }

    /// Takes a slice of this amount in each period. `holders`: how many share the limit.
    pub(crate) fn take_slice(&self, amount: f64, holders: u32, ttl: Duration) {
        let part = (amount / self.amount()).clamp(0.0, 1.0);
        let even = 1.0 / f64::from(holders.max(1));
        let now = self.time.now();
        let mut bucket = self.bucket.lock();
        bucket.fill(now);
        bucket.hold(part, &self.settings);
        bucket.until = now + ttl;
        bucket.given = if part > 0.0 { Given::Slice } else { Given::Empty { even } };
    }
}

impl Bucket {
    /// Holds this part of the whole from now on.
    fn hold(&mut self, part: f64, settings: &Settings) {
        let (rate, burst) = whole(settings);
        self.rate = rate * part;
        self.burst = part_of(burst, part);
        self.tokens = self.tokens.min(self.burst);
    }

    fn fill(&mut self, now: Duration) {
        let gone = now.saturating_sub(self.at);
        self.tokens = (self.tokens + self.rate * gone.as_secs_f64()).min(self.burst);
        self.at = self.at.max(now);
    }

    fn take(&mut self, now: Duration) -> Decision {
        self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            let used = self.burst - self.tokens;
            return Decision::Allowed { near: used * 100.0 >= self.burst * f64::from(NEAR_LIMIT_PERCENT) };
        }
        let lacking = (1.0 - self.tokens) / self.rate;
        let retry_after =
            Duration::try_from_secs_f64(lacking).unwrap_or(COME_BACK).max(Duration::from_nanos(1));
        Decision::Refused { retry_after: if self.rate > 0.0 { retry_after } else { COME_BACK } }
    }
}

/// What a part of the whole can hold. Less than one could never be taken, and less than two would be lost to calls that come
/// a moment early or late.
fn part_of(burst: f64, part: f64) -> f64 {
    if part > 0.0 { (burst * part).max(burst.min(2.0)) } else { 0.0 }
}

/// The rate in a second and the burst of the whole limit.
fn whole(settings: &Settings) -> (f64, f64) {
    let rate = settings.rate();
    let burst = match settings.algorithm() {
        Algorithm::TokenBucket { burst } => burst,
        // Limits of others are not shared.
        Algorithm::LeakyBucket { .. } | Algorithm::SlidingWindow | Algorithm::FixedWindow => {
            rate.default_burst()
        }
    };
    (f64::from(rate.amount().get()) / rate.period().as_secs_f64(), f64::from(burst.get()))
}
