//! A configuration in the making: sources write into it one after the other, and every mistake is kept
//! until the end, so that all are told at once.

use super::{
    MASKED, check::broken_rules, key::Key, log::LogFormat, nearest::suggestion, origin::Origin,
    settings::Config,
};
use crate::error::{Error, Kind, Reason, Result};

#[derive(Debug, Default)]
pub(super) struct Draft {
    config: Config,
    problems: Vec<String>,
}

impl Draft {
    /// Sets a value, or keeps what is wrong with it. `line` is the line of the file, from 1.
    pub(super) fn write(&mut self, key: &'static Key, text: &str, origin: Origin, line: Option<usize>) {
        match (key.set)(&mut self.config, text) {
            Ok(()) => {
                self.config.origins.insert(key.name, origin);
            }
            Err(wrong) => self.problems.push(describe(key, text, &origin, line, &wrong)),
        }
    }

    /// Keeps a mistake that concerns no known key.
    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Keeps a name that nobody knows, with the one that was probably meant.
    pub(super) fn unknown<'a>(
        &mut self,
        what: &str,
        name: &str,
        place: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) {
        self.problems.push(format!("{name} ({place}): is not a known {what}{}", suggestion(name, known)));
    }

    /// The format of the log as far as it is known: the default where it is wrong itself.
    pub(super) fn log_format(&self) -> LogFormat {
        self.config.log_format
    }

    /// The configuration, or all mistakes.
    pub(super) fn finish(mut self) -> Result<Config> {
        // A rule between two values means something only when both are what somebody wrote.
        if self.problems.is_empty() {
            for (name, wrong) in broken_rules(&self.config) {
                if let Some(key) = Key::find(name) {
                    let (text, origin) = ((key.show)(&self.config), self.config.origin(name));
                    self.problems.push(describe(key, &text, &origin, None, &wrong));
                }
            }
        }
        match self.problems.as_slice() {
            [] => Ok(self.config),
            [only] => Err(invalid(format!("invalid configuration: {only}"))),
            all => Err(invalid(format!(
                "invalid configuration, {} mistakes:\n  {}",
                all.len(),
                all.join("\n  ")
            ))),
        }
    }
}

fn describe(key: &Key, text: &str, origin: &Origin, line: Option<usize>, wrong: &str) -> String {
    let shown = if key.secret { MASKED.to_owned() } else { format!("{text:?}") };
    let line = line.map_or_else(String::new, |line| format!(", line {line}"));
    format!("{} = {shown} ({origin}{line}): {wrong}", key.name)
}

fn invalid(message: String) -> Error {
    Error::new(Kind::InvalidArgument, Reason::ConfigInvalid, message)
}
