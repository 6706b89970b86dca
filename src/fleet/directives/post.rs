//! What is asked of one incarnation and has not ended: shared by the registry, its session, and whoever waits.
//!
//! A plain value behind a lock of its own, which is never held over an await; nothing else of the fleet is locked while it
//! is. Whoever carries the session asks without the lock whether there is anything new (`Bell`): heartbeats pass here too.
//! Time comes in with each call.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Gone, MOST_PENDING, Progress};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::directive::{Ask, Directive, DirectiveId, Report, State},
    time::Mono,
};

/// How long a cancel is worth saying.
pub(super) const CANCEL_VALID: Duration = Duration::from_secs(60);
/// How long the last word of an instance may be on its way, after what it was given may no longer begin.
pub(super) const LAST_WORD: Duration = Duration::from_secs(5);

/// A number that no session has.
const NOBODY: u64 = u64::MAX;

/// The post of one incarnation.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Post {
    takes: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which they were sent.
    pending: Vec<Pending>,
    /// Of what nobody waits for any more.
    cancels: VecDeque<Cancel>,
    /// Who carries it to the instance, while it has a session.
    carrier: Option<(u64, Arc<Bell>)>,
    /// The incarnation has ended.
    ended: Option<Gone>,
}

#[derive(Debug)]
struct Pending {
    directive: Arc<Directive>,
    /// The session that it was carried by last.
    carried_by: Option<u64>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Cancel {
    directive: Arc<Directive>,
    carried_by: Option<u64>,
}

/// Wakes whoever carries the post, and spares them a look where there is nothing new.
#[derive(Debug, Default)]
struct Bell {
    news: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        self.news.store(true, Ordering::Release);
        self.waker.wake();
    }
}

fn ring(bell: Option<Arc<Bell>>) {
    if let Some(bell) = bell {
        bell.ring();
    }
}

impl Post {
    /// Whether the client takes directives, as far as it has said.
    pub(in crate::fleet) fn takes(&self) -> bool {
        self.takes.load(Ordering::Acquire)
    }

    /// The client says whether it does.
    pub(in crate::fleet) fn set_takes(&self, takes: bool) {
        self.takes.store(takes, Ordering::Release);
    }

    /// Puts a directive in, and answers where its progress is seen.
    ///
    /// # Errors
    /// Too many have not ended, or one has this id.
    pub(super) fn put(&self, directive: Directive) -> Result<watch::Receiver<Progress>> {
        let mut inner = self.inner.lock();
        if let Some(why) = &inner.ended {
            return Ok(watch::channel(Progress::Gone(why.clone())).1);
        }
        if inner.pending.len() >= MOST_PENDING {
            let message = format!("{MOST_PENDING} directives of the instance have not ended; wait for some");
            return Err(Error::new(Kind::ResourceExhausted, Reason::TooManyDirectives, message));
        }
        if inner.find(&directive.id).is_some() {
            return Err(Error::internal(format!("directive {} was sent before", directive.id)));
        }
        let (progress, seen) = watch::channel(Progress::Waiting);
        inner.pending.push(Pending { directive: Arc::new(directive), carried_by: None, progress });
        let bell = inner.bell();
        drop(inner);
        ring(bell);
        Ok(seen)
    }

    /// A session carries the post from now on. `number` tells sessions apart.
    pub(in crate::fleet) fn carry(self: &Arc<Self>, number: u64) -> Carrier {
        let bell = Arc::new(Bell { news: AtomicBool::new(true), waker: AtomicWaker::new() });
        self.inner.lock().carrier = Some((number, Arc::clone(&bell)));
        Carrier { post: Arc::clone(self), number, bell }
    }

    /// Takes a report. False: nothing that has not ended has this id.
    pub(super) fn report(&self, id: &str, report: Report) -> bool {
        let mut inner = self.inner.lock();
        let Some(at) = inner.pending.iter().position(|pending| pending.directive.id.as_str() == id) else {
            let Some(at) = inner.cancels.iter().position(|cancel| cancel.directive.id.as_str() == id) else {
                return false;
            };
            if report.state.is_end() {
                inner.cancels.remove(at);
            }
            return true;
        };
        let ends = report.state.is_end();
        inner.pending[at].progress.send_if_modified(|progress| {
            // What was said before is said again after a lost connection.
            let is_news = progress.state().is_none_or(|state| state < report.state);
            if is_news {
                *progress = Progress::Reported(report);
            }
            is_news
        });
        if ends {
            inner.pending.remove(at);
        }
        true
    }

    /// Lets go of a directive that may no longer begin, unless it has begun. False: it has, or has ended.
    pub(super) fn expire(&self, id: &DirectiveId, now: Mono) -> bool {
        self.forget_if(id, now, |progress| progress.state().is_none_or(|state| state < State::Started))
    }

    /// Nobody waits for a directive any more: what was carried is cancelled.
    pub(super) fn forget(&self, id: &DirectiveId, now: Mono) {
        self.forget_if(id, now, |_| true);
    }

    fn forget_if(&self, id: &DirectiveId, now: Mono, which: impl FnOnce(&Progress) -> bool) -> bool {
        let mut inner = self.inner.lock();
        let Some(at) = inner.find(id) else { return false };
        if !which(&inner.pending[at].progress.borrow()) {
            return false;
        }
        let pending = inner.pending.remove(at);
        let bell = if inner.cancel(&pending, now) { inner.bell() } else { None };
        drop(inner);
        ring(bell);
        true
    }

