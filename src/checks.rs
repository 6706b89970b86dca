//! Active checks: asks components of registered instances over the network, as they wished at
//! registration, and hands what it finds to the fleet.
//!
//! `schedule` and `line` decide what runs when, plain values that time is passed to; here they are joined to
//! the fleet's changes, to the network (`run`) and to who wants a check now (`calls`). One task asks them all: they wait
//! for answers, and do little else. A check is no sign of life; nothing here touches a lease.

mod books;
mod calls;
mod follow;
mod line;
mod pulse;
mod run;
mod running;
mod schedule;
mod tally;
#[cfg(test)]
mod testing;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep_until, timeout},
};

pub use self::tally::{Found, Tally};
use self::{books::Books, calls::Told, follow::Follower, run::Runner, running::Running};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{self, names::InstanceKey, snapshot::Instance},
    probe::permit::Rules,
    task::drain,
    time::Clock,
};

/// Calls that may wait for checks at once.
const MAX_CALLS: usize = 256;
/// When to come back if too many wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How much sooner than its request is ended a caller is told that its checks take too long; a tenth of that
/// time at the most.
const MARGIN: Duration = Duration::from_secs(1);

/// How checks are made. May change while they are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Checks that run at once.
    pub max_concurrent: usize,
    /// Whether anybody is asked at all. Where not, what is checked becomes UNKNOWN in its time.
    pub asks: bool,
    /// Whom they may ask.
    pub rules: Arc<Rules>,
    /// How long the request of somebody who wants a check now may take, before it is ended without a reason.
    pub request_timeout: Duration,
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
    /// stopped, before or meanwhile; it may not be asked, or the control plane could not; too many wait
    /// already; or it took too long.
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
        let patience = patience(self.options.borrow().request_timeout);
        match timeout(patience, answered).await {
            Ok(Ok(answer)) => answer.map(|()| components),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Error::new(
                Kind::DeadlineExceeded,
                Reason::ChecksBusy,
                format!("the checks of {key} did not end within {patience:?}; they go on"),
            )
            .retry_after(PAUSE)),
        }
    }
}

/// How long a caller waits, so that it is told why its request ends.
fn patience(request_timeout: Duration) -> Duration {
    request_timeout.saturating_sub(MARGIN.min(request_timeout / 10))
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

impl Service {
    /// Runs until the drain begins; checks that are under way end with it, and whoever waits for them is sent on.
    pub async fn run(self, mut drain: drain::Watch) {
        let Self { fleet, clock, mut options, tally, mut commands } = self;
        let mut follower = Follower::new(&fleet);
        let mut books = Books::new(fleet.clone(), clock, Arc::clone(&tally));
        let runner = Runner::new(clock);
        let mut running = Running::new(clock);
        let mut command = None;
        loop {
            let (gone, ended) = running.beside(follower.follow(&fleet, &mut books.schedule, clock)).await;
            gone.into_iter().for_each(|gone| books.calls.ended(gone, &Told::Gone));
            ended.into_iter().for_each(|(ended, stood_still)| books.ended(ended, stood_still));
            let now = clock.mono();
            if let Some(command) = command.take() {
                books.calls.take(&mut books.schedule, now, command);
            }
            books.schedule.due(now);
            let live = options.borrow_and_update().clone();
            while let Some(job) = books.schedule.start(live.max_concurrent) {
                tally.started(&job, now);
                let rules = live.asks.then(|| Arc::clone(&live.rules));
                running.push(|stood_still| runner.run(job, rules, stood_still));
            }
            tally.scheduled(books.schedule.counts());
            let next = books.schedule.next().map(|at| clock.instant(at));
            tokio::select! {
                () = drain.begun() => return,
                (ended, stood_still) = running.next() => books.ended(ended, stood_still),
                wanted = commands.recv() => match wanted {
                    // Taken once everything is followed that was known when it came.
                    Some(wanted) => command = Some(wanted),
                    // Every handle is gone: nobody is left to serve.
                    None => return,
                },
                () = follower.changed() => {}
                Ok(()) = options.changed() => {}
                () = sleep_until(next.unwrap_or_else(|| clock.instant(now))), if next.is_some() => {}
            }
        }
    }
}
