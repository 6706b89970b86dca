//! Manifests: what makes a backup. What is read of one may have been written by an enemy as far as memory and places go, so
//! counts and lengths are held against bounds before anything is made of them, and no name in it is ever a path.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::{
    chunk::{ENTRY, Entry},
    cut::{Cut, MAX_PAGE, MIN_PAGE},
    names::{Domain, Id},
    problem::{Problem, Result},
};

/// Components that a manifest may have.
const MAX_COMPONENTS: usize = 4096;
/// Entries that stand in a manifest itself; more than these go into lists.
pub(super) const MAX_INLINE: usize = 1024;
/// Levels of lists: six have more chunks than anybody has bytes.
pub(super) const MAX_LEVELS: u8 = 6;
/// What a source may say of itself.
pub const MAX_EVIDENCE: usize = 32;
/// Characters of a name or a word in a manifest.
const MAX_WORD: usize = 256;
/// Characters of a cause or a piece of evidence.
const MAX_TEXT: usize = 1024;

/// A backup, as it lies in the vault.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Manifest {
    /// Its id, 16 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub backup: [u8; 16],
    /// The service that it is of.
    #[n(2)]
    pub service: String,
    /// What it has.
    #[n(3)]
    pub components: Vec<Component>,
    /// The packs that it used when it was written, 32 bytes for each: a hint.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub packs: Vec<u8>,
    /// Class of retention. None: the usual one.
    #[n(5)]
    pub retention: Option<String>,
    /// When it began, in milliseconds since 1970 by the control plane's clock.
    #[n(6)]
    pub start: u64,
    /// When it was written, by the same clock.
    #[n(7)]
    pub end: u64,
    /// Version of the program that wrote it.
    #[n(8)]
    pub writer: String,
    /// When its session was last renewed, by the store's clock.
    #[n(9)]
    pub last_renewal: u64,
    /// Request id of the call that asked for it.
    #[n(10)]
    pub request_id: Option<String>,
    /// Whether its components are of one moment.
    #[n(11)]
    pub consistent: bool,
    /// Why it is not all that was asked for. None: it is.
    #[n(12)]
    pub cause: Option<String>,
}

/// Whether a component is there.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(index_only)]
pub enum Status {
    /// All of it.
    #[n(0)]
    Complete,
    /// None of it.
    #[n(1)]
    Failed,
}

/// A component in a backup.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Component {
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Its kind, as it was declared.
    #[n(2)]
    pub kind: String,
    /// The instance that it was taken from.
    #[n(3)]
    pub instance: String,
    /// Whether it is there.
    #[n(4)]
    pub status: Status,
    /// What its content is, as one digest.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// The entries of its chunks, or of the lists that have them: 36 bytes for each.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub list: Vec<u8>,
    /// How many levels of lists stand between this one and the chunks. 0: none.
    #[n(7)]
    pub levels: u8,
    /// How many bytes it has.
    #[n(8)]
    pub bytes: u64,
    /// How many of them were new to the vault.
    #[n(9)]
    pub new_bytes: u64,
    /// How many bytes these take in packs.
    #[n(10)]
    pub stored_bytes: u64,
    /// How many chunks it has.
    #[n(11)]
    pub chunks: u64,
    /// Size of its pages. None: it was cut by content.
    #[n(12)]
    pub pages: Option<u32>,
    /// What the source says of itself.
    #[n(13)]
    pub evidence: BTreeMap<String, String>,
    /// Hash of the manifest before that has this component, as it is stored.
    #[cbor(n(14), with = "minicbor::bytes")]
    pub previous: Option<[u8; 32]>,
    /// Why it is not there. None: it is.
    #[n(15)]
    pub cause: Option<String>,
}

impl Manifest {
    /// The id of the backup.
    pub fn id(&self) -> Id {
        Id::from_bits(u128::from_be_bytes(self.backup))
    }

    /// Whether all that was asked for is there, and of one moment where that was asked for.
    pub fn is_complete(&self) -> bool {
        self.cause.is_none() && self.components.iter().all(|one| one.status == Status::Complete)
    }

    /// The component of this name; of this instance, where one is named.
    pub fn component(&self, name: &str, instance: Option<&str>) -> Option<&Component> {
        self.components
            .iter()
            .find(|one| one.name == name && instance.is_none_or(|wanted| wanted == one.instance))
    }

    /// As it is written. What no reader would take is not written.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        self.check().map_err(|what| Problem::Internal(format!("the manifest {what}")))?;
        minicbor::to_vec(self).map_err(|error| Problem::Internal(error.to_string()))
    }

    /// Reads what an object of this name seals.
    pub(super) fn decode(object: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: String| Problem::damaged(object, what);
        let manifest: Self = minicbor::decode(bytes).map_err(|error| damaged(error.to_string()))?;
        manifest.check().map_err(|what| damaged(what.to_owned()))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), &'static str> {
        if Domain::of_service(&self.service).is_err() {
            return Err("is of a service that cannot be one");
        }
        if self.components.len() > MAX_COMPONENTS || !self.packs.len().is_multiple_of(32) {
            return Err("has more components than a backup may, or half a pack");
        }
        let words = [Some(&self.writer), self.retention.as_ref(), self.request_id.as_ref()];
        if words.into_iter().flatten().any(|word| word.len() > MAX_WORD)
            || self.cause.as_ref().is_some_and(|cause| cause.len() > MAX_TEXT)
        {
            return Err("has a text that is too long");
        }
        self.components.iter().try_for_each(Component::check)
    }
}

