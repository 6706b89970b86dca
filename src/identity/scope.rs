//! To what a role is narrowed: services by name, instances by zone and labels.

use std::{collections::BTreeMap, fmt};

use crate::fleet::registration::Registration;

/// A name, or all names that begin so.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Pattern {
    /// This name.
    Exactly(String),
    /// All that begin so.
    Prefix(String),
}

impl Pattern {
    /// `payments` is itself; `payments-*` is all that begin with `payments-`.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.to_owned()),
            None => Pattern::Exactly(text.to_owned()),
        }
    }

    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Exactly(own) => own == name,
            Pattern::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exactly(name) => f.write_str(name),
            Pattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// What somebody is narrowed to. The default is everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    narrowings: Vec<Narrowing>,
}

/// One narrowing; what is empty narrows nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Narrowing {
    /// Only these services.
    pub services: Vec<Pattern>,
    /// Only instances in these zones.
    pub zones: Vec<Pattern>,
    /// Only instances with all of these labels.
    pub labels: BTreeMap<String, String>,
}

impl Narrowing {
    fn names(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.iter().any(|pattern| pattern.matches(service))
    }

    fn is_of_whole_services(&self) -> bool {
        self.zones.is_empty() && self.labels.is_empty()
    }

    fn takes(&self, instance: &Registration) -> bool {
        let zone = self.zones.is_empty() || self.zones.iter().any(|pattern| pattern.matches(&instance.zone));
        let labels =
            || self.labels.iter().all(|(key, value)| instance.labels.get(key) == Some(value.as_str()));
        self.names(instance.key.service.as_str()) && zone && labels()
    }
}

impl Scope {
    /// The scope that leaves nothing out.
    pub fn everything() -> &'static Scope {
        static EVERYTHING: Scope = Scope { narrowings: Vec::new() };
        &EVERYTHING
    }

    /// Narrowed further: what is in it is in both.
    #[must_use]
    pub fn narrowed(mut self, by: Narrowing) -> Self {
        self.narrowings.push(by);
        self
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.narrowings.is_empty()
    }

    /// Whether each service is in it as a whole or not at all.
    pub fn is_of_whole_services(&self) -> bool {
        self.narrowings.iter().all(Narrowing::is_of_whole_services)
    }

    /// Whether a service of this name may be seen.
    pub fn sees_service(&self, name: &str) -> bool {
        self.narrowings.iter().all(|narrowing| narrowing.names(name))
    }

    /// Whether all of a service is in it, so that it may be changed as a whole.
    pub fn has_all_of(&self, service: &str) -> bool {
        self.sees_service(service) && self.is_of_whole_services()
    }

    /// Whether an instance is in it.
    pub fn sees_instance(&self, instance: &Registration) -> bool {
        self.narrowings.iter().all(|narrowing| narrowing.takes(instance))
    }

    /// What it is narrowed by.
    pub fn narrowings(&self) -> &[Narrowing] {
        &self.narrowings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::{
        lifecycle::Lifecycle,
        names::{InstanceId, InstanceKey, ServiceName},
    };

    fn instance() -> Registration {
        let service = ServiceName::parse("orders").unwrap();
        Registration {
            key: InstanceKey { service, id: InstanceId::parse("i-1").unwrap() },
            version: String::new(),
            zone: "eu-west-1a".into(),
            address: String::new(),
            labels: [("team".to_owned(), "shop".to_owned())].into_iter().collect(),
            components: [].into(),
            declared_spec: None,
            lease_ttl: Duration::from_secs(15),
            lifecycle: Lifecycle::Ready,
        }
    }

    fn narrowing(services: &[&str], zones: &[&str], labels: &[(&str, &str)]) -> Narrowing {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text)).collect();
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Narrowing { services: patterns(services), zones: patterns(zones), labels: labels.collect() }
    }

    #[test]
    fn scopes_as_a_table() {
        for (narrowings, sees_service, has_all, sees_instance) in [
            (vec![], true, true, true),
            (vec![narrowing(&["orders"], &[], &[])], true, true, true),
            (vec![narrowing(&["ord*"], &[], &[])], true, true, true),
            (vec![narrowing(&["payments", "payments-*"], &[], &[])], false, false, false),
            (vec![narrowing(&[], &["eu-*"], &[])], true, false, true),
            (vec![narrowing(&[], &["us-*"], &[])], true, false, false),
            (vec![narrowing(&[], &[], &[("team", "shop")])], true, false, true),
            (vec![narrowing(&[], &[], &[("team", "shop"), ("tier", "1")])], true, false, false),
            (vec![narrowing(&["orders"], &[], &[]), narrowing(&["payments"], &[], &[])], false, false, false),
            (vec![narrowing(&["orders"], &[], &[]), narrowing(&[], &["eu-*"], &[])], true, false, true),
        ] {
            let scope = narrowings.into_iter().fold(Scope::default(), Scope::narrowed);
            assert_eq!(scope.sees_service("orders"), sees_service, "{scope:?}");
            assert_eq!(scope.has_all_of("orders"), has_all, "{scope:?}");
            assert_eq!(scope.sees_instance(&instance()), sees_instance, "{scope:?}");
        }
    }
}
