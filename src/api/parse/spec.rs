//! Specifications of services.

use std::{collections::BTreeMap, time::Duration};

use seaworthy_client::rules;

use super::{Fields, duration, within};
use crate::{
    api::proto::v1 as pb,
    fleet::{
        names::ServiceName,
        registration::MAX_DEPENDENCIES,
        spec::{Budget, Limit, Need, Objectives, Quantity, Spec},
    },
};

/// A specification of the service `of`; wrong fields are named under `path`.
pub fn spec(fields: &mut Fields, path: &str, of: Option<&ServiceName>, wire: pb::ServiceSpec) -> Spec {
    let pb::ServiceSpec { depends_on, budget: wire_budget, objectives: wire_objectives, protected } = wire;
    Spec {
        depends_on: dependencies(fields, &within(path, "depends_on"), of, depends_on),
        budget: wire_budget.map(|wire| budget(fields, &within(path, "budget"), wire)).unwrap_or_default(),
        objectives: wire_objectives
            .map(|wire| objectives(fields, &within(path, "objectives"), wire))
            .unwrap_or_default(),
        protected,
    }
}

fn dependencies(
    fields: &mut Fields,
    path: &str,
    of: Option<&ServiceName>,
    wire: Vec<pb::Dependency>,
) -> BTreeMap<ServiceName, Need> {
    if wire.len() > MAX_DEPENDENCIES {
        fields.wrong(path, format!("has {} entries; {MAX_DEPENDENCIES} are the most", wire.len()));
        return BTreeMap::new();
    }
    let mut found = BTreeMap::new();
    for (at, pb::Dependency { service, kind }) in wire.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let need = match pb::DependencyKind::try_from(kind) {
            Ok(pb::DependencyKind::Unspecified | pb::DependencyKind::Hard) => Need::Hard,
            Ok(pb::DependencyKind::Soft) => Need::Soft,
            Err(_) => {
                fields.wrong(within(&path, "kind"), format!("{kind} is not a kind; use HARD or SOFT"));
                continue;
            }
        };
        let Some(name) = fields.take(within(&path, "service"), ServiceName::parse(&service)) else {
            continue;
        };
        if Some(&name) == of {
            fields.wrong(within(&path, "service"), format!("{name} cannot depend on itself"));
        } else if found.insert(name, need).is_some() {
            fields.wrong(within(&path, "service"), format!("{service} is named twice"));
        }
    }
    found
}

fn budget(fields: &mut Fields, path: &str, wire: pb::Budget) -> Budget {
    let pb::Budget { limit, quorum_size } = wire;
    let limit = match limit {
        None => None,
        Some(pb::budget::Limit::MinAvailable(wire)) => {
            quantity(fields, &within(path, "min_available"), wire).map(Limit::MinAvailable)
        }
        Some(pb::budget::Limit::MaxUnavailable(wire)) => {
            quantity(fields, &within(path, "max_unavailable"), wire).map(Limit::MaxUnavailable)
        }
    };
    Budget { limit, quorum_size }
}

fn quantity(fields: &mut Fields, path: &str, wire: pb::Quantity) -> Option<Quantity> {
    let pb::Quantity { value } = wire;
    match value {
        Some(pb::quantity::Value::Count(count)) => Some(Quantity::Count(count)),
        Some(pb::quantity::Value::Percent(percent)) => match u8::try_from(percent) {
            Ok(percent) if percent <= 100 => Some(Quantity::Percent(percent)),
            _ => {
                fields.wrong(within(path, "percent"), format!("is {percent}; use 0 to 100"));
                None
            }
        },
        None => {
            fields.wrong(path, "is empty; give a count or a percent");
            None
        }
    }
}

fn objectives(fields: &mut Fields, path: &str, wire: pb::Objectives) -> Objectives {
    let pb::Objectives { availability_percent, rpo, rto } = wire;
    let availability_percent = rules::availability(availability_percent).unwrap_or_else(|wrong| {
        fields.wrong(within(path, "availability_percent"), wrong);
        None
    });
    let mut span = |field: &str, wire: Option<prost_types::Duration>| -> Option<Duration> {
        wire.and_then(|wire| fields.take(within(path, field), duration(wire)))
    };
    Objectives { availability_percent, rpo: span("rpo", rpo), rto: span("rto", rto) }
}
