//! Values that people type: targets, quantities, labels, durations, words for states.

pub(crate) mod target;
pub(crate) mod value;
