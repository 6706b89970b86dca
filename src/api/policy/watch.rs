//! `WatchPolicies`: all that is ruled, at once and after each change.
//!
//! A watch holds nothing between two messages: it reads the newest state when its caller takes more, so that whoever is
//! slow misses what was in between.

use futures_core::Stream;
use futures_util::stream::unfold;
use prost::Message as _;
use tonic::Status;

use crate::{
    api::{
        convert::policy as convert,
        proto::v1 as pb,
        watch::{Watching, leaving},
    },
    error::{Error, Kind, Reason, Result},
    guard::{caller::Connection, goodbye::Goodbye, status::status, subscriptions::Subscription},
    policy::Handle,
};

/// The name of what is listened to. No service has such a name.
const TOPIC: &str = "/policies";
/// Bytes of the largest message: what clients take by default.
const MOST: usize = 4 * 1024 * 1024;

/// Hears of each change of what is ruled: once for all watches and sessions of a connection.
pub(in crate::api) fn changes(connection: &Connection, policies: &Handle) -> Subscription {
    connection.subscriptions.subscribe(TOPIC, || policies.changed())
}

struct Watch {
    policies: Handle,
    changed: Subscription,
    closing: Goodbye,
    begun: bool,
    _watching: Watching,
}

/// Follows what is ruled.
pub(super) fn follow(
    policies: Handle,
    watching: Watching,
    connection: &Connection,
) -> impl Stream<Item = Result<pb::WatchPoliciesResponse, Status>> + Send + use<> {
    let watch = Watch {
        changed: changes(connection, &policies),
        closing: Goodbye::of(connection.closing.clone()),
        begun: false,
        policies,
        _watching: watching,
    };
    unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let next = watch.next().await;
        let rest = next.is_ok().then_some(watch);
        Some((next, rest))
    })
}

impl Watch {
    async fn next(&mut self) -> Result<pb::WatchPoliciesResponse, Status> {
        loop {
            // Taken before reading: a change during the read wakes us again.
            let news = self.changed.news();
            if news.is_some() || !self.begun {
                self.begun = true;
                return state(&self.policies).map_err(|error| status(&error));
            }
            tokio::select! {
                biased;
                changed = self.changed.changed() => if changed.is_err() { return Err(leaving()) },
                _ = self.closing.heard() => return Err(leaving()),
            }
        }
    }
}

/// All that is ruled now.
fn state(policies: &Handle) -> Result<pb::WatchPoliciesResponse> {
    let (book, now) = (policies.book(), policies.wall());
    let mut state =
        pb::WatchPoliciesResponse { revision: book.revision, ..pb::WatchPoliciesResponse::default() };
    let mut left = MOST;
    // Added up on the way: what is too much is never there as a whole.
    let mut fits = |length: usize| {
        let taken = left.checked_sub(length);
        left = taken.unwrap_or_default();
        taken.ok_or_else(too_large)
    };
    for placed in book.policies() {
        let wire = convert::policy(placed);
        fits(wire.encoded_len())?;
        state.policies.push(wire);
    }
    for placed in book.flags() {
        let wire = convert::flag(placed);
        fits(wire.encoded_len())?;
        state.flags.push(wire);
    }
    for forced in book.overrides() {
        let wire = convert::forced(forced, now);
        fits(wire.encoded_len())?;
        state.overrides.push(wire);
    }
    if state.encoded_len() > MOST { Err(too_large()) } else { Ok(state) }
}

fn too_large() -> Error {
    let message = format!(
        "policies, flags and overrides are together more than {MOST} bytes, which no watch tells; use ListPolicies and ListFlags"
    );
    Error::new(Kind::ResourceExhausted, Reason::TooManyNames, message)
}

#[cfg(test)]
mod tests {
    use seaworthy_client::protect::policy::Policy;

    use super::*;
    use crate::{
        policy::{self, Options},
        store::embedded,
        time::Clock,
    };

    /// What a watch would begin with where so many policies are declared, each of four KiB.
    async fn state_of(count: usize) -> Result<pb::WatchPoliciesResponse> {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let (store, _engine) = embedded::open(embedded::Options::new(folder.path(), clock)).unwrap();
        let wordy = |n| Policy { description: "\u{1f6a2}".repeat(1024), ..Policy::named(format!("p-{n}")) };
        let options = Options { declared: (0..count).map(wordy).collect() };
        let (handle, _service) = policy::open(options, clock, store).await.unwrap();
        state(&handle)
    }

    #[tokio::test]
    async fn what_no_client_would_take_is_not_made() {
        let whole = state_of(900).await.unwrap();
        assert!(whole.policies.len() > 900 && whole.encoded_len() <= MOST, "{}", whole.encoded_len());
        let refused = state_of(1100).await.unwrap_err();
        assert_eq!((refused.kind(), refused.reason()), (Kind::ResourceExhausted, Reason::TooManyNames));
        assert!(refused.message().contains("ListPolicies"), "{refused}");
    }
}
