//! Operations as messages.

use super::{duration, timestamp};
use crate::{
    api::proto::v1 as pb,
    operation::{Event, Kind, Operation, Progress, State, Step, StepState},
};

/// An operation.
pub fn operation(operation: &Operation) -> pb::Operation {
    let Operation {
        id,
        kind: does,
        service,
        state: is,
        created_by,
        request_id,
        asked: _,
        steps,
        progress: how_far,
        events,
        created,
        started,
        ended,
        cause,
        backup_id,
        report,
        revision,
    } = operation;
    pb::Operation {
        id: id.to_string(),
        kind: kind(*does).into(),
        service: service.clone(),
        state: state(*is).into(),
        created_by: created_by.clone(),
        request_id: request_id.clone(),
        steps: steps.iter().map(step).collect(),
        progress: Some(progress(*how_far)),
        events: events.iter().map(event).collect(),
        create_time: Some(timestamp(*created)),
        start_time: started.map(timestamp),
        end_time: ended.map(timestamp),
        cause: cause.clone(),
        backup_id: backup_id.map(|id| id.to_string()).unwrap_or_default(),
        report: report.clone(),
        revision: *revision,
    }
}

fn step(step: &Step) -> pb::OperationStep {
    let Step { name, state, done_bytes, total_bytes, started, ended, message } = step;
    pb::OperationStep {
        name: name.clone(),
        state: step_state(*state).into(),
        done_bytes: *done_bytes,
        total_bytes: *total_bytes,
        start_time: started.map(timestamp),
        end_time: ended.map(timestamp),
        message: message.clone(),
    }
}

fn progress(progress: Progress) -> pb::OperationProgress {
    let Progress { done_bytes, total_bytes, stored_bytes, bytes_per_second, remaining } = progress;
    pb::OperationProgress {
        done_bytes,
        total_bytes,
        stored_bytes,
        bytes_per_second,
        remaining: remaining.map(duration),
    }
}

fn event(event: &Event) -> pb::OperationEvent {
    let Event { sequence, at, step, message } = event;
    pb::OperationEvent {
        sequence: *sequence,
        time: Some(timestamp(*at)),
        step: step.clone(),
        message: message.clone(),
    }
}

/// What an operation does.
pub fn kind(kind: Kind) -> pb::OperationKind {
    match kind {
        Kind::Backup => pb::OperationKind::Backup,
        Kind::Restore => pb::OperationKind::Restore,
        Kind::Verify => pb::OperationKind::Verify,
    }
}

/// Where an operation is in its life.
pub fn state(state: State) -> pb::OperationState {
    match state {
        State::Pending => pb::OperationState::Pending,
        State::Running => pb::OperationState::Running,
        State::Cancelling => pb::OperationState::Cancelling,
        State::Succeeded => pb::OperationState::Succeeded,
        State::Partial => pb::OperationState::Partial,
        State::Failed => pb::OperationState::Failed,
        State::Cancelled => pb::OperationState::Cancelled,
    }
}

fn step_state(state: StepState) -> pb::StepState {
    match state {
        StepState::Pending => pb::StepState::Pending,
        StepState::Running => pb::StepState::Running,
        StepState::Succeeded => pb::StepState::Succeeded,
        StepState::Failed => pb::StepState::Failed,
        StepState::Skipped => pb::StepState::Skipped,
    }
}
