//! Values that people type: targets, quantities, labels, durations, rates, words for states.

pub(crate) mod rate;
pub(crate) mod target;
pub(crate) mod value;