impl Component {
    /// A component that is there, and has nothing: what was captured of it is filled in.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            instance: instance.into(),
            status: Status::Complete,
            root: [0; 32],
            list: Vec::new(),
            levels: 0,
            bytes: 0,
            new_bytes: 0,
            stored_bytes: 0,
            chunks: 0,
            pages: None,
            evidence: BTreeMap::new(),
            previous: None,
            cause: None,
        }
    }

    /// The same, which is not there, and why.
    #[must_use]
    pub fn failed(self, cause: impl Into<String>) -> Self {
        Self { status: Status::Failed, cause: Some(cause.into()), ..self }
    }

    /// How it is cut.
    pub fn cut(&self) -> Cut {
        self.pages.map_or(Cut::Content, Cut::Pages)
    }

    fn check(&self) -> Result<(), &'static str> {
        let words = [&self.name, &self.kind, &self.instance];
        let evidence = self.evidence.iter().flat_map(|(name, text)| [name, text]);
        if words.into_iter().any(|word| word.len() > MAX_WORD)
            || evidence.chain(&self.cause).any(|text| text.len() > MAX_TEXT)
        {
            return Err("has a component with a text that is too long");
        }
        if self.name.is_empty() || self.name.chars().any(|letter| letter.is_control() || letter == '/') {
            return Err("has a component whose name is none");
        }
        if self.evidence.len() > MAX_EVIDENCE {
            return Err("has a component with more evidence than it may have");
        }
        if self.list.len() > MAX_INLINE * ENTRY || self.levels > MAX_LEVELS {
            return Err("has a component with a list that is too long or too deep");
        }
        if self.pages.is_some_and(|size| !(MIN_PAGE..=MAX_PAGE).contains(&size)) {
            return Err("has a component with pages of a size that no writer makes");
        }
        let entries = Entry::read_all(&self.list).ok_or("has a component with a list that is none")?;
        let total: u64 = entries.iter().map(|entry| u64::from(entry.length)).sum();
        if self.levels == 0 && (total != self.bytes || entries.len() as u64 != self.chunks) {
            return Err("has a component that is not as long as its chunks");
        }
        Ok(())
    }
}

/// Cuts a text where it would be refused.
pub(super) fn cut_text(text: &str) -> String {
    cut(text, MAX_TEXT)
}

/// Cuts a word where it would be refused.
pub(super) fn cut_word(word: &str) -> String {
    cut(word, MAX_WORD)
}

fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn component(name: &str) -> Component {
        Component {
            pages: Some(8192),
            evidence: BTreeMap::from([("rows".to_owned(), "12".to_owned())]),
            ..Component::new(name, "sqlite", "i-1")
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            backup: [7; 16],
            service: "orders".to_owned(),
            components: vec![component("database")],
            packs: vec![3; 64],
            retention: None,
            start: 1,
            end: 2,
            writer: "0.1.0".to_owned(),
            last_renewal: 3,
            request_id: Some("r".to_owned()),
            consistent: true,
            cause: None,
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_newer_keys_do_no_harm() {
        let written = manifest();
        let bytes = written.encode().unwrap();
        assert_eq!(Manifest::decode("m", &bytes).unwrap(), written);
        // One more key, 99, with text: the count of the map is in its first byte.
        let mut newer = bytes;
        newer[0] += 1;
        newer.extend_from_slice(&[0x18, 99, 0x61, b'x']);
        assert_eq!(Manifest::decode("m", &newer).unwrap(), written);
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        type Change = fn(&mut Manifest);
        let wrong: [(&str, Change); 8] = [
            ("service", |m| m.service = "../orders".to_owned()),
            ("packs", |m| m.packs.push(1)),
            ("name", |m| m.components[0].name = "../database".to_owned()),
            ("list", |m| m.components[0].list = vec![0; 35]),
            ("length", |m| m.components[0].bytes = 5),
            ("levels", |m| m.components[0].levels = 7),
            ("pages", |m| m.components[0].pages = Some(1)),
            ("text", |m| m.components[0].kind = "x".repeat(257)),
        ];
        for (what, change) in wrong {
            let mut manifest = manifest();
            change(&mut manifest);
            assert!(Manifest::decode("m", &minicbor::to_vec(&manifest).unwrap()).is_err(), "{what}");
            // Nor is it written: it would be a backup that nobody can read.
            assert!(manifest.encode().is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_no_manifest_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = Manifest::decode("m", &bytes);
        }
    }
}
