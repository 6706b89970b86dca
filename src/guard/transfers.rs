//! Bytes of uploads and downloads that are in work, bounded for each identity: whoever sends or takes by a thousand streams
//! has no more of the vault's attention than by a few, and leaves the others theirs. What comes beyond waits for its turn,
//! and is not read any further. What a connection may hold is bounded beside it (`bounds`); what may be sent at all is for
//! tickets to say.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{bounds::IDENTITY_TRANSFERS, caller::Caller};
use crate::{
    error::{Error, Kind, Reason, Result},
    identity::Principal,
};

/// How long a piece waits for others of its identity.
const TURN_WITHIN: Duration = Duration::from_secs(60);

/// Who shares a budget: whoever has proved to be somebody, wherever it calls from; else who calls from the same address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Holder {
    Named(String),
    At(IpAddr),
}

/// The budgets of all. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Transfers(Arc<Mutex<HashMap<Holder, Weak<Semaphore>>>>);

/// What the transfers of one identity share.
#[derive(Debug)]
pub struct Budget(Arc<Semaphore>);

/// Bytes that are in work, until it is dropped.
#[derive(Debug)]
pub struct InWork {
    _bytes: OwnedSemaphorePermit,
}

impl Transfers {
    /// The budget of whoever calls, for one transfer.
    pub fn of(&self, caller: &Caller) -> Budget {
        self.held_by(match &caller.identity.principal {
            Principal::Local | Principal::Nobody => Holder::At(caller.connection.peer.ip()),
            named @ (Principal::Certificate(_) | Principal::Token { .. }) => Holder::Named(named.to_string()),
        })
    }

    fn held_by(&self, holder: Holder) -> Budget {
        let mut budgets = self.0.lock();
        if let Some(budget) = budgets.get(&holder).and_then(Weak::upgrade) {
            return Budget(budget);
        }
        // Somebody new is rare: whoever has no transfer any more goes with that.
        budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::new(Semaphore::new(IDENTITY_TRANSFERS));
        budgets.insert(holder, Arc::downgrade(&budget));
        Budget(budget)
    }
}

impl Budget {
    /// Waits for room for a piece, first come, first served. Cancel safe, but it loses its place.
    ///
    /// # Errors
    /// Others of the same identity have taken all of it for a minute.
    pub async fn take(&self, bytes: usize) -> Result<InWork> {
        let bytes = u32::try_from(bytes.min(IDENTITY_TRANSFERS)).unwrap_or(u32::MAX);
        match timeout(TURN_WITHIN, Arc::clone(&self.0).acquire_many_owned(bytes)).await {
            Ok(Ok(_bytes)) => Ok(InWork { _bytes }),
            // Nobody closes it.
            Ok(Err(closed)) => Err(Error::internal(closed)),
            Err(_) => {
                let message = format!(
                    "other transfers of this identity have all of its {} MiB in work; go on when some have ended",
                    IDENTITY_TRANSFERS >> 20
                );
                let error = Error::new(Kind::ResourceExhausted, Reason::TooManyInFlight, message);
                Err(error.retry_after(Duration::from_secs(10)))
            }
        }
    }
}

#[cfg(test)]
impl Budget {
    /// One that nobody else shares.
    pub(crate) fn alone() -> Self {
        Self(Arc::new(Semaphore::new(IDENTITY_TRANSFERS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Holder {
        Holder::Named(name.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_identity_waits_for_itself_and_for_nobody_else() {
        let transfers = Transfers::default();
        let (first, second) = (transfers.held_by(named("orders")), transfers.held_by(named("orders")));
        let most = first.take(IDENTITY_TRANSFERS).await.unwrap();
        let refused = second.take(1).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::TooManyInFlight);
        for other in [named("invoices"), Holder::At([10, 0, 0, 1].into())] {
            transfers.held_by(other).take(IDENTITY_TRANSFERS).await.unwrap();
        }
        drop(most);
        // What is larger than all of it may come alone.
        drop(second.take(2 * IDENTITY_TRANSFERS).await.unwrap());
        second.take(1).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_has_no_transfer_is_forgotten() {
        let transfers = Transfers::default();
        for at in 0..100_u32 {
            drop(transfers.held_by(Holder::At(std::net::Ipv4Addr::from(at).into())));
        }
        assert_eq!(transfers.0.lock().len(), 1);
    }
}
