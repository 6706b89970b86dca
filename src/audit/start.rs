//! Where the chain ends when the control plane starts, and whether that end is as it was written. Reads a few keys,
//! however many entries there are.

use std::num::NonZeroUsize;

use super::{
    chain::Link,
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
    let newest = newest(store, stated.sequence).await?;
    let problem = match (&head, &newest) {
        (None, None) if anchor == Link::START => None,
        (None, _) => Some("the record of the newest entry is missing".to_owned()),
        (Some(head), None) => Some(format!("entry {}, the newest, is missing", head.newest.sequence)),
        (Some(head), Some(newest)) => check(&head.newest, newest),
    };
    broken = broken.or(problem);
    let mut head = head.unwrap_or(Head { newest: Link::START, exported: 0, broken: 0 });
    if broken.is_some() {
        // No number comes twice: neither of what is there, nor of what was.
        let there = newest.as_ref().map_or(Link::START, Kept::link);
        head.newest =
            [anchor, head.newest, there].into_iter().max_by_key(|link| link.sequence).unwrap_or(anchor);
    }
    Ok(Found { head, anchor, broken })
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
    let found = verifier.take(&newest.line, &newest.hash).and_then(|()| verifier.finish(Some(*stated)));
    match found {
        // That was said then.
        Ok(_) | Err(Break::Reported { .. }) => None,
        Err(found) => Some(found.to_string()),
    }
}

/// The newest entry that there is: the stated one, or one after it; where neither is, the last before it.
async fn newest(store: &Store, stated: u64) -> Result<Option<Kept>> {
    let (mut below, mut above) = (0, u64::MAX - 1);
    if any_after(store, stated).await? {
        below = stated;
    } else if let Some(found) = store.get(&record::key(stated)).await? {
        return record::decode_entry(&found);
    } else {
        above = stated;
    }
    if !any_after(store, below).await? {
        return Ok(None);
    }
    // There is one after `below` and none after `above`: whether there is one after a number only changes once.
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if any_after(store, middle).await? {
            below = middle;
        } else {
            above = middle;
        }
    }
    let (found, _) = record::after(store, below, NonZeroUsize::MIN).await?;
    Ok(found.into_iter().next())
}

async fn any_after(store: &Store, sequence: u64) -> Result<bool> {
    Ok(!store
        .list(record::ENTRIES, Some(&record::key(sequence)), NonZeroUsize::MIN)
        .await?
        .entries
        .is_empty())
}
