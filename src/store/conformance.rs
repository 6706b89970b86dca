//! The laws that every engine keeps, as tests against the contract alone.
//!
//! A new engine passes by calling [`suite`] with a way to open an empty store. Each law gets a store of
//! its own. Laws that need time to pass sleep on tokio's clock, so an engine that can follows paused time.

use std::{future::Future, num::NonZeroUsize};

use super::{Commit, Revision, Store};

mod concurrency;
mod elections;
mod keys;
mod leases;
mod listing;
mod watching;

/// Checks every law; `open` answers an empty store and what keeps it alive.
pub(crate) async fn suite<Owner, Opening>(open: impl Fn() -> Opening)
where
    Opening: Future<Output = (Store, Owner)>,
{
    check("a key is what was put last", open(), keys::a_key_is_what_was_put_last).await;
    check("conditions decide", open(), keys::conditions_decide).await;
    check("a refused commit leaves no trace", open(), keys::a_refused_commit_leaves_no_trace).await;
    check("revisions grow by change alone", open(), keys::revisions_grow_by_change_alone).await;
    check("pages make up the listing", open(), listing::pages_make_up_the_listing).await;
    check("a prefix is taken literally", open(), listing::a_prefix_is_taken_literally).await;
    check("a large page ends early", open(), listing::a_large_page_ends_early).await;
    check("a watch resumes without a gap", open(), watching::a_watch_resumes_without_a_gap).await;
    check("a watch sees its prefix", open(), watching::a_watch_sees_its_prefix).await;
    check("a hopeless watch is reset", open(), watching::a_hopeless_watch_is_reset).await;
    check("keys end with their lease", open(), leases::keys_end_with_their_lease).await;
    check("a renewed lease lives", open(), leases::a_renewed_lease_lives).await;
    check("a revoked lease is gone", open(), leases::a_revoked_lease_is_gone).await;
    check("a key leaves its lease", open(), leases::a_key_leaves_its_lease).await;
    check("one leads at a time", open(), elections::one_leads_at_a_time).await;
    check("a deposed leader is fenced", open(), elections::a_deposed_leader_is_fenced).await;
    check("a leader stays while it lives", open(), elections::a_leader_stays_while_it_lives).await;
    crowd(open).await;
}

/// Checks the laws that want real threads too, where the engine follows paused time for the others.
pub(crate) async fn crowd<Owner, Opening>(open: impl Fn() -> Opening)
where
    Opening: Future<Output = (Store, Owner)>,
{
    check("increments are not lost", open(), concurrency::increments_are_not_lost).await;
    check("readers see whole commits", open(), concurrency::readers_see_whole_commits).await;
}

/// Opens a store, checks one law on it, and says which.
async fn check<Owner>(
    name: &str,
    opening: impl Future<Output = (Store, Owner)>,
    law: impl AsyncFnOnce(Store),
) {
    eprintln!("law: {name}");
    let (store, _owner) = opening.await;
    law(store).await;
}

/// Puts one key.
async fn put(store: &Store, key: &str, value: &str) -> Revision {
    store.commit(Commit::new().put(key, value.to_owned())).await.unwrap()
}

/// A value as text.
async fn text(store: &Store, key: &str) -> Option<String> {
    let entry = store.get(key).await.unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

fn limit(entries: usize) -> NonZeroUsize {
    NonZeroUsize::new(entries).unwrap()
}
