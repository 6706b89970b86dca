//! A cache that answers, and that is worth asking: how many of the lookups of the last minute it had an
//! answer for.

mod window;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use self::window::Window;
use crate::{Check, HealthState, IntoCheck, Report, rt};

/// Degraded below this hit rate, where nothing else was said.
const MIN_HIT_PERCENT: u8 = 80;
/// Over how much time the hit rate is taken, where nothing else was said.
const WINDOW: Duration = Duration::from_secs(60);
/// Longest time over which it can be taken.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// With fewer lookups in the window nothing is said of the hit rate, where nothing else was said.
const MIN_LOOKUPS: u64 = 100;

/// Lookups of a cache since it was started: numbers that only rise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lookups {
    /// Those that it had an answer for.
    pub hits: u64,
    /// The others.
    pub misses: u64,
}

/// Counts the lookups of a cache that does not count them itself. Cheap to clone, and to count with.
///
/// ```
/// use seaworthy_client::checks::HitCounter;
///
/// let counter = HitCounter::default();
/// counter.hit();
/// counter.miss();
/// assert_eq!(counter.lookups().hits, 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct HitCounter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl HitCounter {
    /// It had an answer.
    pub fn hit(&self) {
        self.0.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// It had none.
    pub fn miss(&self) {
        self.0.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// All that were counted.
    pub fn lookups(&self) -> Lookups {
        let Counts { hits, misses } = &*self.0;
        Lookups { hits: hits.load(Ordering::Relaxed), misses: misses.load(Ordering::Relaxed) }
    }
}

/// Checks a cache: `ping` is an async function that asks it for a sign of life, unhealthy where that fails.
/// With [`hit_rate`](Cache::hit_rate) it is degraded as well while too few of the lookups of the last
/// minute were hits: it lives, and whatever is behind it does the work.
///
/// Details: those of the report that `ping` answers, and with a hit rate `hits` and `misses` within the
/// window, and `hit_percent` once there were enough of them.
///
/// ```
/// use seaworthy_client::{Component, checks::{self, HitCounter}};
///
/// # #[derive(Clone)] struct Redis;
/// # impl Redis { async fn ping(&self) -> Result<(), std::io::Error> { Ok(()) } }
/// # let redis = Redis;
/// let counter = HitCounter::default(); // a clone of it counts where the cache is used
/// let seen = counter.clone();
/// let ping = move || {
///     let redis = redis.clone();
///     async move { redis.ping().await }
/// };
/// let cache = Component::new("cache")
///     .kind("redis")
///     .check(checks::cache(ping).hit_rate(move || seen.lookups()).min_hit_percent(60));
/// ```
pub fn cache(ping: impl IntoCheck) -> Cache {
    Cache {
        ping: ping.into_check(),
        lookups: None,
        min_hit_percent: MIN_HIT_PERCENT,
        min_lookups: MIN_LOOKUPS,
        window: WINDOW,
    }
}

/// A check of a cache: made by [`cache`].
#[derive(Clone)]
#[must_use = "a check counts when it is given to a component"]
pub struct Cache {
    ping: Check,
    lookups: Option<Arc<dyn Fn() -> Lookups + Send + Sync>>,
    min_hit_percent: u8,
    min_lookups: u64,
    window: Duration,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ping: _, lookups: _, min_hit_percent, min_lookups, window } = self;
        f.debug_struct("Cache")
            .field("min_hit_percent", min_hit_percent)
            .field("min_lookups", min_lookups)
            .field("window", window)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Watches the hit rate too. `lookups` tells all lookups since the start, from a [`HitCounter`] or from
    /// the cache's own figures, and must not block. Numbers that fall are a cache that has started anew.
    pub fn hit_rate(mut self, lookups: impl Fn() -> Lookups + Send + Sync + 'static) -> Self {
        self.lookups = Some(Arc::new(lookups));
        self
    }

    /// Below which hit rate it is degraded, in percent. Default 80; 1 to 100.
    pub fn min_hit_percent(mut self, percent: u8) -> Self {
        self.min_hit_percent = percent;
        self
    }

    /// With fewer lookups in the window nothing is said of the hit rate: a cache that is not asked, or has
    /// just begun, is not degraded. Default 100; at least 1.
    pub fn min_lookups(mut self, lookups: u64) -> Self {
        self.min_lookups = lookups;
        self
    }

    /// Over how much time the hit rate is taken; where the check runs more rarely, over the time since it
    /// ran before. Default 1 min; up to 24 h.
    pub fn window(mut self, time: Duration) -> Self {
        self.window = time;
        self
    }

    /// What a ping says, and the lookups within the window.
    fn judge(&self, ping: Report, Lookups { hits, misses }: Lookups) -> Report {
        let all = u128::from(hits) + u128::from(misses);
        let enough = all >= u128::from(self.min_lookups.max(1));
        let percent = u128::from(hits) * 100 / all.max(1);
        let low = enough && percent < u128::from(self.min_hit_percent);
        let report = if low && ping.state() == HealthState::Healthy {
            let least = self.min_hit_percent;
            let cold = format!("{percent} % of {all} lookups were hits, at least {least} % are expected");
            ping.details().iter().fold(Report::degraded(cold), |cold, (key, value)| cold.detail(key, value))
        } else {
            ping
        };
        let report = report.detail("hits", hits).detail("misses", misses);
        if enough { report.detail("hit_percent", percent) } else { report }
    }
}

