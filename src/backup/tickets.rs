//! One-time tickets: each opens one transfer for one incarnation of one instance, as often as its connection is lost, until
//! the transfer has ended. Kept as hashes, in memory: a transfer does not outlive the process that it goes to.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{directive::Ticket, names::InstanceKey},
    id::{Entropy, TokenHash},
};

/// How every ticket begins.
const PREFIX: &str = "swx_";

/// Who transfers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TransferKey {
    /// The instance.
    pub key: InstanceKey,
    /// Which life of it.
    pub incarnation: u64,
}

/// The tickets of transfers that have not ended.
#[derive(Debug)]
pub struct Tickets<T> {
    entropy: Entropy,
    given: Mutex<HashMap<TokenHash, (TransferKey, Arc<T>)>>,
}

impl<T> Tickets<T> {
    /// None yet.
    pub fn new(entropy: Entropy) -> Self {
        Self { entropy, given: Mutex::default() }
    }

    /// A ticket for somebody, which opens this until what is answered beside it is dropped.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn give(self: &Arc<Self>, to: TransferKey, what: Arc<T>) -> Result<(Ticket, Given<T>)> {
        let secret = format!("{PREFIX}{}", self.entropy.secret()?);
        let hash = TokenHash::of(&secret);
        self.given.lock().insert(hash, (to, what));
        Ok((Ticket::of(secret), Given { hash, tickets: Arc::clone(self) }))
    }

    /// What a ticket opens for somebody.
    ///
    /// # Errors
    /// There is no such ticket, or it is another's. Both are answered alike.
    pub fn open(&self, ticket: &str, by: &TransferKey) -> Result<Arc<T>> {
        let given = self.given.lock();
        match given.get(&TokenHash::of(ticket)) {
            Some((to, what)) if to == by => Ok(Arc::clone(what)),
            Some(_) | None => Err(Error::new(
                Kind::Unauthenticated,
                Reason::TicketInvalid,
                "the ticket opens nothing for this incarnation: its transfer has ended, or it was another's",
            )),
        }
    }
}

/// A ticket that is out. Dropped, it opens nothing any more.
#[derive(Debug)]
pub struct Given<T> {
    hash: TokenHash,
    tickets: Arc<Tickets<T>>,
}

impl<T> Drop for Given<T> {
    fn drop(&mut self) {
        self.tickets.given.lock().remove(&self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::names::{InstanceId, ServiceName};

    #[test]
    fn a_ticket_opens_for_whom_it_was_given_to_and_until_it_is_dropped() {
        let tickets = Arc::new(Tickets::new(Entropy::seeded(1)));
        let of = |id: &str, incarnation| TransferKey {
            key: InstanceKey {
                service: ServiceName::parse("orders").unwrap(),
                id: InstanceId::parse(id).unwrap(),
            },
            incarnation,
        };
        let (ticket, given) = tickets.give(of("i-1", 3), Arc::new(7)).unwrap();
        assert_eq!(*tickets.open(ticket.reveal(), &of("i-1", 3)).unwrap(), 7);
        assert_eq!(*tickets.open(ticket.reveal(), &of("i-1", 3)).unwrap(), 7);
        for other in [of("i-1", 4), of("i-2", 3)] {
            assert_eq!(tickets.open(ticket.reveal(), &other).unwrap_err().reason(), Reason::TicketInvalid);
        }
        assert!(tickets.open("swx_none", &of("i-1", 3)).is_err());
        drop(given);
        assert!(tickets.open(ticket.reveal(), &of("i-1", 3)).is_err());
    }
}
