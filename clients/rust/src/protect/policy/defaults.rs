//! What protects an operation of which nothing is said.

use super::{Policy, Retry, Target};
use crate::protect::{breaker, retry};

/// The name of the policy that every operation of every service has at the least.
pub const OPERATIONS: &str = "operations";

/// A breaker, and retries of what was certainly not done. No limit: what is too much only the service knows.
pub fn operations() -> Policy {
    Policy {
        target: Target::Operations { service: None, operation: None },
        breaker: Some(breaker::Settings::default()),
        retry: Some(Retry { settings: retry::Settings::default(), safety: retry::Safety::Unsafe }),
        description: "what every operation of every service has where no other policy says otherwise"
            .to_owned(),
        ..Policy::named(OPERATIONS)
    }
}
