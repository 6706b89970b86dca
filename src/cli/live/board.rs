//! The picture of a fleet, or of one service of it: counted in a line, then what is there, worst first, with
//! a mark where it has just changed.

use std::time::{Duration, SystemTime};

use seaworthy_client::proto::seaworthy::v1::{
    HealthState, Instance, Lifecycle, Service, WatchFleetResponse, fleet_change::Change,
    watch_fleet_response::Message,
};

use super::{Frame, fitting, rows::Rows};
use crate::{
    cli::{
        follow::Place,
        output::{Text, Tone, table::Table},
        render::{instance, when, words},
    },
    time::{Mono, Now},
};

/// How long a change is marked.
const FRESH: Duration = Duration::from_secs(5);

/// What is listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shows {
    /// Instances; services are only counted.
    Instances,
    /// Services.
    Services,
}

/// Everything that a watch of the fleet told.
#[derive(Debug)]
pub(crate) struct Board {
    shows: Shows,
    /// Where the watch goes on.
    pub(crate) place: Place,
    /// The one service that is looked at; empty for all.
    of: String,
    instances: Rows<Instance>,
    services: Rows<Service>,
    last_change: Option<Now>,
}

impl Board {
    /// Nothing is known yet. An empty service is all of them.
    pub(crate) fn new(shows: Shows, service: &str) -> Self {
        Self {
            shows,
            place: Place::start(service),
            of: service.to_owned(),
            instances: Rows::new(),
            services: Rows::new(),
            last_change: None,
        }
    }

    /// Takes a message of the watch.
    pub(crate) fn take(&mut self, response: WatchFleetResponse, now: Now) {
        self.place.pass(&response);
        match response.message {
            Some(Message::Reset(_)) => {
                self.instances.reset();
                self.services.reset();
            }
            Some(Message::Snapshot(part)) => {
                part.services.into_iter().for_each(|service| self.service(service, now.mono));
                part.instances.into_iter().for_each(|instance| self.instance(instance, now.mono));
                if part.complete {
                    self.instances.complete();
                    self.services.complete();
                }
            }
            Some(Message::Change(change)) => {
                self.last_change = Some(now);
                match change.change {
                    Some(Change::Instance(instance)) => self.instance(instance, now.mono),
                    Some(Change::Service(service)) => self.service(service, now.mono),
                    Some(Change::Removed(gone)) => self.instances.remove(&instance::tombstone_name(&gone)),
                    Some(Change::ServiceRemoved(name)) => self.services.remove(&name),
                    None => {}
                }
            }
            Some(Message::BookmarkTime(_)) | None => {}
        }
    }

    fn instance(&mut self, it: Instance, now: Mono) {
        // Only what is listed is kept: a fleet may be large.
        if self.shows != Shows::Instances {
            return;
        }
        let differs = |a: &Instance, b: &Instance| {
            (a.incarnation, a.lifecycle, a.health, &a.cause)
                != (b.incarnation, b.lifecycle, b.health, &b.cause)
        };
        self.instances.put(&instance::name(&it), rank_of_instance(&it), it, now, differs);
    }

    fn service(&mut self, it: Service, now: Mono) {
        let differs = |a: &Service, b: &Service| {
            let available = |it: &Service| it.counts.map(|counts| counts.available);
            (a.health, &a.cause, available(a)) != (b.health, &b.cause, available(b))
        };
        self.services.put(&it.name.clone(), rank(it.health()), it, now, differs);
    }

    /// As much of it as there is room for.
    pub(crate) fn lines(&self, frame: &Frame) -> Vec<String> {
        if !self.services.is_known() {
            return vec!["reading the fleet".to_owned()];
        }
        let mut lines = vec![self.summary(frame), String::new()];
        let room = frame.height.saturating_sub(lines.len());
        let (table, all) = match self.shows {
            Shows::Instances => (self.instance_table(frame, room), self.instances.len()),
            Shows::Services => (self.service_table(frame, room), self.services.len()),
        };
        if all == 0 {
            lines.push(match self.shows {
                Shows::Instances => "no such instances".to_owned(),
                Shows::Services => "no services".to_owned(),
            });
            return lines;
        }
        lines.extend(table.lines(frame.looks));
        let shown = fitting(all, room);
        if shown < all {
            lines.push(format!("  and {} more, none of them worse", all - shown));
        }
        lines
    }

