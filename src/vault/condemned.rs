//! What the lists of pruning say, which writers obey and readers heed. Who writes and does not know what is condemned must refer
//! to nothing; who reads must not be kept from it by a list that somebody has hurt.

use std::collections::HashSet;

use minicbor::{Decode, Encode};
use tracing::warn;

use super::{
    keyring::DomainKeys,
    names::{self, Id, PackName},
    place::Place,
    problem::{Problem, Result},
    seal::{Header, Kind, ObjectKey, open_single},
};

/// What a list of pruning says.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub(super) struct Condemned {
    /// Packs, 32 bytes for each.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) packs: Vec<u8>,
    /// Backups, 16 bytes for each.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) backups: Vec<u8>,
}

/// What is on the list of any cycle of pruning.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    pub(super) packs: HashSet<PackName>,
    pub(super) backups: HashSet<Id>,
}

impl Doomed {
    fn take(&mut self, object: &str, bytes: &[u8], vault_keys: &DomainKeys) -> Result<()> {
        let header = Header::decode(object, bytes)?;
        if names::parse_condemned(object) != Some(header.sequence) {
            return Err(Problem::damaged(object, "is not what its name says"));
        }
        let key = ObjectKey::of(vault_keys.epoch(), Kind::Condemned, object, &header)?;
        let plain = open_single(&key, object, bytes)?;
        let list: Condemned =
            minicbor::decode(&plain).map_err(|error| Problem::damaged(object, error.to_string()))?;
        let (packs, rest) = list.packs.as_chunks::<32>();
        let (backups, others) = list.backups.as_chunks::<16>();
        if !rest.is_empty() || !others.is_empty() {
            return Err(Problem::damaged(object, "has half a name"));
        }
        self.packs.extend(packs.iter().map(|name| PackName(*name)));
        self.backups.extend(backups.iter().map(|id| Id::from_bits(u128::from_be_bytes(*id))));
        Ok(())
    }
}

/// Everything that is on the list of any cycle of pruning, finished or not. A list that cannot be read is an error: who does
/// not know what is condemned must refer to nothing.
pub(super) async fn all(place: &Place, vault_keys: &DomainKeys) -> Result<Doomed> {
    let (doomed, problems) = known(place, vault_keys).await?;
    problems.into_iter().next().map_or(Ok(doomed), Err)
}

/// The same for who only reads: what can be read of the lists, and what is wrong with the others. What is condemned is taken
/// last by a reader, and whatever goes meanwhile is found to be missing.
pub(super) async fn known(place: &Place, vault_keys: &DomainKeys) -> Result<(Doomed, Vec<Problem>)> {
    let (mut doomed, mut problems) = (Doomed::default(), Vec::new());
    for listed in place.list(names::GC).await? {
        if listed.last() != names::CONDEMNED {
            continue;
        }
        let object = &listed.name;
        let taken = place.get(object).await.and_then(|bytes| doomed.take(object, &bytes, vault_keys));
        match taken {
            Ok(()) => {}
            Err(problem @ (Problem::Damaged { .. } | Problem::Missing { .. } | Problem::TooNew { .. })) => {
                warn!(component = "vault", operation = "read list", object, %problem, "a list of pruning cannot be read");
                problems.push(problem);
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok((doomed, problems))
}
