//! Under [`explore`] and its like, shuttle's lock and atomic, which yield to every schedule; in all other tests the
//! ones of production. Chosen when a breaker is made.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::atomic::{self, Ordering},
};

thread_local! {
    // Shuttle runs all threads of a schedule as coroutines of one thread.
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test under so many random schedules.
pub(crate) fn explore(schedules: usize, test: impl Fn() + Send + Sync + 'static) {
    let _exploring = Exploring::begin();
    shuttle::check_random(test, schedules);
}

/// Runs a test under so many schedules that are random but for this many changes of priority: finds what needs a
/// thread to be held up for long.
pub(crate) fn explore_priorities(schedules: usize, depth: usize, test: impl Fn() + Send + Sync + 'static) {
    let _exploring = Exploring::begin();
    shuttle::check_pct(test, schedules, depth);
}

/// As long as it lives, breakers that are made on this thread can be explored.
struct Exploring;

impl Exploring {
    fn begin() -> Self {
        EXPLORING.set(true);
        Self
    }
}

impl Drop for Exploring {
    fn drop(&mut self) {
        EXPLORING.set(false);
    }
}

#[derive(Debug)]
pub(crate) enum Mutex<T> {
    Plain(parking_lot::Mutex<T>),
    Exploring(shuttle::sync::Mutex<T>),
}

pub(crate) enum Guard<'a, T> {
    Plain(parking_lot::MutexGuard<'a, T>),
    Exploring(shuttle::sync::MutexGuard<'a, T>),
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        match EXPLORING.get() {
            true => Self::Exploring(shuttle::sync::Mutex::new(value)),
            false => Self::Plain(parking_lot::Mutex::new(value)),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self {
            Self::Plain(mutex) => Guard::Plain(mutex.lock()),
            Self::Exploring(mutex) => Guard::Exploring(mutex.lock().unwrap()),
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Plain(guard) => guard,
            Self::Exploring(guard) => guard,
        }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Plain(guard) => guard,
            Self::Exploring(guard) => guard,
        }
    }
}

#[derive(Debug)]
pub(crate) enum AtomicU64 {
    Plain(atomic::AtomicU64),
    Exploring(shuttle::sync::atomic::AtomicU64),
}

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        match EXPLORING.get() {
            true => Self::Exploring(shuttle::sync::atomic::AtomicU64::new(value)),
            false => Self::Plain(atomic::AtomicU64::new(value)),
        }
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        match self {
            Self::Plain(atomic) => atomic.load(order),
            // Shuttle knows only the strongest order, and warns of others.
            Self::Exploring(atomic) => atomic.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        match self {
            Self::Plain(atomic) => atomic.store(value, order),
            Self::Exploring(atomic) => atomic.store(value, Ordering::SeqCst),
        }
    }
}
