//! Active checks: asks components of registered instances over the network, as they wished at
//! registration, and hands what it finds to the fleet.
//!
//! `schedule` decides what runs when, a plain value that time is passed to; here that is joined to the
//! fleet's changes, to the network (`run`) and to who wants a check now. One task asks them all: they wait
//! for answers, and do little else. A check is no sign of life; nothing here touches a lease.

mod follow;
mod run;
mod schedule;
mod tally;
#[cfg(test)]
mod testing;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep_until, timeout},
};

pub use self::tally::{Found, Tally};
use self::{
    follow::Follower,
    run::Runner,
    schedule::{JobId, Schedule},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{self, names::InstanceKey, snapshot::Instance},
    probe::permit::Rules,
    task::drain,
    time::{Clock, Mono},
};

/// Calls that may wait for checks at once.
const MAX_CALLS: usize = 256;
/// When to come back if too many wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a caller waits at the most. The longest check takes 30 s, and may have to wait for another one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(65);

/// How checks are made. May change while they are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Checks that run at once.
    pub max_concurrent: usize,
    /// Whom they may ask.
    pub rules: Arc<Rules>,
}

/// Runs the checks of a fleet. Owns their schedule.
#[derive(Debug)]
pub struct Service {
    fleet: fleet::Handle,
    clock: Clock,
    options: watch::Receiver<Options>,
    tally: Arc<Tally>,
    commands: mpsc::Receiver<Command>,
}

/// The checks, for whoever configures them, counts them or wants one now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    options: watch::Sender<Options>,
    tally: Arc<Tally>,
    commands: mpsc::Sender<Command>,
}

/// Somebody wants checks of an instance now.
#[derive(Debug)]
struct Command {
    key: InstanceKey,
    incarnation: u64,
    components: Vec<usize>,
    answer: oneshot::Sender<Result<()>>,
}

/// Checks of a fleet.
pub fn open(options: Options, fleet: fleet::Handle, clock: Clock) -> (Handle, Service) {
    let (commands, receiver) = mpsc::channel(MAX_CALLS);
    let (options, live) = watch::channel(options);
    let tally = Arc::new(Tally::default());
    let service = Service { fleet, clock, options: live, tally: Arc::clone(&tally), commands: receiver };
    (Handle { options, tally, commands }, service)
}

// === impl Handle ===

impl Handle {
    /// Whom checks may ask now.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.options.borrow().rules)
    }

    /// Changes how checks are made, from the next run on.
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        self.options.send_modify(change);
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Runs checks of an instance now, and comes back when the fleet has what they found: those of one
    /// component, or all that it has. One that is under way is waited for. Answers the positions of the
    /// components that were checked. Cancel safe: the checks run all the same.
    ///
    /// # Errors
    /// There is no such component; it, or all of them, has no active check; the instance is lost or
    /// stopped; too many wait already; or it took too long.
    pub async fn run_now(&self, instance: &Instance, component: Option<&str>) -> Result<Vec<usize>> {
        let key = &instance.registration.key;
        let components = checked_components(instance, component)?;
        if !fleet::lifecycle::is_checked(instance.lifecycle) {
            return Err(suspended(key, instance.lifecycle.as_str()));
        }
        let (answer, answered) = oneshot::channel();
        let command = Command {
            key: key.clone(),
            incarnation: instance.incarnation,
            components: components.clone(),
            answer,
        };
        self.commands.try_send(command).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match timeout(ANSWER_DEADLINE, answered).await {
            Ok(Ok(answer)) => answer.map(|()| components),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Error::new(
                Kind::DeadlineExceeded,
                Reason::ChecksBusy,
                format!("the checks of {key} did not end within {ANSWER_DEADLINE:?}; they go on"),
            )
            .retry_after(PAUSE)),
        }
    }
}

