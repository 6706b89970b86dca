//! How many operations may run at once. [`InFlight`] lends permits, at most so many, to whoever asks first,
//! for as long as they are held; [`Pools`] does the same under names, for what a service has a fixed number
//! of, as connections of a database; [`Adaptive`] finds out from latencies how many is right, and tells
//! [`InFlight::resize`].
//!
//! It does not say how many may begin in a second (that is a rate limit), makes no difference between
//! operations (give each kind permits of its own), opens no connection, and starts no task.

mod adaptive;
mod full;
mod in_flight;
mod pool;
mod pools;
mod queue;

pub use self::{
    adaptive::{Adaptive, AdaptiveSettings, InvalidAdaptive, Outcome, Sample},
    full::Full,
    in_flight::{InFlight, Permit, Usage},
    pool::{Held, Pool, PoolSettings, PoolUsage},
    pools::{PoolError, Pools},
};
