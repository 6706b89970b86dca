//! One registered instance inside the registry: what it registered, how its components are, and what
//! follows for the instance. Rules of one instance only; `state` keeps the fleet consistent.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::oneshot;

use super::{
    agenda::Place,
    directives::{Gone, Post},
    lease::Lease,
    lifecycle::Lifecycle,
    pairs::Pairs,
    registration::Registration,
    session::Closing,
    snapshot::{ComponentHealth, Instance, Revision},
};
use crate::{
    health::{
        State, Verdict,
        component::{Reported, SILENT_INTERVALS, Tracker},
        rollup::{self, Part},
    },
    id::TokenHash,
    time::{Mono, Now},
};

/// What one component says of itself.
#[derive(Clone, Debug)]
pub struct Report {
    /// Position of the component in the registration.
    pub component: usize,
    /// How it is.
    pub state: Reported,
    /// Why, for people.
    pub message: String,
    /// How long the check took.
    pub response_time: Option<Duration>,
    /// Figures of the check.
    pub details: Pairs,
}

/// A registered instance.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) registration: Arc<Registration>,
    pub(super) incarnation: u64,
    pub(super) token: TokenHash,
    pub(super) request: Option<TokenHash>,
    pub(super) lease: Arc<Lease>,
    pub(super) session: Option<OpenSession>,
    /// What is asked of it; made when a client of it first says that it takes directives.
    pub(super) post: Option<Arc<Post>>,
    pub(super) revision: Revision,
    /// When it is due on the agenda.
    pub(super) due: Place,
    lifecycle: Lifecycle,
    word: Word,
    lost_since: Option<Mono>,
    protection: Option<Protection>,
    confirmed: bool,
    health: Verdict,
    parts: Vec<PartState>,
    peer: Arc<str>,
    registered: SystemTime,
    lifecycle_changed: SystemTime,
    health_changed: SystemTime,
}

/// Where what is known of a lifecycle comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Word {
    /// Nobody has said anything since the start: it counts as READY.
    Assumed,
    Given,
}

/// That an instance was lost together with many others: it is not removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Protection {
    pub(super) since: Mono,
    pub(super) began: SystemTime,
    /// When it ends by itself, as far as is known; stalls of the control plane put that off.
    pub(super) until: SystemTime,
}

/// The session that an instance has open.
#[derive(Debug)]
pub(super) struct OpenSession {
    id: u64,
    lease: Arc<Lease>,
    close: oneshot::Sender<Closing>,
}

impl OpenSession {
    /// Opens one, which has the lease from now on.
    pub(super) fn open(id: u64, lease: Arc<Lease>, close: oneshot::Sender<Closing>) -> Self {
        lease.hold(id);
        Self { id, lease, close }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Tells its stream why it ends. The lease says first that it does: a stream that is woken looks there.
    pub(super) fn close(self, why: Closing) {
        self.lease.let_go(self.id);
        // A stream that is gone already needs no reason.
        drop(self.close.send(why));
    }
}

/// A component of a member.
#[derive(Debug)]
struct PartState {
    tracker: Tracker,
    verdict: Verdict,
    message: String,
    /// What was said when it became, or stayed, as it is. Empty while it is healthy.
    reason: String,
    /// Shared with every snapshot that was taken of it: copying them would be most of the price of one.
    details: Pairs,
    last_response_time: Option<Duration>,
    reported: Option<Now>,
    /// Nothing was heard of it for too long; the next report ends that.
    silent: bool,
    /// When its silence is due on the agenda.
    due: Place,
    changed: SystemTime,
}

/// A change of one component's health: of its state, or of its cause or whether it is flapping alone.
#[derive(Debug)]
pub(super) struct PartChange {
    pub(super) component: usize,
    /// The state before; where only something else is different, that is the state still.
    pub(super) from: State,
}

/// What a new member is made of.
#[derive(Clone, Debug)]
pub(super) struct Birth {
    pub(super) registration: Arc<Registration>,
    pub(super) incarnation: u64,
    pub(super) token: TokenHash,
    pub(super) request: Option<TokenHash>,
    pub(super) peer: Arc<str>,
    pub(super) registered: SystemTime,
    /// False where it comes from the store, and nothing was heard of it yet.
    pub(super) confirmed: bool,
}

impl Member {
    pub(super) fn new(birth: Birth, now: Now) -> Self {
        let Birth { registration, incarnation, token, request, peer, registered, confirmed } = birth;
        let parts = registration
            .components
            .iter()
            .map(|component| PartState::new(component.thresholds, now))
            .collect();
        // After a restart it counts as READY until it says otherwise: whoever was in service
        // discovery stays there.
        let (lifecycle, word) =
            if confirmed { (registration.lifecycle, Word::Given) } else { (Lifecycle::Ready, Word::Assumed) };
        let mut member = Self {
            lease: Arc::new(Lease::new(registration.lease_ttl, now.mono, !confirmed)),
            registration,
            incarnation,
            token,
            request,
            session: None,
            post: None,
            revision: 0,
            due: None,
            lifecycle,
            word,
            lost_since: None,
            protection: None,
            confirmed,
            health: Verdict::new(State::Unknown, ""),
            parts,
            peer,
            registered,
            lifecycle_changed: now.wall,
            health_changed: now.wall,
        };
        member.settle(now);
        member
    }