/// The components that are meant, which have to have checks.
fn checked_components(instance: &Instance, component: Option<&str>) -> Result<Vec<usize>> {
    let registration = &instance.registration;
    let key = &registration.key;
    let wanted = match component {
        Some(name) => vec![registration.component(name).ok_or_else(|| {
            let message = format!("instance {key} has no component {name:?}");
            Error::new(Kind::NotFound, Reason::ComponentNotFound, message).with("component", name)
        })?],
        None => (0..registration.components.len()).collect(),
    };
    let has_check = |at: &usize| registration.components.get(*at).is_some_and(|it| it.check.is_some());
    let checked: Vec<usize> = wanted.into_iter().filter(has_check).collect();
    if checked.is_empty() {
        let whose = match component {
            Some(name) => format!("component {name} of instance {key} has"),
            None => format!("no component of instance {key} has"),
        };
        let no = if component.is_some() { "no" } else { "an" };
        return Err(Error::new(
            Kind::FailedPrecondition,
            Reason::NoActiveCheck,
            format!(
                "{whose} {no} active check: the instance reports its health itself; register it with \
                 `components.check`, or ask GetHealth for what it reported last"
            ),
        )
        .with("service", key.service.as_str())
        .with("instance_id", key.id.as_str()));
    }
    Ok(checked)
}

fn suspended(key: &InstanceKey, why: &str) -> Error {
    let message = format!("instance {key} is {why}, and is not checked until it is heard again");
    Error::new(Kind::FailedPrecondition, Reason::NotChecked, message)
        .with("service", key.service.as_str())
        .with("instance_id", key.id.as_str())
}

fn busy() -> Error {
    let message =
        format!("{MAX_CALLS} calls wait for checks already; come back, or watch the health instead");
    Error::new(Kind::ResourceExhausted, Reason::ChecksBusy, message).retry_after(PAUSE)
}

fn stopping() -> Error {
    let message = "the control plane is stopping; retry on another one or later";
    Error::new(Kind::Unavailable, Reason::ServerDraining, message).retry_after(PAUSE)
}

// === impl Service ===

/// Somebody who waits for checks to end.
struct Call {
    left: usize,
    answer: oneshot::Sender<Result<()>>,
}

/// Who waits for which check.
#[derive(Default)]
struct Calls {
    next: u64,
    open: HashMap<u64, Call>,
    waiting: HashMap<JobId, Vec<u64>>,
}

impl Service {
    /// Runs until the drain begins; checks that are under way end with it.
    pub async fn run(mut self, mut drain: drain::Watch) {
        let mut follower = Follower::new(&self.fleet);
        let mut schedule = Schedule::default();
        let mut calls = Calls::default();
        let runner = Runner::new(self.fleet.clone(), self.clock);
        let mut running = FuturesUnordered::new();
        loop {
            for gone in follower.follow(&self.fleet, &mut schedule, self.clock).await {
                calls.ended(gone);
            }
            let now = self.clock.mono();
            self.tally.skipped(schedule.due(now));
            let options = self.options.borrow_and_update().clone();
            while let Some(job) = schedule.start(options.max_concurrent) {
                self.tally.started(&job, now);
                running.push(runner.run(job, Arc::clone(&options.rules)));
            }
            self.tally.scheduled(schedule.counts());
            let next = schedule.next().map(|at| self.clock.instant(at));
            tokio::select! {
                () = drain.begun() => return,
                Some(ended) = running.next(), if !running.is_empty() => {
                    self.tally.ended(&ended);
                    calls.ended(ended.job.id);
                    self.tally.skipped(schedule.finish(&ended.job, self.clock.mono()));
                }
                command = self.commands.recv() => match command {
                    Some(command) => {
                        for gone in follower.follow(&self.fleet, &mut schedule, self.clock).await {
                            calls.ended(gone);
                        }
                        calls.take(&mut schedule, self.clock.mono(), command);
                    }
                    // Every handle is gone: nobody is left to serve.
                    None => return,
                },
                () = follower.changed() => {}
                Ok(()) = self.options.changed() => {}
                () = sleep_until(next.unwrap_or_else(|| self.clock.instant(now))), if next.is_some() => {}
            }
        }
    }
}

