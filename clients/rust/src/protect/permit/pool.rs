//! One named pool: permits with a wait of its own, and books about how they are used.

mod holds;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use parking_lot::Mutex;

use self::holds::{Hold, Holds};
use super::{Full, InFlight, Permit, Usage};
use crate::rt;

/// How long a caller waits where nothing else was said.
const WAIT: Duration = Duration::from_secs(1);
/// So many may wait for each there is, where nothing else was said.
const WAITING_EACH: u32 = 10;

/// How large a pool is, and how long and how many may wait for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolSettings {
    /// How many may be held at once.
    pub max: NonZeroU32,
    /// How long a caller waits for one. Zero does not wait.
    pub wait: Duration,
    /// How many callers may wait; more are refused at once.
    pub max_waiting: u32,
}

impl PoolSettings {
    /// At most so many at once; a wait of 1 s, and ten callers that wait for each one there is.
    pub fn new(max: NonZeroU32) -> Self {
        Self { max, wait: WAIT, max_waiting: max.get().saturating_mul(WAITING_EACH) }
    }
}

/// A number of equal things under a name, as the connections of a database: whoever uses one holds it. Made by
/// [`Pools`](super::Pools). Cheap to clone; clones are the same pool.
///
/// It counts them and has none of its own: what is held is opened and closed by whoever holds it.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    permits: InFlight,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    wait: Duration,
    acquired: u64,
    waited: Duration,
    holds: Holds,
}

/// How a pool is used at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolUsage {
    /// Its name.
    pub name: String,
    /// In use, size, peak, waiting and refused.
    pub permits: Usage,
    /// How many were lent since the start.
    pub acquired: u64,
    /// How long all together waited for these.
    pub waited: Duration,
    /// The longest time that one was held since the start; those that are still held count too, so that one
    /// that never comes back shows.
    pub longest_hold: Duration,
}

impl PoolUsage {
    /// How long those who got one waited for it, on average since the start. For another span divide what was
    /// added to `waited` by what was added to `acquired`.
    pub fn mean_wait(&self) -> Duration {
        let nanos = self.waited.as_nanos() / u128::from(self.acquired.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Pool {
    pub(super) fn new(name: String, settings: PoolSettings) -> Self {
        let PoolSettings { max, wait, max_waiting } = settings;
        let books = Books { wait, acquired: 0, waited: Duration::ZERO, holds: Holds::default() };
        Self(Arc::new(Inner { name, permits: InFlight::new(max, max_waiting), books: Mutex::new(books) }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Holds one, and waits for it as long as the pool's settings say, in the order in which callers came.
    ///
    /// Cancel safe: dropped, it leaves its place, and nothing is lost.
    ///
    /// # Errors
    ///
    /// [`Full`]: at once where as many wait as may, otherwise after the wait.
    pub async fn acquire(&self) -> Result<Held, Full> {
        let asked = rt::now();
        let wait = self.0.books.lock().wait;
        let permit = self.0.permits.acquire(wait).await?;
        let now = rt::now();
        let mut books = self.0.books.lock();
        books.acquired += 1;
        books.waited = books.waited.saturating_add(now - asked);
        let hold = books.holds.begin(now);
        Ok(Held { pool: self.clone(), hold, _permit: permit })
    }

    /// Takes these settings from now on. Those who wait already do so as long as they were promised; a smaller
    /// size takes nothing away from who holds one.
    pub fn set(&self, settings: PoolSettings) {
        let PoolSettings { max, wait, max_waiting } = settings;
        self.0.books.lock().wait = wait;
        self.0.permits.set_max_waiting(max_waiting);
        self.0.permits.resize(max);
    }

    /// How it is used now.
    pub fn usage(&self) -> PoolUsage {
        let permits = self.0.permits.usage();
        let Books { wait: _, acquired, waited, holds } = &*self.0.books.lock();
        PoolUsage {
            name: self.0.name.clone(),
            permits,
            acquired: *acquired,
            waited: *waited,
            longest_hold: holds.longest(rt::now()),
        }
    }

    /// The most that were held at once since the start or the last call.
    pub fn take_peak(&self) -> u32 {
        self.0.permits.take_peak()
    }
}

/// One of a pool's. It is free again when this is dropped.
#[derive(Debug)]
#[must_use = "it is free again when this is dropped: hold it for as long as it is used"]
pub struct Held {
    pool: Pool,
    hold: Hold,
    /// Comes back after the books are closed.
    _permit: Permit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.0.books.lock().holds.end(self.hold, rt::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pool(max: u32) -> Pool {
        Pool::new("db".to_owned(), PoolSettings::new(NonZeroU32::new(max).expect("more than zero")))
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_books() {
        let pool = pool(1);
        let held = pool.acquire().await.expect("one is free");
        let giving_back = async {
            tokio::time::sleep(SECOND / 2).await;
            drop(held);
        };
        let (second, ()) = tokio::join!(pool.acquire(), giving_back);
        let usage = pool.usage();
        assert_eq!(usage.permits, Usage { in_use: 1, max: 1, peak: 1, waiting: 0, refused: 0 });
        assert_eq!((usage.acquired, usage.waited, usage.mean_wait()), (2, SECOND / 2, SECOND / 4));
        assert_eq!(usage.longest_hold, SECOND / 2);
        advance(3 * SECOND).await;
        assert_eq!(pool.usage().longest_hold, 3 * SECOND, "one that is still held counts");
        drop(second);
        advance(SECOND).await;
        assert_eq!((pool.usage().longest_hold, pool.usage().permits.in_use), (3 * SECOND, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_refuses_after_its_wait() {
        let pool = pool(1);
        let _held = pool.acquire().await.expect("one is free");
        let full = pool.acquire().await.expect_err("none comes back");
        assert!(full.waited >= WAIT, "{full}");
        let max = NonZeroU32::new(1).expect("more than zero");
        pool.set(PoolSettings { max, wait: Duration::ZERO, max_waiting: 10 });
        assert_eq!(pool.acquire().await.expect_err("none is free").waited, Duration::ZERO);
        assert_eq!(pool.usage().acquired, 1, "who is refused does not count");
    }

    #[tokio::test(start_paused = true)]
    async fn it_grows_and_shrinks_while_it_is_used() {
        let pool = pool(1);
        let first = pool.acquire().await.expect("one is free");
        pool.set(PoolSettings::new(NonZeroU32::new(2).expect("more than zero")));
        let second = pool.acquire().await.expect("now there are two");
        pool.set(PoolSettings::new(NonZeroU32::new(1).expect("more than zero")));
        drop(first);
        assert!(pool.acquire().await.is_err(), "the one that is left is held");
        drop(second);
        assert!(pool.acquire().await.is_ok());
        assert_eq!((pool.take_peak(), pool.take_peak()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_no_trace() {
        let pool = pool(1);
        let held = pool.acquire().await.expect("one is free");
        assert!(timeout(SECOND / 2, pool.acquire()).await.is_err());
        drop(held);
        assert_eq!(pool.usage().permits, Usage { in_use: 0, max: 1, peak: 1, waiting: 0, refused: 0 });
        assert_eq!(pool.usage().acquired, 1);
    }
}
