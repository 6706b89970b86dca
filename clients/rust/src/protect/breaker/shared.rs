//! The machine, shared: a lock around it, and in front of it a gate through which calls go without the lock while
//! the breaker is closed.

use std::{fmt, time::Duration};

use super::{
    machine::Machine,
    pass::{Outcome, Pass, Role},
    refused::Refused,
    settings::Settings,
    sync::{Gate, Mutex},
};
use crate::protect::clock::Clock;

#[derive(Debug)]
pub(super) struct Shared<C> {
    /// Says what the machine would say to every call, or that it has to be asked.
    gate: Gate,
    machine: Mutex<Machine>,
    clock: C,
    random: Random,
}

/// Where numbers from 0 up to 1 come from.
struct Random(Box<dyn Fn() -> f64 + Send + Sync>);

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

impl<C: Clock> Shared<C> {
    pub(super) fn new(
        settings: Settings,
        clock: C,
        random: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        let machine = Machine::new(settings, clock.now());
        let gate = Gate::new(machine.standing());
        Self { gate, machine: Mutex::new(machine), clock, random: Random(Box::new(random)) }
    }

    /// Needs neither lock nor clock while the breaker is closed.
    pub(super) fn admit(&self) -> Result<Pass, Refused> {
        match self.gate.get() {
            Some(generation) => Ok(Pass { generation, role: Role::Counted }),
            None => self.with(Machine::admit),
        }
    }

    pub(super) fn report(&self, pass: Pass, outcome: Outcome, latency: Duration) {
        self.with(|machine, now| machine.report(pass, outcome, latency, now, || (self.random.0)()));
    }

    /// Asks the machine or tells it something.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Machine, Duration) -> T) -> T {
        let now = self.clock.now();
        let mut machine = self.machine.lock();
        let answer = act(&mut machine, now);
        // Before the lock is given back: whoever knows that the breaker opened finds the gate shut.
        self.gate.set(machine.standing());
        answer
    }
}