impl IntoCheck for Cache {
    fn into_check(self) -> Check {
        if let Some(problem) = self.ping.problem() {
            return Check::invalid(problem);
        }
        let percent = self.min_hit_percent;
        if percent == 0 || percent > 100 {
            return Check::invalid(format!(
                "expects a hit rate of {percent} %; it must be between 1 and 100"
            ));
        }
        if self.min_lookups == 0 || self.window.is_zero() || self.window > LONGEST_WINDOW {
            return Check::invalid("needs at least one lookup, in a window above zero and up to 24 h");
        }
        let Some(lookups) = self.lookups.clone() else { return self.ping };
        let window = Arc::new(Mutex::new(Window::new(self.window)));
        Check::new(move || {
            let (cache, lookups, window) = (self.clone(), Arc::clone(&lookups), Arc::clone(&window));
            async move {
                let ping = cache.ping.run().await;
                let within = window.lock().await.take(rt::now(), lookups());
                cache.judge(ping, within)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthState::{Degraded, Healthy, Unhealthy};

    #[test]
    fn pings_and_rates_are_judged_as_a_table() {
        let cache = cache(|| async {}).min_hit_percent(60).min_lookups(10);
        for (ping, hits, misses, state, percent) in [
            (Report::healthy(), 0, 0, Healthy, None),
            (Report::healthy(), 0, 9, Healthy, None),
            (Report::healthy(), 0, 10, Degraded, Some("0")),
            (Report::healthy(), 6, 4, Healthy, Some("60")),
            (Report::healthy(), 59, 41, Degraded, Some("59")),
            (Report::healthy(), u64::MAX, u64::MAX, Degraded, Some("50")),
            (Report::unhealthy("gone"), 0, 100, Unhealthy, Some("0")),
            (Report::degraded("a replica is gone"), 100, 0, Degraded, Some("100")),
        ] {
            let report = cache.judge(ping.clone(), Lookups { hits, misses });
            assert_eq!(report.state(), state, "{ping:?}, {hits} hits, {misses} misses");
            assert_eq!(report.details().get("hit_percent").map(String::as_str), percent);
        }
        let cold = cache.judge(Report::healthy(), Lookups { hits: 1, misses: 9 });
        assert_eq!(cold.message(), "10 % of 10 lookups were hits, at least 60 % are expected");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_lookups_of_the_window_count() {
        let counter = HitCounter::default();
        let seen = counter.clone();
        let check = cache(|| async {}).hit_rate(move || seen.lookups()).min_lookups(10).into_check();
        let run = async |hits: u64, misses: u64| {
            (0..hits).for_each(|_| counter.hit());
            (0..misses).for_each(|_| counter.miss());
            tokio::time::advance(Duration::from_secs(20)).await;
            check.run().await
        };
        // What was before the first run is of no known time.
        assert_eq!(run(0, 500).await.state(), Healthy);
        assert_eq!(run(20, 0).await.state(), Healthy);
        assert_eq!(run(0, 20).await.state(), Degraded);
        // A minute later the misses are past.
        assert_eq!(run(20, 0).await.state(), Degraded);
        assert_eq!(run(20, 0).await.state(), Degraded);
        let warm = run(20, 0).await;
        assert_eq!((warm.state(), warm.details()["hit_percent"].as_str()), (Healthy, "100"));
    }

    #[tokio::test]
    async fn without_a_hit_rate_it_is_the_ping_alone_and_nonsense_is_refused() {
        let gone = cache(|| async { Err::<(), _>("connection refused") }).into_check();
        assert_eq!(gone.run().await, Report::unhealthy("connection refused"));
        let cache_of = |ping: Check| cache(ping);
        let made = || cache(|| async {}).hit_rate(Lookups::default);
        for (cache, right) in [
            (made(), true),
            (made().min_hit_percent(0), false),
            (made().min_hit_percent(101), false),
            (made().min_lookups(0), false),
            (made().window(Duration::ZERO), false),
            (made().window(LONGEST_WINDOW * 2), false),
            (cache_of(Check::invalid("is wrong")), false),
        ] {
            let shown = format!("{cache:?}");
            assert_eq!(cache.into_check().problem().is_none(), right, "{shown}");
        }
    }
}
