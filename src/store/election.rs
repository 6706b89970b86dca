//! Leadership by election, built on the contract alone: the same for every engine.
//!
//! The leader is who made the key `elections/<name>` under a lease of its own. Its revision is the
//! fencing token: a commit that carries [`Leadership::fence`] is refused as soon as the key is gone or
//! another's, however late the deposed leader notices. Leadership saves work; only the fence makes it safe.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{Commit, Compare, LeaseId, Revision, Store, record};
use crate::{
    error::{Kind, Reason, Result},
    task::{self, OnEnd, Task},
};

/// Where the leaders' keys are.
pub const PREFIX: &str = "elections/";
/// Layout of a leader's record.
const VERSION: u32 = 1;

/// What is stored for the leader of a name.
#[derive(Debug, Deserialize, Serialize)]
struct Leader {
    candidate: String,
}

/// A leadership that was won. It renews itself; dropped, it runs out after its TTL.
#[derive(Debug)]
#[must_use = "a leadership runs out when it is dropped"]
pub struct Leadership {
    store: Store,
    key: String,
    lease: LeaseId,
    revision: Revision,
    lost: watch::Receiver<bool>,
    _renewal: Task<()>,
}

impl Leadership {
    /// The condition that every write of the leader must carry.
    pub fn fence(&self) -> Compare {
        Compare::Unchanged { key: self.key.clone(), revision: self.revision }
    }

    /// The fencing token: greater than that of every earlier leader of this name.
    pub fn token(&self) -> Revision {
        self.revision
    }

    /// Whether it is known to be lost.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Waits until the leadership is lost. Cancel safe.
    pub async fn lost(&self) {
        // The renewal ends without a word only when it is dropped, with this value.
        drop(self.lost.clone().wait_for(|lost| *lost).await);
    }

    /// Gives the leadership up, so that the next candidate need not wait for the TTL.
    ///
    /// # Errors
    /// `StoreUnavailable`: it runs out by itself then.
    pub async fn resign(self) -> Result<()> {
        self.store.revoke(self.lease).await
    }
}

/// Who leads a name now, if anybody.
///
/// # Errors
/// `StoreUnavailable`, `RecordTooNew`, `RecordDamaged`.
pub async fn leader(store: &Store, name: &str) -> Result<Option<String>> {
    let key = key_of(name);
    let Some(entry) = store.get(&key).await? else { return Ok(None) };
    let leader: Leader = record::decode(&key, VERSION, &entry.value)?;
    Ok(Some(leader.candidate))
}

pub(super) async fn elect(store: Store, name: &str, candidate: &str, ttl: Duration) -> Result<Leadership> {
    let key = key_of(name);
    let value = record::encode(VERSION, &Leader { candidate: candidate.to_owned() })?;
    loop {
        let mut watch = store.watch(&key, None);
        if store.get(&key).await?.is_some() {
            // Whatever happened to the key, looking again is right.
            watch.next().await;
            continue;
        }
        let lease = store.grant(ttl).await?;
        let claim =
            Commit::new().require(Compare::Absent(key.clone())).put_under(&*key, value.clone(), lease);
        match store.commit(claim).await {
            Ok(revision) => {
                let (sender, lost) = watch::channel(false);
                let renewal = renew(store.clone(), key.clone(), revision, lease, ttl, sender);
                let _renewal = task::spawn("leadership", OnEnd::Fine, renewal);
                return Ok(Leadership { store, key, lease, revision, lost, _renewal });
            }
            Err(error) => {
                // Without this the lease would run out by itself.
                if let Err(cause) = store.revoke(lease).await {
                    debug!(%cause, "a lease that won nothing is left to run out");
                }
                if error.reason() != Reason::StoreConflict {
                    return Err(error);
                }
            }
        }
    }
}

/// Renews the lease at a third of its TTL until it is gone, and says so.
async fn renew(
    store: Store,
    key: String,
    revision: Revision,
    lease: LeaseId,
    ttl: Duration,
    lost: watch::Sender<bool>,
) {
    let mut watch = store.watch(&key, Some(revision));
    let mut tick = tokio::time::interval(ttl / 3);
    loop {
        tokio::select! {
            _ = tick.tick() => match store.keep_alive(lease).await {
                Ok(_) => {}
                // Away is not gone: the fence decides, and the next tick asks again.
                Err(error) if error.kind() == Kind::Unavailable => warn!(%error, "cannot renew a leadership"),
                Err(_) => break,
            },
            _ = watch.next() => match store.get(&key).await {
                Ok(Some(entry)) if entry.revision == revision => {}
                Err(error) => warn!(%error, "cannot see who leads"),
                Ok(_) => break,
            },
        }
    }
    warn!(key, "leadership lost");
    lost.send_replace(true);
}

fn key_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}
