//! An operator's word over what the rules say.

use std::time::Duration;

/// Forces a breaker until a moment, at which it ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// Which way.
    pub force: Force,
    /// The first moment, on the breaker's clock, at which it is over.
    pub until: Duration,
}

/// Which way a breaker is forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// To refuse every call.
    Open,
    /// To let every call through.
    Closed,
}
