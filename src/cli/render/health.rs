//! The health of a service as a tree: service, instances, components; what is bad comes first.
//!
//! It is read at night by somebody who was asleep: every line says what, how, and since when, and
//! nothing that works takes more than one line unless `wide` asks for it.

use std::{cmp::Reverse, time::SystemTime};

use seaworthy_client::proto::seaworthy::v1::{ComponentHealth, HealthState, Instance, Service};

use super::{
    instance::{self, short},
    service, when, words,
};
use crate::cli::output::{Looks, Text, clean};

/// How a tree is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(crate) looks: Looks,
    /// Whether what is healthy is shown in full as well.
    pub(crate) wide: bool,
    pub(crate) now: SystemTime,
}

impl Tree {
    /// A service and its instances, at most `shown` of them.
    pub(crate) fn service(
        self,
        service: &Service,
        mut instances: Vec<Instance>,
        shown: usize,
    ) -> Vec<String> {
        let since = when::age(service.health_change_time.as_ref(), self.now);
        let mut lines = vec![self.headline(&service.name, service.health(), since.as_deref())];
        if !service.cause.is_empty() {
            lines.push(format!("  cause: {}", clean(&service.cause)));
        }
        lines.push(format!(
            "  instances: {}; {} needed",
            service::counts(service),
            service.required_available
        ));
        if let Some(protection) = &service.protection {
            lines.push(format!("  lost at once: {}", service::lost_at_once(protection, self.now)));
        }
        instances.sort_by_key(|instance| Reverse(severity(instance.health())));
        let mut before_was_brief = false;
        for instance in instances.iter().take(shown) {
            let brief = self.is_brief(instance);
            // Headlines alone stand close together.
            if !(brief && before_was_brief) {
                lines.push(String::new());
            }
            before_was_brief = brief;
            let tree = if brief { vec![self.instance(instance)] } else { self.instance_in_full(instance) };
            lines.extend(tree.into_iter().map(|line| format!("  {line}")));
        }
        if let Some(more) = instances.len().checked_sub(shown).filter(|more| *more > 0) {
            lines.push(format!(
                "\n  and {more} more; `seaworthy fleet list --service {}` lists all",
                clean(&service.name)
            ));
        }
        lines
    }

    /// An instance in one line.
    fn instance(self, instance: &Instance) -> String {
        let since = when::age(instance.health_change_time.as_ref(), self.now);
        let mut head = self.headline(&instance::name(instance), instance.health(), since.as_deref());
        head.push_str(&format!(
            ", {}, heard {}",
            instance::lifecycle(instance),
            when::ago(instance.last_heard_time.as_ref(), self.now)
        ));
        if let Some(version) =
            instance.registration.as_ref().map(|it| &it.version).filter(|it| !it.is_empty())
        {
            head.push_str(&format!(", version {}", clean(version)));
        }
        head
    }

    /// An instance and its components.
    pub(crate) fn instance_in_full(self, instance: &Instance) -> Vec<String> {
        let mut lines = vec![self.instance(instance)];
        if !instance.cause.is_empty() {
            lines.push(format!("  cause: {}", clean(&instance.cause)));
        }
        let mut worst_first: Vec<_> = instance.components.iter().collect();
        worst_first.sort_by_key(|component| Reverse(severity(component.state())));
        for component in worst_first {
            lines.extend(self.component(component).into_iter().map(|line| format!("  {line}")));
        }
        lines
    }

    /// A component.
    pub(crate) fn component(self, health: &ComponentHealth) -> Vec<String> {
        let declared = health.component.clone().unwrap_or_default();
        let since = when::age(health.change_time.as_ref(), self.now);
        let mut facts = Vec::new();
        if declared.essential {
            facts.push("essential".to_owned());
        }
        facts.extend(response_time(health));
        if health.flapping {
            facts.push("flapping".to_owned());
        }
        if health.consecutive_failures > 0 {
            facts.push(format!("{} bad in a row", health.consecutive_failures));
        }
        if !matches!(health.reported_state(), HealthState::Unspecified)
            && health.reported_state() != health.state()
        {
            facts.push(format!("last said {}", words::health(health.reported_state()).plain));
        }
        facts.push(match &health.report_time {
            Some(time) => format!("reported {}", when::ago(Some(time), self.now)),
            None => "never reported".to_owned(),
        });
        let name = match declared.kind.as_str() {
            "" => declared.name.clone(),
            kind => format!("{} ({kind})", declared.name),
        };
        let mut lines =
            vec![format!("{}, {}", self.headline(&name, health.state(), since.as_deref()), facts.join(", "))];
        if !health.cause.is_empty() {
            lines.push(format!("    cause: {}", short(&clean(&health.cause), self.wide)));
        }
        if !health.message.is_empty() && health.message != health.cause {
            lines.push(format!("    message: {}", short(&clean(&health.message), self.wide)));
        }
        if self.wide {
            let mut details: Vec<_> = health.details.iter().collect();
            details.sort_unstable();
            let details = details.into_iter();
            lines.extend(details.map(|(key, value)| format!("    {}: {}", clean(key), clean(value))));
        }
        lines
    }

