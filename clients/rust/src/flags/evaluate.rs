//! Which variant of a flag holds: that of the first rule that matches, and the default where none does. Pure.

use super::{
    flag::{Flag, Rule, Variant},
    value::Value,
};

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Context<'a> {
    /// Name of the service.
    pub service: &'a str,
    /// Id of the instance.
    pub instance: &'a str,
    /// What a percentage goes by: a user, a tenant. None: the instance itself.
    pub key: Option<&'a str>,
}

/// Which variant holds, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// Name of the variant.
    pub variant: &'a str,
    /// What it stands for.
    pub value: &'a Value,
    /// Why it holds.
    pub reason: Reason,
}

/// Why a variant holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// No rule matched: it is the default.
    Default,
    /// This rule matched, counted from 0.
    Rule(usize),
    /// The flag is disabled: it is the default, whatever the rules say.
    Disabled,
}

/// Says which variant holds for who asks.
pub fn evaluate<'a>(flag: &'a Flag, context: &Context<'_>) -> Evaluation<'a> {
    if flag.is_disabled() {
        return Evaluation::new(flag.default_variant(), Reason::Disabled);
    }
    // The same for all rules, and known only once one asks for it.
    let mut point = None;
    let mut matches = |rule: &Rule| {
        rule.concerns(context.service, context.instance)
            && rule
                .share()
                .is_none_or(|share| share.takes(*point.get_or_insert_with(|| point_of(flag, context))))
    };
    match flag.rules().iter().enumerate().find(|(_, rule)| matches(rule)) {
        Some((at, rule)) => Evaluation::new(rule.variant(), Reason::Rule(at)),
        None => Evaluation::new(flag.default_variant(), Reason::Default),
    }
}

fn point_of(flag: &Flag, context: &Context<'_>) -> u64 {
    match context.key {
        Some(key) => flag.spread().point(&[key]),
        None => flag.spread().point(&[context.service, "/", context.instance]),
    }
}

impl<'a> Evaluation<'a> {
    fn new(variant: &'a Variant, reason: Reason) -> Self {
        Self { variant: variant.name(), value: variant.value(), reason }
    }
}

#[cfg(test)]
mod tests;
