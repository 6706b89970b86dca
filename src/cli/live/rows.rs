//! What a view shows, worst first, and when each of it last changed.
//!
//! A snapshot that follows a reset replaces everything, without a moment in which nothing is there.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::time::Mono;

/// One thing that is shown.
#[derive(Debug)]
pub(crate) struct Row<T> {
    pub(crate) item: T,
    /// When it last changed before our eyes; None where it was so from the first.
    pub(crate) changed: Option<Mono>,
}

/// All of them by rank (worse is less) and name.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    ordered: BTreeMap<(u8, String), Row<T>>,
    ranks: HashMap<String, u8>,
    /// Names of the snapshot that is being read; None outside of one.
    seen: Option<HashSet<String>>,
    /// Whether a snapshot was read to its end: before, nothing that comes is news.
    known: bool,
}

impl<T> Rows<T> {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self { ordered: BTreeMap::new(), ranks: HashMap::new(), seen: None, known: false }
    }

    /// Takes what is new of a thing. `differs` says whether that is worth a mark.
    pub(crate) fn put(&mut self, name: &str, rank: u8, item: T, now: Mono, differs: fn(&T, &T) -> bool) {
        if let Some(seen) = &mut self.seen {
            seen.insert(name.to_owned());
        }
        let before = self.take(name);
        let changed = match &before {
            Some(before) if !differs(&before.item, &item) => before.changed,
            Some(_) => Some(now),
            None => self.known.then_some(now),
        };
        self.ranks.insert(name.to_owned(), rank);
        self.ordered.insert((rank, name.to_owned()), Row { item, changed });
    }

    /// Forgets a thing.
    pub(crate) fn remove(&mut self, name: &str) {
        self.take(name);
    }

    fn take(&mut self, name: &str) -> Option<Row<T>> {
        let rank = self.ranks.remove(name)?;
        self.ordered.remove(&(rank, name.to_owned()))
    }

    /// A snapshot begins: what is not in it is gone at its end.
    pub(crate) fn reset(&mut self) {
        self.seen = Some(HashSet::new());
    }

    /// The snapshot is whole.
    pub(crate) fn complete(&mut self) {
        self.known = true;
        let Some(seen) = self.seen.take() else { return };
        let gone: Vec<String> = self.ranks.keys().filter(|name| !seen.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
    }

    /// Whether all is there that there is.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// All of them, worst first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Row<T>)> {
        self.ordered.iter().map(|((_, name), row)| (name.as_str(), row))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ordered.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: [Mono; 3] = [Mono::from_millis(1), Mono::from_millis(2), Mono::from_millis(3)];

    fn differ(a: &&str, b: &&str) -> bool {
        a != b
    }

    fn shown(rows: &Rows<&'static str>) -> Vec<(String, &'static str, Option<Mono>)> {
        rows.iter().map(|(name, row)| (name.to_owned(), row.item, row.changed)).collect()
    }

    fn known() -> Rows<&'static str> {
        let mut rows = Rows::new();
        rows.reset();
        rows.put("b", 3, "well", AT[0], differ);
        rows.put("a", 3, "well", AT[0], differ);
        rows.complete();
        rows
    }

    #[test]
    fn the_worst_come_first_and_the_first_look_is_no_news() {
        let mut rows = known();
        assert_eq!(shown(&rows), [("a".into(), "well", None), ("b".into(), "well", None)]);
        rows.put("b", 0, "ill", AT[1], differ);
        rows.put("c", 3, "well", AT[2], differ);
        assert_eq!(
            shown(&rows),
            [("b".into(), "ill", Some(AT[1])), ("a".into(), "well", None), ("c".into(), "well", Some(AT[2]))]
        );
        // The same again is no news.
        rows.put("b", 0, "ill", AT[2], differ);
        assert_eq!(shown(&rows)[0].2, Some(AT[1]));
        rows.remove("b");
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_reset_drops_only_what_its_snapshot_lacks_and_only_at_its_end() {
        let mut rows = known();
        rows.reset();
        rows.put("b", 0, "ill", AT[1], differ);
        assert_eq!(rows.len(), 2, "half a snapshot takes nothing away");
        rows.complete();
        assert_eq!(shown(&rows), [("b".into(), "ill", Some(AT[1]))]);
    }
}
