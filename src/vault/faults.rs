//! A bucket that fails: at one operation, or from one on, before it has done what was asked or after.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use parking_lot::Mutex;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// One operation is not done, and says so.
    Fails,
    /// One operation is done, and says that it was not: its answer was lost.
    FailsAfter,
    /// Nothing is done any more from this operation on: the process has died before it.
    Dies,
    /// This operation is done, and nothing after it.
    DiesAfter,
    /// All can be read from this operation on, and nothing is written: a full disk, or a key that may only read.
    TakesNothing,
}

/// A bucket in memory that fails as it is told.
#[derive(Debug)]
pub(super) struct Faulty {
    pub(super) inner: Arc<InMemory>,
    fault: Mutex<Option<(usize, Fault)>>,
    asked: AtomicUsize,
}

impl Faulty {
    pub(super) fn new(inner: Arc<InMemory>) -> Self {
        Self { inner, fault: Mutex::new(None), asked: AtomicUsize::new(0) }
    }

    /// From now on: what goes wrong with the operation of this number.
    pub(super) fn set(&self, fault: Option<(usize, Fault)>) {
        self.asked.store(0, Ordering::SeqCst);
        *self.fault.lock() = fault;
    }

    /// How many operations were asked for since then.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether this operation is done, and whether it says that it was.
    fn next(&self) -> (bool, bool) {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        match *self.fault.lock() {
            Some((at, Fault::Fails)) if number == at => (false, false),
            Some((at, Fault::FailsAfter)) if number == at => (true, false),
            Some((at, Fault::Dies)) if number >= at => (false, false),
            Some((at, Fault::DiesAfter)) if number >= at => (number == at, false),
            _ => (true, true),
        }
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "on purpose".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (done, said) = self.next();
        let done = done && !matches!(*self.fault.lock(), Some((_, Fault::TakesNothing)));
        let result = if done { self.inner.put_opts(location, payload, options).await } else { Err(broken()) };
        if said { result } else { Err(broken()) }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (done, said) = self.next();
        if done && said { self.inner.get_opts(location, options).await } else { Err(broken()) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (done, said) = self.next();
        if done && said {
            self.inner.delete_stream(locations)
        } else {
            futures_util::stream::iter([Err(broken())]).boxed()
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (done, said) = self.next();
        if done && said {
            self.inner.list(prefix)
        } else {
            futures_util::stream::iter([Err(broken())]).boxed()
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(broken())
    }
}