    /// Where it is in its life: LOST while its lease has run out.
    pub(super) fn lifecycle(&self) -> Lifecycle {
        if self.lost_since.is_some() { Lifecycle::Lost } else { self.lifecycle }
    }

    /// Since when it has been lost.
    pub(super) fn lost_since(&self) -> Option<Mono> {
        self.lost_since
    }

    /// Set while it is lost and under protection.
    pub(super) fn protection(&self) -> Option<&Protection> {
        self.protection.as_ref()
    }

    /// Whether it may say that it is in `next` now. Where its lifecycle is only assumed, its first word is
    /// taken whatever it is, except what nobody says of himself.
    pub(super) fn may_become(&self, next: Lifecycle) -> bool {
        match self.word {
            Word::Assumed => !matches!(next, Lifecycle::Stopped | Lifecycle::Lost),
            Word::Given => self.lifecycle().allows(next),
        }
    }

    /// Whether it is lost and may be removed for that.
    pub(super) fn may_be_removed(&self) -> bool {
        self.lost_since.is_some() && self.protection.is_none() && !self.is_to_be_heard()
    }

    /// Whether it was heard since it was lost, and the registry has yet to take that in: signs of life come
    /// without the lock that it takes. Its lease had run out when it was lost, and has not from then on.
    pub(super) fn is_to_be_heard(&self) -> bool {
        self.lost_since.is_some_and(|since| self.lease.last_heard() + self.lease.ttl() > since)
    }

    /// Whether anybody may have its id: it is lost or over.
    pub(super) fn has_let_go(&self) -> bool {
        let lifecycle = if self.is_to_be_heard() { self.lifecycle } else { self.lifecycle() };
        !lifecycle.is_alive()
    }

    /// Whether it may be removed for the loss that began then: not if it was heard, and lost again.
    pub(super) fn may_be_removed_for(&self, loss: Option<Mono>) -> bool {
        self.may_be_removed() && self.lost_since == loss
    }

    /// Whether its silence would be a surprise: it has not said that it leaves, or that it failed.
    pub(super) fn is_expected(&self) -> bool {
        self.lifecycle.is_alive() && !self.lifecycle.is_leaving()
    }

    /// Since when it is as it is: lost, or in its health.
    pub(super) fn since(&self) -> SystemTime {
        if self.lost_since.is_some() { self.lifecycle_changed } else { self.health_changed }
    }

    /// When this incarnation registered.
    pub(super) fn registered(&self) -> SystemTime {
        self.registered
    }

    pub(super) fn confirmed(&self) -> bool {
        self.confirmed
    }

    pub(super) fn health(&self) -> &Verdict {
        &self.health
    }

    pub(super) fn part(&self, component: usize) -> Option<&Verdict> {
        self.parts.get(component).map(|part| &part.verdict)
    }

