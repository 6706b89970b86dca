//! What follows from the end of a run: for the schedule, for the fleet, for the figures and for who waits.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    calls::{Calls, Told},
    run::{End, Ended},
    schedule::{Answer, Job, Schedule},
    tally::{Found, Tally},
};
use crate::{
    fleet::{self, Report},
    probe,
    time::{Clock, Mono},
};

/// That the control plane could not ask is logged this often at the most.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What follows from the end of a run: for the schedule, for the fleet and for who waits.
pub(super) struct Books {
    fleet: fleet::Handle,
    clock: Clock,
    tally: Arc<Tally>,
    pub(super) schedule: Schedule,
    pub(super) calls: Calls,
    /// When it was logged last that the control plane could not ask.
    complained: Option<Mono>,
}

impl Books {
    pub(super) fn new(fleet: fleet::Handle, clock: Clock, tally: Arc<Tally>) -> Self {
        let (schedule, calls) = (Schedule::default(), Calls::default());
        Self { fleet, clock, tally, schedule, calls, complained: None }
    }

    /// `stood_still`: what the control plane had stood still in all when it ended.
    pub(super) fn ended(&mut self, ended: Ended, stood_still: Duration) {
        let Ended { job, end, stood_still: before } = ended;
        let (found, answer, told) = match end {
            End::Settled(ip) => {
                self.tally.settled(&job);
                self.schedule.settle(&job, ip);
                return;
            }
            End::Found(Found::Timeout, ..) if stood_still > before => {
                let why = format!("the control plane stood still for {:?} meanwhile", stood_still - before);
                self.not_asked(&job, &why, &why)
            }
            End::Found(found, outcome, took) => {
                let probe::Outcome { state, message, details } = outcome;
                let response_time = Some(took);
                let details = details.into_iter().collect();
                let report = Report { component: job.component, state, message, response_time, details };
                let wanted = self.fleet.checked(&job.key, job.incarnation, report);
                let answer = if found == Found::Timeout { Answer::Missing } else { Answer::Given };
                (found, answer, if wanted { Told::Done } else { Told::Gone })
            }
            End::Refused(why) => {
                let told = self.untold(&job, &why, Told::Refused(why.clone()));
                (Found::Refused, Answer::NotAsked, told)
            }
            End::NotAsked(why) => self.not_asked(&job, &why, &why),
            End::Nobody { told, because } => self.not_asked(&job, &told, &because),
        };
        self.tally.ended(&job, found);
        self.calls.ended(job.id, &told);
        self.tally.skipped(self.schedule.finish(&job, answer, self.clock.mono()));
    }

    /// `why` is told to who may see the instance, `because` to the log alone.
    fn not_asked(&mut self, job: &Job, why: &str, because: &str) -> (Found, Answer, Told) {
        let now = self.clock.mono();
        if self.complained.is_none_or(|last| now.since(last) >= COMPLAIN) {
            self.complained = Some(now);
            warn!(component = "checks", instance = %job.key, host = %job.check.host, cause = %because, "a check could not be made; the component stays as it was");
        } else {
            debug!(component = "checks", instance = %job.key, host = %job.check.host, cause = %because, "a check could not be made");
        }
        let told = self.untold(job, why, Told::NotAsked(why.to_owned()));
        (Found::NotAsked, Answer::NotAsked, told)
    }

    /// Nothing was found: the fleet remembers why, in case that lasts.
    fn untold(&self, job: &Job, why: &str, told: Told) -> Told {
        let why = format!("not asked: {why}");
        let wanted = self.fleet.not_checked(&job.key, job.incarnation, job.component, why);
        if wanted { told } else { Told::Gone }
    }
}
