//! Drops what is older, or more, than is to be kept: from the oldest on, in pieces, and with a record of the last one
//! that was dropped, so that it is known where the chain begins.
//!
//! The newest entry is never dropped, nor one that is yet to be exported.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{
    Shared,
    chain::{Hash, Link},
    record::{self, Kept},
};
use crate::{
    error::{Chain, Result},
    store::{Commit, Store},
    task::drain,
};

/// Time between two turns, where nothing was configured anew.
const TURN: Duration = Duration::from_secs(60);
/// Entries that are dropped by one commit.
const PIECE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// Runs until the drain begins.
pub(super) async fn run(shared: Arc<Shared>, store: Store, mut drain: drain::Watch) {
    let mut ticks = interval(TURN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => return,
            _ = ticks.tick() => {}
            () = shared.configured.notified() => {}
        }
        match turn(&shared, &store, &drain).await {
            Ok(0) => {}
            Ok(dropped) => {
                info!(component = "audit", operation = "retention", dropped, "old entries were dropped");
            }
            Err(error) => {
                warn!(component = "audit", operation = "retention", error = %Chain(&error), "could not drop old entries; tried again later");
            }
        }
    }
}

/// Drops all that is due now, and answers how many.
pub(super) async fn turn(shared: &Shared, store: &Store, drain: &drain::Watch) -> Result<u64> {
    let mut dropped = 0;
    // What became of the piece before is read, not remembered: its outcome may have been open.
    let mut anchor = record::anchor(store).await?;
    shared.state.lock().anchor = anchor;
    while !drain.has_begun() {
        let (piece, more) = record::after(store, anchor.sequence, PIECE).await?;
        let due: Vec<Kept> = {
            let keep = shared.keep();
            piece.into_iter().take_while(|kept| keep.is_due(kept)).collect()
        };
        let Some(last) = due.last() else { break };
        let hash = Hash::from_hex(&last.hash).unwrap_or_else(|_| last.link().hash);
        anchor = Link { sequence: last.sequence, hash };
        // Said first, so that nobody takes what is missing for removed.
        shared.state.lock().anchor = anchor;
        let commit = due.iter().fold(Commit::new(), |commit, kept| commit.delete(record::key(kept.sequence)));
        store.commit(commit.put(record::ANCHOR, record::encode_anchor(&anchor)?)).await?;
        dropped += due.len() as u64;
        if !more {
            break;
        }
    }
    Ok(dropped)
}