impl Calls {
    fn take(&mut self, schedule: &mut Schedule, now: Mono, command: Command) {
        let Command { key, incarnation, components, answer } = command;
        if self.open.len() >= MAX_CALLS {
            // Whoever has gone away waits no longer.
            self.open.retain(|_, call| !call.answer.is_closed());
            let open = &self.open;
            self.waiting.retain(|_, waiting| {
                waiting.retain(|call| open.contains_key(call));
                !waiting.is_empty()
            });
        }
        let answered = if self.open.len() >= MAX_CALLS {
            Err(busy())
        } else {
            let jobs = schedule.hasten(now, &key, incarnation, &components);
            if jobs.is_empty() { Err(suspended(&key, "no longer there, lost or stopped")) } else { Ok(jobs) }
        };
        match answered {
            Err(refused) => drop(answer.send(Err(refused))),
            Ok(jobs) => {
                let call = self.next;
                self.next += 1;
                self.open.insert(call, Call { left: jobs.len(), answer });
                jobs.into_iter().for_each(|job| self.waiting.entry(job).or_default().push(call));
            }
        }
    }

    /// A check has ended, or is no longer there.
    fn ended(&mut self, job: JobId) {
        for id in self.waiting.remove(&job).unwrap_or_default() {
            let Some(call) = self.open.get_mut(&id) else { continue };
            call.left -= 1;
            if call.left == 0
                && let Some(call) = self.open.remove(&id)
            {
                // Whoever asked may have stopped waiting.
                drop(call.answer.send(Ok(())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::instance;

    type Answered = oneshot::Receiver<Result<()>>;

    fn ask(calls: &mut Calls, schedule: &mut Schedule, number: usize) -> Answered {
        let (answer, answered) = oneshot::channel();
        let key = instance(number, 1, "10.0.0.1:1").registration.key.clone();
        let command = Command { key, incarnation: 1, components: vec![0], answer };
        calls.take(schedule, Mono::default(), command);
        answered
    }

    fn reason(answered: &mut Answered) -> Option<Reason> {
        answered.try_recv().ok().and_then(|answer| answer.err().map(|refused| refused.reason()))
    }

    #[test]
    fn so_many_may_wait_and_who_has_gone_makes_room() {
        let (mut calls, mut schedule) = (Calls::default(), Schedule::default());
        schedule.follow(Mono::default(), &instance(0, 1, "10.0.0.1:1"));
        let mut waiting: Vec<Answered> = (0..MAX_CALLS).map(|_| ask(&mut calls, &mut schedule, 0)).collect();
        assert_eq!(reason(&mut ask(&mut calls, &mut schedule, 0)), Some(Reason::ChecksBusy));
        waiting.pop();
        waiting.push(ask(&mut calls, &mut schedule, 0));
        assert_eq!(reason(&mut ask(&mut calls, &mut schedule, 0)), Some(Reason::ChecksBusy));
        // All of them waited for one run, and are answered by its end.
        let job = schedule.start(9).unwrap();
        assert!(schedule.start(9).is_none(), "one run for all");
        calls.ended(job.id);
        assert!(waiting.iter_mut().all(|answered| matches!(answered.try_recv(), Ok(Ok(())))));
        assert!(calls.open.is_empty() && calls.waiting.is_empty());
    }

    #[test]
    fn who_is_not_checked_is_not_waited_for() {
        let (mut calls, mut schedule) = (Calls::default(), Schedule::default());
        assert_eq!(reason(&mut ask(&mut calls, &mut schedule, 7)), Some(Reason::NotChecked));
        assert!(calls.open.is_empty() && calls.waiting.is_empty());
    }
}
