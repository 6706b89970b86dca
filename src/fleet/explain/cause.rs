//! One thing in a chain of causes, and what is made of many: the order in which they are read, the next
//! steps, and their bound.

use std::time::SystemTime;

use crate::{
    fleet::names::{ComponentName, InstanceKey, ServiceName},
    health::State,
};

/// Most causes in one explanation.
pub(super) const MOST: usize = 200;
/// Most next steps.
const STEPS: usize = 5;

/// What a cause is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum About {
    /// The whole fleet.
    Fleet,
    /// A service.
    Service(ServiceName),
    /// An instance.
    Instance(InstanceKey),
    /// A component of an instance.
    Component(InstanceKey, ComponentName),
}

/// What a cause has to do with the state that is explained. The most urgent first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// It brought the state about.
    Cause,
    /// It does not change the state by itself, and is likely to be behind it.
    Likely,
    /// It is not wrong yet, and soon may be.
    NearlyWrong,
    /// It is worth knowing, and is not behind the state.
    Context,
}

/// One thing in a chain of causes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cause {
    /// How deep it is in the tree; 0 is what was asked for.
    pub depth: u32,
    /// What it is about.
    pub about: About,
    /// What it has to do with the state.
    pub role: Role,
    /// Its health. None: this is no statement about health.
    pub state: Option<State>,
    /// Since when.
    pub since: Option<SystemTime>,
    /// Why, for people.
    pub text: String,
    /// Whether the chain ends here.
    pub root: bool,
    /// How many instances share it; 0: it is not about instances.
    pub instances: u32,
    /// What to do about it.
    pub(super) step: Option<String>,
}

impl Cause {
    /// A thing to know, directly below what was asked for.
    pub(super) fn context(about: About, text: impl Into<String>) -> Self {
        Self {
            depth: 1,
            about,
            role: Role::Context,
            state: None,
            since: None,
            text: text.into(),
            root: false,
            instances: 0,
            step: None,
        }
    }

    /// The same, so much deeper.
    pub(super) fn below(self, depth: u32) -> Self {
        Self { depth: self.depth + depth, ..self }
    }

    /// The same, where it cannot be what brought the state about.
    pub(super) fn aside(self) -> Self {
        match self.role {
            Role::Cause | Role::Likely => Self { role: Role::Context, root: false, step: None, ..self },
            Role::NearlyWrong | Role::Context => self,
        }
    }
}

/// Why something is as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The answer in one sentence.
    pub headline: String,
    /// Health of what was asked for.
    pub state: State,
    /// Since when. None: the whole fleet was asked for.
    pub since: Option<SystemTime>,
    /// The chain, as a tree in the order in which it is read; the first is what was asked for.
    pub causes: Vec<Cause>,
    /// What to do, the most urgent first.
    pub next_steps: Vec<String>,
}

/// Puts an explanation together, and keeps it within its bounds.
pub(super) fn explanation(
    headline: String,
    state: State,
    since: Option<SystemTime>,
    mut causes: Vec<Cause>,
) -> Explanation {
    let mut steps: Vec<(Role, &String)> =
        causes.iter().filter_map(|cause| Some((cause.role, cause.step.as_ref()?))).collect();
    // Stable: of one urgency they stay in the order of the tree.
    steps.sort_by_key(|(role, _)| *role);
    let mut next_steps: Vec<String> = Vec::new();
    for (_, step) in steps {
        if next_steps.len() < STEPS && !next_steps.contains(step) {
            next_steps.push(step.clone());
        }
    }
    if let Some(more) = causes.len().checked_sub(MOST).filter(|more| *more > 0) {
        let about = causes[0].about.clone();
        causes.truncate(MOST);
        causes.push(Cause::context(about, format!("and {more} more that are not shown")));
    }
    Explanation { headline, state, since, causes, next_steps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_steps_come_first_each_once_and_five_at_most() {
        let cause = |role, step: &str| Cause {
            role,
            step: Some(step.to_owned()),
            ..Cause::context(About::Fleet, "")
        };
        let causes = [
            cause(Role::NearlyWrong, "later"),
            cause(Role::Cause, "first"),
            cause(Role::Likely, "then"),
            cause(Role::Cause, "first"),
            cause(Role::Cause, "second"),
        ];
        let found = explanation(String::new(), State::Unhealthy, None, causes.to_vec());
        assert_eq!(found.next_steps, ["first", "second", "then", "later"]);
        let many = (0..300).map(|number| cause(Role::Cause, &number.to_string())).collect();
        let found = explanation(String::new(), State::Unhealthy, None, many);
        assert_eq!((found.next_steps.len(), found.causes.len()), (5, MOST + 1));
        assert_eq!(found.causes[MOST].text, "and 100 more that are not shown");
    }
}
