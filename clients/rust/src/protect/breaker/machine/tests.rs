//! The machine by tables and stories: a [`Desk`] plays calls to it, and looks.

mod forced;
mod metrics_only;
mod phases;
mod reconfigured;
mod rules;

use super::*;

const NANO: Duration = Duration::from_nanos(1);
const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_secs(6);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Opens after two failures in a row, for 10 s without jitter; three probes.
fn options() -> Options {
    Options { consecutive_failures: Some(2), jitter: 0.0, probes: 3, ..Options::default() }
}

/// A machine with its time.
struct Desk {
    machine: Machine,
    now: Duration,
}

impl Desk {
    fn new(options: Options) -> Self {
        let now = seconds(1_000);
        Self { machine: Machine::new(Settings::new(options).unwrap(), now), now }
    }

    fn opened(options: Options) -> Self {
        let mut desk = Self::new(options);
        desk.calls("ff");
        assert_eq!(desk.look().judged, State::Open);
        desk
    }

    fn half_open(options: Options) -> Self {
        let mut desk = Self::opened(options);
        desk.after(seconds(10));
        assert_eq!(desk.look().judged, State::HalfOpen);
        desk
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn admit(&mut self) -> Result<Pass, Refused> {
        self.machine.admit(self.now)
    }

    fn report(&mut self, pass: Pass, outcome: Outcome, latency: Duration) {
        self.machine.report(pass, outcome, latency, self.now, || 0.5);
    }

    /// One call after the other: `.` succeeds, `s` does so slowly, `f` fails, `d` is dropped, `r` is refused.
    fn calls(&mut self, calls: &str) -> &mut Self {
        for kind in calls.chars() {
            match (kind, self.admit()) {
                ('.', Ok(pass)) => self.report(pass, Outcome::Success, QUICK),
                ('s', Ok(pass)) => self.report(pass, Outcome::Success, SLOW),
                ('f', Ok(pass)) => self.report(pass, Outcome::Failure, QUICK),
                ('d', Ok(pass)) => self.machine.release(pass),
                ('r', Err(_)) => {}
                (kind, answer) => panic!("{kind} of {calls}: {answer:?}"),
            }
        }
        self
    }

    fn force(&mut self, force: Force, time: Duration) -> &mut Self {
        let until = self.now + time;
        self.machine.override_with(Some(Override { force, until }), self.now);
        self
    }

    fn release(&mut self) -> &mut Self {
        self.machine.override_with(None, self.now);
        self
    }

    fn reconfigure(&mut self, options: Options) -> &mut Self {
        self.machine.reconfigure(Settings::new(options).unwrap(), self.now);
        self
    }

    fn look(&mut self) -> Snapshot {
        self.machine.snapshot(self.now)
    }

    fn state(&mut self) -> State {
        self.machine.state(self.now)
    }

    fn last(&mut self) -> (State, State, Cause) {
        self.look().transitions.last().map(|last| (last.from, last.to, last.cause)).unwrap()
    }
}

/// The gate's word must be the machine's, in every state and whatever the time.
#[test]
fn what_stands_is_what_admit_says() {
    let mode = |mode| Options { mode, ..options() };
    let mut override_open = Desk::new(options());
    override_open.force(Force::Open, seconds(5));
    let mut override_closed = Desk::new(options());
    override_closed.force(Force::Closed, seconds(5));
    let cases = [
        ("closed", Desk::new(options()), true),
        ("open", Desk::opened(options()), false),
        ("half-open", Desk::half_open(options()), false),
        ("overridden open", override_open, false),
        ("overridden closed", override_closed, false),
        ("mode forced open", Desk::new(mode(Mode::ForcedOpen)), false),
        ("mode forced closed", Desk::new(mode(Mode::ForcedClosed)), true),
        ("metrics only", Desk::new(mode(Mode::MetricsOnly)), true),
        ("metrics only, would be open", Desk::opened(mode(Mode::MetricsOnly)), false),
    ];
    for (name, mut desk, stands) in cases {
        let standing = desk.machine.standing();
        assert_eq!(standing.is_some(), stands, "{name}");
        desk.after(seconds(100_000));
        if let Some(generation) = standing {
            assert_eq!(desk.admit(), Ok(Pass { generation, role: Role::Counted }), "{name}");
        }
    }
}