    /// When a directive has to have begun: later where it is on its way to the instance, whose word may be on its way back.
    pub(super) fn begins_by(&self, id: &DirectiveId) -> Option<Mono> {
        let inner = self.inner.lock();
        let pending = inner.find(id).map(|at| &inner.pending[at])?;
        let patience = if pending.carried_by.is_some() { LAST_WORD } else { Duration::ZERO };
        Some(pending.directive.not_after + patience)
    }

    /// The instance was lost. It may be heard again: what it may have begun is cancelled then. A restore is not: whoever waits
    /// for it may wait on, and hears what became of it.
    pub(in crate::fleet) fn lose(&self, now: Mono) {
        let mut inner = self.inner.lock();
        for mut pending in std::mem::take(&mut inner.pending) {
            pending.progress.send_replace(Progress::Gone(Gone::Lost));
            if outlives_loss(&pending.directive.ask) {
                // Asked again also where the same stream goes on: what had been said of it is no news any more.
                pending.carried_by = pending.carried_by.and(Some(NOBODY));
                inner.pending.push(pending);
            } else {
                inner.cancel(&pending, now);
            }
        }
        let bell = inner.bell();
        drop(inner);
        ring(bell);
    }

    /// The incarnation has ended.
    pub(in crate::fleet) fn end(&self, why: &Gone) {
        let mut inner = self.inner.lock();
        inner.ended = Some(why.clone());
        inner.cancels.clear();
        for pending in std::mem::take(&mut inner.pending) {
            pending.progress.send_replace(Progress::Gone(why.clone()));
        }
    }
}

/// Whether it goes on at an instance that was lost. Half of what a restore puts in place is worse than all of it; everything else
/// begins anew.
fn outlives_loss(ask: &Ask) -> bool {
    matches!(ask, Ask::Restore(_))
}

impl Inner {
    fn find(&self, id: &DirectiveId) -> Option<usize> {
        self.pending.iter().position(|pending| pending.directive.id == *id)
    }

    fn bell(&self) -> Option<Arc<Bell>> {
        self.carrier.as_ref().map(|(_, bell)| Arc::clone(bell))
    }

    /// Cancels what the instance may have; false: it cannot have it, or it is no use.
    fn cancel(&mut self, pending: &Pending, now: Mono) -> bool {
        let Directive { id, operation_id, generation, not_after: _, ask } = &*pending.directive;
        if pending.carried_by.is_none() || matches!(ask, Ask::Cancel { .. }) {
            return false;
        }
        if self.cancels.len() >= MOST_PENDING {
            self.cancels.pop_front();
        }
        // What it stops may be older than what the operation has asked for since.
        let newer = self.pending.iter().filter(|it| it.directive.operation_id == *operation_id);
        let generation = newer.map(|it| it.directive.generation).fold(*generation, u64::max);
        let directive = Directive {
            id: DirectiveId::of(&format!("{id}-cancel")),
            operation_id: operation_id.clone(),
            generation,
            not_after: now + CANCEL_VALID,
            ask: Ask::Cancel { directive: id.clone() },
        };
        self.cancels.push_back(Cancel { directive: Arc::new(directive), carried_by: None });
        true
    }

    /// The next that this session has not carried.
    fn next(&mut self, number: u64, now: Mono) -> Option<Arc<Directive>> {
        self.cancels.retain(|cancel| cancel.directive.not_after > now);
        if let Some(cancel) = self.cancels.iter_mut().find(|cancel| cancel.carried_by != Some(number)) {
            cancel.carried_by = Some(number);
            return Some(Arc::clone(&cancel.directive));
        }
        // What was carried before is carried again, however late it is: the instance says again what became of it.
        let next = self.pending.iter_mut().find(|pending| {
            let may_begin = pending.directive.not_after > now;
            pending.carried_by != Some(number) && (may_begin || pending.carried_by.is_some())
        })?;
        next.carried_by = Some(number);
        Some(Arc::clone(&next.directive))
    }
}

/// Carries the post of an incarnation by one session.
#[derive(Debug)]
pub struct Carrier {
    post: Arc<Post>,
    number: u64,
    bell: Arc<Bell>,
}

impl Carrier {
    /// The next directive for the instance. Asked with every message: it takes no lock where there is nothing new.
    pub fn poll_next(&mut self, cx: &Context<'_>, now: Mono) -> Poll<Arc<Directive>> {
        // Whoever rings after this wakes us; what was rung before is seen below.
        self.bell.waker.register(cx.waker());
        if !self.bell.news.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let mut inner = self.post.inner.lock();
        if inner.carrier.as_ref().is_none_or(|(number, _)| *number != self.number) {
            return Poll::Pending;
        }
        match inner.next(self.number, now) {
            Some(directive) => {
                // There may be more.
                self.bell.news.store(true, Ordering::Release);
                Poll::Ready(directive)
            }
            None => Poll::Pending,
        }
    }

    /// Takes a report of the instance. False: nobody waits for it.
    pub(super) fn reported(&self, id: &str, report: Report) -> bool {
        self.post.report(id, report)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let mut inner = self.post.inner.lock();
        // Whoever is woken by it is held by it.
        let ours = inner.carrier.take_if(|(number, _)| *number == self.number);
        drop(inner);
        drop(ours);
    }
}
