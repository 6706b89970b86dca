//! Which packs a verification has found to be damaged. Nobody refers to one again, and who reads takes any other copy before it;
//! so what it has is stored anew with the next backup whose source is whole. That is noted in the domain's own notes, which no
//! backup takes with it, and stays true whatever is found later: once there is another copy all is sound again, and to trust
//! the pack anew would undo just that.

use std::collections::{BTreeSet, HashSet};

use super::{
    keyring::DomainKeys,
    names::PackName,
    note::{self, Decision, Note},
    open::Vault,
    place::Place,
    problem::{Problem, Result},
};

/// Packs that one note names: 2 MiB of names, far from what a reader refuses.
const IN_NOTE: usize = 1 << 16;

/// The packs of a domain that were found to be damaged, and notes of that which cannot be read: what these name is leaned on
/// again, until it is found again.
pub(super) async fn known(place: &Place, keys: &DomainKeys) -> Result<(HashSet<PackName>, Vec<Problem>)> {
    let notes = note::read(place, keys, keys.damage()).await?;
    let packs = notes.read.iter().filter(|note| note.decision == Some(Decision::Damaged));
    let packs = packs.flat_map(|note| note.packs.as_deref().unwrap_or_default().as_chunks::<32>().0);
    let unreadable = notes.unreadable.iter().map(|one| Problem::damaged(&one.object, &one.what));
    Ok((packs.map(|name| PackName(*name)).collect(), unreadable.collect()))
}

/// Notes down that these packs are damaged, as far as nobody has yet.
pub(super) async fn tell(
    vault: &Vault,
    keys: &DomainKeys,
    packs: &BTreeSet<PackName>,
    by: &str,
    operation: &str,
) -> Result<()> {
    let (known, _) = known(vault.place(), keys).await?;
    let new: Vec<PackName> = packs.iter().copied().filter(|name| !known.contains(name)).collect();
    for some in new.chunks(IN_NOTE) {
        let note = Note {
            decision: Some(Decision::Damaged),
            time: vault.now(),
            by: super::manifest::cut_text(by),
            evidence: operation.to_owned(),
            packs: Some(some.iter().flat_map(|name| name.0).collect()),
        };
        note::write(vault.place(), keys, keys.damage(), &note, vault.random()).await?;
    }
    Ok(())
}
