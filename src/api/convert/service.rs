//! Services and their specifications.

use super::{duration, health_state, timestamp};
use crate::{
    api::proto::v1 as pb,
    fleet::{
        snapshot::{Service, ServiceProtection, SpecSource},
        spec::{Budget, Limit, Need, Objectives, Quantity, Spec},
    },
    health::{Verdict, rollup::Counts},
};

/// Services of a circle that are named: a message has a bound.
const CIRCLE_SHOWN: usize = 64;

/// A service.
pub fn service(value: &Service) -> pb::Service {
    let Service {
        name,
        spec: effective,
        spec_source,
        declared_spec,
        disagreements,
        circle,
        health: Verdict { state, cause },
        counts: counted,
        required_available,
        spec_revision,
        spec_updated,
        health_changed,
        protection: guarded,
    } = value;
    let source = match spec_source {
        SpecSource::Default => pb::SpecSource::Default,
        SpecSource::Declared => pb::SpecSource::Declared,
        SpecSource::Operator => pb::SpecSource::Operator,
    };
    pb::Service {
        name: name.to_string(),
        spec: Some(spec(effective)),
        spec_source: source.into(),
        declared_spec: declared_spec.as_deref().map(spec),
        disagreements: disagreements.iter().map(|field| (*field).to_owned()).collect(),
        dependency_circle: circle.iter().take(CIRCLE_SHOWN).map(ToString::to_string).collect(),
        health: health_state(*state).into(),
        cause: cause.clone(),
        counts: Some(counts(counted)),
        required_available: *required_available,
        spec_revision: *spec_revision,
        spec_update_time: spec_updated.map(timestamp),
        health_change_time: Some(timestamp(*health_changed)),
        protection: guarded.map(protection),
    }
}

fn protection(value: ServiceProtection) -> pb::Protection {
    let ServiceProtection { instances, began, ends } = value;
    pb::Protection {
        protected_instances: instances,
        start_time: Some(timestamp(began)),
        end_time: Some(timestamp(ends)),
    }
}

fn counts(value: &Counts) -> pb::InstanceCounts {
    // `unconfirmed` is part of `unknown`, and shown on each instance; `alive` serves the probes; `protected`
    // stands with when that ends.
    let Counts {
        total,
        alive: _,
        available,
        healthy,
        degraded,
        unhealthy,
        unknown,
        lost,
        protected: _,
        starting,
        leaving,
        unconfirmed: _,
    } = *value;
    pb::InstanceCounts { total, available, healthy, degraded, unhealthy, unknown, lost, starting, leaving }
}

/// A specification.
pub fn spec(value: &Spec) -> pb::ServiceSpec {
    let Spec { depends_on, budget: needs, objectives: promises, protected } = value;
    pb::ServiceSpec {
        depends_on: depends_on
            .iter()
            .map(|(name, need)| {
                let kind = match need {
                    Need::Hard => pb::DependencyKind::Hard,
                    Need::Soft => pb::DependencyKind::Soft,
                };
                pb::Dependency { service: name.to_string(), kind: kind.into() }
            })
            .collect(),
        budget: (*needs != Budget::default()).then(|| budget(needs)),
        objectives: (*promises != Objectives::default()).then(|| objectives(promises)),
        protected: *protected,
    }
}

fn budget(value: &Budget) -> pb::Budget {
    let Budget { limit, quorum_size } = *value;
    let limit = limit.map(|limit| match limit {
        Limit::MinAvailable(amount) => pb::budget::Limit::MinAvailable(quantity(amount)),
        Limit::MaxUnavailable(amount) => pb::budget::Limit::MaxUnavailable(quantity(amount)),
    });
    pb::Budget { limit, quorum_size }
}

fn quantity(value: Quantity) -> pb::Quantity {
    let value = match value {
        Quantity::Count(count) => pb::quantity::Value::Count(count),
        Quantity::Percent(percent) => pb::quantity::Value::Percent(percent.into()),
    };
    pb::Quantity { value: Some(value) }
}

fn objectives(value: &Objectives) -> pb::Objectives {
    let Objectives { availability_percent, rpo, rto } = *value;
    pb::Objectives {
        availability_percent: availability_percent.unwrap_or_default(),
        rpo: rpo.map(duration),
        rto: rto.map(duration),
    }
}
