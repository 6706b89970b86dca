//! The time by which everything in this room decides: a monotonic reading, injected, so that a test says what time it is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::rt;

/// Tells monotonic time. Cheap to clone; clones agree.
pub trait Clock: Clone + Send + Sync + fmt::Debug + 'static {
    /// Nanoseconds since an origin that all clones share. Never goes back; lasts for 584 years.
    fn nanos(&self) -> u64;

    /// The same as a duration.
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }
}

/// The time of the process, by tokio's clock: it stands still where that is paused.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic(Instant);

impl Monotonic {
    /// Its origin is now.
    pub fn start() -> Self {
        Self(rt::now())
    }
}

impl Clock for Monotonic {
    fn nanos(&self) -> u64 {
        whole_nanos(self.0.elapsed())
    }
}

/// The time that a test says it is.
#[derive(Clone, Debug, Default)]
pub struct Manual(Arc<AtomicU64>);

impl Manual {
    /// Goes on by this much.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(whole_nanos(by), Ordering::AcqRel);
    }
}

impl Clock for Manual {
    fn nanos(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The nanoseconds of a duration, or as many as there can be.
pub fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
