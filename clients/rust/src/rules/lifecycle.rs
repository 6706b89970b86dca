//! Where an instance is in its life, and what may follow what.

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lifecycle {
    /// Registered, not yet able to take work.
    Starting,
    /// Able to take work.
    Ready,
    /// About to leave: still serves, wants no new work.
    LameDuck,
    /// Finishes what it has.
    Draining,
    /// Saves state and closes.
    Stopping,
    /// Gone on purpose.
    Stopped,
    /// Said itself that it cannot go on.
    Failed,
    /// Its lease ran out.
    Lost,
}

impl Lifecycle {
    /// The word for people, wherever they read it: `lame_duck`.
    pub fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Starting => "starting",
            Lifecycle::Ready => "ready",
            Lifecycle::LameDuck => "lame_duck",
            Lifecycle::Draining => "draining",
            Lifecycle::Stopping => "stopping",
            Lifecycle::Stopped => "stopped",
            Lifecycle::Failed => "failed",
            Lifecycle::Lost => "lost",
        }
    }

    /// Whether it leaves on purpose.
    pub fn is_leaving(self) -> bool {
        matches!(self, Lifecycle::LameDuck | Lifecycle::Draining | Lifecycle::Stopping)
    }

    /// Whether its process is believed to run.
    pub fn is_alive(self) -> bool {
        !matches!(self, Lifecycle::Stopped | Lifecycle::Failed | Lifecycle::Lost)
    }

    /// Whether an instance may say that it goes from this to `next`.
    ///
    /// It goes forward through the phases of leaving, may turn back to READY until it stops (an
    /// aborted shutdown), and may fail from anywhere. STOPPED and LOST are never said: `Deregister`
    /// means the one, silence the other.
    pub fn allows(self, next: Lifecycle) -> bool {
        use Lifecycle::{Draining, Failed, LameDuck, Lost, Ready, Starting, Stopped, Stopping};
        match next {
            Stopped | Lost => false,
            Failed => true,
            Starting => matches!(self, Starting | Failed | Lost),
            Ready => !matches!(self, Stopping | Stopped),
            LameDuck => matches!(self, Starting | Ready | LameDuck | Lost),
            Draining => !matches!(self, Stopping | Stopped | Failed),
            Stopping => !matches!(self, Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lifecycle::{self, Draining, Failed, LameDuck, Lost, Ready, Starting, Stopped, Stopping};

    #[test]
    fn what_may_follow_what_as_a_table() {
        let all = [Starting, Ready, LameDuck, Draining, Stopping, Stopped, Failed, Lost];
        let rows: [(Lifecycle, &[Lifecycle]); 8] = [
            (Starting, &[Starting, Ready, LameDuck, Draining, Stopping, Failed]),
            (Ready, &[Ready, LameDuck, Draining, Stopping, Failed]),
            (LameDuck, &[Ready, LameDuck, Draining, Stopping, Failed]),
            (Draining, &[Ready, Draining, Stopping, Failed]),
            (Stopping, &[Stopping, Failed]),
            (Stopped, &[Failed]),
            (Failed, &[Starting, Ready, Stopping, Failed]),
            (Lost, &[Starting, Ready, LameDuck, Draining, Stopping, Failed]),
        ];
        for (from, allowed) in rows {
            for next in all {
                assert_eq!(from.allows(next), allowed.contains(&next), "{from:?} to {next:?}");
            }
        }
    }
}
