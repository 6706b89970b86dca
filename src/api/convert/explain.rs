//! Explanations.

use super::{health_state, timestamp};
use crate::{
    api::proto::v1 as pb,
    fleet::explain::{About, Cause, Explanation, Role},
};

/// An explanation.
pub fn explanation(value: Explanation) -> pb::ExplainResponse {
    let Explanation { headline, state, since, causes, next_steps } = value;
    pb::ExplainResponse {
        headline,
        state: health_state(state).into(),
        since_time: since.map(timestamp),
        causes: causes.into_iter().map(cause).collect(),
        next_steps,
    }
}

fn cause(value: Cause) -> pb::Cause {
    let (service, instance_id, component) = match &value.about {
        About::Fleet => (String::new(), String::new(), String::new()),
        About::Service(name) => (name.to_string(), String::new(), String::new()),
        About::Instance(key) => (key.service.to_string(), key.id.to_string(), String::new()),
        About::Component(key, name) => (key.service.to_string(), key.id.to_string(), name.to_string()),
    };
    let role = match value.role {
        Role::Cause => pb::CauseRole::Cause,
        Role::Likely => pb::CauseRole::LikelyCause,
        Role::NearlyWrong => pb::CauseRole::NearlyWrong,
        Role::Context => pb::CauseRole::Context,
    };
    pb::Cause {
        depth: value.depth,
        service,
        instance_id,
        component,
        role: role.into(),
        state: value.state.map_or(pb::HealthState::Unspecified, health_state).into(),
        since_time: value.since.map(timestamp),
        text: value.text,
        root: value.root,
        instance_count: value.instances,
    }
}
