//! Descriptors of envoyproxy/ratelimit as policies, or why not.
//!
//! A descriptor limits requests that have exactly its path of keys: an operation, a caller, or both. Those of one operation
//! are counted by operation, those with a caller by caller; so a limit of one caller takes the place of that of each caller,
//! and not of the one for all.

mod limit;

use std::{collections::HashMap, fmt};

use seaworthy_client::proto::seaworthy::v1::{
    OperationTarget, Policy, PolicyScope, PolicyTarget, RateLimit, policy_target::What,
};

use super::{
    name::Names,
    ratelimit::{Configuration, Descriptor},
};

/// Most policies that there can be.
const MOST: usize = 1_000;
/// Longest name of an operation, and of a caller.
const OPERATION: usize = 128;
const CALLER: usize = 256;
/// Longest description.
const DESCRIPTION: usize = 1024;

/// What the keys of descriptors mean, and whose operations they are about.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub(super) service: String,
    pub(super) operation_key: String,
    pub(super) caller_key: String,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Translation {
    pub(super) policies: Vec<Policy>,
    /// What of it changes nothing of what is refused, and is not said.
    pub(super) left_out: Vec<String>,
}

/// What no policy can say.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Problem {
    /// Where it stands: `descriptors[0].descriptors[1]`.
    place: String,
    /// Which descriptor that is: `operation_charge-card.caller`.
    path: String,
    why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}: {}", self.place, self.why),
            path => write!(f, "{} ({path}): {}", self.place, self.why),
        }
    }
}

/// Says a file as policies.
///
/// # Errors
/// All of it that no policy can say.
pub(super) fn translate(
    configuration: Configuration,
    vocabulary: &Vocabulary,
) -> Result<Translation, Vec<Problem>> {
    let Configuration { domain, descriptors } = configuration;
    let (domain, descriptors) = (domain.unwrap_or_default(), descriptors.unwrap_or_default());
    let mut reading = Reading {
        vocabulary,
        domain: &domain,
        names: Names::default(),
        said: HashMap::new(),
        translation: Translation::default(),
        problems: Vec::new(),
    };
    if domain.is_empty() {
        reading.problem("domain", &[], "is empty; policies are named after it");
    }
    reading.all("", &[], &descriptors);
    let count = reading.translation.policies.len();
    if count > MOST {
        reading.problem("descriptors", &[], &format!("make {count} policies, and there can be {MOST}"));
    }
    if reading.problems.is_empty() { Ok(reading.translation) } else { Err(reading.problems) }
}

/// A key on the way to a descriptor, and its value.
type Step<'a> = (&'a str, Option<&'a str>);

/// What a key of a path says.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
enum Said<'a> {
    /// It is not there.
    #[default]
    Nothing,
    /// Each value by itself.
    Each,
    /// This value.
    One(&'a str),
}

impl Said<'_> {
    /// As policies name it: empty for all.
    fn one(self) -> String {
        match self {
            Said::One(value) => value.to_owned(),
            Said::Nothing | Said::Each => String::new(),
        }
    }
}

/// Whose requests a path is about.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Whose<'a> {
    operation: Said<'a>,
    caller: Said<'a>,
}

