//! The control plane's own status and report.

use std::time::SystemTime;

use super::{duration, timestamp};
use crate::{
    api::{overview::Status, proto::v1 as pb},
    fleet::Totals,
    store::{self, Trouble},
    system::{
        Phase,
        readiness::{self, Check, Outcome},
    },
};

/// How the control plane is.
pub fn status(value: Status) -> pb::GetStatusResponse {
    let Status {
        version,
        boot_epoch,
        started,
        uptime,
        phase: now,
        totals: Totals { services, instances, available, lost, protected, sessions },
        watchers,
        connections,
        active_requests,
        fleet_revision,
        store: store::Status { engine, revision, keys, size_bytes, writable, trouble },
    } = value;
    pb::GetStatusResponse {
        version: version.to_owned(),
        boot_epoch,
        start_time: Some(timestamp(started)),
        uptime: Some(duration(uptime)),
        phase: phase(now).into(),
        services,
        instances,
        available_instances: available,
        lost_instances: lost,
        protected_instances: protected,
        sessions,
        watchers,
        connections: connections.open,
        active_requests,
        fleet_revision,
        store: Some(pb::StoreStatus {
            engine: engine.to_owned(),
            revision,
            keys,
            size_bytes,
            writable,
            trouble: trouble.map(Trouble::advice).unwrap_or_default(),
        }),
    }
}

fn phase(value: Phase) -> pb::Phase {
    match value {
        Phase::Running => pb::Phase::Running,
        Phase::InitiateShutdown => pb::Phase::InitiateShutdown,
        Phase::StopAcceptingRequests => pb::Phase::StopAcceptingRequests,
        Phase::FinishActiveRequests => pb::Phase::FinishActiveRequests,
        Phase::SaveState => pb::Phase::SaveState,
        Phase::CleanupResources => pb::Phase::CleanupResources,
        Phase::Terminated => pb::Phase::Terminated,
    }
}

/// The production-readiness report.
pub fn readiness(checks: Vec<Check>, checked: SystemTime) -> pb::GetReadinessResponse {
    pb::GetReadinessResponse {
        outcome: outcome(readiness::worst(&checks)).into(),
        checks: checks.into_iter().map(check).collect(),
        check_time: Some(timestamp(checked)),
    }
}

fn check(value: Check) -> pb::ReadinessCheck {
    let Check { id, title, outcome: came_out, message, hint } = value;
    pb::ReadinessCheck {
        id: id.to_owned(),
        title: title.to_owned(),
        outcome: outcome(came_out).into(),
        message,
        hint,
    }
}

fn outcome(value: Outcome) -> pb::CheckOutcome {
    match value {
        Outcome::Pass => pb::CheckOutcome::Pass,
        Outcome::Warn => pb::CheckOutcome::Warn,
        Outcome::Fail => pb::CheckOutcome::Fail,
    }
}
