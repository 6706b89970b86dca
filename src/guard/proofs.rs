//! What proved who calls on one connection, and whether it still does.
//!
//! A connection outlives many requests, and a stream lives for hours: where a token is revoked, a proof expires, or the
//! rules say something else, whatever was opened with it has to end. So each connection remembers by what its callers
//! proved who they are, and ends when one of them is not the same any more.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::proof::{Lapse, Proof};
use crate::{
    id::TokenHash,
    identity::{
        Identity,
        authenticator::{Authenticator, Bearer, Failure, Identified},
    },
    peer::Peer,
    tls::peer::PeerCertificate,
};

/// Tokens that are remembered of a connection; with more of them, it ends at any change.
const REMEMBERED: usize = 32;
/// The longest sleep until an expiry is looked at again: the wall clock may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What proved who calls on one connection.
#[derive(Debug)]
pub struct Proofs {
    authenticator: Authenticator,
    peer: Peer,
    certificate: Option<Arc<PeerCertificate>>,
    /// Whether the connection is to be believed at all.
    proof: Proof,
    seen: Mutex<Seen>,
    more: Notify,
    /// From the beginning, so that nothing is missed that changes before it is first waited for.
    changes: watch::Receiver<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    certificate: Option<Arc<Identity>>,
    tokens: Vec<(TokenHash, Arc<Identity>)>,
    /// There were more tokens than are remembered: when the first of those expires.
    beyond: Option<SystemTime>,
}

impl Proofs {
    /// Nobody has called yet on this connection.
    pub fn new(
        authenticator: Authenticator,
        peer: Peer,
        certificate: Option<Arc<PeerCertificate>>,
        proof: Proof,
    ) -> Self {
        let (seen, changes) = (Mutex::new(Seen::default()), authenticator.changes());
        Self { authenticator, peer, certificate, proof, seen, more: Notify::new(), changes }
    }

    /// Who calls: the bearer of the token, if there is one, else the holder of the connection's certificate.
    pub fn identify(&self, bearer: &Bearer) -> Identified {
        if !self.authenticator.is_required() {
            return Identified { identity: self.authenticator.local(), failed: None };
        }
        // What still comes on a connection that ends for that is judged anew: others on it are who they were.
        if let Some(lapse) = self.proof.has_lapsed() {
            let certificate = self.certificate.as_deref().filter(|_| *lapse == Lapse::Caller);
            return self.authenticator.once(self.peer, certificate, *bearer);
        }
        // Which tokens count is not known before they have been read: that is no failure of who brings one.
        if self.authenticator.tokens().is_none() && matches!(bearer, Bearer::Token(_)) {
            return Identified { identity: self.authenticator.nobody(), failed: None };
        }
        let found = match bearer {
            Bearer::Absent => Ok(self.by_certificate()),
            Bearer::Token(hash) => self.by_token(hash).ok_or(Failure::Token),
            Bearer::Malformed => Err(Failure::Malformed),
        };
        match found {
            Ok(identity) => Identified { identity, failed: None },
            Err(why) => {
                let failed = Some(self.authenticator.failed(self.peer, why));
                Identified { identity: self.authenticator.nobody(), failed }
            }
        }
    }

    fn by_certificate(&self) -> Arc<Identity> {
        let Some(certificate) = &self.certificate else { return self.authenticator.nobody() };
        let mut seen = self.seen.lock();
        if seen.certificate.is_none() {
            seen.certificate = self.authenticator.certificate(certificate).map(Arc::new);
            self.more.notify_one();
        }
        let known = seen.certificate.as_ref().filter(|known| known.counts(self.authenticator.now().wall));
        known.map_or_else(|| self.authenticator.nobody(), Arc::clone)
    }

    fn by_token(&self, hash: &TokenHash) -> Option<Arc<Identity>> {
        let token = self.authenticator.tokens()?.bearer(hash)?;
        let mut seen = self.seen.lock();
        if let Some((_, identity)) = seen.tokens.iter().find(|(other, _)| other == hash) {
            return Some(Arc::clone(identity));
        }
        let identity = Arc::new(self.authenticator.bearer_of(&token));
        if seen.tokens.len() < REMEMBERED {
            seen.tokens.push((*hash, Arc::clone(&identity)));
        } else {
            seen.beyond = seen.beyond.into_iter().chain(identity.expires).min();
        }
        self.more.notify_one();
        Some(identity)
    }

    /// Waits until somebody who has called on the connection is not the same any more: then the connection's proof counts no
    /// more. Cancel safe.
    pub async fn lapsed(&self) -> Lapse {
        self.changed().await;
        self.proof.lapse(Lapse::Caller);
        Lapse::Caller
    }

    async fn changed(&self) {
        if !self.authenticator.is_required() {
            return std::future::pending().await;
        }
        let mut changes = self.changes.clone();
        loop {
            let now = self.authenticator.now().wall;
            let rest = self.next_expiry().map(|at| at.duration_since(now).unwrap_or_default());
            tokio::select! {
                // An error means that the server is gone.
                changed = changes.changed() => if changed.is_err() || self.seen.lock().beyond.is_some() || !self.still_count() { return },
                () = self.more.notified() => {}
                () = expire(rest) => if !self.still_count() { return },
            }
        }
    }

    /// When the first of the proofs expires.
    fn next_expiry(&self) -> Option<SystemTime> {
        let seen = self.seen.lock();
        let tokens = seen.tokens.iter().map(|(_, identity)| identity);
        let known = tokens.chain(seen.certificate.as_ref()).filter_map(|identity| identity.expires);
        known.chain(seen.beyond).min()
    }

    /// Whether everybody who has called is who they were.
    fn still_count(&self) -> bool {
        let now = self.authenticator.now().wall;
        let same =
            |was: &Arc<Identity>, is: Option<Identity>| is.is_some_and(|is| is == **was && is.counts(now));
        let seen = self.seen.lock();
        let certificate = seen.certificate.as_ref().is_none_or(|was| {
            same(was, self.certificate.as_ref().and_then(|shown| self.authenticator.certificate(shown)))
        });
        let tokens = || {
            seen.tokens.iter().all(|(hash, was)| {
                let token = self.authenticator.tokens().and_then(|tokens| tokens.bearer(hash));
                same(was, token.map(|token| self.authenticator.bearer_of(&token)))
            })
        };
        certificate && seen.beyond.is_none_or(|first| now < first) && tokens()
    }
}

/// Sleeps until an expiry, or until it is to be looked at again. None: for ever.
async fn expire(rest: Option<Duration>) {
    match rest {
        // A moment more: at the very time it counts no longer.
        Some(rest) => sleep((rest + Duration::from_millis(1)).min(LOOK_AGAIN)).await,
        None => std::future::pending().await,
    }
}