impl<'a> Whose<'a> {
    /// None: there are other keys.
    fn of(path: &[Step<'a>], vocabulary: &Vocabulary) -> Option<Self> {
        let mut whose = Whose::default();
        for &(key, value) in path {
            let said = value.map_or(Said::Each, Said::One);
            if key == vocabulary.operation_key {
                whose.operation = said;
            } else if key == vocabulary.caller_key {
                whose.caller = said;
            } else {
                return None;
            }
        }
        Some(whose)
    }

    /// What is counted together. None: no scope counts so.
    fn scope(self) -> Option<PolicyScope> {
        match (self.operation, self.caller) {
            (Said::Each, Said::Each) => None,
            (_, Said::Nothing) | (Said::Each, Said::One(_)) => Some(PolicyScope::Operation),
            (_, Said::Each | Said::One(_)) => Some(PolicyScope::Caller),
        }
    }
}

/// How far a file was read.
struct Reading<'a> {
    vocabulary: &'a Vocabulary,
    domain: &'a str,
    names: Names,
    /// Where it was said what holds of whom.
    said: HashMap<Whose<'a>, String>,
    translation: Translation,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    fn problem(&mut self, place: &str, path: &[Step<'_>], why: &str) {
        let (place, path, why) = (place.to_owned(), shown(path), why.to_owned());
        self.problems.push(Problem { place, path, why });
    }

    /// Reads descriptors that stand side by side below `above`.
    fn all(&mut self, above: &str, path: &[Step<'a>], side_by_side: &'a [Descriptor]) {
        for (index, descriptor) in side_by_side.iter().enumerate() {
            let place = format!("{above}descriptors[{index}]");
            let key = descriptor.key.as_deref().unwrap_or_default();
            let value = descriptor.value.as_deref().filter(|value| !value.is_empty());
            let path = [path, &[(key, value)]].concat();
            let known = self.problems.len();
            self.step(&place, &path, descriptor);
            let limit = self.limit(&place, &path, descriptor, side_by_side);
            if let (Some(limit), true) = (limit, self.problems.len() == known) {
                self.policy(&place, &path, descriptor, limit);
            }
            self.all(&format!("{place}."), &path, descriptor.descriptors.as_deref().unwrap_or_default());
        }
    }

    /// What is wrong with a descriptor by itself.
    fn step(&mut self, place: &str, path: &[Step<'_>], descriptor: &Descriptor) {
        let Vocabulary { operation_key, caller_key, .. } = self.vocabulary;
        let Some((&(key, value), above)) = path.split_last() else { return };
        let mut wrong = |why: String| self.problem(place, path, &why);
        if key.is_empty() {
            wrong("has no key".to_owned());
        } else if key != operation_key && key != caller_key {
            wrong(format!(
                "{key} is neither the operation ({operation_key}, by --operation-key) nor the caller ({caller_key}, by \
                 --caller-key)"
            ));
        } else if above.iter().any(|(before, _)| *before == key) {
            wrong(format!("{key} is a key of this path already"));
        }
        if let Some(value) = value {
            if value.contains('*') {
                wrong(format!("{value} is a wildcard: write a descriptor for each value"));
            } else if key == operation_key && !is_operation(value) {
                wrong(format!("{value} is no operation: up to {OPERATION} visible ASCII characters"));
            } else if key == caller_key && value.chars().count() > CALLER {
                wrong(format!("{value} is no caller: up to {CALLER} characters"));
            }
        }
        for (said, what) in [
            (descriptor.share_threshold, "share_threshold goes with wildcards"),
            (
                descriptor.quota_mode,
                "quota_mode tells callers of a limit that it does not keep; shadow_mode only counts",
            ),
        ] {
            if said {
                wrong(what.to_owned());
            }
        }
        for (said, what) in [
            (descriptor.detailed_metric, "detailed_metric"),
            (descriptor.value_to_metric, "value_to_metric"),
            (descriptor.metadata.is_some(), "metadata"),
        ] {
            if said {
                self.translation.left_out.push(format!("{what} of {place} ({})", shown(path)));
            }
        }
    }

    /// The limit of a descriptor, and whether it is in shadow; None where it has none, or one that cannot be said.
    fn limit(
        &mut self,
        place: &str,
        path: &[Step<'_>],
        descriptor: &Descriptor,
        side_by_side: &[Descriptor],
    ) -> Option<(RateLimit, bool)> {
        let Some(given) = &descriptor.rate_limit else {
            // Without one of its own it is not limited, where others are by the one for all values.
            return default_of(descriptor, side_by_side)
                .map(|default| (limit::unlimited(), default.shadow_mode));
        };
        match limit::read(given) {
            Ok(limit) => Some((limit, descriptor.shadow_mode)),
            Err(wrong) => {
                for (field, why) in wrong {
                    self.problem(&format!("{place}.rate_limit.{field}"), path, &why);
                }
                None
            }
        }
    }

    /// Says a limit as a policy.
    fn policy(
        &mut self,
        place: &str,
        path: &[Step<'a>],
        descriptor: &Descriptor,
        (limit, shadow): (RateLimit, bool),
    ) {
        // Other keys were told where they stand.
        let Some(whose) = Whose::of(path, self.vocabulary) else { return };
        let Some(scope) = whose.scope() else {
            let why = "counts each pair of an operation and a caller, which no scope does; give the operation a value";
            self.problem(place, path, why);
            return;
        };
        if let Some(before) = self.said.insert(whose, place.to_owned()) {
            self.problem(place, path, &format!("is about the same requests as {before}"));
            return;
        }
        let words = path.iter().flat_map(|(key, value)| [Some(*key), *value]).flatten();
        let words: Vec<&str> = [self.domain].into_iter().chain(words).collect();
        let named = descriptor.rate_limit.as_ref().and_then(|limit| limit.name.as_deref());
        let named = named.map(|name| format!(" ({name})")).unwrap_or_default();
        let description = format!("from envoyproxy/ratelimit: {}.{}{named}", self.domain, shown(path));
        let (service, operation) = (self.vocabulary.service.clone(), whose.operation.one());
        let what = What::Operations(OperationTarget { service, operation });
        self.translation.policies.push(Policy {
            name: self.names.give(&words),
            target: Some(PolicyTarget { what: Some(what) }),
            caller: whose.caller.one(),
            shadow,
            limits: vec![RateLimit { scope: scope.into(), ..limit }],
            description: description.chars().take(DESCRIPTION).collect(),
            ..Policy::default()
        });
    }
}

/// Of those side by side the one of the same key that limits all values.
fn default_of<'d>(descriptor: &Descriptor, side_by_side: &'d [Descriptor]) -> Option<&'d Descriptor> {
    let is_for_all = |it: &Descriptor| it.value.as_ref().is_none_or(String::is_empty);
    let is_limited = |it: &Descriptor| it.rate_limit.as_ref().is_some_and(|limit| !limit.unlimited);
    side_by_side.iter().find(|it| it.key == descriptor.key && is_for_all(it) && is_limited(it))
}

fn is_operation(name: &str) -> bool {
    name.len() <= OPERATION && name.chars().all(|c| c.is_ascii_graphic())
}

/// `operation_charge-card.caller`, as that project calls it.
fn shown(path: &[Step<'_>]) -> String {
    let step = |(key, value): &Step<'_>| match value {
        Some(value) => format!("{key}_{value}"),
        None => (*key).to_owned(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