    /// Takes reports of components, and answers those whose state or cause changed.
    pub(super) fn report(&mut self, reports: Vec<Report>, now: Now) -> Vec<PartChange> {
        let mut changes = Vec::new();
        for report in reports {
            let Report { component, state, message, response_time, details } = report;
            let Some(part) = self.parts.get_mut(component) else { continue };
            let (from, flapped) = (part.verdict.state, part.tracker.is_flapping());
            let to = part.tracker.report(state, response_time);
            part.message = message;
            part.details = details;
            part.last_response_time = response_time;
            part.reported = Some(now);
            part.silent = false;
            if part.judge(to, now) || flapped != part.tracker.is_flapping() {
                changes.push(PartChange { component, from });
            }
        }
        changes
    }

    /// Reads what a report is going to write, under a lock that others hold as well: in a large fleet it
    /// comes from far away in memory, and nobody should wait for that.
    pub(super) fn bring_near(&self) {
        for part in &self.parts {
            black_box((part.reported, part.tracker.is_flapping(), part.verdict.state, part.message.len()));
            black_box((part.silent, part.changed, part.last_response_time, part.reason.len()));
        }
    }

    /// When a component will have been silent for too long, before credit for stalls: since when, and
    /// for how long it may be silent. None while nothing is expected of it.
    pub(super) fn silence(&self, component: usize) -> Option<(Mono, Duration)> {
        let reported = self.parts.get(component).filter(|part| !part.silent)?.reported?;
        let declared = self.registration.components.get(component)?;
        Some((reported.mono, declared.report_interval * SILENT_INTERVALS))
    }

    /// Where a component's silence is on the agenda.
    pub(super) fn silence_due(&mut self, component: usize) -> Option<&mut Place> {
        self.parts.get_mut(component).map(|part| &mut part.due)
    }

    /// Nothing was heard of a component for too long, and why.
    pub(super) fn forget(&mut self, component: usize, why: String, now: Now) -> Option<PartChange> {
        let part = self.parts.get_mut(component)?;
        let from = part.verdict.state;
        part.tracker.forget();
        part.message = why;
        part.silent = true;
        part.judge(State::Unknown, now).then_some(PartChange { component, from })
    }

    /// It was heard: an unconfirmed one is confirmed, and a lost one is where it was before. True if
    /// it was lost.
    pub(super) fn hear(&mut self, now: Now) -> bool {
        self.confirmed = true;
        self.lease.want_notice(false);
        self.protection = None;
        let was_lost = self.lost_since.take().is_some();
        if was_lost {
            self.lifecycle_changed = now.wall;
        }
        was_lost
    }

    /// Its lease ran out; a notice of the next sign of life is wanted already.
    pub(super) fn lose(&mut self, now: Now) {
        if let Some(post) = &self.post {
            post.lose(now.mono);
        }
        self.lost_since = Some(now.mono);
        self.lifecycle_changed = now.wall;
    }

    /// This life of it has ended: nothing more is heard of what was asked of it.
    pub(super) fn end_post(&self, why: &Gone) {
        if let Some(post) = &self.post {
            post.end(why);
        }
    }

    /// It was lost with many others: it is not removed before `until`, unless that is put off.
    pub(super) fn protect(&mut self, now: Now, until: SystemTime) {
        let Protection { since, began, .. } =
            self.protection.unwrap_or(Protection { since: now.mono, began: now.wall, until });
        self.protection = Some(Protection { since, began, until });
    }

    /// It was under protection for long enough.
    pub(super) fn unprotect(&mut self) {
        self.protection = None;
    }

    pub(super) fn set_lifecycle(&mut self, lifecycle: Lifecycle, now: Now) {
        self.word = Word::Given;
        if self.lifecycle != lifecycle {
            self.lifecycle = lifecycle;
            self.lifecycle_changed = now.wall;
        }
    }

    /// Works out the instance's health anew; answers what it was if the state changed.
    pub(super) fn settle(&mut self, now: Now) -> Option<State> {
        let verdict = self.judge();
        let from = self.health.state;
        let changed = verdict.state != from;
        if changed {
            self.health_changed = now.wall;
        }
        self.health = verdict;
        changed.then_some(from)
    }

