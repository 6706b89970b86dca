//! Whether what the client of a connection has proved still counts.
//!
//! One value for each connection, made with it. Whoever learns that a proof counts no more (a certificate was revoked,
//! it expired) says so here; the connection hears it and ends, and whoever takes a request on it can look.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};

use futures_util::task::AtomicWaker;

use crate::tls;

/// Why it counts no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lapse {
    /// The certificate of the client.
    Certificate(tls::Lapse),
    /// Somebody who has called on it is not who they were: a token was revoked or has expired, or the rules are others.
    Caller,
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lapse::Certificate(lapse) => lapse.fmt(f),
            Lapse::Caller => f.write_str("a caller's proof counts no more"),
        }
    }
}

/// What a connection has proved. Cheap to clone; all clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub struct Proof(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lapse: OnceLock<Lapse>,
    /// The connection.
    waits: AtomicWaker,
}

impl Proof {
    /// Counts until somebody says otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that it counts no more. What was said first stays.
    pub fn lapse(&self, why: Lapse) {
        self.0.lapse.get_or_init(|| why);
        self.0.waits.wake();
    }

    /// Why it counts no more. None: it counts. Takes no lock.
    pub fn has_lapsed(&self) -> Option<&Lapse> {
        self.0.lapse.get()
    }

    /// Waits until it counts no more. For the connection alone: only who asked last is woken. Cancel safe.
    pub async fn lapsed(&self) -> Lapse {
        poll_fn(|cx| {
            // Before it is looked at: somebody may say it in between.
            self.0.waits.register(cx.waker());
            self.has_lapsed().cloned().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[test]
    fn the_first_lapse_is_heard_and_stays() {
        let (proof, other) = (Proof::new(), Proof::new());
        let clone = proof.clone();
        let mut waits = task::spawn(proof.lapsed());
        assert_pending!(waits.poll());
        let expired = Lapse::Certificate(tls::Lapse::Expired);
        clone.lapse(expired.clone());
        clone.lapse(Lapse::Certificate(tls::Lapse::Refused("revoked".to_owned())));
        assert!(waits.is_woken());
        assert_eq!(assert_ready!(waits.poll()), expired);
        assert_eq!((proof.has_lapsed(), other.has_lapsed()), (Some(&expired), None));
    }
}
