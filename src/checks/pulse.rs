//! How long the control plane itself stood still while checks ran: what took too long meanwhile says nothing
//! of who was asked.

use std::time::Duration;

use crate::time::Mono;

/// How often it is looked at, while anything runs.
const BEAT: Duration = Duration::from_millis(100);
/// Lateness that says nothing: a busy machine is later than its timers.
const FINE: Duration = Duration::from_millis(250);

/// Lateness, added up.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When the next look is due; none while nothing runs.
    due: Option<Mono>,
    stood_still: Duration,
}

impl Pulse {
    /// Looks: `busy` while anything runs.
    pub(super) fn beat(&mut self, now: Mono, busy: bool) {
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due));
        if late > FINE {
            self.stood_still += late;
        }
        self.due = busy.then(|| now + BEAT);
    }

    /// When to look next.
    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// How long it stood still in all.
    pub(super) fn stood_still(&self) -> Duration {
        self.stood_still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_late_while_something_runs_counts() {
        let mut pulse = Pulse::default();
        let at = Mono::from_millis;
        for (now, busy, stood_still) in [
            (0, false, 0),
            (60_000, true, 0),
            (60_100, true, 0),
            (60_150, true, 0),
            (60_400, true, 0),
            // Due at 60.5 s.
            (61_500, true, 1_000),
            (61_600, false, 1_000),
            (90_000, true, 1_000),
        ] {
            pulse.beat(at(now), busy);
            assert_eq!(pulse.stood_still(), Duration::from_millis(stood_still), "at {now}");
        }
    }
}
