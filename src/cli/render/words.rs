//! Words for the enums of the contract, spelt as the HTTP side and the log spell them, and what they say
//! about health.

use seaworthy_client::proto::seaworthy::v1::{
    CheckOutcome, DependencyKind, HealthState, Lifecycle, Phase, RemovalReason, Role, SpecSource,
};

use crate::cli::output::{Text, Tone};

/// Every lifecycle that an instance can be in.
pub(crate) const LIFECYCLES: [(&str, Lifecycle); 8] = [
    ("starting", Lifecycle::Starting),
    ("ready", Lifecycle::Ready),
    ("lame_duck", Lifecycle::LameDuck),
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

/// Every role that a token can have.
pub(crate) const ROLES: [(&str, Role); 4] = [
    ("viewer", Role::Viewer),
    ("operator", Role::Operator),
    ("admin", Role::Admin),
    ("service", Role::Service),
];

/// A role.
pub(crate) fn role(role: Role) -> String {
    word(role.as_str_name(), "ROLE_")
}

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

/// A phase of the control plane, by its name: `FinishActiveRequests`.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "-",
        Phase::Running => "Running",
        Phase::InitiateShutdown => "InitiateShutdown",
        Phase::StopAcceptingRequests => "StopAcceptingRequests",
        Phase::FinishActiveRequests => "FinishActiveRequests",
        Phase::SaveState => "SaveState",
        Phase::CleanupResources => "CleanupResources",
        Phase::Terminated => "Terminated",
    }
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

/// `PREFIX_LAME_DUCK` → `lame_duck`; the unspecified value is a dash.
fn word(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => "-".to_owned(),
        rest => rest.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;

    #[test]
    fn the_words_that_can_be_typed_are_those_that_are_shown() {
        for (typed, value) in LIFECYCLES {
            assert_eq!(lifecycle(value), typed);
        }
        for (typed, value) in HEALTHS {
            assert_eq!(health(value).plain, typed);
        }
        for (typed, value) in ROLES {
            assert_eq!(role(value), typed);
        }
        // Every value but the unspecified one, so that a new one is not forgotten.
        let known = |valid: fn(i32) -> bool| (1..100).filter(|number| valid(*number)).count();
        assert_eq!(known(|number| Lifecycle::try_from(number).is_ok()), LIFECYCLES.len());
        assert_eq!(known(|number| HealthState::try_from(number).is_ok()), HEALTHS.len());
        assert_eq!(known(|number| Role::try_from(number).is_ok()), ROLES.len());
    }

    #[test]
    fn nothing_said_is_a_dash() {
        assert_eq!(health(HealthState::Unspecified).plain, "-");
        assert_eq!(lifecycle(Lifecycle::Unspecified), "-");
        assert_eq!(phase(Phase::Unspecified), "-");
    }

    #[test]
    fn words_are_spelt_as_the_http_side_and_the_log_spell_them() {
        let phases = (1..=7).map(|number| phase(Phase::try_from(number).unwrap()));
        assert!(phases.eq(crate::system::Phase::ALL.map(crate::system::Phase::as_str)));
        for (state, wire) in [
            (State::Healthy, HealthState::Healthy),
            (State::Degraded, HealthState::Degraded),
            (State::Unhealthy, HealthState::Unhealthy),
            (State::Unknown, HealthState::Unknown),
        ] {
            assert_eq!(health(wire).plain, state.as_str());
        }
        assert_eq!(lifecycle(Lifecycle::LameDuck), "lame_duck");
    }
}
