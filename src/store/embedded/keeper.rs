//! What must happen by itself: leases run out, and a failed medium is tried again.
//!
//! A reconciler: it looks at what is, asks the writer for what should be, and sleeps until the next
//! deadline or until something changes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Shared, writer::Work};
use crate::time::Mono;

/// Pause between two tries to write again; as long for a lease whose end could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// Waking this much too late means that the whole process stood still.
const STALL: Duration = Duration::from_millis(500);

/// Runs until its owner drops it.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut retry: Option<Mono> = None;
    loop {
        // While something must be tried again, leases wait for it: their end could not be written.
        wait(&shared, retry.or_else(|| shared.leases.next_deadline())).await;
        if shared.closing.load(Ordering::Acquire) {
            return;
        }
        let now = shared.clock.mono();
        if shared.trouble.lock().is_some() {
            if retry.is_none_or(|at| at <= now) {
                mend(&shared).await;
                retry = Some(shared.clock.mono() + RETRY);
            }
            continue;
        }
        retry = None;
        let due = shared.leases.due(now);
        if !due.is_empty()
            && let Err(cause) = shared.ask(Work::Expire(due)).await
        {
            warn!(%cause, "leases have run out and could not be ended");
            retry = Some(shared.clock.mono() + RETRY);
        }
    }
}

async fn mend(shared: &Shared) {
    if let Err(cause) = shared.ask(Work::Mend).await {
        debug!(%cause, "store is not writable yet");
    }
}

/// Sleeps until the deadline or until something changes.
async fn wait(shared: &Shared, deadline: Option<Mono>) {
    let Some(deadline) = deadline else { return shared.attention.notified().await };
    let pause = deadline.since(shared.clock.mono());
    if pause.is_zero() {
        return;
    }
    if timeout(pause, shared.attention.notified()).await.is_ok() {
        return;
    }
    let late = shared.clock.mono().since(deadline);
    if late >= STALL {
        // Nobody could renew while we stood still: that is no reason to declare anybody dead.
        warn!(?late, "woke late: every lease is extended by that");
        shared.leases.extend(late);
    }
}
