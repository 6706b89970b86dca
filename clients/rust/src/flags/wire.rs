//! Flags on the wire: [`from_wire`] names every field that is wrong, all at once, and [`to_wire`] cannot fail. What the
//! control plane sets (revision, time, updater) is no part of a [`Flag`]: it is ignored on the way in and left unset on
//! the way out.

use super::{
    draft::{Draft, DraftRule, DraftVariant},
    flag::{Flag, Rule, Variant},
    share::Share,
    value::Value,
};
use crate::proto::seaworthy::v1::{self as pb, flag_value};

/// The flag that a message describes.
///
/// # Errors
/// Some fields are wrong: each by its path under `prefix` (`flag.rules[2].variant` under `flag`, `rules[2].variant` where
/// that is empty), with what is wrong with it.
pub fn from_wire(prefix: &str, wire: pb::Flag) -> Result<Flag, Vec<(String, String)>> {
    let pb::Flag {
        name,
        variants,
        default_variant,
        rules,
        disabled,
        description,
        revision: _,
        update_time: _,
        updater: _,
    } = wire;
    let draft = Draft {
        name,
        variants: variants.into_iter().map(draft_variant).collect(),
        default_variant,
        rules: rules.into_iter().map(draft_rule).collect(),
        disabled,
        description,
    };
    let within = |field: String| if prefix.is_empty() { field } else { format!("{prefix}.{field}") };
    Flag::new(draft).map_err(|invalid| {
        invalid.problems.into_iter().map(|(field, problem)| (within(field), problem)).collect()
    })
}

/// The message that describes a flag.
pub fn to_wire(flag: &Flag) -> pb::Flag {
    pb::Flag {
        name: flag.name().to_owned(),
        variants: flag.variants().map(wire_variant).collect(),
        default_variant: flag.default_variant().name().to_owned(),
        rules: flag.rules().iter().map(wire_rule).collect(),
        disabled: flag.is_disabled(),
        description: flag.description().to_owned(),
        revision: 0,
        update_time: None,
        updater: String::new(),
    }
}

fn draft_variant(wire: pb::FlagVariant) -> DraftVariant {
    let pb::FlagVariant { name, value } = wire;
    let value = value.and_then(|pb::FlagValue { kind }| kind);
    DraftVariant {
        name,
        value: value.map(|kind| match kind {
            flag_value::Kind::BoolValue(value) => Value::Bool(value),
            flag_value::Kind::StringValue(value) => Value::Text(value),
            flag_value::Kind::IntValue(value) => Value::Int(value),
            flag_value::Kind::DoubleValue(value) => Value::Double(value),
        }),
    }
}

fn draft_rule(wire: pb::FlagRule) -> DraftRule {
    let pb::FlagRule { services, instances, percentage, variant } = wire;
    DraftRule { services, instances, percentage: (percentage != 0.0).then_some(percentage), variant }
}

fn wire_variant(variant: &Variant) -> pb::FlagVariant {
    let kind = match variant.value() {
        Value::Bool(value) => flag_value::Kind::BoolValue(*value),
        Value::Text(value) => flag_value::Kind::StringValue(value.clone()),
        Value::Int(value) => flag_value::Kind::IntValue(*value),
        Value::Double(value) => flag_value::Kind::DoubleValue(*value),
    };
    pb::FlagVariant { name: variant.name().to_owned(), value: Some(pb::FlagValue { kind: Some(kind) }) }
}

fn wire_rule(rule: &Rule) -> pb::FlagRule {
    pb::FlagRule {
        services: rule.services().to_vec(),
        instances: rule.instances().to_vec(),
        percentage: rule.share().map_or(0.0, Share::percentage),
        variant: rule.variant().name().to_owned(),
    }
}

#[cfg(test)]
mod tests;
