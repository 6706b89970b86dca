//! Reading the fleet from the store at a start, how far that is, and what whoever asks meanwhile is told.
//!
//! Of a fleet that is read in part nothing is shown: it would look like an outage.

use std::{
    fmt,
    num::NonZeroUsize,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{self, TryStreamExt as _};

use crate::{
    error::{Error, Kind, Reason, Result},
    store::{Entry, Store},
    task,
    text::counted,
};

/// Records that are read from the store at once.
const LOAD_PAGE: NonZeroUsize = NonZeroUsize::new(1000).expect("1000 is not zero");
/// Pages of them that are decoded at once; they are read one after the other.
const LOADED_AT_ONCE: usize = 8;
/// When to ask again while the fleet is being loaded.
const COME_BACK: Duration = Duration::from_millis(200);

/// How far the loading is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    /// One more than there are; 0: not known yet.
    of: AtomicU64,
}

impl Progress {
    /// The store is open, and has so many records.
    pub(super) fn begin(&self, records: u64) {
        self.0.of.store(records.saturating_add(1), Ordering::Relaxed);
    }

    fn add(&self, records: usize) {
        self.0.read.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// Records that were read, and how many there are; None until the store is open.
    fn counts(&self) -> (u64, Option<u64>) {
        let of = self.0.of.load(Ordering::Relaxed);
        (self.0.read.load(Ordering::Relaxed), of.checked_sub(1))
    }

    /// What whoever needs the fleet is told until it is there.
    pub fn refusal(&self) -> Error {
        let message = format!("the control plane has just started: {self}; ask again in {COME_BACK:?}");
        let refusal = Error::new(Kind::Unavailable, Reason::Loading, message).retry_after(COME_BACK);
        match self.counts() {
            (read, Some(of)) => {
                refusal.with("records_read", read.to_string()).with("records", of.to_string())
            }
            (_, None) => refusal,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.counts() {
            (read, Some(of)) => write!(f, "loading the fleet, {read} of {}", counted(of, "record")),
            (_, None) => write!(f, "opening the store"),
        }
    }
}

/// Reads all records of a kind, and hands them to `take` in their order. Pages are read one after the other;
/// several are decoded at once, each on another core.
pub(super) async fn load<T: Send + 'static>(
    store: &Store,
    progress: &Progress,
    prefix: &'static str,
    decode: fn(&Entry) -> Result<T>,
    mut take: impl FnMut(T),
) -> Result<()> {
    let pages = stream::try_unfold(Some(None), |after| page(store.clone(), prefix, after));
    let decoded = pages.map_ok(|entries| decoded(entries, decode));
    let mut decoded = pin!(decoded.try_buffered(LOADED_AT_ONCE));
    while let Some(records) = decoded.try_next().await? {
        progress.add(records.len());
        records.into_iter().for_each(&mut take);
        // Whoever asks meanwhile is answered, also where there is one thread for all.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The records after a place, and what to go on after. None: there is nothing to go on after.
async fn page(
    store: Store,
    prefix: &'static str,
    after: Option<Option<String>>,
) -> Result<Option<(Vec<Entry>, Option<Option<String>>)>> {
    let Some(after) = after else { return Ok(None) };
    let page = store.list(prefix, after.as_deref(), LOAD_PAGE).await?;
    Ok(Some((page.entries, page.next.map(Some))))
}

async fn decoded<T: Send + 'static>(entries: Vec<Entry>, decode: fn(&Entry) -> Result<T>) -> Result<Vec<T>> {
    let work = move || entries.iter().map(decode).collect();
    task::blocking("fleet load", work).await.map_err(Error::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_far_the_loading_is() {
        let progress = Progress::default();
        assert_eq!(
            progress.refusal().message(),
            "the control plane has just started: opening the store; ask again in 200ms"
        );
        // An empty one is open too.
        progress.begin(0);
        assert!(progress.refusal().message().contains("loading the fleet, 0 of 0 records"));
        progress.begin(100_000);
        progress.add(42_000);
        let refusal = progress.refusal();
        assert_eq!((refusal.kind(), refusal.reason()), (Kind::Unavailable, Reason::Loading));
        assert!(refusal.message().contains("loading the fleet, 42000 of 100000 records"), "{refusal}");
        assert_eq!(refusal.retry_pause(), Some(COME_BACK));
        let metadata = [("records_read", "42000".to_owned()), ("records", "100000".to_owned())];
        assert_eq!(refusal.metadata(), metadata);
    }
}
