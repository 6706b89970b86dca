//! Directives on their way: from whoever asks to one incarnation of an instance, by its session, and what became of them
//! back.
//!
//! Nothing of this is durable: a directive belongs to an operation, which is, and whose step decides again after a restart.
//! A directive waits for its instance to attach, is carried again to the same incarnation after a lost connection, and
//! never passes to another one. What it asks for is not looked at here.

mod post;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use tokio::{sync::watch, time::sleep_until};

pub use self::post::Carrier;
pub(super) use self::post::Post;
use super::{
    Shared,
    directive::{Directive, DirectiveId, Report, State},
    member::Member,
    names::InstanceKey,
    refusal::Refusal,
    session::Session,
    snapshot::{Removal, Tombstone},
    state::State as Fleet,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    time::{Clock, Mono},
};

/// Most directives of an instance that have not ended.
pub const MOST_PENDING: usize = 64;

/// Asks instances. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Why nothing more will be heard of a directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Gone {
    /// A newer incarnation holds the id.
    Superseded,
    /// The instance was removed.
    Removed(Arc<Tombstone>),
    /// The instance has left.
    Left(Arc<Tombstone>),
    /// Its lease has run out.
    Lost,
}

impl Gone {
    /// What follows from the grave of an instance.
    pub(super) fn buried(tombstone: &Arc<Tombstone>) -> Self {
        match tombstone.removal {
            Removal::Deregistered => Self::Left(Arc::clone(tombstone)),
            Removal::Lost | Removal::Operator => Self::Removed(Arc::clone(tombstone)),
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Superseded => f.write_str("a newer incarnation holds the id"),
            Gone::Removed(tombstone) => {
                write!(f, "the instance was removed: {}", super::refusal::why_removed(tombstone))
            }
            Gone::Left(tombstone) => match tombstone.message.as_str() {
                "" => f.write_str("the instance has left"),
                message => write!(f, "the instance has left ({message})"),
            },
            Gone::Lost => f.write_str("the instance was lost"),
        }
    }
}

/// How a directive ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It is done.
    Done(Report),
    /// It was tried, and could not be done.
    Failed(Report),
    /// The instance did not try it.
    Refused(Report),
    /// Whom it was sent to is no more.
    Gone(Gone),
    /// It did not begin in time.
    Expired,
}

/// What is known of a directive.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Progress {
    /// Nothing was heard of it.
    Waiting,
    Reported(Report),
    Gone(Gone),
}

impl Progress {
    fn state(&self) -> Option<State> {
        match self {
            Progress::Reported(report) => Some(report.state),
            Progress::Waiting | Progress::Gone(_) => None,
        }
    }

    fn ended(&self) -> Option<Ended> {
        match self {
            Progress::Waiting => None,
            Progress::Gone(why) => Some(Ended::Gone(why.clone())),
            Progress::Reported(report) => match report.state {
                State::Received | State::Started => None,
                State::Done => Some(Ended::Done(report.clone())),
                State::Failed => Some(Ended::Failed(report.clone())),
                State::Refused => Some(Ended::Refused(report.clone())),
            },
        }
    }
}

