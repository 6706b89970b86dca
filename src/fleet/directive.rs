//! What the control plane asks of an instance, and what the instance answers: plain values.
//!
//! How they come to the instance and back is `directives`' business; what a directive is part of, and what follows from its
//! end, is that of whoever sends it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::names::ComponentName;
use crate::{error::Result, id::Entropy, text::printable, time::Mono};

/// Longest words of a report, in characters; what is longer is cut.
pub const MAX_WORDS: usize = 1024;

/// Tells directives apart. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DirectiveId(Arc<str>);

impl DirectiveId {
    /// A new one.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn new(entropy: &Entropy) -> Result<Self> {
        Ok(Self(entropy.name("d")?.into()))
    }

    /// One that was made before.
    pub fn of(text: &str) -> Self {
        Self(text.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DirectiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Opens one upload or one download. Never logged.
#[derive(Clone, Eq, PartialEq)]
pub struct Ticket(String);

impl Ticket {
    /// A secret that whoever sends the directive has made, and keeps a hash of.
    pub fn of(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the instance alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

/// What is asked of one incarnation of an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directive {
    /// Its id.
    pub id: DirectiveId,
    /// The operation that it belongs to.
    pub operation_id: String,
    /// Rises when the operation changes its mind.
    pub generation: u64,
    /// It may begin until then.
    pub not_after: Mono,
    /// What is asked.
    pub ask: Ask,
}

impl Directive {
    /// For how long it may still begin.
    pub fn valid_for(&self, now: Mono) -> Duration {
        self.not_after.since(now)
    }
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// To send the state of a component.
    Capture {
        /// The component.
        component: ComponentName,
        /// Opens the upload.
        ticket: Ticket,
    },
    /// To take the state of a component back.
    Restore(Restore),
    /// To hold still.
    Quiesce {
        /// The components.
        components: Vec<ComponentName>,
        /// Names the hold.
        hold_id: String,
        /// How long it lasts at the most.
        lease: Duration,
    },
    /// To go on.
    Resume {
        /// The hold that ends.
        hold_id: String,
    },
    /// To say what is there.
    Inspect {
        /// The components.
        components: Vec<ComponentName>,
    },
    /// To stop what was asked before.
    Cancel {
        /// Which directive.
        directive: DirectiveId,
    },
}

/// A restore of one component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restore {
    /// The component of this instance.
    pub component: ComponentName,
    /// Opens the download.
    pub ticket: Ticket,
    /// The backup that it comes from.
    pub backup_id: String,
    /// The name of the component in the backup.
    pub source_component: String,
    /// Bytes in all.
    pub length: u64,
    /// What the source said of itself when it was captured.
    pub evidence: BTreeMap<String, String>,
    /// Whether the component is to look afterwards whether it works.
    pub verify: bool,
}

/// How far a directive is. Later ones follow earlier ones, and the last three are ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// The instance has it.
    Received,
    /// It is carried out.
    Started,
    /// It is done.
    Done,
    /// It was tried, and could not be done.
    Failed,
    /// It was not tried.
    Refused,
}

impl State {
    /// Whether nothing follows it.
    pub fn is_end(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Refused)
    }
}

/// What there is of a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inspection {
    /// The component.
    pub component: ComponentName,
    /// Whether it holds nothing.
    pub empty: bool,
    /// How many bytes it holds, as far as it knows.
    pub bytes: u64,
    /// The version of its schema; 0: it has none.
    pub schema_version: u64,
}

/// What the instance says became of a directive, so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// How far it is.
    pub state: State,
    /// Why it failed or was refused.
    pub message: String,
    /// Of a resume: whether the hold had lasted until then.
    pub held: bool,
    /// Of an inspection: what is there.
    pub inspections: Vec<Inspection>,
    /// Of a restore that was to look: what it found.
    pub verification: String,
}

/// Words of a report as they are kept: bounded, without control characters.
pub fn words(text: &str) -> String {
    let end = text.char_indices().nth(MAX_WORDS).map_or(text.len(), |(end, _)| end);
    printable(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_a_character() {
        let long = "é".repeat(MAX_WORDS + 1);
        assert_eq!(words(&long), "é".repeat(MAX_WORDS));
        assert_eq!(words("a\nb"), "a b");
    }

    #[test]
    fn a_ticket_is_not_shown() {
        let ask =
            Ask::Capture { component: ComponentName::parse("db").unwrap(), ticket: Ticket::of("secret") };
        assert!(!format!("{ask:?}").contains("secret"));
    }
}
