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

    /// Whether a service of this name may be seen.
    pub fn sees_service(&self, name: &str) -> bool {
        self.narrowings.iter().all(|narrowing| narrowing.names(name))
    }

    /// Whether all of a service is in it, so that it may be changed as a whole.
    pub fn has_all_of(&self, service: &str) -> bool {
        self.sees_service(service) && self.narrowings.iter().all(Narrowing::is_of_whole_services)
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