impl super::Handle {
    /// Asks instances.
    pub fn directives(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Takes what an instance says of a directive on its session: a sign of life as well. What nobody waits for is counted.
    pub fn directive_reported(&self, session: &Session, id: &str, report: Report) {
        self.session_heard(session);
        if !session.directives.as_ref().is_some_and(|carrier| carrier.reported(id, report)) {
            self.directive_report_ignored();
        }
    }

    /// Counts a report that nobody waits for, or nobody understands.
    pub fn directive_report_ignored(&self) {
        self.shared.ignored_reports.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handle {
    /// A new id for a directive.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn new_id(&self) -> Result<DirectiveId> {
        DirectiveId::new(&self.shared.entropy)
    }

    /// The time, by which `not_after` is told.
    pub fn now(&self) -> Mono {
        self.shared.clock.mono()
    }

    /// Sends a directive to one incarnation of an instance. It is carried at once where the instance is attached, and waits
    /// otherwise.
    ///
    /// # Errors
    /// There is no such incarnation, or it is lost; its client has not said that it takes directives; or too many that were
    /// sent to it have not ended.
    pub fn send(&self, key: &InstanceKey, incarnation: u64, directive: Directive) -> Result<Sent> {
        let post = self.post(key, incarnation)?;
        let id = directive.id.clone();
        let progress = post.put(directive)?;
        Ok(Sent { post, id, progress, clock: self.shared.clock, expired: false })
    }

    fn post(&self, key: &InstanceKey, incarnation: u64) -> Result<Arc<Post>> {
        let (service, id) = (key.service.as_str(), key.id.as_str());
        let state = self.shared.state.read();
        let member = addressed(&state, key, incarnation).map_err(|refusal| refusal.about(service, id))?;
        let about = |reason, message: &str| {
            let message = format!("instance {key} {message}");
            let error = Error::new(Kind::FailedPrecondition, reason, message);
            error.with("service", service).with("instance_id", id)
        };
        if member.lost_since().is_some() {
            return Err(about(Reason::InstanceLost, "is lost; wait until it is heard again"));
        }
        let post = member.post.as_ref().filter(|post| post.takes()).map(Arc::clone);
        post.ok_or_else(|| {
            let attached = member.session.is_some();
            let message = if attached {
                "takes no directives; its client has to say so when it attaches"
            } else {
                "has not attached since it registered, or since the control plane started; directives need a session"
            };
            about(Reason::DirectivesNotTaken, message)
        })
    }
}

/// The member that something is meant for, of this incarnation and no other.
fn addressed<'a>(state: &'a Fleet, key: &InstanceKey, incarnation: u64) -> Result<&'a Member, Refusal> {
    match state.groups().get(&key.service).and_then(|group| group.members.get(&key.id)) {
        Some(member) if member.incarnation == incarnation => Ok(member),
        Some(member) => Err(Refusal::Stale { current: member.incarnation }),
        None => Err(match state.grave(key) {
            Some(grave) if grave.tombstone.incarnation == incarnation => {
                Refusal::Removed(Arc::clone(&grave.tombstone))
            }
            _ => Refusal::NotFound,
        }),
    }
}

/// A directive that was sent. Dropping it forgets it, and cancels it at the instance where that may have it and has not
/// ended it.
#[derive(Debug)]
pub struct Sent {
    post: Arc<Post>,
    id: DirectiveId,
    progress: watch::Receiver<Progress>,
    clock: Clock,
    expired: bool,
}

impl Sent {
    /// Its id.
    pub fn id(&self) -> &DirectiveId {
        &self.id
    }

    /// What the instance said last. None: nothing yet.
    pub fn report(&self) -> Option<Report> {
        match &*self.progress.borrow() {
            Progress::Reported(report) => Some(report.clone()),
            Progress::Waiting | Progress::Gone(_) => None,
        }
    }

    /// Waits until the instance has said more than when this was asked last, or until the directive has ended: then
    /// [`Sent::ended`] says how at once. Cancel safe.
    pub async fn changed(&mut self) {
        if self.end().is_none() {
            self.wait().await;
        }
    }

    /// Waits until it has ended, and says how, as often as it is asked. A directive that has begun may take as long as it
    /// likes. Cancel safe.
    pub async fn ended(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.end() {
                return ended;
            }
            self.wait().await;
        }
    }

    /// Where the instance was lost with a restore of it: waits until it is heard again what became of that, or that the instance is no
    /// more; then [`Sent::ended`] goes on. Of everything else nothing more is heard, and it is answered at once. Cancel safe.
    pub async fn heard_again(&mut self) {
        while matches!(*self.progress.borrow_and_update(), Progress::Gone(Gone::Lost)) {
            if self.progress.changed().await.is_err() {
                return;
            }
        }
    }

    fn end(&self) -> Option<Ended> {
        if self.expired { Some(Ended::Expired) } else { self.progress.borrow().ended() }
    }

    /// Waits for news, or until it may no longer begin.
    async fn wait(&mut self) {
        let begun = self.progress.borrow().state().is_some_and(|state| state >= State::Started);
        let begins_by = if begun { None } else { self.post.begins_by(&self.id) };
        let late = async {
            match begins_by {
                Some(at) => sleep_until(self.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // It closes with its last word, which was seen then.
            _ = self.progress.changed() => {}
            () = late => {
                // It may have been carried meanwhile, and has longer then.
                let now = self.clock.mono();
                let over = self.post.begins_by(&self.id).is_some_and(|at| at <= now);
                self.expired = over && self.post.expire(&self.id, now);
            }
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // What has ended is not there any more, but for what an instance that was lost may still be at.
        self.post.forget(&self.id, self.clock.mono());
    }
}

#[cfg(test)]
mod tests;
