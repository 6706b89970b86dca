//! Texts by name, such as labels: few, made once and kept by the hundred thousand, so that they take as
//! much room as they have text. The smallest node of a map has room for eleven.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

use super::names::ENTRY;

/// Texts by name, in the order of the names, each of which is there once. Cheap to clone.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "BTreeMap<Box<str>, Box<str>>")]
pub struct Pairs(Arc<[(Box<str>, Box<str>)]>);

impl Pairs {
    /// The text of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        self.0.get(at).map(|(_, text)| &**text)
    }

    /// Names and texts, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (&**name, &**text))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that they hold, roughly.
    pub(super) fn weight(&self) -> usize {
        self.iter().map(|(name, text)| ENTRY + name.len() + text.len()).sum()
    }
}

impl From<BTreeMap<Box<str>, Box<str>>> for Pairs {
    fn from(texts: BTreeMap<Box<str>, Box<str>>) -> Self {
        Self(texts.into_iter().collect())
    }
}

impl FromIterator<(String, String)> for Pairs {
    /// Of a name that comes twice the last text stays.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(texts: I) -> Self {
        let texts = texts.into_iter().map(|(name, text)| (name.into(), text.into()));
        texts.collect::<BTreeMap<Box<str>, Box<str>>>().into()
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_in_the_order_of_their_names_each_once() {
        let texts = [("zone", "b"), ("team", "checkout"), ("zone", "a")];
        let pairs: Pairs = texts.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("team", "checkout"), ("zone", "a")]);
        assert_eq!(
            (pairs.get("team"), pairs.get("zone"), pairs.get("node")),
            (Some("checkout"), Some("a"), None)
        );
        assert!(!pairs.is_empty() && Pairs::default().is_empty());
    }

    #[test]
    fn they_are_written_as_a_map_is() {
        let map: BTreeMap<&str, &str> = [("zone", "a"), ("team", "checkout")].into();
        let text = serde_json::to_string(&map).unwrap();
        let pairs: Pairs = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&pairs).unwrap(), text);
    }
}
