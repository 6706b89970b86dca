//! The health of this process as it sees itself, without asking the control plane: each component
//! after its thresholds, and the roll-up of them. The rules are the control plane's too ([`rules`]), so
//! that a platform that probes the service and an operator who asks the fleet see the same. What is
//! missing here on purpose: staleness (the library itself repeats reports).

pub(crate) mod board;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    HealthState, Lifecycle, Report, Verdict,
    rules::{self, Part, Streaks},
};

/// Who this process is, the same for as long as it lives.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) service: String,
    pub(crate) instance_id: String,
    pub(crate) version: String,
}

/// Whether the agent still keeps the instance attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    Here,
    Leaving,
    Left,
}

/// The health of this process at one moment.
#[derive(Clone, Debug)]
pub struct Health {
    identity: Arc<Identity>,
    lifecycle: Lifecycle,
    presence: Presence,
    components: Vec<ComponentHealth>,
}

/// The health of one component at one moment.
#[derive(Clone, Debug)]
pub struct ComponentHealth {
    name: String,
    kind: String,
    essential: bool,
    /// Positions of the components that this one needs.
    depends_on: Vec<usize>,
    streaks: Streaks,
    /// The message of the newest report that was not healthy.
    bad_message: String,
    /// What follows from it, and from whether it is flapping.
    cause: String,
    report: Option<Report>,
    /// When the service last pushed a report. `None`: never, or a check answers for it.
    pushed_at: Option<Instant>,
    /// Counts up at every report, so that a session knows what it has not sent yet.
    revision: u64,
}

impl Health {
    /// Name of the service.
    pub fn service(&self) -> &str {
        &self.identity.service
    }

    /// Id of this instance.
    pub fn instance_id(&self) -> &str {
        &self.identity.instance_id
    }

    /// Version of the software.
    pub fn version(&self) -> &str {
        &self.identity.version
    }

    /// Where the instance is in its life, as the service said last.
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// The components, in the order in which they were declared.
    pub fn components(&self) -> &[ComponentHealth] {
        &self.components
    }

    /// Looks up a component by its name.
    pub fn component(&self, name: &str) -> Option<&ComponentHealth> {
        self.components.iter().find(|component| component.name == name)
    }

    /// Rolls the components up: an unhealthy essential component makes it unhealthy, an essential
    /// component of which nothing is known yet makes it unknown, any other problem makes it degraded.
    pub fn verdict(&self) -> Verdict {
        let parts: Vec<_> = self.components.iter().map(ComponentHealth::part).collect();
        rules::instance(&parts)
    }

    /// Whether the process may go on running: false once the service said that it has failed.
    pub fn is_live(&self) -> bool {
        self.lifecycle != Lifecycle::Failed
    }

    /// Whether work may be sent here: it is ready, it is not leaving, and no essential component
    /// stands in the way.
    pub fn is_ready(&self) -> bool {
        self.lifecycle == Lifecycle::Ready && self.presence == Presence::Here && self.verdict().state.serves()
    }

    #[cfg(feature = "server")]
    pub(crate) fn presence(&self) -> Presence {
        self.presence
    }
}

impl ComponentHealth {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of thing it is. Empty where nothing was said.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether the instance is useless without it.
    pub fn is_essential(&self) -> bool {
        self.essential
    }

    /// Its state after thresholds.
    pub fn state(&self) -> HealthState {
        self.streaks.state()
    }

    /// Why it is not healthy. Empty while it is.
    pub fn cause(&self) -> &str {
        match (self.state(), &self.report) {
            (HealthState::Healthy, _) => "",
            (_, None) => "no report yet",
            (_, Some(_)) => &self.cause,
        }
    }

    /// The last report, before thresholds. `None`: none yet.
    pub fn last_report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// How many reports in a row were not healthy.
    pub fn consecutive_failures(&self) -> u32 {
        self.streaks.consecutive_failures()
    }

    /// Whether its state goes back and forth: then it takes at least two good reports in a row to pass.
    pub fn is_flapping(&self) -> bool {
        self.streaks.is_flapping()
    }

    /// Response time of the last report. `None`: not measured.
    pub fn response_time(&self) -> Option<Duration> {
        self.report.as_ref().and_then(Report::measured)
    }

    /// Figures of the last report.
    pub fn details(&self) -> Option<&BTreeMap<String, String>> {
        self.report.as_ref().map(Report::details)
    }

    fn take(&mut self, report: Report) {
        self.streaks.report(report.reported());
        if report.state() != HealthState::Healthy {
            report.message().clone_into(&mut self.bad_message);
        }
        self.cause = self.streaks.cause(&self.bad_message);
        self.report = Some(report);
        self.revision += 1;
    }

    fn part(&self) -> Part<'_> {
        Part {
            name: &self.name,
            essential: self.essential,
            state: self.state(),
            cause: self.cause(),
            depends_on: &self.depends_on,
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }
}
