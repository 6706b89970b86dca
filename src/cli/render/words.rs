//! Short lower-case words for the enums of the contract, and what they say about health.

use seaworthy_client::proto::seaworthy::v1::{
    CheckOutcome, DependencyKind, HealthState, Lifecycle, Phase, RemovalReason, SpecSource,
};

use crate::cli::output::{Text, Tone};

/// Every lifecycle that an instance can be in.
pub(crate) const LIFECYCLES: [(&str, Lifecycle); 8] = [
    ("starting", Lifecycle::Starting),
    ("ready", Lifecycle::Ready),
    ("lame-duck", Lifecycle::LameDuck),
    ("draining", Lifecycle::Draining),
    ("stopping", Lifecycle::Stopping),
    ("stopped", Lifecycle::Stopped),
    ("failed", Lifecycle::Failed),
    ("lost", Lifecycle::Lost),
];

/// Every state of health.
pub(crate) const HEALTHS: [(&str, HealthState); 4] = [
    ("healthy", HealthState::Healthy),
    ("degraded", HealthState::Degraded),
    ("unhealthy", HealthState::Unhealthy),
    ("unknown", HealthState::Unknown),
];

/// What a state of health sounds like.
pub(crate) fn tone(state: HealthState) -> Tone {
    match state {
        HealthState::Healthy => Tone::Good,
        HealthState::Degraded => Tone::Uneasy,
        HealthState::Unhealthy => Tone::Bad,
        HealthState::Unspecified | HealthState::Unknown => Tone::Unknown,
    }
}

/// A state of health.
pub(crate) fn health(state: HealthState) -> Text {
    match state {
        HealthState::Unspecified => "-".into(),
        _ => Text::toned(&word(state.as_str_name(), "HEALTH_STATE_"), tone(state)),
    }
}

/// A lifecycle.
pub(crate) fn lifecycle(lifecycle: Lifecycle) -> String {
    word(lifecycle.as_str_name(), "LIFECYCLE_")
}

/// Why an instance was removed.
pub(crate) fn removal(reason: RemovalReason) -> String {
    match reason {
        RemovalReason::Operator => "removed by an operator".to_owned(),
        RemovalReason::Lost => "lost".to_owned(),
        RemovalReason::Deregistered => "left by itself".to_owned(),
        RemovalReason::Unspecified => "-".to_owned(),
    }
}

/// Where a specification came from.
pub(crate) fn source(source: SpecSource) -> String {
    word(source.as_str_name(), "SPEC_SOURCE_")
}

/// How much a dependency is needed.
pub(crate) fn dependency(kind: DependencyKind) -> &'static str {
    match kind {
        DependencyKind::Soft => "soft",
        DependencyKind::Hard | DependencyKind::Unspecified => "hard",
    }
}

/// A phase of the control plane.
pub(crate) fn phase(phase: Phase) -> String {
    word(phase.as_str_name(), "PHASE_")
}

/// What the outcome of a check sounds like.
pub(crate) fn outcome(outcome: CheckOutcome) -> Tone {
    match outcome {
        CheckOutcome::Pass => Tone::Good,
        CheckOutcome::Warn => Tone::Uneasy,
        CheckOutcome::Fail => Tone::Bad,
        CheckOutcome::Unspecified => Tone::Unknown,
    }
}

/// `PREFIX_LAME_DUCK` → `lame-duck`; the unspecified value is a dash.
fn word(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => "-".to_owned(),
        rest => rest.to_lowercase().replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_can_be_typed_are_those_that_are_shown() {
        for (typed, value) in LIFECYCLES {
            assert_eq!(lifecycle(value), typed);
        }
        for (typed, value) in HEALTHS {
            assert_eq!(health(value).plain, typed);
        }
        // Every value but the unspecified one, so that a new one is not forgotten.
        let known = |valid: fn(i32) -> bool| (1..100).filter(|number| valid(*number)).count();
        assert_eq!(known(|number| Lifecycle::try_from(number).is_ok()), LIFECYCLES.len());
        assert_eq!(known(|number| HealthState::try_from(number).is_ok()), HEALTHS.len());
    }

    #[test]
    fn nothing_said_is_a_dash() {
        assert_eq!(health(HealthState::Unspecified).plain, "-");
        assert_eq!(lifecycle(Lifecycle::Unspecified), "-");
        assert_eq!(phase(Phase::FinishActiveRequests), "finish-active-requests");
    }
}