    /// The fleet in a line, or the service that is looked at.
    fn summary(&self, frame: &Frame) -> String {
        let changed = match self.last_change {
            Some(at) => {
                let ago = when::coarse(frame.now.mono.since(at.mono));
                format!("last change {ago} ago ({})", when::clock(at.wall))
            }
            None => "no change yet".to_owned(),
        };
        let looked_at = self.services.iter().find(|(name, _)| !self.of.is_empty() && *name == self.of);
        if let Some((name, row)) = looked_at {
            let counts = row.item.counts.unwrap_or_default();
            let health = frame.looks.paint(&words::health(row.item.health()));
            let needed = row.item.required_available;
            return format!(
                "{name} {health}: {}/{} available, {needed} needed; {changed}",
                counts.available, counts.total
            );
        }
        let (what, healths): (&str, Vec<HealthState>) = match self.shows {
            Shows::Instances => {
                ("instances", self.instances.iter().map(|(_, row)| row.item.health()).collect())
            }
            Shows::Services => ("services", self.services.iter().map(|(_, row)| row.item.health()).collect()),
        };
        let mut parts = Vec::new();
        for (word, state) in words::HEALTHS {
            let count = healths.iter().filter(|health| **health == state).count();
            if count > 0 {
                parts.push(frame.looks.paint(&Text::toned(&format!("{count} {word}"), words::tone(state))));
            }
        }
        let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        format!("{} {what}{parts}; {changed}", healths.len())
    }

    fn instance_table(&self, frame: &Frame, room: usize) -> Table {
        let mut table = Table::new(["", "INSTANCE", "LIFECYCLE", "HEALTH", "SINCE", "VERSION", "CAUSE"]);
        for (name, row) in self.instances.iter().take(fitting(self.instances.len(), room)) {
            let version = row.item.registration.as_ref().map(|it| it.version.as_str()).unwrap_or_default();
            table.row([
                mark(row.changed, frame),
                name.into(),
                instance::lifecycle(&row.item).into(),
                words::health(row.item.health()),
                since(row.item.health_change_time.as_ref(), frame.now.wall),
                instance::dash(version).into(),
                row.item.cause.as_str().into(),
            ]);
        }
        table
    }

    fn service_table(&self, frame: &Frame, room: usize) -> Table {
        let mut table = Table::new(["", "SERVICE", "HEALTH", "AVAILABLE", "NEEDED", "SINCE", "CAUSE"]);
        for (name, row) in self.services.iter().take(fitting(self.services.len(), room)) {
            let counts = row.item.counts.unwrap_or_default();
            table.row([
                mark(row.changed, frame),
                name.into(),
                words::health(row.item.health()),
                format!("{}/{}", counts.available, counts.total).into(),
                row.item.required_available.to_string().into(),
                since(row.item.health_change_time.as_ref(), frame.now.wall),
                row.item.cause.as_str().into(),
            ]);
        }
        table
    }
}

fn mark(changed: Option<Mono>, frame: &Frame) -> Text {
    match changed {
        Some(at) if frame.now.mono.since(at) < FRESH => Text::toned("*", Tone::Uneasy),
        // As wide as a mark, so that nothing moves when one comes.
        _ => Text::new(" "),
    }
}

fn since(time: Option<&prost_types::Timestamp>, now: SystemTime) -> Text {
    when::age(time, now).as_deref().unwrap_or("-").into()
}

/// What has to be seen first is least.
fn rank(health: HealthState) -> u8 {
    match health {
        HealthState::Unhealthy => 0,
        HealthState::Unknown | HealthState::Unspecified => 1,
        HealthState::Degraded => 2,
        HealthState::Healthy => 3,
    }
}

fn rank_of_instance(it: &Instance) -> u8 {
    match it.lifecycle() {
        Lifecycle::Lost | Lifecycle::Failed => 0,
        _ => rank(it.health()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lost_stand_with_the_worst() {
        let lost = Instance { lifecycle: Lifecycle::Lost.into(), ..Instance::default() };
        assert_eq!(rank_of_instance(&lost), rank(HealthState::Unhealthy));
        let ranks =
            [HealthState::Unhealthy, HealthState::Unknown, HealthState::Degraded, HealthState::Healthy];
        assert!(ranks.map(rank).is_sorted());
    }
}
