//! Rate limits: how many calls, or permits of calls, may pass in a time, for one thing or for each key by itself.
//!
//! Four [algorithms](Algorithm) with their textbook meaning: token bucket, leaky bucket, sliding window and fixed
//! window. A [`Limiter`] holds one cell, a [`KeyedLimiter`] a cell for each key within bounded memory. Both decide
//! at once, by the [`Clock`](super::clock::Clock) that they are given, and answer a [`Decision`].
//!
//! Nothing here waits, spawns or sheds: who is told to pause ([`Decision::Queued`]) sleeps by itself. Settings do not
//! change: whoever owns a limiter makes a new one. Limits over several processes are not made here either.

#[cfg(test)]
mod arrivals;
mod decision;
mod fixed_window;
mod keyed;
mod leaky_bucket;
mod limiter;
mod meter;
mod settings;
mod sliding_window;
mod store;
#[cfg(test)]
mod tests;
mod token_bucket;

pub use self::{
    decision::{Decision, NEAR_LIMIT_PERCENT, Usage},
    keyed::KeyedLimiter,
    limiter::Limiter,
    settings::{Algorithm, InvalidSettings, LONGEST, Rate, Settings},
    sliding_window::SUB_WINDOWS,
};
