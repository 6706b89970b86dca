//! What a doctor finds, and how it is shown: grouped by the first part of the ids, each that does not pass
//! with what to do.

use serde::{Serialize, Serializer};

use crate::{
    cli::output::{Looks, Tone, clean},
    system::readiness::Outcome,
};

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    /// Stable: `reach.port`.
    pub(super) id: String,
    /// What is looked at, in a few words.
    pub(super) title: String,
    #[serde(serialize_with = "word")]
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) found: String,
    /// What to do; empty when it passed.
    pub(super) remedy: String,
}

fn word<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}

impl Finding {
    /// It is as it should be.
    pub(super) fn pass(id: &str, title: &str, found: impl Into<String>) -> Self {
        Self::new(id, title, Outcome::Pass, found, "")
    }

    /// It works, but not as it should.
    pub(super) fn warn(id: &str, title: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(id, title, Outcome::Warn, found, remedy)
    }

    /// It does not work.
    pub(super) fn fail(id: &str, title: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(id, title, Outcome::Fail, found, remedy)
    }

    /// Everything at once; what passes needs no remedy.
    pub(super) fn new(
        id: &str,
        title: &str,
        outcome: Outcome,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = if outcome == Outcome::Pass { String::new() } else { remedy.into() };
        Self { id: id.to_owned(), title: title.to_owned(), outcome, found: found.into(), remedy }
    }
}

/// Everything that was found, and `json`'s one document.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The server as the user gave it.
    pub(super) server: String,
    /// Whether it was reached and answered.
    pub(super) reached: bool,
    #[serde(serialize_with = "word")]
    pub(super) outcome: Outcome,
    pub(super) checks: Vec<Finding>,
}

impl Report {
    /// Sums up.
    pub(super) fn new(server: &str, reached: bool, checks: Vec<Finding>) -> Self {
        let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Pass);
        Self { server: server.to_owned(), reached, outcome, checks }
    }

    /// The first thing that does not work, in a line.
    pub(super) fn trouble(&self) -> Option<String> {
        let worst = self.checks.iter().find(|check| check.outcome == Outcome::Fail)?;
        Some(format!("{}: {}", worst.id, clean(&worst.found)))
    }

    /// For people. `wide` shows the id of everything, not only of what does not pass.
    pub(super) fn lines(&self, looks: Looks, wide: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut group = None;
        for check in &self.checks {
            let of = check.id.split('.').next().unwrap_or_default();
            if group != Some(of) {
                if group.is_some() {
                    lines.push(String::new());
                }
                lines.push(clean(of));
                group = Some(of);
            }
            let mark = looks.paint(&looks.mark(tone(check.outcome)));
            let passed = check.outcome == Outcome::Pass;
            let id = if wide || !passed { format!("  [{}]", clean(&check.id)) } else { String::new() };
            lines.push(format!("  {mark} {}: {}{id}", clean(&check.title), clean(&check.found)));
            if !check.remedy.is_empty() {
                lines.push(format!("    hint: {}", clean(&check.remedy)));
            }
        }
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        lines.push(String::new());
        lines.push(format!(
            "{} passed, {} warned, {} failed",
            count(Outcome::Pass),
            count(Outcome::Warn),
            count(Outcome::Fail)
        ));
        lines
    }
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Pass => Tone::Good,
        Outcome::Warn => Tone::Uneasy,
        Outcome::Fail => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let checks = vec![
            Finding::pass("reach.name", "name resolves", "h is 127.0.0.1"),
            Finding::fail("reach.port", "port is open", "nobody listens\x1b[2J", "start it"),
            Finding::warn("clock.difference", "clocks agree", "5 s apart", "set them"),
        ];
        Report::new("h:1", false, checks)
    }

    #[test]
    fn findings_are_grouped_and_what_to_do_stands_below() {
        assert_eq!(
            report().lines(Looks { colour: false, unicode: false }, false).join("\n"),
            "reach\n  + name resolves: h is 127.0.0.1\n  x port is open: nobody listens�[2J  [reach.port]\n    \
             hint: start it\n\nclock\n  ! clocks agree: 5 s apart  [clock.difference]\n    hint: set them\n\n\
             1 passed, 1 warned, 1 failed"
        );
    }

    #[test]
    fn the_worst_decides_and_is_named() {
        let report = report();
        assert_eq!(report.outcome, Outcome::Fail);
        assert_eq!(report.trouble().as_deref(), Some("reach.port: nobody listens�[2J"));
        assert_eq!(Report::new("h", true, Vec::new()).outcome, Outcome::Pass);
    }

    #[test]
    fn programs_read_words() {
        let document = serde_json::to_value(report()).unwrap();
        assert_eq!(document["outcome"], "fail");
        assert_eq!(document["checks"][2]["outcome"], "warn");
        assert_eq!(document["checks"][0]["remedy"], "");
    }
}