    fn judge(&self) -> Verdict {
        match self.lifecycle() {
            Lifecycle::Lost => {
                let with = if self.protection.is_some() { "; protected: many were lost at once" } else { "" };
                return Verdict::new(
                    State::Unknown,
                    format!("lost: not heard within its lease of {}{with}", shown(self.lease.ttl())),
                );
            }
            Lifecycle::Failed => return Verdict::new(State::Unhealthy, "the instance said that it failed"),
            _ if !self.confirmed => {
                return Verdict::new(State::Unknown, "not heard since the control plane started");
            }
            _ => {}
        }
        let parts: Vec<Part<'_>> = self
            .registration
            .components
            .iter()
            .zip(&self.parts)
            .map(|(declared, part)| Part {
                name: declared.name.as_str(),
                essential: declared.essential,
                // What does not report health cannot be a problem.
                state: if declared.reports_health() { part.verdict.state } else { State::Healthy },
                cause: &part.verdict.cause,
                depends_on: &declared.depends_on,
            })
            .collect();
        rollup::instance(&parts)
    }

    /// What it was made of, for the store.
    pub(super) fn birth(&self) -> Birth {
        Birth {
            registration: Arc::clone(&self.registration),
            incarnation: self.incarnation,
            token: self.token,
            request: self.request,
            peer: Arc::clone(&self.peer),
            registered: self.registered,
            confirmed: self.confirmed,
        }
    }

    /// What it costs to take a snapshot of it: one, and one for each component.
    pub(super) fn cost(&self) -> usize {
        1 + self.parts.len()
    }

    /// The instance as readers see it.
    pub(super) fn snapshot(&self, now: Now) -> Instance {
        let heard = now.mono.since(self.lease.last_heard());
        Instance {
            registration: Arc::clone(&self.registration),
            incarnation: self.incarnation,
            lifecycle: self.lifecycle(),
            health: self.health.clone(),
            confirmed: self.confirmed,
            attached: self.session.is_some(),
            takes_directives: self.post.as_ref().is_some_and(|post| post.takes()),
            components: self.parts.iter().map(PartState::snapshot).collect(),
            registered: self.registered,
            last_heard: self.confirmed.then(|| now.wall.checked_sub(heard).unwrap_or(now.wall)),
            lifecycle_changed: self.lifecycle_changed,
            health_changed: self.health_changed,
            peer: Arc::clone(&self.peer),
            revision: self.revision,
            protection_end: self.protection.map(|protection| protection.until),
        }
    }
}

impl PartState {
    fn new(thresholds: crate::health::component::Thresholds, now: Now) -> Self {
        Self {
            tracker: Tracker::new(thresholds),
            verdict: Verdict::new(State::Unknown, "no report yet"),
            message: String::new(),
            reason: String::new(),
            details: Pairs::default(),
            last_response_time: None,
            reported: None,
            silent: false,
            due: None,
            changed: now.wall,
        }
    }

    /// Takes over a state; true if the state or its cause is another one than before.
    fn judge(&mut self, state: State, now: Now) -> bool {
        let same_state = self.verdict.state == state;
        if !same_state {
            self.changed = now.wall;
        }
        // A state that holds against a better report keeps the reason that brought it about. That nobody knows
        // holds against none: its reason is whatever keeps us from knowing now.
        let holds = same_state && self.tracker.last() == Some(Reported::Healthy);
        match state {
            State::Healthy => self.reason.clear(),
            State::Degraded | State::Unhealthy if holds => {}
            _ => self.reason.clone_from(&self.message),
        }
        let verdict = match state {
            State::Healthy => Verdict::healthy(),
            State::Unknown => Verdict::new(state, self.reason.clone()),
            State::Degraded | State::Unhealthy => Verdict::new(state, self.tracker.cause(&self.reason)),
        };
        let changed = verdict != self.verdict;
        self.verdict = verdict;
        changed
    }

    fn snapshot(&self) -> ComponentHealth {
        ComponentHealth {
            health: self.verdict.clone(),
            reported: self.tracker.last(),
            message: self.message.clone(),
            details: self.details.clone(),
            consecutive_failures: self.tracker.consecutive_failures(),
            leads_to: self.tracker.leads_to(),
            average_response_time: self.tracker.average_response_time(),
            last_response_time: self.last_response_time,
            reported_at: self.reported.map(|at| at.wall),
            changed: self.changed,
            report_count: self.tracker.count(),
            flapping: self.tracker.is_flapping(),
        }
    }
}

/// A duration in a sentence: `15s`, `1500ms`.
pub(super) fn shown(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
