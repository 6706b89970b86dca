//! Which past changes of health are asked for.

use std::{
    ops::{Range, RangeInclusive},
    time::SystemTime,
};

use prost_types::Timestamp;

use super::{Fields, service_name};
use crate::{
    api::proto::v1 as pb,
    fleet::{
        names::{ComponentName, InstanceId},
        past::Past,
    },
};

/// What the contract allows a timestamp to be: the years 1 to 9999.
const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS: Range<i32> = 0..1_000_000_000;

/// The filters of a list of changes. Pages are the caller's.
pub fn past(fields: &mut Fields, wire: &pb::ListTransitionsRequest) -> Past {
    let pb::ListTransitionsRequest {
        service,
        instance_id,
        page_size: _,
        page_token: _,
        component,
        start_time,
        end_time,
    } = wire;
    let named = |text: &str| !text.is_empty();
    let past = Past {
        service: named(service).then(|| service_name(fields, "service", service)).flatten(),
        instance: named(instance_id)
            .then(|| fields.take("instance_id", InstanceId::parse(instance_id)))
            .flatten(),
        component: named(component)
            .then(|| fields.take("component", ComponentName::parse(component)))
            .flatten(),
        start: start_time.and_then(|time| timestamp(fields, "start_time", time)),
        end: end_time.and_then(|time| timestamp(fields, "end_time", time)),
    };
    if past.service.is_none() && service.is_empty() && (named(instance_id) || named(component)) {
        fields.wrong("service", "is missing; instances and components belong to a service");
    }
    if let (Some(start), Some(end)) = (past.start, past.end)
        && end <= start
    {
        fields.wrong("end_time", "is not later than start_time");
    }
    past
}

/// A point in time.
pub(super) fn timestamp(fields: &mut Fields, field: &str, wire: Timestamp) -> Option<SystemTime> {
    let right = SECONDS.contains(&wire.seconds) && NANOS.contains(&wire.nanos);
    match SystemTime::try_from(wire) {
        Ok(time) if right => Some(time),
        Ok(_) | Err(_) => {
            fields.wrong(field, "is no point in time between the years 1 and 9999");
            None
        }
    }
}
