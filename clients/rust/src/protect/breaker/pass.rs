//! What a call carries from being let through to its end.

use super::probes::ProbeId;

/// What a call that was let through carries with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) generation: u64,
    pub(super) role: Role,
}

/// What a call counts as once it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of the window.
    Counted,
    /// One of the probes.
    Probe(ProbeId),
    /// Nothing: it would have been refused, had it been up to the rules.
    Shadow,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
}
