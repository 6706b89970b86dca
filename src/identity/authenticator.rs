//! From what somebody brought to who they are: certificate and bearer token, the tokens that count, the rules in force.
//!
//! Whatever is wrong with a proof, the outcome is the same: nobody. Why is counted and logged, and told to no caller.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::debug;

use super::{
    Grant, Identity, Principal,
    failures::{Failures, Told},
    rules::Rules,
    tokens,
};
use crate::{
    id::TokenHash,
    peer::Peer,
    time::{Clock, Now},
    tls::peer::PeerCertificate,
};

/// Whom to believe.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether anybody has to prove anything.
    pub required: bool,
    /// Trust domain whose SPIFFE ids say by themselves what they mean; empty: none.
    pub trust_domain: String,
}

/// The bearer token that came with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bearer {
    /// There is none.
    Absent,
    /// It has the form of one.
    Token(TokenHash),
    /// Something else stands in its place.
    Malformed,
}

/// Who somebody is.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Who.
    pub identity: Arc<Identity>,
    /// What was brought did not count: what to say where a proof is needed. None: it did, or nothing was brought.
    pub failed: Option<Told>,
}

/// Why a proof did not count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Failure {
    /// It is no bearer token.
    Malformed,
    /// No token that counts has this secret: it is unknown, revoked or expired.
    Token,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 2] = [Failure::Malformed, Failure::Token];

    /// The word for it in log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Malformed => "malformed",
            Failure::Token => "token",
        }
    }
}

/// Tells who somebody is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    options: Options,
    local: Arc<Identity>,
    nobody: Arc<Identity>,
    tokens: OnceLock<tokens::Handle>,
    rules: RwLock<Arc<Rules>>,
    failures: Failures,
    counted: [AtomicU64; Failure::ALL.len()],
    /// One more whenever somebody may be somebody else than before.
    changes: watch::Sender<u64>,
}

impl Authenticator {
    /// Believes by these options; tokens count from [`Authenticator::open`] on.
    pub fn new(options: Options, rules: Rules, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            options,
            local: Arc::new(Identity::local()),
            nobody: Arc::new(Identity::nobody()),
            tokens: OnceLock::new(),
            rules: RwLock::new(Arc::new(rules)),
            failures: Failures::default(),
            counted: Default::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// From now on these tokens count, too.
    pub fn open(&self, tokens: tokens::Handle) {
        self.0.tokens.get_or_init(|| tokens);
    }

    /// From now on these rules count.
    pub fn set_rules(&self, rules: Rules) {
        *self.0.rules.write() = Arc::new(rules);
        self.changed();
    }

    /// Says that somebody may be somebody else than before: a token was revoked, or the rules are others.
    pub fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Changes whenever somebody may be somebody else than before.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether anybody has to prove anything.
    pub fn is_required(&self) -> bool {
        self.0.options.required
    }

    /// The tokens. None: they have not been read yet.
    pub fn tokens(&self) -> Option<&tokens::Handle> {
        self.0.tokens.get()
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.0.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Whoever calls where nobody has to prove anything.
    pub fn local(&self) -> Arc<Identity> {
        Arc::clone(&self.0.local)
    }

    /// Somebody who brought nothing that counts.
    pub fn nobody(&self) -> Arc<Identity> {
        Arc::clone(&self.0.nobody)
    }

    /// Who the holder of a certificate is. None: it proves no name.
    pub fn certificate(&self, certificate: &PeerCertificate) -> Option<Identity> {
        let rules = Arc::clone(&self.0.rules.read());
        let granted = |name| rules.of_certificate(name, &self.0.options.trust_domain);
        let mut names = certificate.names.iter();
        let name = names.clone().find(|name| granted(name) != Grant::Nothing).or_else(|| names.next())?;
        let principal = Principal::Certificate(name.clone());
        let grant = rules.narrowed(&principal, granted(name));
        Some(Identity { principal, grant, expires: Some(certificate.not_after) })
    }

    /// Who the bearer of a token is.
    pub fn bearer_of(&self, token: &tokens::Token) -> Identity {
        let principal = Principal::Token { id: token.id.clone(), name: token.name.clone() };
        let rules = Arc::clone(&self.0.rules.read());
        let grant = rules.narrowed(&principal, token.power.grant());
        Identity { principal, grant, expires: Some(token.expires) }
    }

    /// Counts a proof that did not count, and answers what to say.
    pub fn failed(&self, peer: Peer, why: Failure) -> Told {
        self.0.counted[why as usize].fetch_add(1, Ordering::Relaxed);
        let told = self.0.failures.count(peer, self.0.clock.mono());
        if told == Told::Failed {
            debug!(
                component = "identity",
                operation = "authenticate",
                ?peer,
                why = why.as_str(),
                "a proof did not count"
            );
        }
        told
    }

    /// Proofs that did not count, by why.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.into_iter().map(|why| (why, self.0.counted[why as usize].load(Ordering::Relaxed)))
    }

    /// Who somebody is who comes once: with one request, of which nothing is remembered.
    pub fn once(&self, peer: Peer, certificate: Option<&PeerCertificate>, bearer: Bearer) -> Identified {
        if !self.is_required() {
            return Identified { identity: self.local(), failed: None };
        }
        let failed = |why| Identified { identity: self.nobody(), failed: Some(self.failed(peer, why)) };
        match bearer {
            Bearer::Absent => {
                let known = certificate.and_then(|certificate| self.certificate(certificate));
                let known = known.filter(|known| known.counts(self.now().wall));
                Identified { identity: known.map_or_else(|| self.nobody(), Arc::new), failed: None }
            }
            Bearer::Malformed => failed(Failure::Malformed),
            Bearer::Token(hash) => match self.tokens().and_then(|tokens| tokens.bearer(&hash)) {
                Some(token) => Identified { identity: Arc::new(self.bearer_of(&token)), failed: None },
                None => failed(Failure::Token),
            },
        }
    }
}

impl Identity {
    /// Whether its proof has not expired.
    pub fn counts(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}
