//! The retries of one policy, with the budget that all calls of an operation share.

use super::{
    Time,
    policy::Retry as Rule,
    retry::{Budget, Retry},
};

/// How what fails is tried again, and how much of it may be.
#[derive(Debug)]
pub(crate) struct Retrying {
    pub(crate) rule: Rule,
    pub(crate) retry: Retry<Time>,
}

impl Retrying {
    pub(crate) fn new(rule: Rule, time: Time) -> Self {
        let retry = Retry::new(rule.settings, Budget::new(&rule.settings, time));
        Self { rule, retry }
    }
}
