//! A flag that is right: whatever is of these types keeps the limits of the contract, and every rule leads to one of the
//! flag's variants. They are made from a [`Draft`], and not changed.

use std::sync::Arc;

use super::{
    draft::{self, Draft, InvalidFlag},
    names,
    share::{Share, Spread},
    value::{Kind, Value},
};

/// A switch, with its variants and for whom which of them holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    pub(super) name: String,
    pub(super) variants: Vec<Arc<Variant>>,
    // One of the variants, as are those of the rules.
    pub(super) default: Arc<Variant>,
    pub(super) rules: Vec<Rule>,
    pub(super) disabled: bool,
    pub(super) description: String,
    // Follows from the name.
    pub(super) spread: Spread,
}

/// One of the values of a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    pub(super) name: String,
    pub(super) value: Value,
}

/// For whom a variant holds: whoever matches all that is said here.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub(super) services: Vec<String>,
    pub(super) instances: Vec<String>,
    pub(super) share: Option<Share>,
    pub(super) variant: Arc<Variant>,
}

impl Flag {
    /// The flag that a draft describes.
    ///
    /// # Errors
    /// Something in it is wrong: all of it is named.
    pub fn new(draft: Draft) -> Result<Self, InvalidFlag> {
        draft::check(draft)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which kind of value all its variants are.
    pub fn kind(&self) -> Kind {
        self.default.value.kind()
    }

    /// Its variants, at least one, in the order in which they were given.
    pub fn variants(&self) -> impl ExactSizeIterator<Item = &Variant> {
        self.variants.iter().map(AsRef::as_ref)
    }

    /// The variant that holds where no rule says otherwise.
    pub fn default_variant(&self) -> &Variant {
        &self.default
    }

    /// Its rules: the first that matches counts.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the default holds for everybody, whatever the rules say.
    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// For people. May be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How it spreads keys, for the percentages of its rules.
    pub fn spread(&self) -> Spread {
        self.spread
    }

    /// Whether it is one of the control plane's own, by its name.
    pub fn is_control_planes_own(&self) -> bool {
        self.name.starts_with(names::CONTROL_PLANE)
    }

    /// What of it one instance needs to answer as the whole flag does: no rule that is only for others, no names that are
    /// known to match, and nothing for people.
    pub(super) fn reduced_to(mut self, service: &str, instance: &str) -> Self {
        self.rules.retain(|rule| rule.concerns(service, instance));
        for rule in &mut self.rules {
            (rule.services, rule.instances) = (Vec::new(), Vec::new());
        }
        self.description = String::new();
        self
    }
}

impl Variant {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it stands for.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl Rule {
    /// Only these services. Empty: all.
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// Only these instances. Empty: all.
    pub fn instances(&self) -> &[String] {
        &self.instances
    }

    /// Only so many of the keys. None: all.
    pub fn share(&self) -> Option<Share> {
        self.share
    }

    /// The variant that holds for them.
    pub fn variant(&self) -> &Variant {
        &self.variant
    }

    /// Whether it can match what this instance asks.
    pub fn concerns(&self, service: &str, instance: &str) -> bool {
        let among =
            |names: &[String], name: &str| names.is_empty() || names.iter().any(|named| named == name);
        among(&self.services, service) && among(&self.instances, instance)
    }
}
