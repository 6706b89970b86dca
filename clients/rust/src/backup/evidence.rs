//! What a component says of its state: with a capture, before a restore, and what it is told when it is restored.

use std::{collections::BTreeMap, fmt};

use crate::proto::seaworthy::v1 as wire;

/// Most entries of evidence.
const MAX_ENTRIES: usize = 32;
/// Longest key and value, in bytes.
const MAX_KEY_BYTES: usize = 63;
const MAX_VALUE_BYTES: usize = 256;
/// The key by which the control plane knows how new a schema is.
const SCHEMA_VERSION: &str = "schema_version";

/// What the source of a capture says of it: rows, pages, versions. It is kept with the backup, shown to people, and given back
/// with a restore.
///
/// ```
/// use seaworthy_client::backup::Evidence;
///
/// let evidence = Evidence::new().with("rows", 12_000).with("journal", "wal").schema_version(3);
/// assert_eq!(evidence.get("rows"), Some("12000"));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "evidence counts when a capture answers it"]
pub struct Evidence(BTreeMap<String, String>);

impl Evidence {
    /// Nothing to say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a figure or a fact. At most 32 are kept, the first ones; keys are cut at 63 and values at 256 bytes.
    pub fn with(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        let key = cut(key.into(), MAX_KEY_BYTES);
        let fits = self.0.len() < MAX_ENTRIES || self.0.contains_key(&key);
        if fits && !key.is_empty() {
            self.0.insert(key, cut(value.to_string(), MAX_VALUE_BYTES));
        }
        self
    }

    /// Says how new the schema of the data is: into a component with a newer one it is restored only by force.
    pub fn schema_version(self, version: u64) -> Self {
        self.with(SCHEMA_VERSION, version)
    }

    /// One entry.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All entries, by key.
    pub fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub(crate) fn from_wire(wire: impl IntoIterator<Item = (String, String)>) -> Self {
        wire.into_iter().fold(Self::new(), |all, (key, value)| all.with(key, value))
    }

    pub(crate) fn into_wire<M: FromIterator<(String, String)>>(self) -> M {
        self.0.into_iter().collect()
    }
}

/// What is given back by a restore.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Restored {
    /// The backup that it comes from.
    pub backup_id: String,
    /// What the component said of it when it was captured.
    pub evidence: Evidence,
    /// How many bytes there are.
    pub length: u64,
    /// The name of the component that was captured. It may be another one.
    pub source_component: String,
}

/// What there is of a component, before a restore.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "an inspection counts when it is answered"]
pub struct Inspection(Option<Present>);

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Present {
    empty: bool,
    bytes: u64,
    schema_version: u64,
}

impl Inspection {
    /// Nobody can say.
    pub fn unknown() -> Self {
        Self(None)
    }

    /// It holds nothing that a restore would overwrite.
    pub fn empty() -> Self {
        Self(Some(Present { empty: true, ..Present::default() }))
    }

    /// It holds something, of so many bytes.
    pub fn holds(bytes: u64) -> Self {
        Self(Some(Present { bytes, ..Present::default() }))
    }

    /// Says how new the schema is. Without it there is none.
    pub fn schema_version(mut self, version: u64) -> Self {
        if let Some(present) = &mut self.0 {
            present.schema_version = version;
        }
        self
    }

    pub(crate) fn to_wire(self, component: &str) -> Option<wire::Inspection> {
        let Present { empty, bytes, schema_version } = self.0?;
        Some(wire::Inspection { component: component.to_owned(), empty, bytes, schema_version })
    }
}

fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_cut_to_what_is_taken() {
        let long = "\u{e9}".repeat(200);
        let evidence = (0..40).fold(Evidence::new(), |all, n| all.with(format!("{n:02}{long}"), &long));
        assert_eq!(evidence.entries().len(), 32);
        assert!(evidence.entries().iter().all(|(key, value)| key.len() <= 63 && value.len() <= 256));
        let again = Evidence::from_wire(evidence.clone().into_wire::<Vec<_>>());
        assert_eq!(again, evidence);
        assert_eq!(Evidence::new().with("", 1), Evidence::new());
        assert_eq!(Evidence::new().with("rows", 1).with("rows", 2).get("rows"), Some("2"));
    }

    #[test]
    fn what_nobody_knows_is_not_said() {
        assert_eq!(Inspection::unknown().schema_version(3).to_wire("database"), None);
        let said = Inspection::holds(7).schema_version(3).to_wire("database").expect("known");
        assert_eq!((said.empty, said.bytes, said.schema_version), (false, 7, 3));
        assert!(Inspection::empty().to_wire("database").expect("known").empty);
    }
}
