//! An explanation as an indented tree: what, how, since when, and below it why. Marks and words say what is
//! the root and what is only likely, so that nothing depends on colour.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{Cause, CauseRole, ExplainResponse, HealthState};

use super::{when, words};
use crate::cli::{
    args::target::Target,
    output::{Looks, Text, Tone, clean},
};

/// Deeper causes are shown as deep as this.
const DEEPEST: u32 = 64;

/// How an explanation is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawing {
    pub(crate) looks: Looks,
    pub(crate) now: SystemTime,
}

impl Drawing {
    /// The whole answer.
    pub(crate) fn lines(self, answer: &ExplainResponse) -> Vec<String> {
        let mut lines = vec![clean(&answer.headline)];
        let asked = answer.causes.first().map(name).unwrap_or_default();
        // One line that says what the headline says already would be noise.
        let alone = answer.causes.len() == 1 && answer.state() == HealthState::Healthy;
        if !alone {
            lines.push(String::new());
            for (at, cause) in answer.causes.iter().enumerate() {
                lines.extend(self.cause(cause, at > 0 && name(cause) == asked));
            }
        }
        if !answer.next_steps.is_empty() {
            lines.push("\nWhat to look at:".to_owned());
            let steps = answer.next_steps.iter().zip(1..);
            lines.extend(steps.map(|(step, number)| format!("  {number}. {}", clean(step))));
        }
        lines
    }

    /// `named`: whose name was told at the top.
    fn cause(self, cause: &Cause, named: bool) -> Vec<String> {
        let indent = "  ".repeat(cause.depth.min(DEEPEST) as usize);
        let mark = self.looks.paint(&self.mark(cause));
        let note = note(cause).map(|note| format!("  [{note}]")).unwrap_or_default();
        let text = clean(&cause.text);
        let Some(since) = self.since(cause).filter(|_| !named) else {
            let name = if named { String::new() } else { format!("{}: ", clean(&name(cause))) };
            return vec![format!("{indent}{mark} {name}{text}{note}")];
        };
        vec![format!("{indent}{mark} {}  {since}{note}", clean(&name(cause))), format!("{indent}    {text}")]
    }

    /// `unhealthy for 3m (since 2026-11-21T12:03:07Z)`.
    fn since(self, cause: &Cause) -> Option<String> {
        let health = self.looks.paint(&match cause.state() {
            HealthState::Unspecified => return None,
            state => words::health(state),
        });
        let since = cause.since_time.as_ref();
        Some(match when::age(since, self.now) {
            Some(age) => format!("{health} for {age} (since {})", when::stamp(since)),
            None => health,
        })
    }

    fn mark(self, cause: &Cause) -> Text {
        match (cause.role(), cause.state()) {
            (CauseRole::Context, HealthState::Unspecified) => Text::from("-"),
            (_, HealthState::Unspecified) | (CauseRole::NearlyWrong, _) => self.looks.mark(Tone::Uneasy),
            (_, state) => self.looks.mark(words::tone(state)),
        }
    }
}

/// What it has to do with the state, where that is not plain from its place.
fn note(cause: &Cause) -> Option<&'static str> {
    match (cause.role(), cause.root) {
        (CauseRole::LikelyCause, _) => Some("likely cause"),
        (CauseRole::NearlyWrong, _) => Some("nearly wrong"),
        (_, true) => Some("root"),
        (CauseRole::Context, _) if cause.depth > 0 && cause.state() != HealthState::Unspecified => {
            Some("not the cause")
        }
        _ => None,
    }
}

/// `orders/i-1/database`.
fn name(cause: &Cause) -> String {
    if cause.service.is_empty() {
        return "the fleet".to_owned();
    }
    let (service, instance) = (cause.service.clone(), cause.instance_id.clone());
    Target { service, instance, component: cause.component.clone() }.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::Timestamp;

    use super::*;

    fn cause(depth: u32, path: [&str; 3], state: HealthState, text: &str) -> Cause {
        let [service, instance_id, component] = path.map(str::to_owned);
        Cause {
            depth,
            service,
            instance_id,
            component,
            role: CauseRole::Cause.into(),
            state: state.into(),
            since_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            text: text.into(),
            ..Cause::default()
        }
    }

    fn drawn(answer: &ExplainResponse) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_180);
        Drawing { looks: Looks { colour: false, unicode: true }, now }.lines(answer).join("\n")
    }

    #[test]
    fn the_tree_says_what_is_the_root_and_what_is_only_likely() {
        use HealthState::{Degraded, Unhealthy, Unspecified};
        let answer = ExplainResponse {
            headline: "orders is unhealthy \x1b[2Jsince 22:13:20Z".into(),
            state: Unhealthy.into(),
            causes: vec![
                cause(0, ["orders", "", ""], Unhealthy, "0 of 1 instance available, 1 needed"),
                Cause {
                    role: CauseRole::NearlyWrong.into(),
                    since_time: None,
                    ..cause(1, ["orders", "", ""], Unspecified, "none to spare")
                },
                cause(1, ["orders", "i-1", ""], Unhealthy, "component database: gone"),
                Cause { root: true, ..cause(2, ["orders", "i-1", "database"], Unhealthy, "gone") },
                Cause {
                    role: CauseRole::Context.into(),
                    ..cause(2, ["orders", "i-1", "cache"], Degraded, "cold")
                },
                Cause {
                    role: CauseRole::LikelyCause.into(),
                    root: true,
                    since_time: None,
                    ..cause(1, ["payments", "", ""], Unspecified, "nobody of that name is known")
                },
            ],
            next_steps: vec!["look at component database of orders/i-1 first".into()],
            ..ExplainResponse::default()
        };
        assert_eq!(
            drawn(&answer),
            "orders is unhealthy \u{fffd}[2Jsince 22:13:20Z\n\n\
             ✗ orders  unhealthy for 3m (since 2023-11-14T22:13:20Z)\n    \
                 0 of 1 instance available, 1 needed\n  \
               ! none to spare  [nearly wrong]\n  \
               ✗ orders/i-1  unhealthy for 3m (since 2023-11-14T22:13:20Z)\n      \
                   component database: gone\n    \
                 ✗ orders/i-1/database  unhealthy for 3m (since 2023-11-14T22:13:20Z)  [root]\n        \
                     gone\n    \
                 ! orders/i-1/cache  degraded for 3m (since 2023-11-14T22:13:20Z)  [not the cause]\n        \
                     cold\n  \
               ! payments: nobody of that name is known  [likely cause]\n\n\
             What to look at:\n  \
               1. look at component database of orders/i-1 first"
        );
    }

    #[test]
    fn no_depth_makes_a_line_endless() {
        let answer = ExplainResponse {
            state: HealthState::Unhealthy.into(),
            causes: vec![cause(u32::MAX, ["orders", "", ""], HealthState::Unhealthy, "gone")],
            ..ExplainResponse::default()
        };
        let indent = "  ".repeat(DEEPEST as usize);
        let expected =
            format!("\n\n{indent}✗ orders  unhealthy for 3m (since 2023-11-14T22:13:20Z)\n{indent}    gone");
        assert_eq!(drawn(&answer), expected);
    }

    #[test]
    fn what_is_well_is_one_line() {
        let answer = ExplainResponse {
            headline: "orders is healthy; nothing to explain".into(),
            state: HealthState::Healthy.into(),
            causes: vec![cause(0, ["orders", "", ""], HealthState::Healthy, "1 of 1 instance available")],
            ..ExplainResponse::default()
        };
        assert_eq!(drawn(&answer), "orders is healthy; nothing to explain");
    }
}