    fn is_brief(self, instance: &Instance) -> bool {
        let flaps = instance.components.iter().any(|component| component.flapping);
        !self.wide && !flaps && instance.health() == HealthState::Healthy
    }

    /// `✗ orders  unhealthy for 3m`.
    fn headline(self, name: &str, state: HealthState, since: Option<&str>) -> String {
        let mark = self.looks.paint(&self.looks.mark(words::tone(state)));
        let health = self.looks.paint(&match state {
            HealthState::Unspecified => Text::from("not reported"),
            _ => words::health(state),
        });
        let since = since.map(|since| format!(" for {since}")).unwrap_or_default();
        format!("{mark} {}  {health}{since}", clean(name))
    }
}

/// How much a state asks for attention.
fn severity(state: HealthState) -> u8 {
    match state {
        HealthState::Unhealthy => 4,
        HealthState::Unknown => 3,
        HealthState::Degraded => 2,
        HealthState::Unspecified => 1,
        HealthState::Healthy => 0,
    }
}

fn response_time(health: &ComponentHealth) -> Option<String> {
    let last = when::measured(health.last_response_time.as_ref())?;
    Some(match when::measured(health.average_response_time.as_ref()) {
        Some(average) => format!("answers in {last} (average {average})"),
        None => format!("answers in {last}"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::Timestamp;
    use seaworthy_client::proto::seaworthy::v1::{Component, InstanceCounts, Lifecycle, Registration};

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn instance(id: &str, state: HealthState, cause: &str, components: Vec<ComponentHealth>) -> Instance {
        Instance {
            registration: Some(Registration {
                service: "orders".into(),
                instance_id: id.into(),
                version: "1.2.0".into(),
                ..Registration::default()
            }),
            lifecycle: Lifecycle::Ready.into(),
            health: state.into(),
            cause: cause.into(),
            confirmed: true,
            components,
            last_heard_time: at(998),
            health_change_time: at(820),
            ..Instance::default()
        }
    }

    fn database() -> ComponentHealth {
        ComponentHealth {
            component: Some(Component {
                name: "database".into(),
                kind: "sqlite".into(),
                essential: true,
                ..Component::default()
            }),
            state: HealthState::Unhealthy.into(),
            reported_state: HealthState::Unhealthy.into(),
            cause: "orders.db is gone".into(),
            message: "orders.db is gone".into(),
            consecutive_failures: 36,
            last_response_time: Some(prost_types::Duration { seconds: 0, nanos: 1_200_000 }),
            report_time: at(997),
            change_time: at(820),
            ..ComponentHealth::default()
        }
    }

    #[test]
    fn who_flaps_is_shown_in_full_while_it_is_healthy() {
        let component = ComponentHealth { flapping: true, ..database() };
        let component =
            ComponentHealth { state: HealthState::Healthy.into(), cause: String::new(), ..component };
        let tree = Tree {
            looks: Looks { colour: false, unicode: true },
            wide: false,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
        };
        let flaps = instance("i-1", HealthState::Healthy, "", vec![component]);
        let shown = tree.service(&Service::default(), vec![flaps], 50).join("\n");
        assert!(
            shown.contains("database (sqlite)  healthy for 3m, essential, answers in 1ms, flapping,"),
            "{shown}"
        );
    }

    #[test]
    fn the_tree_names_the_cause_and_puts_the_worst_first() {
        let service = Service {
            name: "orders".into(),
            health: HealthState::Degraded.into(),
            cause: "1 of 2 instances is available".into(),
            counts: Some(InstanceCounts {
                total: 2,
                available: 1,
                healthy: 1,
                unhealthy: 1,
                ..InstanceCounts::default()
            }),
            required_available: 1,
            health_change_time: at(820),
            ..Service::default()
        };
        let instances = vec![
            instance("i-1", HealthState::Healthy, "", vec![]),
            instance("i-2", HealthState::Unhealthy, "database: orders.db is gone", vec![database()]),
        ];
        let tree = Tree {
            looks: Looks { colour: false, unicode: true },
            wide: false,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
        };
        assert_eq!(
            tree.service(&service, instances, 50).join("\n"),
            "! orders  degraded for 3m\n  \
               cause: 1 of 2 instances is available\n  \
               instances: 2 in all: 1 available, 1 healthy, 1 unhealthy; 1 needed\n\n  \
               ✗ orders/i-2  unhealthy for 3m, ready, heard 2s ago, version 1.2.0\n    \
                 cause: database: orders.db is gone\n    \
                 ✗ database (sqlite)  unhealthy for 3m, essential, answers in 1ms, 36 bad in a row, reported \
             3s ago\n        \
                     cause: orders.db is gone\n\n  \
               ✓ orders/i-1  healthy for 3m, ready, heard 2s ago, version 1.2.0"
        );
    }
}
