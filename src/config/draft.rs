//! A configuration in the making: sources write into it one after the other, and every mistake is kept
//! until the end, so that all are told at once.

use std::collections::BTreeSet;

use super::{
    MASKED,
    check::broken_rules,
    key::Key,
    log::LogFormat,
    nearest::suggestion,
    origin::Origin,
    settings::{Config, Declared},
};
use crate::error::{Error, Kind, Reason, Result};

#[derive(Debug, Default)]
pub(super) struct Draft {
    config: Config,
    problems: Vec<String>,
    /// Keys whose newest value was refused: what they are meant to be is not known.
    refused: BTreeSet<&'static str>,
    /// Whether there is a file of which nothing could be read.
    file_is_unreadable: bool,
}

impl Draft {
    /// Sets a value, or keeps what is wrong with it.
    pub(super) fn write(&mut self, key: &'static Key, text: &str, origin: Origin) {
        match (key.set)(&mut self.config, text) {
            Ok(()) => {
                self.config.origins.insert(key.name, origin);
                self.refused.remove(key.name);
            }
            Err(wrong) => {
                self.problems.push(describe(key, text, &origin, &wrong));
                self.refused.insert(key.name);
            }
        }
    }

    /// Keeps a policy that is declared.
    pub(super) fn declare(&mut self, declared: Declared) {
        self.config.policies.push(declared);
    }

    /// Keeps what is wrong with a value that cannot be shown.
    pub(super) fn refuse(&mut self, key: &'static Key, origin: &Origin, wrong: &str) {
        self.problems.push(format!("{} ({origin}): {wrong}", key.name));
        self.refused.insert(key.name);
    }

    /// Keeps that a value is no text.
    pub(super) fn illegible(&mut self, key: &'static Key, origin: &Origin) {
        self.refuse(key, origin, "is not UTF-8");
    }

    /// Keeps why nothing of the file could be read.
    pub(super) fn unreadable(&mut self, problem: String) {
        self.problem(problem);
        self.file_is_unreadable = true;
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

    /// The configuration, or all mistakes: those of single values, then those between values.
    pub(super) fn finish(mut self) -> Result<Config> {
        for broken in broken_rules(&self.config) {
            // What a rule says of a value that nobody knows would be a guess.
            if !broken.keys.iter().all(|key| self.is_known(key)) {
                continue;
            }
            let Some(name) = broken.keys.first() else { continue };
            if let Some(key) = Key::find(name) {
                let (text, origin) = ((key.show)(&self.config), self.config.origin(name));
                self.problems.push(describe(key, &text, &origin, &broken.wrong));
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

    /// Whether the value of a key is what somebody wrote, or the default where nobody did.
    fn is_known(&self, key: &str) -> bool {
        let may_be_in_the_file = self.file_is_unreadable && self.config.origin(key) == Origin::Default;
        !self.refused.contains(key) && !may_be_in_the_file
    }
}

fn describe(key: &Key, text: &str, origin: &Origin, wrong: &str) -> String {
    let shown = if key.secret { MASKED.to_owned() } else { format!("{text:?}") };
    format!("{} = {shown} ({origin}): {wrong}", key.name)
}

fn invalid(message: String) -> Error {
    Error::new(Kind::InvalidArgument, Reason::ConfigInvalid, message)
}
