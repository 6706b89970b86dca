//! What a session is told of policies, flags and forced breakers, and what its instance reports of them.
//!
//! All sessions of a connection are woken by one that hears of changes for all; only those whose service a change concerns
//! say something.

use std::task::{Context, Poll};

use seaworthy_client::protect::wire;

use crate::{
    api::{convert::policy as convert, policy::changes, proto::v1 as pb},
    fleet::names::InstanceKey,
    guard::{caller::Connection, subscriptions::Subscription},
    policy::{Handle, book::Book, observed::Reporter},
    time::Mono,
};

/// The rules of one session.
#[derive(Debug)]
pub(super) struct Ruling {
    policies: Handle,
    key: InstanceKey,
    changed: Subscription,
    told: u64,
    reporter: Reporter,
}

impl Ruling {
    pub(super) fn new(policies: Handle, key: InstanceKey, connection: &Connection) -> Self {
        let changed = changes(connection, &policies);
        let reporter = policies.observed().reporter(key.clone(), policies.clock().mono());
        Self { policies, key, changed, told: 0, reporter }
    }

    /// What is to be told at first: whatever holds.
    pub(super) fn first(&mut self) -> pb::PolicyDirective {
        self.changed.newest();
        let book = self.policies.book();
        self.directive(&book)
    }

    /// What is to be told since.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<pb::PolicyDirective> {
        while self.changed.poll_changed(cx).is_ready() {
            // It has closed: the control plane stops, and the session hears of that by itself.
            if self.changed.news().is_none() {
                return Poll::Pending;
            }
            let book = self.policies.book();
            if book.concerns(self.key.service.as_str()) > self.told {
                return Poll::Ready(self.directive(&book));
            }
        }
        Poll::Pending
    }

    fn directive(&mut self, book: &Book) -> pb::PolicyDirective {
        self.told = book.revision;
        let service = self.key.service.as_str();
        let now = self.policies.wall();
        let id = Some(&self.key.id);
        let concerns = book
            .overrides_of(service)
            .filter(|it| it.key.instance.is_none() || it.key.instance.as_ref() == id);
        let policies = book.policies().filter(|placed| placed.policy.concerns(service));
        let flags = book.flags().filter(|placed| !placed.flag.is_control_planes_own());
        pb::PolicyDirective {
            revision: book.revision,
            policies: policies.map(|placed| convert::ruled(placed)).collect(),
            flags: flags.map(|placed| convert::flag(placed)).collect(),
            overrides: concerns.map(|it| convert::forced(it, now)).collect(),
        }
    }

    /// The instance has put a directive in force.
    pub(super) fn taken(&mut self, wire: pb::PoliciesTaken, now: Mono) {
        let pb::PoliciesTaken { revision, problems } = wire;
        self.reporter.took(revision.min(self.told), now);
        if let Some(first) = problems.first() {
            let first = crate::text::printable(first);
            tracing::warn!(component = "policy", operation = "directive", instance = %self.key, revision, count = problems.len(), "an instance does not know all of what is ruled: {first}");
        }
    }

    /// The instance reports what became of its operations.
    pub(super) fn reported(&mut self, wire: pb::OperationReport, now: Mono) {
        // What there is no room for is counted, and missing from views; nothing else depends on it.
        let _kept = self.reporter.report(wire::report(wire), now);
    }
}
