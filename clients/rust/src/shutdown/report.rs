//! How a shutdown went, for the log, for people, and for the control plane.

use std::{fmt, time::Duration};

use super::hook::{Checkpoint, Kind};
use crate::{LeaveOutcome, rules::Phase};

/// How a shutdown went. Its text is for people, a line for each phase and hook.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Why it ended: `SIGTERM`.
    pub cause: String,
    /// Whether it was told a second time, or by force, so that nothing was waited for any more.
    pub forced: bool,
    /// Every phase that was gone through, in order.
    pub phases: Vec<PhaseReport>,
    /// Requests.
    pub requests: Counts,
    /// Long-lived streams.
    pub long_lived: Counts,
    /// How much more time was asked for and given.
    pub extended: Duration,
    /// All of it.
    pub total: Duration,
    /// How the agent left the fleet; none: there was none.
    pub left: Option<LeaveOutcome>,
}

/// How a phase went.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// How long it took.
    pub took: Duration,
    /// Whether its time was over before it was done.
    pub timed_out: bool,
    /// What ran in it.
    pub hooks: Vec<HookReport>,
}

/// How a hook went.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HookReport {
    /// Which.
    pub name: String,
    /// What kind of component.
    pub kind: Kind,
    /// How long it took.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome,
    /// What it said of it.
    pub note: String,
    /// What it has saved.
    pub checkpoint: Option<Checkpoint>,
}

/// What became of a hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed, and said this.
    Failed(String),
    /// It was not done in time, and dropped.
    TimedOut,
}

/// What was under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// When it was told to stop.
    pub at_start: u64,
    /// Of these and of those that came in the lame-duck time: that finished.
    pub finished: u64,
    /// That were still under way when their time was over.
    pub cut: u64,
    /// That came later, and were turned away.
    pub refused: u64,
}

impl Report {
    /// Whether nothing was cut, nothing failed, and nothing was left out.
    pub fn is_clean(&self) -> bool {
        let hooks = || self.phases.iter().flat_map(|phase| &phase.hooks);
        !self.forced
            && self.requests.cut == 0
            && self.long_lived.cut == 0
            && hooks().all(|hook| hook.outcome == Outcome::Done)
    }

    /// What was saved.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.phases.iter().flat_map(|phase| &phase.hooks).filter_map(|hook| hook.checkpoint.as_ref())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Failed(why) => write!(f, "failed: {why}"),
            Outcome::TimedOut => f.write_str("not done in time"),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_start, finished, cut, refused } = self;
        write!(f, "{at_start} at the start, {finished} finished, {cut} cut, {refused} turned away")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forced = if self.forced { ", forced" } else { "" };
        writeln!(f, "stopped by {}{forced} in {:.3} s", self.cause, self.total.as_secs_f64())?;
        for phase in &self.phases {
            let late = if phase.timed_out { ", its time was over" } else { "" };
            writeln!(f, "  {:<22} {:>8.3} s{late}", phase.phase.as_str(), phase.took.as_secs_f64())?;
            for hook in &phase.hooks {
                let HookReport { name, took, outcome, note, checkpoint, .. } = hook;
                write!(f, "    {name:<20} {:>8.3} s  {outcome}", took.as_secs_f64())?;
                if !note.is_empty() {
                    write!(f, ", {note}")?;
                }
                if let Some(Checkpoint { name, position, size }) = checkpoint {
                    write!(f, ", saved {name} up to {position}, {size} bytes")?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f, "  requests: {}", self.requests)?;
        write!(f, "  long-lived: {}", self.long_lived)
    }
}
