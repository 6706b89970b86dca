//! What a draft must be to be a flag. Everything that is wrong is named, all at once, and nothing only because something
//! else is.

use std::sync::Arc;

use super::{Draft, DraftRule, DraftVariant, InvalidFlag};
use crate::{
    flags::{
        Flag, Kind, MAX_DESCRIPTION, MAX_NAMED, MAX_RULES, MAX_TEXT, MAX_VARIANTS, Rule, Value, Variant,
        names,
        share::{Share, Spread},
    },
    rules::registration,
};

/// The flag that a draft describes.
///
/// # Errors
/// Something in it is wrong: all of it is named.
pub(in crate::flags) fn check(draft: Draft) -> Result<Flag, InvalidFlag> {
    let Draft { name, variants, default_variant, rules, disabled, description } = draft;
    let mut problems = Problems::default();
    problems.take("name", names::flag(&name));
    let variants = check_variants(&mut problems, variants);
    let default = variants.named(&mut problems, "default_variant", &default_variant);
    let rules = check_rules(&mut problems, &variants, rules);
    problems.take("description", registration::text(&description, MAX_DESCRIPTION));
    match default {
        Some(default) if problems.0.is_empty() => {
            let variants = variants.0.into_iter().filter_map(|(_, variant)| variant).collect();
            let spread = Spread::of_flag(&name);
            Ok(Flag { name, variants, default, rules, disabled, description, spread })
        }
        _ => Err(InvalidFlag { problems: problems.0 }),
    }
}

fn check_variants(problems: &mut Problems, drafts: Vec<DraftVariant>) -> Variants {
    if drafts.is_empty() {
        problems.wrong("variants", format!("is empty; give 1 to {MAX_VARIANTS}"));
    }
    if problems.too_many("variants", drafts.len(), MAX_VARIANTS) {
        return Variants(drafts.into_iter().map(|draft| (draft.name, None)).collect());
    }
    let kind = drafts.iter().find_map(|draft| draft.value.as_ref()).map(Value::kind);
    let mut variants = Variants(Vec::with_capacity(drafts.len()));
    for (at, DraftVariant { name, value }) in drafts.into_iter().enumerate() {
        let field = format!("variants[{at}]");
        let again = variants.0.iter().any(|(earlier, _)| *earlier == name);
        let judged = names::variant(&name);
        let judged = judged.and_then(|()| if again { Err("is named twice".to_owned()) } else { Ok(()) });
        let well_named = problems.take(format!("{field}.name"), judged);
        let value = problems.take(format!("{field}.value"), check_value(value, kind));
        let variant = well_named.and(value).map(|value| Arc::new(Variant { name: name.clone(), value }));
        variants.0.push((name, variant));
    }
    variants
}

/// Judges what a variant stands for. `kind`: of the first variant that says one.
fn check_value(value: Option<Value>, kind: Option<Kind>) -> Result<Value, String> {
    let value = value.ok_or("is missing")?;
    match &value {
        Value::Text(text) if text.len() > MAX_TEXT => {
            return Err(format!("has {} bytes; {MAX_TEXT} are the most", text.len()));
        }
        // No two of those are the same flag, and JSON has no word for them.
        Value::Double(number) if !number.is_finite() => {
            return Err(format!("is {number}; use a finite number"));
        }
        Value::Bool(_) | Value::Text(_) | Value::Int(_) | Value::Double(_) => {}
    }
    match kind {
        Some(kind) if kind != value.kind() => {
            Err(format!("is of kind {}, and another variant is of kind {kind}; use one kind", value.kind()))
        }
        _ => Ok(value),
    }
}

fn check_rules(problems: &mut Problems, variants: &Variants, drafts: Vec<DraftRule>) -> Vec<Rule> {
    if problems.too_many("rules", drafts.len(), MAX_RULES) {
        return Vec::new();
    }
    let rules = drafts.into_iter().enumerate();
    rules.filter_map(|(at, draft)| check_rule(problems, variants, &format!("rules[{at}]"), draft)).collect()
}

fn check_rule(problems: &mut Problems, variants: &Variants, path: &str, draft: DraftRule) -> Option<Rule> {
    let DraftRule { services, instances, percentage, variant } = draft;
    check_named(problems, &format!("{path}.services"), &services, names::service);
    check_named(problems, &format!("{path}.instances"), &instances, names::instance);
    let share = match percentage {
        Some(percentage) => problems.take(format!("{path}.percentage"), Share::new(percentage)),
        None => None,
    };
    let variant = variants.named(problems, &format!("{path}.variant"), &variant)?;
    Some(Rule { services, instances, share, variant })
}

fn check_named(
    problems: &mut Problems,
    field: &str,
    names: &[String],
    judge: fn(&str) -> Result<(), String>,
) {
    if problems.too_many(field, names.len(), MAX_NAMED) {
        return;
    }
    for (at, name) in names.iter().enumerate() {
        problems.take(format!("{field}[{at}]"), judge(name));
    }
}

/// The variants of a draft by name; none in place of one that is wrong.
struct Variants(Vec<(String, Option<Arc<Variant>>)>);

impl Variants {
    /// The variant that a field names. It is the field's fault only where there is none of that name.
    fn named(&self, problems: &mut Problems, field: &str, name: &str) -> Option<Arc<Variant>> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, variant)) => variant.clone(),
            None if name.is_empty() => {
                problems.take(field, Err("is missing; name one of the variants".to_owned()))
            }
            None => problems.take(field, Err("is not the name of one of the variants".to_owned())),
        }
    }
}

/// The fields that are wrong.
#[derive(Default)]
struct Problems(Vec<(String, String)>);

impl Problems {
    fn wrong(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push((field.into(), problem.into()));
    }

    /// What was judged, or none where it is wrong.
    fn take<T>(&mut self, field: impl Into<String>, judged: Result<T, String>) -> Option<T> {
        judged.map_err(|problem| self.wrong(field, problem)).ok()
    }

    /// Whether a list has so many entries that they are not even looked into.
    fn too_many(&mut self, field: &str, entries: usize, most: usize) -> bool {
        if entries > most {
            self.wrong(field, format!("has {entries} entries; {most} are the most"));
        }
        entries > most
    }
}

#[cfg(test)]
mod tests;
