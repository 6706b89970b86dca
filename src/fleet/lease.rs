//! Leases, and the ledger that keeps our own stalls from becoming others' deaths.
//!
//! A lease is touched without any lock: hearing somebody must stay cheap when a hundred thousand are
//! heard every few seconds. Whoever touches it learns whether more has to be done.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use super::registration::MAX_LEASE_TTL;
use crate::time::Mono;

/// The promise to be heard from within a TTL. Shared by the registry and the instance's session.
#[derive(Debug)]
pub struct Lease {
    ttl: Duration,
    last_heard: AtomicU64,
    notice: AtomicBool,
    used: AtomicBool,
    /// Number of the session that has it, or none.
    session: AtomicU64,
}

/// No session has it.
const NO_SESSION: u64 = u64::MAX;

impl Lease {
    /// A lease that begins now. `notice`: whether the registry wants to know of the next sign of life.
    pub fn new(ttl: Duration, now: Mono, notice: bool) -> Self {
        let last_heard = AtomicU64::new(now.as_millis());
        Self {
            ttl,
            last_heard,
            notice: AtomicBool::new(notice),
            used: AtomicBool::new(false),
            session: AtomicU64::new(NO_SESSION),
        }
    }

    /// Takes a sign of life of somebody who has the token. True: the registry wants to know (the instance
    /// was lost, or not yet confirmed after a restart).
    #[inline]
    pub fn touch(&self, now: Mono) -> bool {
        // First: whoever sees this sign of life sees that the token was used.
        self.used.store(true, Ordering::SeqCst);
        // Signs of life race with each other by milliseconds; the later store wins. Against the judge,
        // who asks for notice and then looks when it was heard, both orders are sequentially
        // consistent: either the judge sees this store, or this load sees that notice is wanted.
        self.last_heard.store(now.as_millis(), Ordering::SeqCst);
        self.notice.load(Ordering::SeqCst)
    }

    /// Begins anew without a sign of life: for a session that opens with the registration nobody has used
    /// the token yet.
    pub fn renew(&self, now: Mono) {
        self.last_heard.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Whether somebody was heard who has the token: the answer to the registration has arrived.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::SeqCst)
    }

    /// Says whether the registry wants to know of the next sign of life.
    pub fn want_notice(&self, wanted: bool) {
        self.notice.store(wanted, Ordering::SeqCst);
    }

    /// When it was last heard.
    pub fn last_heard(&self) -> Mono {
        Mono::from_millis(self.last_heard.load(Ordering::SeqCst))
    }

    /// Gives it to a session, from whichever has it.
    pub(super) fn hold(&self, session: u64) {
        self.session.store(session, Ordering::SeqCst);
    }

    /// Takes it from a session, if that still has it; true if so. Where another one has it, just as well.
    pub(super) fn let_go(&self, session: u64) -> bool {
        self.session.compare_exchange(session, NO_SESSION, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether this session has it: it was not ended by the registry.
    pub(super) fn is_held_by(&self, session: u64) -> bool {
        self.session.load(Ordering::SeqCst) == session
    }

    /// How long it lives without a message.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}

/// Remembers when the control plane itself was late, so that silence during that time is not held
/// against anyone.
#[derive(Debug)]
pub struct Stalls {
    stalls: Vec<Stall>,
    keep: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Stall {
    ended: Mono,
    lateness: Duration,
}

/// Stalls kept at the most; when there are more the oldest two become one, which errs towards more
/// patience.
const MAX_STALLS: usize = 64;

impl Stalls {
    /// An empty ledger that serves patience up to `patience`, and any lease.
    pub fn new(patience: Duration) -> Self {
        Self { stalls: Vec::new(), keep: patience.max(MAX_LEASE_TTL) }
    }

    /// Takes note that the control plane was late by `lateness` until `now`.
    pub fn record(&mut self, now: Mono, lateness: Duration) {
        if lateness.is_zero() {
            return;
        }
        // Who was waiting during the oldest may have been waiting during all of them.
        let credit: Duration = self.stalls.iter().map(|stall| stall.lateness).sum();
        let keep = self.keep + credit;
        self.stalls.retain(|stall| now.since(stall.ended) <= keep);
        if self.stalls.len() >= MAX_STALLS {
            let oldest = self.stalls.remove(0);
            self.stalls[0].lateness += oldest.lateness;
        }
        self.stalls.push(Stall { ended: now, lateness });
    }

    /// When a promise to be heard within `patience` of `since` is broken: later by every stall that
    /// ended after `since`.
    pub fn deadline(&self, since: Mono, patience: Duration) -> Mono {
        let credit = self
            .stalls
            .iter()
            .filter(|stall| stall.ended > since)
            .map(|stall| stall.lateness)
            .sum::<Duration>();
        since + patience + credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn a_stall_extends_only_what_was_waiting_then() {
        let mut stalls = Stalls::new(MAX_LEASE_TTL);
        assert_eq!(stalls.deadline(at(0), 15 * SECOND), at(15));
        stalls.record(at(40), 30 * SECOND);
        assert_eq!(stalls.deadline(at(5), 15 * SECOND), at(50));
        assert_eq!(stalls.deadline(at(41), 15 * SECOND), at(56));
        stalls.record(at(60), 3 * SECOND);
        assert_eq!(stalls.deadline(at(5), 15 * SECOND), at(53));
        assert_eq!(stalls.deadline(at(41), 15 * SECOND), at(59));
    }

    #[test]
    fn the_ledger_is_bounded_and_never_less_patient() {
        let mut stalls = Stalls::new(MAX_LEASE_TTL);
        for second in 0..1000 {
            stalls.record(at(100 + second), SECOND / 2);
        }
        assert!(stalls.stalls.len() <= MAX_STALLS);
        assert!(stalls.deadline(at(99), SECOND) >= at(100) + SECOND / 2 * 500);
    }

    #[test]
    fn a_touch_tells_whether_notice_is_wanted() {
        let lease = Lease::new(15 * SECOND, at(0), true);
        assert!(lease.touch(at(3)));
        lease.want_notice(false);
        assert!(!lease.touch(at(4)));
        assert_eq!(lease.last_heard(), at(4));
    }
}
