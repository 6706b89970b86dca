//! Where the chain ends when the control plane starts, and whether that end is as it was written. Reads a few keys,
//! however many entries there are.

use std::num::NonZeroUsize;

use super::{
    chain::{Link, REACH},
    record::{self, Head, Kept},
    verify::{Break, Verifier},
};
use crate::{
    error::{Reason, Result},
    store::Store,
};

/// What a start finds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    /// What the next entry comes after.
    pub(super) head: Head,
    /// The one that was dropped last.
    pub(super) anchor: Link,
    /// What is wrong with the end of the chain.
    pub(super) broken: Option<String>,
}

/// Reads the end of the chain, and checks it.
///
/// # Errors
/// The store cannot be read, or a newer build wrote what is there.
pub(super) async fn read(store: &Store) -> Result<Found> {
    let mut broken = None;
    let head = match record::head(store).await {
        Err(error) if error.reason() == Reason::RecordDamaged => {
            broken = Some("the record of the newest entry is damaged".to_owned());
            None
        }
        head => head?,
    };
    let anchor = match record::anchor(store).await {
        Err(error) if error.reason() == Reason::RecordDamaged => {
            broken = Some("the record of the entry that was dropped last is damaged".to_owned());
            Link::START
        }
        anchor => anchor?,
    };
    let stated = head.map_or(Link::START, |head| head.newest);
    let last = stated.sequence.max(anchor.sequence);
    // What was made up beyond it is said, and its number is not gone on with: there might be none after it.
    let most = last.saturating_add(REACH);
    let newest = newest(store, stated.sequence, most).await?;
    let beyond = first_after(store, most).await?;
    let problem = match (&head, &newest) {
        (None, None) if anchor == Link::START => None,
        (None, _) => Some("the record of the newest entry is missing".to_owned()),
        (Some(head), None) => Some(format!("entry {}, the newest, is missing", head.newest.sequence)),
        (Some(head), Some(newest)) => check(&head.newest, newest),
    };
    let beyond = beyond.map(|key| format!("there is a key {key:?} far beyond entry {last}, the newest"));
    broken = broken.or(problem).or(beyond);
    let mut head = head.unwrap_or(Head { newest: Link::START, exported: 0, broken: 0 });
    if broken.is_some() {
        // No number comes twice: neither of what is there, nor of what was.
        let there = newest.as_ref().map_or(Link::START, Kept::link);
        head.newest = adopted([anchor, head.newest, there]);
    }
    Ok(Found { head, anchor, broken })
}

/// Which of them the chain goes on after: the one with the highest number that can have been reached.
fn adopted(mut known: [Link; 3]) -> Link {
    known.sort_by_key(|link| link.sequence);
    let reached = |last: Link, link: Link| if link.sequence - last.sequence <= REACH { link } else { last };
    known.into_iter().fold(Link::START, reached)
}

/// What is wrong with the newest entry, given what is stated of it.
fn check(stated: &Link, newest: &Kept) -> Option<String> {
    if newest.sequence > stated.sequence {
        return Some(format!(
            "there is an entry {} after entry {}, the newest",
            newest.sequence, stated.sequence
        ));
    }
    if newest.entry.is_none() {
        return Some(Break::Changed { sequence: newest.sequence }.to_string());
    }
    let mut verifier = Verifier::new(Some(*stated));
    match verifier.take(&newest.line, &newest.hash) {
        // That was said then.
        Ok(()) | Err(Break::Reported { .. }) => {}
        Err(found) => return Some(found.to_string()),
    }
    verifier.finish(Some(*stated)).err().map(|found| found.to_string())
}

/// The newest entry that there is up to a number: the stated one, or one after it; where neither is, the last before
/// it.
async fn newest(store: &Store, stated: u64, most: u64) -> Result<Option<Kept>> {
    let (mut below, mut above) = (0, most);
    if any_between(store, stated, most).await? {
        below = stated;
    } else if let Some(found) = store.get(&record::key(stated)).await? {
        return record::decode_entry(&found);
    } else {
        above = stated;
    }
    if !any_between(store, below, most).await? {
        return Ok(None);
    }
    // There is one after `below` and none after `above`, up to `most`: whether there is one only changes once.
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if any_between(store, middle, most).await? {
            below = middle;
        } else {
            above = middle;
        }
    }
    let (found, _) = record::after(store, below, NonZeroUsize::MIN).await?;
    Ok(found.into_iter().next())
}

/// Whether there is an entry after a number, up to another.
async fn any_between(store: &Store, sequence: u64, most: u64) -> Result<bool> {
    Ok(first_after(store, sequence).await?.is_some_and(|key| key <= record::key(most)))
}

/// The first key after that of a number.
async fn first_after(store: &Store, sequence: u64) -> Result<Option<String>> {
    let page = store.list(record::ENTRIES, Some(&record::key(sequence)), NonZeroUsize::MIN).await?;
    Ok(page.entries.into_iter().next().map(|found| found.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::hash;

    #[test]
    fn what_cannot_have_been_reached_is_not_gone_on_with_as_a_table() {
        for (known, wanted) in [
            ([0, 0, 0], 0),
            ([0, 6, 6], 6),
            ([3, 6, 9], 9),
            ([9, 0, 3], 9),
            ([0, 6, 6 + REACH], 6 + REACH),
            ([0, 6, 7 + REACH], 6),
            ([3, u64::MAX, 6], 6),
            ([u64::MAX, 6, 5], 6),
            ([2 * REACH, REACH, 2 * REACH + 5], 2 * REACH + 5),
        ] {
            let links = known.map(|sequence| Link { sequence, hash: hash("a") });
            assert_eq!(adopted(links).sequence, wanted, "{known:?}");
        }
    }
}
