//! Who waits for checks to end, and what they are told.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{
    Command, MAX_CALLS, PAUSE, busy,
    schedule::{JobId, Schedule},
    suspended,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::names::InstanceKey,
    time::Mono,
};

/// What those who waited for a check are told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// The fleet has what was found.
    Done,
    /// The instance is gone, lost or stopped.
    Gone,
    /// It may not be asked.
    Refused(String),
    /// It could not be.
    NotAsked(String),
}

/// Somebody who waits for checks to end.
struct Call {
    key: InstanceKey,
    left: usize,
    /// What went wrong first.
    wrong: Option<Error>,
    answer: oneshot::Sender<Result<()>>,
}

/// Who waits for which check.
#[derive(Default)]
pub(super) struct Calls {
    next: u64,
    open: HashMap<u64, Call>,
    waiting: HashMap<JobId, Vec<u64>>,
}

impl Calls {
    pub(super) fn take(&mut self, schedule: &mut Schedule, now: Mono, command: Command) {
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
                self.open.insert(call, Call { key, left: jobs.len(), wrong: None, answer });
                jobs.into_iter().for_each(|job| self.waiting.entry(job).or_default().push(call));
            }
        }
    }

    /// A check has ended, or is no longer there.
    pub(super) fn ended(&mut self, job: JobId, told: &Told) {
        for id in self.waiting.remove(&job).unwrap_or_default() {
            let Some(call) = self.open.get_mut(&id) else { continue };
            call.left -= 1;
            let wrong = match told {
                Told::Done => None,
                Told::Gone => Some(suspended(&call.key, "no longer there, lost or stopped")),
                Told::Refused(why) => Some(not_asked(&call.key, Kind::FailedPrecondition, why)),
                Told::NotAsked(why) => Some(not_asked(&call.key, Kind::Unavailable, why)),
            };
            call.wrong = call.wrong.take().or(wrong);
            if call.left == 0
                && let Some(call) = self.open.remove(&id)
            {
                // Whoever asked may have stopped waiting.
                drop(call.answer.send(call.wrong.map_or(Ok(()), Err)));
            }
        }
    }
}

fn not_asked(key: &InstanceKey, kind: Kind, why: &str) -> Error {
    let message = format!("instance {key} was not asked: {why}");
    let refused = Error::new(kind, Reason::NotChecked, message)
        .with("service", key.service.as_str())
        .with("instance_id", key.id.as_str());
    if kind == Kind::Unavailable { refused.retry_after(PAUSE) } else { refused }
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
        calls.ended(job.id, &Told::Done);
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
